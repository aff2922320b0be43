"""Agreeing on permessage-deflate (RFC 7692) in a WebSocket handshake.

Only without context takeover in both directions: what is sent is compressed
once for all connections, and an idle connection needs no window.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["negotiate"]

LARGEST_WINDOW = 15     # bits; ours always is


def negotiate(offers: Iterable[str]) -> str:
    """The answer to a client's ``Sec-WebSocket-Extensions`` headers; ``""`` for none.

    The first offer that can be met is taken. One with a parameter that is
    unknown, is there twice or has a wrong value is not, nor one that wants a
    smaller window of the server (RFC 7692 section 7).
    """
    for offer in ",".join(offers).split(","):
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name == "permessage-deflate":
            answer = _answer(parameters)
            if answer:
                return answer
    return ""


def _answer(parameters: list[str]) -> str:
    given: dict[str, str | None] = {}
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if name in given:
            return ""
        given[name] = value.strip('"') if equals else None
    answer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    for name, bits in given.items():
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if bits is not None:
                return ""
        elif name == "server_max_window_bits":
            # Taking the offer means keeping to the window, and saying so.
            if _window(bits) != LARGEST_WINDOW:
                return ""
            answer += f"; server_max_window_bits={LARGEST_WINDOW}"
        elif name == "client_max_window_bits":
            # A hint alone, which leaves the client free to use a smaller one.
            if bits is not None and not _window(bits):
                return ""
        else:
            return ""
    return answer


def _window(value: str | None) -> int:
    """8 to 15, or 0 for what is no such number."""
    if value is None or value not in map(str, range(8, LARGEST_WINDOW + 1)):
        return 0
    return int(value)
