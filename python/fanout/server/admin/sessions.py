"""Who has shown the password, and for how long that counts."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

import jwt

__all__ = ["LIFETIME", "Sessions"]

LIFETIME = 8 * 3600     # seconds
_AUDIENCE = "fanout admin"


class Sessions:
    """Tokens for those who showed ``password``; any node with both secrets takes them.

    They end by themselves, and all at once with a new password or secret.
    """

    def __init__(
        self, password: str, secret: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._password = _digest(secret, password)
        self._secret = secret
        # Not the secret itself: it may sign other tokens elsewhere, and be short.
        self._key = _digest(secret, f"session {password}")

    def is_password(self, password: str) -> bool:
        """In a time that says nothing of where it is wrong, nor how long it should be."""
        return hmac.compare_digest(_digest(self._secret, password), self._password)

    def begin(self) -> str:
        """A new token."""
        now = int(self._clock())
        return jwt.encode(
            {"aud": _AUDIENCE, "iat": now, "exp": now + LIFETIME, "jti": secrets.token_hex(16)},
            self._key, algorithm="HS256")

    def end_of(self, token: str) -> float:
        """When a token ends, in seconds since 1970; 0 for one that is not valid now."""
        try:
            # The end is looked at below, by the clock of this object.
            claims = jwt.decode(
                token, self._key, algorithms=["HS256"], audience=_AUDIENCE,
                options={"require": ["aud", "iat", "exp", "jti"], "verify_exp": False,
                         "verify_iat": False})
        except jwt.InvalidTokenError:
            return 0.0
        end = claims["exp"]
        valid = type(end) is int and self._clock() < end <= self._clock() + LIFETIME
        return float(end) if valid else 0.0


def _digest(key: str, text: str) -> bytes:
    return hmac.new(
        key.encode("utf-8", "surrogatepass"), text.encode("utf-8", "surrogatepass"),
        hashlib.sha512).digest()
