"""Why a token is refused. No text of these errors holds a token, a signature or a key."""

from __future__ import annotations

from fanout.errors import FanoutError

__all__ = [
    "ExpiredTokenError",
    "InvalidTokenError",
    "KeysUnavailableError",
    "TokenError",
    "TokenMismatchError",
    "shown",
]

_SHOWN = 60


class TokenError(FanoutError):
    """Base of what a verifier raises."""


class InvalidTokenError(TokenError):
    """The token is malformed, not signed with a key of ours, or not meant for this use."""


class ExpiredTokenError(TokenError):
    """The token was good once, or (``nbf``) will be: the client should ask for a new one."""


class TokenMismatchError(TokenError):
    """A good subscription token, but of another channel, user or client."""


class KeysUnavailableError(TokenError):
    """The keys cannot be had now, so nobody knows whether the token is good.

    The same token may be accepted later: to a client this is a temporary error.
    """


def shown(value: str) -> str:
    """``value`` as an error names it: quoted, and cut when it is long."""
    text = repr(value[: _SHOWN + 1])
    return text if len(value) <= _SHOWN else f"{text[:_SHOWN]}...'"
