"""Where keys are fetched from: a URL, perhaps one for each tenant.

``{{name}}`` in the URL stands for what the group ``(?P<name>...)`` of the
issuer's or audience's pattern matched. That is read from tokens whose
signature nobody has checked yet, so the group must list its values: with an
open pattern a stranger could name the server that his keys are fetched from.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from fanout.server.config.errors import ConfigError
from fanout.server.tokens.errors import InvalidTokenError, shown
from fanout.server.tokens.options import TokenOptions

__all__ = ["Endpoint"]

_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
# What one value may be: characters that mean themselves, or are escaped to do so.
_VALUE = r"(?:[^\\^$.|?*+()\[\]{}]|\\[^a-zA-Z0-9])+"
_VALUES = re.compile(rf"{_VALUE}(?:\|{_VALUE})*\)")
_SAFE = re.compile(r"[A-Za-z0-9._~/-]+")


class Endpoint:
    """``jwks_public_endpoint``; raises :exc:`ConfigError` for one that is not safe.

    With ``insecure_skip_jwks_endpoint_safety_check`` plain HTTP to other
    machines is allowed, and any pattern for a placeholder.
    """

    def __init__(self, options: TokenOptions, groups: frozenset[str], path: str) -> None:
        self._text = options.jwks_public_endpoint
        self.names = frozenset(_PLACEHOLDER.findall(self._text))
        key = f"{path}.jwks_public_endpoint"
        for name in sorted(self.names - groups):
            raise ConfigError(
                key, f"{{{{{name}}}}} is not a named group of issuer_regex or audience_regex")
        try:
            parts = urlsplit(self._text)
            host = parts.hostname
        except ValueError:
            raise ConfigError(key, "must be a URL") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ConfigError(key, "must be a URL with https:// (or http://)")
        if parts.username is not None:
            raise ConfigError(key, "must not hold a user name or password")
        if options.insecure_skip_jwks_endpoint_safety_check:
            return
        if parts.scheme == "http" and not _is_loopback(host):
            raise ConfigError(
                key,
                "must use https:// beyond this machine: who can change the answer can make "
                f"tokens ({path}.insecure_skip_jwks_endpoint_safety_check allows it)",
            )
        if self.names:
            for name in ("issuer_regex", "audience_regex"):
                _check_groups(getattr(options, name), self.names, f"{path}.{name}")

    def url(self, variables: dict[str, str]) -> str:
        """The URL for these values; raises :exc:`InvalidTokenError` for those that do not fit."""
        if not self.names:
            return self._text
        for name in self.names:
            value = variables[name]
            if not _SAFE.fullmatch(value) or any(
                part in ("", ".", "..") for part in value.split("/")
            ):
                raise InvalidTokenError(
                    f"{shown(value)} cannot be part of the URL of the token's keys")
        return _PLACEHOLDER.sub(lambda match: variables[match[1]], self._text)

    def shown(self, url: str) -> str:
        """``url`` for the log, without what may be secret in it."""
        parts: SplitResult = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_groups(pattern: str, names: frozenset[str], key: str) -> None:
    for name in names:
        start = pattern.find(f"(?P<{name}>")
        if start >= 0 and not _VALUES.match(pattern, start + len(f"(?P<{name}>")):
            raise ConfigError(
                key,
                f"the group {name!r} is part of the keys' URL, so it must list its values, "
                'such as "one|two"',
            )
