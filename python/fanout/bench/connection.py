"""One client of a run: a WebSocket with nothing around it that costs."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

from fanout.bench.dialects import Dialect
from fanout.bench.frames import CLOSE, PING, PONG, FrameError, FrameReader, masked_frame
from fanout.bench.plan import Target
from fanout.bench.refusal import Refusal
from fanout.bench.replies import Reply

__all__ = ["Connection", "ConnectionRefused", "ConnectionUser"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"     # RFC 6455 section 1.3
_LARGEST_HEAD = 65536       # bytes of an HTTP answer's head


class ConnectionRefused(Exception):
    """The server, or the network, did not take the client; the text says why."""


class ConnectionUser(Protocol):
    """Who a connection belongs to."""

    def on_message(self, connection: Connection, payload: bytes) -> None:
        """A whole message, which may hold several replies."""
        ...

    def on_lost(self, connection: Connection, reason: str) -> None:
        """It is gone, and it was not we who closed it. Not called before ``open`` returned."""
        ...


class Connection(asyncio.Protocol):
    """A client that is connected, or about to be."""

    __slots__ = (
        "_closed", "_closing", "_dialect", "_ended", "_head", "_id", "_key", "_opened", "_pong",
        "_reader", "_reason", "_refusal", "_transport", "_user", "_waiting", "bytes_received",
        "number", "writable",
    )

    def __init__(self, number: int, dialect: Dialect, user: ConnectionUser) -> None:
        self.number = number
        self.bytes_received = 0
        self.writable = True
        self._dialect = dialect
        self._user = user
        self._key = base64.b64encode(secrets.token_bytes(16))
        self._head: bytes | None = b""      # of the HTTP answer, until it is read
        self._refusal: Refusal | None = None    # an HTTP answer that is no upgrade
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._waiting: dict[int, Callable[[Reply | None], None]] = {}
        self._id = 0
        self._pong = False
        self._reason = "cut without a close frame"
        self._closing = False
        self._opened = False
        loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] | None = loop.create_future()     # the handshake
        self._closed: asyncio.Future[None] = loop.create_future()

    # ---- for the run ---------------------------------------------------

    async def open(
        self, target: Target, tls: ssl.SSLContext | None, token: str, channels: list[str],
        origin: str = "",
    ) -> None:
        """Connect, with the protocol's connect command, and subscribe.

        With an ``origin`` it connects as a page of that origin does.
        Raises :exc:`ConnectionRefused`; then nothing is left open.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: self, target.host, target.port, ssl=tls,
                server_hostname=target.host if tls is not None else None)
            self._write(self._handshake(target, origin))
            assert self._ended is not None
            await self._ended
            reply = await self._call(self._dialect.connect(self._next_id(), token))
            self._pong = reply.connect is not None and reply.connect.pong
            for channel in channels:
                await self._call(self._dialect.subscribe(self._next_id(), channel))
            self._opened = True
        except OSError as error:
            raise ConnectionRefused(_text_of(error)) from None
        finally:
            if not self._opened:
                self.abort()

    def publish(self, channel: str, data: bytes, answered: Callable[[Reply | None], None]) -> None:
        """Publish; ``answered`` gets the reply, or None when the connection went before it came."""
        id = self._next_id()
        self._waiting[id] = answered
        self._send(self._dialect.publish(id, channel, data))

    @property
    def is_open(self) -> bool:
        return self._opened and self._transport is not None and not self._closing

    async def close(self) -> None:
        """Say good-bye, and wait until the connection is gone."""
        if self._transport is None:
            return
        if not self._closing:
            self._closing = True
            self._write(masked_frame(CLOSE, struct.pack("!H", 1000)))
        await asyncio.shield(self._closed)

    def abort(self) -> None:
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def handle(self, reply: Reply) -> None:
        """What is no publication: an answer, a ping, or the server's good-bye."""
        if reply.id:
            waiting = self._waiting.pop(reply.id, None)
            if waiting is not None:
                waiting(reply)
        elif reply.is_ping:
            if self._pong:
                self._send(self._dialect.pong)
        elif reply.push is not None and reply.push.disconnect is not None:
            self._reason = f"{reply.push.disconnect.code} {reply.push.disconnect.reason}"

    # ---- asyncio.Protocol ----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)    # uvloop's is no subclass
        if self._closing:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self.bytes_received += len(data)
        if self._refusal is not None:
            self._read_refusal(data)
            return
        if self._head is not None:
            rest = self._read_head(data)
            if not rest:
                return
            data = rest
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode <= 2:
                    self._user.on_message(self, payload)
                elif opcode == PING:
                    self._write(masked_frame(PONG, payload))
                elif opcode == CLOSE:
                    self._on_close(payload)
        except (FrameError, ValueError) as error:
            self._reason = f"the server broke the protocol: {error}"
            if self._transport is not None:
                self._transport.abort()

    def eof_received(self) -> None:
        pass        # None: the transport closes itself

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True

    def connection_lost(self, error: BaseException | None) -> None:
        self._transport = None
        if error is not None and not isinstance(error, EOFError) and self._refusal is None:
            self._reason = _text_of(error)
        if self._ended is not None and not self._ended.done():
            self._ended.set_exception(ConnectionRefused(self._reason))
            self._ended.exception()     # also when nobody waits any more
        if not self._closed.done():
            self._closed.set_result(None)
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(None)
        if self._opened and not self._closing:
            self._user.on_lost(self, self._reason)

    # ---- helpers -------------------------------------------------------

    def _handshake(self, target: Target, origin: str) -> bytes:
        return "\r\n".join((
            f"GET {target.path} HTTP/1.1",
            f"Host: {target.authority}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            *([f"Origin: {origin}"] if origin else []),
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {self._dialect.subprotocol}",
            f"Sec-WebSocket-Key: {self._key.decode()}",
            "\r\n",
        )).encode()

    def _read_head(self, data: bytes) -> bytes:
        """Take the HTTP answer's head; what follows it."""
        assert self._head is not None
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            if len(head) > _LARGEST_HEAD:
                self._refuse("the answer to the handshake does not end")
            return b""
        self._head = None
        lines = head.split(b"\r\n")
        status = lines[0].split(b" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        accept = base64.b64encode(hashlib.sha1(self._key + _GUID).digest())
        if len(status) < 2 or not status[0].startswith(b"HTTP/"):
            self._refuse("the server does not speak HTTP")
        elif status[1] != b"101":
            self._refusal = Refusal(status[1].decode("ascii", "replace"), headers)
            self._read_refusal(rest)
        elif headers.get(b"sec-websocket-accept") != accept:
            self._refuse("the handshake's answer is not for this request")
        elif headers.get(b"sec-websocket-protocol", b"").decode() not in self._dialect.answers:
            self._refuse(f"the server does not speak {self._dialect.subprotocol}")
        else:
            assert self._ended is not None
            if not self._ended.done():
                self._ended.set_result(None)
            self._ended = None
            return rest
        return b""

    def _read_refusal(self, data: bytes) -> None:
        assert self._refusal is not None
        whole = self._refusal.feed(data)
        self._reason = str(self._refusal)
        if whole:
            self._refuse(self._reason)

    def _refuse(self, reason: str) -> None:
        self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    def _next_id(self) -> int:
        self._id += 1
        return self._id

    async def _call(self, command: bytes) -> Reply:
        answered: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()

        def answer(reply: Reply | None) -> None:
            if not answered.done():
                answered.set_result(reply)

        self._waiting[self._id] = answer
        self._send(command)
        reply = await answered
        if reply is None:
            raise ConnectionRefused(self._reason)
        if reply.error is not None:
            raise ConnectionRefused(f"error {reply.error.code} {reply.error.message}")
        return reply

    def _send(self, payload: bytes) -> None:
        self._write(masked_frame(self._dialect.opcode, payload))

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _on_close(self, payload: bytes) -> None:
        if len(payload) >= 2:
            code = struct.unpack_from("!H", payload)[0]
            self._reason = f"{code} {payload[2:].decode('utf-8', 'replace')}".rstrip()
        else:
            self._reason = "closed without a code"
        if self._transport is None:
            return
        if not self._closing:
            with suppress(RuntimeError):        # the transport is on its way out already
                self._transport.write(masked_frame(CLOSE, payload[:2]))
        self._transport.close()


def _text_of(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
