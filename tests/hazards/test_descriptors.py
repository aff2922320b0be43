"""A closed connection's descriptor number may belong to another socket already."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
from typing import Any

import pytest

from fanout._hub import Hub
from fanout._outbox import Outbox
from tests.hazards.connections import connect, frames_in, publish, turn, until


async def test_nothing_is_sent_to_whoever_has_the_number_now(hub: Hub) -> None:
    connection = await connect(hub, "ch")
    number = connection.transport.get_extra_info("socket").fileno()
    connection.transport.abort()
    await connection.lost.wait()
    await turn()
    with pytest.raises(OSError):
        os.fstat(number)        # closed, and its outbox was not told
    stranger, stranger_peer = socket.socketpair()
    if stranger.fileno() != number:
        os.dup2(stranger.fileno(), number)
    try:
        stranger_peer.setblocking(False)
        publish(hub, "ch", b"not yours")
        connection.outbox.write(b"not yours")
        hub.flush()
        publish(hub, "ch", b"not yours")
        await turn()
        with pytest.raises(BlockingIOError):
            stranger_peer.recv(100)
        assert hub.stats().num_sends == 0
        assert connection.outbox.queued_bytes == 0
    finally:
        if stranger.fileno() != number:
            os.close(number)
        stranger.close()
        stranger_peer.close()
        connection.outbox.detach()
        connection.peer.close()


async def test_a_transport_that_is_closing_is_not_written_to(hub: Hub) -> None:
    """Between abort and connection_lost the descriptor is there, but not for us."""
    connection = await connect(hub, "ch")
    publish(hub, "ch", b"queued before")
    connection.transport.abort()
    publish(hub, "ch", b"and after")
    hub.flush()
    assert hub.stats().num_sends == 0
    await connection.abort()


class Late(asyncio.Protocol):
    """A handler that learns turns later that its connection is gone, as aiohttp's do.

    The peer's first four bytes say who it is; its channel is called that. More
    is not sent by any client: it would be what was sent to a descriptor that
    became a client's.
    """

    def __init__(self, hub: Hub, strays: list[bytes]) -> None:
        self.hub = hub
        self.strays = strays
        self.transport: Any = None
        self.outbox: Outbox | None = None
        self.name = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.name += data
        if len(self.name) > 4:
            self.strays.append(self.name)
        if self.outbox is None and len(self.name) >= 4:
            self.outbox = Outbox(self.hub, self.transport, self, 0, 1 << 20)
            self.hub.subscribe(self.outbox, self.name[:4].hex())

    def pause_writing(self) -> None:
        if self.outbox is not None:
            self.outbox.pause()

    def resume_writing(self) -> None:
        if self.outbox is not None:
            self.outbox.resume()

    def on_slow(self) -> None: ...

    def on_unencodable(self, channel: str) -> None: ...

    def connection_lost(self, error: BaseException | None) -> None:
        self.later(5)

    def later(self, turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self.later, turns - 1)
        elif self.outbox is not None:
            self.hub.remove(self.outbox)
            self.outbox.detach()


async def test_a_storm_of_resets_and_reconnects(hub: Hub) -> None:
    """Every client checks that all the bytes it gets are its own."""
    random_numbers = random.Random(1)
    loop = asyncio.get_running_loop()
    strays: list[bytes] = []
    server = await loop.create_server(lambda: Late(hub, strays), "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    clients: dict[bytes, tuple[socket.socket, bytearray]] = {}
    serial = received = 0

    async def client() -> None:
        nonlocal serial
        serial += 1
        name = struct.pack("!I", serial)
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, address)
        sock.send(name)
        clients[name] = sock, bytearray()

    try:
        for _ in range(60):
            await client()
        for _ in range(60):
            for name in random_numbers.sample(sorted(clients), 8):
                sock, stream = clients.pop(name)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()        # a reset
            for _ in range(8):
                await client()
                for channel in hub.channels():
                    publish(hub, channel, bytes.fromhex(channel) * 3)
                await turn(1)
            for name, (sock, stream) in clients.items():
                try:
                    stream += sock.recv(1 << 16)
                except BlockingIOError:
                    continue
                for payload in frames_in(bytes(stream)):    # raises where one is torn
                    assert payload == name * 3, "somebody else's bytes"
                    received += 1
                stream.clear()
    finally:
        for sock, _stream in clients.values():
            sock.close()
        server.close()
        await until(lambda: hub.channels() == [])
        await server.wait_closed()
    assert received > 1000
    assert strays == []
