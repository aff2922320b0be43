"""JWT: who a connection is, and what it may subscribe to (see ``docs/tokens.md``)."""

from __future__ import annotations

from fanout.server.tokens.claims import ConnectionClaims, SubscriptionClaims
from fanout.server.tokens.errors import (
    ExpiredTokenError,
    InvalidTokenError,
    KeysUnavailableError,
    TokenError,
    TokenMismatchError,
)
from fanout.server.tokens.options import TokenOptions
from fanout.server.tokens.verifier import TokenVerifier

__all__ = [
    "ConnectionClaims",
    "ExpiredTokenError",
    "InvalidTokenError",
    "KeysUnavailableError",
    "SubscriptionClaims",
    "TokenError",
    "TokenMismatchError",
    "TokenOptions",
    "TokenVerifier",
]
