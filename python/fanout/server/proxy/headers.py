"""Which headers a request to a backend has."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

from fanout import codes

__all__ = ["HeaderRules"]

log = logging.getLogger("fanout")

# Of one hop (RFC 9110, 7.6.1), or about one connection or one body.
_OWN = frozenset((
    "accept-encoding", "connection", "content-encoding", "content-length", "content-type",
    "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
    "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
))
_NEVER_PREFIX = "sec-websocket-"
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


class HeaderRules:
    """Whose headers go along, by their names, in order of precedence.

    ``transport`` are names of headers of the client's own HTTP request,
    ``emulated`` of those that it wrote into its connect command, ``static``
    what every request has. None of them can set what belongs to the request
    itself, such as its length: such a name is ignored with a warning, in which
    ``place`` is the key of the configuration.
    """

    __slots__ = ("_static", "emulated", "transport")

    def __init__(
        self, transport: Iterable[str], emulated: Iterable[str], static: Mapping[str, str],
        place: str,
    ) -> None:
        self.transport = _names(transport, f"{place}.http_headers")
        self.emulated = _names(emulated, f"{place}.emulated_headers")
        kept = _names(static, f"{place}.http.static_headers")
        self._static = {
            name.lower(): value for name, value in static.items() if name.lower() in kept}

    def select(self, transport: Mapping[str, str], emulated: Mapping[str, str]) -> dict[str, str]:
        """The headers of one request, beside those that are its own.

        ``transport`` has lower-case names, ``emulated`` whatever the client
        wrote. Raises error 107 for a value that is none in HTTP.
        """
        headers = dict(self._static)
        if self.emulated:
            for name, value in emulated.items():
                if name.lower() in self.emulated:
                    headers[name.lower()] = _sound(value)
        for name in self.transport:
            if name in transport:
                headers[name] = _sound(transport[name])
        return headers


def _names(names: Iterable[str], key: str) -> frozenset[str]:
    lowered = {name.lower() for name in names if name}
    own = {name for name in lowered if name in _OWN or name.startswith(_NEVER_PREFIX)}
    if own:
        log.warning(
            "%s: %s cannot be set: a request to a backend has its own",
            key, ", ".join(sorted(own)))
    return frozenset(lowered - own)


def _sound(value: str) -> str:
    if _CONTROL.search(value):
        raise codes.ERROR_BAD_REQUEST()
    try:
        value.encode()
    except UnicodeEncodeError:
        raise codes.ERROR_BAD_REQUEST() from None
    return value
