"""Connections as a server has them, and the peers at their other ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout.types import ClientInfo, Message

__all__ = [
    "Connection",
    "Frames",
    "MadeTransport",
    "abandon_connections",
    "collecting_everywhere",
    "connect",
    "frame",
    "frames_in",
    "publish",
    "socket_pair",
    "turn",
    "until",
]

LARGEST = 1 << 30
_open: list[Connection] = []


def abandon_connections() -> None:
    """Cut what a test left open; a loop does not close over bytes that nobody reads."""
    while _open:
        connection = _open.pop()
        connection.transport.abort()
        connection.peer.close()


async def turn(times: int = 3) -> None:
    """Let the loop do what is waiting, and what that left for the next turn."""
    for _ in range(times):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait, turn by turn, for what no event tells."""
    async with asyncio.timeout(20):
        while not condition():      # noqa: ASYNC110
            await asyncio.sleep(0)


def frame(payload: bytes) -> bytes:
    """A frame with its length, so that a reader sees one that is torn."""
    return struct.pack("!I", len(payload)) + payload


def frames_in(stream: bytes) -> list[bytes]:
    """The payloads of a stream of whole frames."""
    payloads, at = [], 0
    while at < len(stream):
        assert at + 4 <= len(stream), f"the stream ends inside a length, at {at}"
        (length,) = struct.unpack_from("!I", stream, at)
        assert at + 4 + length <= len(stream), f"a frame of {length} bytes is torn, at {at}"
        payloads.append(stream[at + 4:at + 4 + length])
        at += 4 + length
    return payloads


class Frames:
    """An encoder: a message's data in a frame."""

    def publication(self, channel: str, message: Message) -> bytes | None:
        return frame(message.data)

    def join(self, channel: str, info: ClientInfo) -> bytes | None:
        return frame(b"join " + info.user.encode())

    def leave(self, channel: str, info: ClientInfo) -> bytes | None:
        return frame(b"leave " + info.user.encode())


def publish(hub: Hub, channel: str, data: bytes) -> int:
    return hub.broadcast(channel, Message(channel, data))


def socket_pair(send_buffer: int = 0) -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on the loopback; small buffers when asked for."""
    with socket.socket() as listener:
        if send_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, send_buffer)
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        ours = socket.socket()
        if send_buffer:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        ours.connect(listener.getsockname())
        theirs, _ = listener.accept()
    for end in (ours, theirs):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setblocking(False)
    return ours, theirs


class Connection(asyncio.Protocol):
    """A transport with an outbox on it, and the socket at its other end."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.transport: Any = None
        self.outbox: Outbox
        self.slow = 0
        self.unencodable: list[str] = []
        self.lost = asyncio.Event()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def pause_writing(self) -> None:
        self.outbox.pause()

    def resume_writing(self) -> None:
        self.outbox.resume()

    def connection_lost(self, error: BaseException | None) -> None:
        self.lost.set()

    # -- OutboxOwner

    def on_slow(self) -> None:
        self.slow += 1

    def on_unencodable(self, channel: str) -> None:
        self.unencodable.append(channel)

    # -- the other end

    def received_now(self) -> bytes:
        """What has arrived and was not read yet."""
        parts = []
        while True:
            try:
                part = self.peer.recv(1 << 16)
            except BlockingIOError:
                return b"".join(parts)
            if not part:
                return b"".join(parts)
            parts.append(part)

    async def receive(self, size: int) -> bytes:
        """Read so many bytes, as fast as they come."""
        loop = asyncio.get_running_loop()
        stream = bytearray()
        async with asyncio.timeout(20):
            while len(stream) < size:
                part = await loop.sock_recv(self.peer, size - len(stream))
                assert part, f"the connection ended after {len(stream)} of {size} bytes"
                stream += part
        return bytes(stream)

    async def receive_to_the_end(self) -> bytes:
        loop = asyncio.get_running_loop()
        stream = bytearray()
        async with asyncio.timeout(20):
            while part := await loop.sock_recv(self.peer, 1 << 16):
                stream += part
        return bytes(stream)

    async def close(self) -> bytes:
        """Let all that is queued leave, and end; what the peer had not read yet."""
        reading = asyncio.ensure_future(self.receive_to_the_end())
        await until(lambda: self.outbox.queued_bytes == 0)
        self.transport.close()
        stream = await reading
        await self.lost.wait()
        self._forget()
        return stream

    def _forget(self) -> None:
        self.outbox.detach()
        self.peer.close()
        if self in _open:
            _open.remove(self)

    async def abort(self) -> None:
        self.transport.abort()
        await self.lost.wait()
        self._forget()


async def connect(
    hub: Hub,
    *channels: str,
    limit: int = LARGEST,
    send_buffer: int = 0,
    slow: int = 0,
    flags: int = 0,
    encoding: int = 0,
    through: Callable[[Any], Any] = lambda transport: transport,
) -> Connection:
    """A connection with an outbox that is subscribed to ``channels``.

    ``through`` may put a transport of its own before the real one.
    """
    ours, theirs = socket_pair(send_buffer)
    connection = Connection(theirs)
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    _open.append(connection)
    connection.outbox = Outbox(
        hub, through(connection.transport), connection, encoding, limit)
    for channel in channels:
        hub.subscribe(connection.outbox, channel, flags, slow)
    return connection


class MadeTransport:
    """A transport made in Python: each of its methods may do something else first.

    Without a socket, so that everything is handed to its ``write``.
    """

    def __init__(self) -> None:
        self.hooks: dict[str, Callable[[], object]] = {}
        self.written: list[bytes] = []
        self.closing = False
        self.aborted = 0
        self.buffered = 0

    def _call(self, name: str) -> None:
        hook = self.hooks.pop(name, None)       # once, or it would never end
        if hook is not None:
            hook()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._call("set_write_buffer_limits")

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return None

    def is_closing(self) -> bool:
        self._call("is_closing")
        return self.closing

    def get_write_buffer_size(self) -> int:
        self._call("get_write_buffer_size")
        return self.buffered

    def write(self, data: bytes) -> None:
        self._call("write")
        self.written.append(data)

    def abort(self) -> None:
        self.aborted += 1
        self._call("abort")

    @property
    def payloads(self) -> list[bytes]:
        return frames_in(b"".join(self.written))


class _Cycle:
    """Garbage that acts when the collector finds it."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action
        self.myself = self

    def __del__(self) -> None:
        self.action()


def collecting_everywhere(times: int = 40) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Gives, once for each of many places, a function that has the collector act there.

    The collector runs at the first, the second, ... object that it keeps
    account of and that is made afterwards, also by C (up to Python 3.11), and
    runs the action then.
    """
    before, enabled = gc.get_threshold(), gc.isenabled()
    for place in range(1, times + 1):

        def act_there(action: Callable[[], object], place: int = place) -> None:
            gc.disable()
            gc.collect()        # also frees the dicts, lists and tuples kept for reuse
            _Cycle(action)
            gc.set_threshold(place)
            gc.enable()

        try:
            yield act_there
        finally:
            gc.set_threshold(*before)
            (gc.enable if enabled else gc.disable)()
