"""Whom a token must come from, and whom it must be for."""

from __future__ import annotations

import re

from fanout.server.config.errors import ConfigError
from fanout.server.config.patterns import compile_channel_regex
from fanout.server.tokens.claims import RegisteredClaims
from fanout.server.tokens.errors import ExpiredTokenError, InvalidTokenError, shown
from fanout.server.tokens.options import TokenOptions

__all__ = ["Rules"]

_MAX_MATCHED = 1024
"""Characters of an issuer or audience that a pattern is tried on."""


class Rules:
    """``audience`` and ``issuer`` of a configuration, exact or as patterns.

    Patterns are searched for anywhere in the claim, as Centrifugo does:
    ``^...$`` makes them match the whole.
    """

    def __init__(self, options: TokenOptions, path: str) -> None:
        self._audience = options.audience
        self._issuer = options.issuer
        self._audience_pattern = _compile(options, "audience", path)
        self._issuer_pattern = _compile(options, "issuer", path)

    @property
    def groups(self) -> frozenset[str]:
        """The names that :meth:`variables` gives values."""
        return frozenset(
            name
            for pattern in (self._issuer_pattern, self._audience_pattern)
            if pattern is not None
            for name in pattern.groupindex
        )

    def variables(self, claims: RegisteredClaims) -> dict[str, str]:
        """Checks the patterns; what their named groups matched."""
        found: dict[str, str] = {}
        if self._issuer_pattern is not None:
            match = _search(self._issuer_pattern, claims.issuer)
            if match is None:
                raise InvalidTokenError(
                    f"the token's issuer {shown(claims.issuer)} is not one of ours")
            found.update(match.groupdict(default=""))
        if self._audience_pattern is not None:
            for audience in claims.audience:
                match = _search(self._audience_pattern, audience)
                if match is not None:
                    found.update(match.groupdict(default=""))
                    break
            else:
                raise InvalidTokenError("the token's audience is not one of ours")
        return found

    def check(self, claims: RegisteredClaims, now: float) -> None:
        """Raises what is wrong with ``claims`` at ``now`` (seconds since 1970).

        A token that is not valid yet counts as expired, as in Centrifugo: the
        client asks for another one instead of giving up.
        """
        self.variables(claims)
        if self._issuer and claims.issuer != self._issuer:
            raise InvalidTokenError(
                f"the token's issuer is {shown(claims.issuer)}, not {shown(self._issuer)}")
        if self._audience and self._audience not in claims.audience:
            raise InvalidTokenError(
                f"the token's audience does not have {shown(self._audience)}")
        if claims.has_expiry and claims.expires <= now:
            raise ExpiredTokenError("the token expired")
        if claims.not_before > now:
            raise ExpiredTokenError("the token is not valid yet")


def _compile(options: TokenOptions, name: str, path: str) -> re.Pattern[str] | None:
    text: str = getattr(options, f"{name}_regex")
    if not text:
        return None
    if getattr(options, name):
        raise ConfigError(f"{path}.{name}_regex", f"must not be used together with {path}.{name}")
    try:
        return compile_channel_regex(text)
    except ValueError as error:
        raise ConfigError(f"{path}.{name}_regex", str(error), text) from None


def _search(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    return pattern.search(text) if len(text) <= _MAX_MATCHED else None
