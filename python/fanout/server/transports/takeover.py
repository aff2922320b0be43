"""Taking a connection over from aiohttp, once its request is read.

aiohttp parses the request; from then on a protocol of ours reads, without a
task or a buffer per connection, and writes alone, through an outbox, so that
the frames of a tick leave in one system call.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["take_over"]


def take_over(
    request: web.Request, protocol: asyncio.Protocol
) -> tuple[asyncio.Transport, list[bytes]] | None:
    """Give the request's connection to ``protocol``; its transport, and bytes read already.

    These are what came behind the head of an upgrade request. None when the
    peer is gone. aiohttp never sees the connection again: whatever its
    handler answers goes nowhere.
    """
    transport = request.transport
    if transport is None:
        return None
    early: list[bytes] = []
    handler = request.protocol
    if request.headers.get("Upgrade"):
        handler.set_parser(_Collector(early))      # type: ignore[arg-type]
    transport.set_protocol(protocol)
    # For aiohttp the connection ends here: without its transport it has
    # nothing to close.
    handler.transport = None
    handler.connection_lost(None)
    if not transport.is_closing() and not transport.is_reading():
        transport.resume_reading()      # paused while a body was too much at once
    return transport, early


class _Collector:
    """Takes what aiohttp read beyond the request."""

    def __init__(self, into: list[bytes]) -> None:
        self._into = into

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._into.append(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        pass
