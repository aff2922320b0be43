"""WebSocket connections: from aiohttp's handshake to the hub's outbox.

aiohttp parses the upgrade request; then the connection is taken over. Its
transport gets a protocol of our own, which reads frames without a task or a
buffer per connection, and which alone writes, through an outbox, so that the
frames of a tick can leave in one system call.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from fanout import codes
from fanout._frame import JSONEncoder, websocket_frame
from fanout._framing import WebSocketFraming
from fanout._outbox import Outbox
from fanout._websocket import WebSocketError, WebSocketReader
from fanout.node import Node
from fanout.server.log import logger
from fanout.server.protocol import JSON
from fanout.server.session import Session, SessionRequest, SessionSettings

__all__ = ["WebSocketEndpoint"]

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CLOSE_TIMEOUT = 5.0     # seconds for the peer to answer a close frame
_HANDSHAKE_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"      # RFC 6455 section 1.3
# Codes that a peer may put into a close frame (RFC 6455 section 7.4).
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """Limits of an endpoint; 0 is no limit for ``connection_limit``."""

    message_size_limit: int = 65536
    connection_limit: int = 0


class WebSocketEndpoint:
    """The WebSocket route of an aiohttp application."""

    def __init__(
        self,
        node: Node,
        session: SessionSettings,
        settings: WebSocketSettings,
        may_come_from: Callable[[str | None, str], bool],
    ) -> None:
        self._node = node
        self._session_settings = session
        self._settings = settings
        self._may_come_from = may_come_from
        self._encoding = node.hub.add_encoder(JSONEncoder())
        self._connections: set[WebSocketConnection] = set()
        self._closing = False
        self._empty = asyncio.Event()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer an upgrade request; on success aiohttp never sees the connection again."""
        accept, subprotocol = self._check(request)
        transport = request.transport
        if transport is None:
            return web.Response()
        early: list[bytes] = []
        protocol = request.protocol
        # Bytes behind the request's head, if the peer was so fast.
        protocol.set_parser(_Collector(early))      # type: ignore[arg-type]
        session = Session(self._node, self._session_settings, SessionRequest(
            "websocket", {name.lower(): value for name, value in request.headers.items()}), JSON)
        connection = WebSocketConnection(self, session, self._settings.message_size_limit)
        # For aiohttp the connection ends here: without its transport it has
        # nothing to close, and its handler's answer has nowhere to go.
        transport.set_protocol(connection)
        protocol.transport = None
        protocol.connection_lost(None)
        connection.take(transport, Outbox(
            self._node.hub, transport, session, self._encoding, self._node.client_queue_size))
        # Through the outbox like all that follows: nothing else ever writes.
        connection.outbox.write(_handshake(accept, subprotocol))
        for data in early:
            connection.data_received(data)
        return web.Response()

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - part of one budget
        """Close what is open, and wait until all are gone; then cut what is left."""
        self._closing = True
        for connection in list(self._connections):
            connection.close(codes.DISCONNECT_SHUTDOWN.code, codes.DISCONNECT_SHUTDOWN.reason)
        try:
            async with asyncio.timeout(timeout):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            logger.warning("%d connections did not close in time", len(self._connections))
            for connection in list(self._connections):
                connection.abort()

    def _check(self, request: web.Request) -> tuple[bytes, str]:
        """The handshake's accept key and subprotocol, or the refusal as an HTTP answer."""
        headers = request.headers
        if (
            "websocket" not in _tokens(headers.get("Upgrade", ""))
            or "upgrade" not in _tokens(headers.get("Connection", ""))
        ):
            raise web.HTTPUpgradeRequired(
                headers={"Upgrade": "websocket"}, text="a WebSocket handshake is needed here\n")
        if headers.get("Sec-WebSocket-Version") != "13":
            raise web.HTTPUpgradeRequired(
                headers={"Sec-WebSocket-Version": "13"}, text="WebSocket version 13 is needed\n")
        key = headers.get("Sec-WebSocket-Key", "").strip().encode()
        try:
            if len(base64.b64decode(key, validate=True)) != 16:
                raise ValueError
        except (ValueError, binascii.Error):
            raise web.HTTPBadRequest(
                text="Sec-WebSocket-Key must be 16 bytes in base64\n") from None
        if not self._may_come_from(headers.get("Origin"), headers.get("Host", "")):
            raise web.HTTPForbidden(text="this origin may not connect\n")
        limit = self._settings.connection_limit
        if self._closing or (limit and len(self._connections) >= limit):
            raise web.HTTPServiceUnavailable(text="no more connections here\n")
        offered = _tokens(",".join(headers.getall("Sec-WebSocket-Protocol", ())))
        query = request.query
        if (
            "centrifuge-protobuf" in offered
            or query.get("format") == "protobuf"
            or query.get("cf_protocol") == "protobuf"
        ):
            raise web.HTTPBadRequest(text="only the JSON protocol is served here\n")
        return (
            base64.b64encode(hashlib.sha1(key + _HANDSHAKE_GUID).digest()),
            "centrifuge-json" if "centrifuge-json" in offered else "",
        )

    def flush(self) -> None:
        """Send what is queued now: a transport is about to close."""
        self._node.hub.flush()

    def added(self, connection: WebSocketConnection) -> None:
        self._connections.add(connection)

    def lost(self, connection: WebSocketConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class WebSocketConnection(asyncio.Protocol):
    """One WebSocket connection: frames in, the outbox out, the closing handshake."""

    __slots__ = (
        "__weakref__", "_closing", "_endpoint", "_giving_up", "_peer_closed", "_reader",
        "_session", "_transport", "outbox",
    )

    def __init__(self, endpoint: WebSocketEndpoint, session: Session, limit: int) -> None:
        self._endpoint = endpoint
        self._session = session
        self._reader = WebSocketReader(limit)
        self._transport: asyncio.Transport | None = None
        self.outbox: Outbox
        self._closing = False       # our close frame is queued
        self._peer_closed = False
        self._giving_up: asyncio.TimerHandle | None = None

    def take(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self.outbox = outbox
        self._endpoint.added(self)
        self._session.open(self)

    # ---- asyncio.Protocol ----------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._peer_closed:
            return
        broken = None
        try:
            messages = self._reader.feed(data)
        except WebSocketError as error:
            messages = error.messages       # what came before it counts
            broken = error
        for opcode, payload in messages:
            self._on_message(opcode, payload)
            if self._peer_closed:
                return
        if broken is not None:
            self._peer_closed = True        # what follows cannot be read
            if not self._closing:
                self._session.on_broken(broken.code, broken.reason)
                self._end_writing()

    def eof_received(self) -> None:
        pass        # None: the transport closes itself

    def pause_writing(self) -> None:
        self.outbox.pause()

    def resume_writing(self) -> None:
        self.outbox.resume()

    def connection_lost(self, error: BaseException | None) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        if self._transport is None:         # lost in the middle of the handshake
            return
        self._transport = None
        self._session.on_lost()
        self.outbox.detach()
        self._endpoint.lost(self)

    # ---- FrameSink -----------------------------------------------------

    framing = WebSocketFraming(TEXT)

    def close(self, code: int, reason: str) -> None:
        """Queue a close frame, and wait for the peer's; may be called twice."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self.outbox.write_last(websocket_frame(CLOSE, struct.pack("!H", code) + reason.encode()))
        self._transport.resume_reading()
        self._giving_up = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)

    def pause_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    # ---- helpers -------------------------------------------------------

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _end_writing(self) -> None:
        """Send the end of the stream behind our close frame.

        The peer's answer cannot be read any more; without this it would wait
        for us as long as we wait for it.
        """
        self._endpoint.flush()
        transport = self._transport
        if transport is not None and self.outbox.queued_bytes == 0 and transport.can_write_eof():
            transport.write_eof()

    def _on_message(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._on_close(payload)
        elif self._closing:
            pass                            # what comes behind our close frame is not for us
        elif opcode == TEXT:
            self._session.on_frame(payload)
        elif opcode == PING:
            self.outbox.write(websocket_frame(PONG, payload))
        elif opcode == BINARY:
            self._session.client.disconnect(codes.DISCONNECT_BAD_REQUEST)

    def _on_close(self, payload: bytes) -> None:
        self._peer_closed = True
        if not self._closing:
            self._session.on_lost()
            self._closing = True
            self.outbox.write_last(websocket_frame(CLOSE, _echo(payload)))
            # A peer that reads nothing more must not keep the connection.
            self._giving_up = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)
        self._endpoint.flush()
        if self._transport is not None:
            self._transport.close()         # sends what it still buffers


class _Collector:
    """Takes what aiohttp read beyond the request."""

    def __init__(self, into: list[bytes]) -> None:
        self._into = into

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._into.append(bytes(data))
        return False, b""

    def feed_eof(self) -> None:
        pass


def _tokens(header: str) -> list[str]:
    return [token.strip().lower() for token in header.split(",") if token.strip()]


def _handshake(accept: bytes, subprotocol: str) -> bytes:
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accept,
    ]
    if subprotocol:
        lines.append(b"Sec-WebSocket-Protocol: " + subprotocol.encode())
    return b"\r\n".join([*lines, b"", b""])


def _echo(payload: bytes) -> bytes:
    """The payload of the close frame that answers ``payload``."""
    if not payload:
        return b""
    if len(payload) == 1:
        return b"\x03\xea"              # 1002: a code has two bytes
    return payload[:2] if struct.unpack("!H", payload[:2])[0] in _CLOSE_CODES else b"\x03\xea"
