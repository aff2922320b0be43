"""What WebSocket connections share: frames in, the outbox out, the closing handshake."""

from __future__ import annotations

import asyncio
import struct
from typing import Protocol

from fanout import codes
from fanout._framing import websocket_frame
from fanout._websocket import WebSocketError, WebSocketReader
from fanout.node import Node
from fanout.server.transports.connection import AnySession, Connection
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import BINARY, TEXT, Encoding

__all__ = ["FrameConnection", "WebSocketSession"]

CLOSE, PING, PONG = 8, 9, 10
# Codes that a peer may put into a close frame (RFC 6455 section 7.4).
_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})


class WebSocketSession(AnySession, Protocol):
    def on_broken(self, code: int, reason: str) -> None: ...
    def on_pong(self) -> None: ...


class FrameConnection(Connection):
    """``opcode`` is that of the messages in the session's encoding.

    A subclass says what becomes of them.
    """

    __slots__ = (
        "_opcode", "_peer_closed", "_pinged", "_reader", "_session", "_turn_due", "_wanted",
    )

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding,
        session: WebSocketSession, write_timeout: float, reader: WebSocketReader, opcode: int,
    ) -> None:
        super().__init__(node, connections, encoding, session, write_timeout)
        self._session = session
        self._reader = reader
        self._opcode = opcode
        self._peer_closed = False
        self._pinged = False        # with a frame, whose pong is awaited
        self._wanted = True         # what comes, by the session
        self._turn_due = False      # in which the rest of what came is read

    def answer(self, head: bytes) -> None:
        """Send the answer to the handshake, through the outbox: nothing else ever writes.

        At once: what follows may be held back until the client is connected.
        """
        self.outbox.write(head)
        self._node.hub.flush()

    def ping(self) -> None:
        """Ping with a frame of WebSocket instead of the protocol's own."""
        self._pinged = True
        self.outbox.write(websocket_frame(PING, b""))

    # ---- asyncio.Protocol ----------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._peer_closed:
            return
        broken = None
        try:
            messages = self._reader.feed(data)
        except WebSocketError as error:
            messages = error.messages       # what came before it counts
            # Not the error: it knows this frame, which would know it.
            broken = error.code, error.reason
        for opcode, payload in messages:
            self._on_message(opcode, payload)
            if self._peer_closed:
                return
        if broken is not None:
            self._peer_closed = True        # what follows cannot be read
            if not self._closing:
                self._session.on_broken(*broken)
                # The peer's answer cannot be read any more; without this it
                # would wait for us as long as we wait for it.
                self._end_soon()
        elif self._reader.has_more:
            self._read_on_later()

    # ---- FrameSink -----------------------------------------------------

    def pause_reading(self) -> None:
        self._wanted = False
        super().pause_reading()

    def resume_reading(self) -> None:
        self._wanted = True
        if self._reader.has_more:
            self._read_on_later()
        else:
            super().resume_reading()

    # ---- helpers -------------------------------------------------------

    def _farewell(self, code: int, reason: str) -> bytes:
        return websocket_frame(CLOSE, struct.pack("!H", code) + reason.encode())

    def _read_on_later(self) -> None:
        """Read the rest in another turn: a little that came may be much when it is inflated."""
        super().pause_reading()
        if not self._turn_due:
            self._turn_due = True
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        self._turn_due = False
        if self._transport is None or not self._wanted:
            return
        self.data_received(b"")
        if self._wanted and not self._turn_due:
            super().resume_reading()

    def _on_data(self, payload: bytes) -> None:
        raise NotImplementedError

    def _on_message(self, opcode: int, payload: bytes) -> None:
        if opcode == CLOSE:
            self._on_close(payload)
        elif self._closing:
            pass                            # what comes behind our close frame is not for us
        elif opcode == self._opcode:
            self._on_data(payload)
        elif opcode == PING:
            self.outbox.write(websocket_frame(PONG, payload))
        elif opcode in (TEXT, BINARY):      # of the other encoding
            self._session.client.disconnect(codes.DISCONNECT_BAD_REQUEST)
        elif self._pinged:
            self._pinged = False
            self._session.on_pong()

    def _on_close(self, payload: bytes) -> None:
        self._peer_closed = True
        if not self._closing:
            self._session.on_lost()
            self._closing = True
            self.outbox.write_last(websocket_frame(CLOSE, _echo(payload)))
            self._give_up_later()
        self._node.hub.flush()
        if self._transport is not None:
            self._transport.close()         # sends what it still buffers


def _echo(payload: bytes) -> bytes:
    """The payload of the close frame that answers ``payload``."""
    if not payload:
        return b""
    if len(payload) == 1:
        return b"\x03\xea"              # 1002: a code has two bytes
    return payload[:2] if struct.unpack("!H", payload[:2])[0] in _CLOSE_CODES else b"\x03\xea"
