"""A response that never ends by itself: pushes in chunks of HTTP/1.1.

Its head and all that follows go through the hub's outbox, as a WebSocket's
frames do. A chunk lies in the shared bytes of a publish already.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from aiohttp import web

from fanout import codes
from fanout._framing import Framing
from fanout.node import Node
from fanout.server.transports.connection import AnySession, Connection
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import Encoding

__all__ = ["StreamConnection", "check_version", "response_head", "stream_head"]

LAST_CHUNK = b"0\r\n\r\n"
IGNORED_LIMIT = 65536       # bytes behind the request; what more comes is an abuse

_HEADERS = {
    "Transfer-Encoding": "chunked",
    "Connection": "keep-alive",
    # A stream is nothing to keep, and must not wait for more of it.
    "Cache-Control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "Pragma": "no-cache",
    "Expire": "0",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}


def check_version(request: web.Request) -> None:
    """Refuse HTTP/1.0, which has no chunks; many proxies speak it unless told otherwise."""
    if request.version < (1, 1):
        raise web.HTTPVersionNotSupported(
            text="a stream needs HTTP/1.1; for nginx: proxy_http_version 1.1\n")


def stream_head(content_type: str, more: Mapping[str, str], first: bytes = b"") -> bytes:
    """The head of a stream; ``first`` is the first piece of its body."""
    head = response_head("200 OK", {"Content-Type": content_type, **_HEADERS, **more})
    return head + (b"%x\r\n%b\r\n" % (len(first), first) if first else b"")


def response_head(status: str, headers: Mapping[str, str]) -> bytes:
    """Status line and headers; what came from a request must not begin a line of its own."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header must be one line")
    # As aiohttp decoded what is echoed.
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class StreamSession(AnySession, Protocol):
    def disconnect_push(self, code: int, reason: str) -> bytes: ...


class StreamConnection(Connection):
    """One stream. ``head`` goes in front of whatever is said first."""

    __slots__ = ("_head", "_ignored", "_session")

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, session: StreamSession,
        write_timeout: float, head: bytes,
    ) -> None:
        super().__init__(node, connections, encoding, session, write_timeout)
        self._session = session
        self._head = head
        self._ignored = 0

    # ---- asyncio.Protocol ----------------------------------------------

    def data_received(self, data: bytes) -> None:
        """What a client says behind its request is for nobody."""
        self._ignored += len(data)
        if self._ignored > IGNORED_LIMIT:
            self._session.client.disconnect(codes.DISCONNECT_BAD_REQUEST)

    # ---- FrameSink -----------------------------------------------------

    @property
    def framing(self) -> Framing:
        return _Headed(self) if self._head else self._encoding.framing

    def pause_reading(self) -> None:
        """Commands come another way; here nothing but the peer's end is read."""

    def resume_reading(self) -> None:
        pass

    # ---- for subclasses ------------------------------------------------

    def headed(self, payload: bytes) -> bytes:
        """The first payload, behind the head."""
        head, self._head = self._head, b""
        return head + self._encoding.framing.frame(payload)

    def _farewell(self, code: int, reason: str) -> bytes:
        return self.framing.frame(self._session.disconnect_push(code, reason)) + LAST_CHUNK

    def _after_farewell(self) -> None:
        self._end_soon()


class _Headed(Framing):
    """The framing of a stream's first payload.

    The head comes with it, for it must be in front however long the outbox
    holds back what is pushed meanwhile.
    """

    def __init__(self, stream: StreamConnection) -> None:
        self._stream = stream

    def frame(self, payload: bytes) -> bytes:
        return self._stream.headed(payload)
