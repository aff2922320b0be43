"""The server's WebSocket connections: the handshake, control frames, the end, slow readers."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from fanout import ChannelOptions, Node, SlowPolicy
from fanout.client import Client
from fanout.codes import Disconnect
from fanout.server import listening
from fanout.server.transports import connection as connection_module
from tests.server.conftest import OPEN
from tests.server.peer import Peer
from tests.server.running import InProcess, Settings, get, serving

KEY = base64.b64encode(bytes(16)).decode()
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(OPEN) as running:
        yield running


def handshake(target: str = "/connection/websocket", /, **headers: str | None) -> bytes:
    """An upgrade request; a header of None is left out."""
    lines: dict[str, str | None] = {
        "Host": "localhost", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY,
    }
    lines.update({name.replace("_", "-"): value for name, value in headers.items()})
    text = "".join(
        f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"GET {target} HTTP/1.1\r\n{text}\r\n".encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


class Raw:
    """A TCP connection on which the test says every byte itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), 10)

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of an HTTP answer."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def frame(self) -> tuple[int, bytes]:
        """One frame of the server's: final, not masked, lengths in their shortest form."""
        async with asyncio.timeout(10):
            first, length = await self.reader.readexactly(2)
            assert first & 0xF0 == 0x80
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
                assert length > 125
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
                assert length > 65535
            else:
                assert length < 126
            return first & 0x0F, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream, which must come without a reset."""
        return await asyncio.wait_for(self.reader.read(), 10)

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def raw(server: InProcess) -> AsyncIterator[Raw]:
    connection = Raw(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def upgraded(server: InProcess, *, connect: bool = True) -> AsyncIterator[Raw]:
    async with raw(server) as connection:
        await connection.send(handshake())
        assert (await connection.head())[0] == 101
        if connect:
            await connection.send(frame(TEXT, b'{"id":1,"connect":{}}'))
            opcode, payload = await connection.frame()
            assert (opcode, payload[:16]) == (TEXT, b'{"id":1,"connect')
        yield connection


def closing(code: int, reason: str = "") -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code) + reason.encode()


async def all_gone(server: InProcess) -> None:
    await server.settled(lambda: not server.connections._connections)
    assert server.node.stats().num_clients == 0


# The handshake


async def test_the_handshake(server: InProcess) -> None:
    key = base64.b64encode(os.urandom(16)).decode()
    async with raw(server) as connection:
        await connection.send(handshake(Sec_WebSocket_Key=key))
        status, headers = await connection.head()
    accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    assert (status, headers) == (101, {
        "upgrade": "websocket", "connection": "Upgrade",
        "sec-websocket-accept": base64.b64encode(accept).decode(),
    })


@pytest.mark.parametrize("headers", [
    {"Connection": "keep-alive, Upgrade"}, {"Connection": "upgrade"},
    {"Upgrade": "WebSocket"}, {"Upgrade": "h2c, websocket"},
    {"Sec_WebSocket_Protocol": ""}, {"Sec_WebSocket_Protocol": "something-else"},
    {"Sec_WebSocket_Extensions": "permessage-deflate; client_max_window_bits"},
    {"Origin": None}, {"Origin": "http://localhost"},
])
async def test_handshakes_that_are_taken(
    server: InProcess, headers: dict[str, str | None]
) -> None:
    async with raw(server) as connection:
        await connection.send(handshake(**headers))
        status, answer = await connection.head()
        assert status == 101
        assert not {"sec-websocket-protocol", "sec-websocket-extensions"} & set(answer)


@pytest.mark.parametrize("offer", [
    "centrifuge-json", "other, centrifuge-json", "centrifuge-json,other"])
async def test_the_subprotocol(server: InProcess, offer: str) -> None:
    async with raw(server) as connection:
        await connection.send(handshake(Sec_WebSocket_Protocol=offer))
        status, answer = await connection.head()
        assert (status, answer["sec-websocket-protocol"]) == (101, "centrifuge-json")


@pytest.mark.parametrize(("status", "target", "headers"), [
    (426, "", {"Upgrade": None}),
    (426, "", {"Connection": "keep-alive"}),
    (426, "", {"Sec_WebSocket_Version": "8"}),
    (426, "", {"Sec_WebSocket_Version": None}),
    (400, "", {"Sec_WebSocket_Key": None}),
    (400, "", {"Sec_WebSocket_Key": "short"}),
    (400, "", {"Sec_WebSocket_Key": base64.b64encode(bytes(15)).decode()}),
    (400, "", {"Sec_WebSocket_Key": "!" * 24}),
    (403, "", {"Origin": "http://evil.example"}),
    (403, "", {"Origin": "http://localhost:1"}),
    (403, "", {"Origin": "null"}),
    (400, "?format=protobuf", {"Sec_WebSocket_Protocol": "centrifuge-json"}),
    (400, "?cf_protocol=protobuf", {"Sec_WebSocket_Protocol": "centrifuge-json"}),
])
async def test_handshakes_that_are_refused(
    server: InProcess, status: int, target: str, headers: dict[str, str | None]
) -> None:
    async with raw(server) as connection:
        await connection.send(handshake("/connection/websocket" + target, **headers))
        got, answer = await connection.head()
        assert got == status
        if status == 426 and "Sec_WebSocket_Version" in headers:
            assert answer["sec-websocket-version"] == "13"
        # The refusal is plain HTTP, and the connection can go on.
        await connection.reader.readexactly(int(answer["content-length"]))
        await connection.send(handshake())
        assert (await connection.head())[0] == 101
    await all_gone(server)


async def test_origins_of_the_configuration() -> None:
    settings: Settings = {"client": {
        "insecure": True, "allowed_origins": ["https://*.example.com", "http://here:3000"]}}
    async with serving(settings) as server:
        for origin, status in (
            (None, 101), ("https://a.example.com", 101), ("http://here:3000", 101),
            ("http://a.example.com", 403), ("http://localhost", 403), ("http://here", 403),
        ):
            async with raw(server) as connection:
                await connection.send(handshake(Origin=origin))
                assert (await connection.head())[0] == status, origin


async def test_the_connection_limit() -> None:
    async with serving({"client": {"insecure": True, "connection_limit": 2}}) as server:
        first, second = await server.client(), await server.peer()
        with pytest.raises(InvalidStatus) as refused:
            await server.peer()
        assert refused.value.response.status_code == 503
        # Plain HTTP is not a client.
        assert (await get(server.http + "/health"))[0] == 200
        await first.close()
        await server.settled(lambda: len(server.connections._connections) == 1)
        third = await server.client()
        await second.close()
        await third.close()


async def test_an_upgrade_behind_other_requests(server: InProcess) -> None:
    async with raw(server) as connection:
        for _ in range(3):
            await connection.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            status, headers = await connection.head()
            assert status == 200
            await connection.reader.readexactly(int(headers["content-length"]))
        await connection.send(handshake())
        assert (await connection.head())[0] == 101
        await connection.send(frame(TEXT, b'{"id":1,"connect":{}}'))
        assert (await connection.frame())[1].startswith(b'{"id":1,"connect":{')


async def test_bytes_behind_the_handshake(server: InProcess) -> None:
    """All in one segment: the session must see them, once and in order."""
    commands = [b'{"id":1,"connect":{}}'] + [
        b'{"id":%d,"subscribe":{"channel":"c%d"}}' % (number, number) for number in range(2, 40)]
    async with raw(server) as connection:
        await connection.send(handshake() + b"".join(frame(TEXT, one) for one in commands))
        assert (await connection.head())[0] == 101
        assert (await connection.frame())[1].startswith(b'{"id":1,"connect":{')
        for number in range(2, 40):
            assert await connection.frame() == (TEXT, b'{"id":%d,"subscribe":{}}' % number)


async def test_an_upgrade_in_a_pipeline(server: InProcess) -> None:
    async with raw(server) as connection:
        await connection.send(
            b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" + handshake()
            + frame(TEXT, b'{"id":1,"connect":{}}'))
        status, headers = await connection.head()
        assert status == 200
        await connection.reader.readexactly(int(headers["content-length"]))
        assert (await connection.head())[0] == 101
        assert (await connection.frame())[1].startswith(b'{"id":1,"connect":{')


async def test_a_handshake_byte_by_byte(server: InProcess) -> None:
    async with raw(server) as connection:
        for byte in handshake() + frame(TEXT, b'{"id":1,"connect":{}}'):
            await connection.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await connection.head())[0] == 101
        assert (await connection.frame())[1].startswith(b'{"id":1,"connect":{')


@pytest.mark.parametrize("size", [0, 1, 20, 60, -2, -1])
async def test_half_a_handshake(server: InProcess, size: int) -> None:
    async with raw(server) as connection:
        await connection.send(handshake()[:size])
        assert (await get(server.http + "/health"))[0] == 200
    async with await server.client() as peer:
        assert await peer.error(rpc={}) == (108, "not available")
    await all_gone(server)


@pytest.mark.parametrize("size", [0, 20, -1])
async def test_a_handshake_that_never_ends(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "HTTP_TIMEOUT", 0.1)
    async with serving(OPEN) as server, await server.client() as peer, raw(server) as connection:
        await connection.send(handshake()[:size])
        assert await connection.rest() == b""
        # The time limit is that of HTTP alone.
        assert await peer.error(rpc={}) == (108, "not available")


@pytest.mark.parametrize("garbage", [
    b"\x00" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"hello\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"\x81\x05hello\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n", b"GET /health HTTP/1.1\r\nA B: c\r\n\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
])
async def test_garbage_in_place_of_http(
    server: InProcess, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw(server) as connection:
        await connection.send(garbage)
        answer = await connection.rest()
        assert answer.split()[1] == b"400"
    assert (await get(server.http + "/health"))[0] == 200
    await all_gone(server)
    # aiohttp reports what it could not parse; nobody else has anything to say.
    assert {record.name for record in caplog.records if record.levelname == "ERROR"} <= {
        "aiohttp.server"}
    caplog.clear()


# Control frames


async def test_a_ping_is_answered(server: InProcess) -> None:
    async with upgraded(server) as connection:
        for payload in (b"", b"hello", bytes(range(125))):
            await connection.send(frame(PING, payload))
            assert await connection.frame() == (PONG, payload)


async def test_a_ping_is_answered_before_connect(server: InProcess) -> None:
    async with upgraded(server, connect=False) as connection:
        await connection.send(frame(PING, b"x"))
        assert await connection.frame() == (PONG, b"x")


async def test_pongs_mean_nothing(server: InProcess) -> None:
    async with upgraded(server) as connection:
        await connection.send(frame(PONG, b"x") * 10 + frame(TEXT, b'{"id":2,"rpc":{}}'))
        assert (await connection.frame())[1].startswith(b'{"id":2,"error"')


async def test_a_command_in_fragments_with_pings_between(server: InProcess) -> None:
    async with upgraded(server) as connection:
        await connection.send(
            frame(TEXT, b'{"id":2,', fin=False) + frame(PING, b"a")
            + frame(0, b'"subscribe":{"cha', fin=False) + frame(PING, b"b")
            + frame(0, b'nnel":"x"}}'))
        assert await connection.frame() == (PONG, b"a")
        assert await connection.frame() == (PONG, b"b")
        assert await connection.frame() == (TEXT, b'{"id":2,"subscribe":{}}')


# The end


@pytest.mark.parametrize(("said", "echoed"), [
    (b"", b""),
    (struct.pack("!H", 1000), struct.pack("!H", 1000)),
    (struct.pack("!H", 1001) + b"bye", struct.pack("!H", 1001)),
    (struct.pack("!H", 4000), struct.pack("!H", 4000)),
    # Codes that must not stand in a frame.
    (struct.pack("!H", 1005), struct.pack("!H", 1002)),
    (struct.pack("!H", 1006), struct.pack("!H", 1002)),
    (struct.pack("!H", 999), struct.pack("!H", 1002)),
    (struct.pack("!H", 5000), struct.pack("!H", 1002)),
])
async def test_the_peer_closes(server: InProcess, said: bytes, echoed: bytes) -> None:
    async with upgraded(server) as connection:
        await connection.send(frame(CLOSE, said))
        assert await connection.frame() == (CLOSE, echoed)
        assert await connection.rest() == b""
        await all_gone(server)


async def test_replies_leave_before_the_answer_to_a_close(server: InProcess) -> None:
    """What was asked for in the same segment as the close frame, as far as it was done."""
    async with upgraded(server) as connection:
        await connection.send(frame(PING, b"x") + frame(CLOSE, struct.pack("!H", 1000)))
        assert await connection.frame() == (PONG, b"x")
        assert await connection.frame() == closing(1000)
        assert await connection.rest() == b""


async def test_nothing_is_read_behind_a_close(server: InProcess) -> None:
    async with await server.client("a") as witness, upgraded(server) as connection:
        await connection.send(
            frame(CLOSE, struct.pack("!H", 1000))
            + frame(TEXT, b'{"id":2,"publish":{"channel":"a","data":1}}'))
        assert await connection.frame() == closing(1000)
        assert await connection.rest() == b""
        server.node.publish("a", b"2")
        assert (await witness.next())["push"]["pub"]["data"] == 2


async def test_the_server_closes_and_waits_for_the_answer(server: InProcess) -> None:
    async with upgraded(server) as connection:
        (client,) = server.node.clients.values()
        client.disconnect()
        assert await connection.frame() == closing(3503, "force disconnect")
        # Not our business any more, but no reason to cut the connection either.
        await connection.send(frame(TEXT, b"?") + frame(PING, b"x") + frame(BINARY))
        assert server.connections._connections
        await connection.send(frame(CLOSE, struct.pack("!H", 3503)))
        assert await connection.rest() == b""
        await all_gone(server)


async def test_both_close_at_once(server: InProcess) -> None:
    async with upgraded(server) as connection:
        (client,) = server.node.clients.values()
        client.disconnect()
        await connection.send(frame(CLOSE, struct.pack("!H", 1000)))
        assert await connection.frame() == closing(3503, "force disconnect")
        assert await connection.rest() == b""
        await all_gone(server)


async def test_a_peer_that_never_answers_the_close_frame_is_cut(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 0.05)
    async with upgraded(server) as connection:
        (client,) = server.node.clients.values()
        client.disconnect()
        assert await connection.frame() == closing(3503, "force disconnect")
        with contextlib.suppress(ConnectionResetError):
            assert await connection.rest() == b""
        await all_gone(server)


@pytest.mark.parametrize(("sent", "code"), [
    pytest.param(b"\x81\x01x", 1002, id="not masked"),
    pytest.param(b"\xc1\x80\0\0\0\0", 1002, id="reserved bit, as of compression"),
    pytest.param(frame(0, b"x"), 1002, id="continuation of nothing"),
    pytest.param(b"\x83\x80\0\0\0\0", 1002, id="unknown opcode"),
    pytest.param(frame(TEXT, b"\xff"), 1007, id="not UTF-8"),
    pytest.param(b"\x81\xff" + bytes(5) + b"\x01\x00\x01", 1009, id="too long"),
])
async def test_a_peer_that_breaks_the_protocol(
    server: InProcess, sent: bytes, code: int
) -> None:
    reasons: list[Disconnect] = []
    server.node.on_disconnect(lambda client, disconnect: reasons.append(disconnect))
    async with upgraded(server) as connection:
        await connection.send(sent + b"and this is not read any more" * 1000)
        opcode, payload = await connection.frame()
        assert (opcode, *struct.unpack("!H", payload[:2])) == (CLOSE, code)
        assert payload[2:].decode()
        # Our end of the stream comes at once, and without a reset.
        assert await connection.rest() == b""
    await all_gone(server)
    assert [reason.code for reason in reasons] == [3501]


async def reset(connection: Raw) -> None:
    connection.writer.transport.abort()


async def reset_with_bytes_unread(connection: Raw) -> None:
    sock: socket.socket = connection.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.writer.transport.abort()


async def end_of_stream(connection: Raw) -> None:
    connection.writer.write_eof()


async def end_within_a_frame(connection: Raw) -> None:
    await connection.send(frame(TEXT, b"x" * 1000)[:500])
    connection.writer.write_eof()


@pytest.mark.parametrize(
    "leave", [reset, reset_with_bytes_unread, end_of_stream, end_within_a_frame])
async def test_a_peer_that_leaves_without_a_word(server: InProcess, leave: Any) -> None:
    reasons: list[Disconnect] = []
    server.node.on_disconnect(lambda client, disconnect: reasons.append(disconnect))
    async with await server.client("a") as other, upgraded(server) as connection:
        await connection.send(frame(TEXT, b'{"id":2,"subscribe":{"channel":"a"}}'))
        await connection.frame()
        await leave(connection)
        server.node.publish("a", b"1")
        await server.settled(lambda: len(server.connections._connections) == 1)
        server.node.publish("a", b"2")
        assert [(await other.next())["push"]["pub"]["data"] for _ in range(2)] == [1, 2]
        await server.settled(lambda: len(reasons) == 1)
        assert reasons[0].code == 3000


async def test_a_reset_in_the_middle_of_the_handshake(server: InProcess) -> None:
    for _ in range(50):
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(handshake())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    async with await server.client() as peer:
        assert await peer.error(rpc={}) == (108, "not available")
    await all_gone(server)


# Slow readers

# Their queues fill before anybody would say that they take nothing any more.
PATIENT = {"write_timeout": "60s"}
SLOW: Settings = {
    "client": {"insecure": True, "queue_max_size": 100_000}, "websocket": PATIENT}


@contextlib.asynccontextmanager
async def stuck(server: InProcess, channel: str) -> AsyncIterator[Raw]:
    """A subscriber that reads nothing more, behind the smallest buffers there are."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    connection = Raw(*await asyncio.open_connection(sock=sock, limit=1 << 10))
    try:
        await connection.send(
            handshake() + frame(TEXT, b'{"id":1,"connect":{}}')
            + frame(TEXT, b'{"id":2,"subscribe":{"channel":"%s"}}' % channel.encode()))
        await connection.head()
        await connection.frame()
        await connection.frame()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield connection
    finally:
        await connection.close()


async def test_a_slow_reader_is_disconnected_and_nobody_else_waits() -> None:
    async with serving(SLOW) as server, stuck(server, "a") as slow:
        reasons: list[tuple[Client, Disconnect]] = []
        server.node.on_disconnect(lambda *ended: reasons.append(ended))
        (slow_client,) = server.node.clients.values()
        others = [await server.client("a") for _ in range(5)]
        outbox = slow_client._transport.outbox
        payload = b'"' + b"x" * 5000 + b'"'
        sent = 0
        while not reasons:
            server.node.publish("a", payload)
            sent += 1
            assert outbox.queued_bytes <= 100_000
            for other in others:
                assert (await other.next())["push"]["pub"]["data"] == "x" * 5000
            assert sent < 5000, "the kernel's buffers have no end"
        ((client, disconnect),) = reasons
        assert client is slow_client
        assert disconnect.code == 3008
        assert server.node.stats().num_clients == 5
        # Freed at once, but for the close frame.
        assert outbox.queued_bytes < 100
        for other in others:
            server.node.publish("a", b"1")
            assert (await other.next())["push"]["pub"]["data"] == 1
            for another in others:
                if another is not other:
                    await another.next()
        # When it reads on it gets whole frames in order, then the reason.
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        while (received := await slow.frame())[0] == TEXT:
            assert received[1].endswith(b'{"data":"' + b"x" * 5000 + b'"}}}')
            got += 1
        assert 0 < got < sent
        assert received == closing(3008, "slow")
        for other in others:
            await other.close()


async def test_many_slow_readers_stay_under_their_bounds() -> None:
    """Each holds at most its queue's bound and one piece that its transport was handed."""
    bound = 50_000
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            serving({
                "client": {"insecure": True, "queue_max_size": bound}, "websocket": PATIENT}))
        for _ in range(30):
            await stack.enter_async_context(stuck(server, "a"))
        connections = list(server.connections._connections)
        most = 0
        payload = b'"' + b"x" * 2000 + b'"'
        for turn in range(20_000):
            server.node.publish("a", payload)
            if turn % 10 == 0:
                await asyncio.sleep(0)
            for connection in connections:
                transport = connection._transport
                assert connection.outbox.queued_bytes <= bound
                if transport is not None:
                    most = max(most, connection.outbox.queued_bytes
                               + transport.get_write_buffer_size())
            if not server.node.clients:
                break
        else:
            pytest.fail("they were never slow enough")
        # Ten publishes of a tick are joined for one write.
        assert most <= bound + 10 * 2100
        await server.settled(lambda: server.node.stats().num_subscriptions == 0)


async def test_a_burst_is_no_slowness() -> None:
    """Far more in one tick than the queue takes, for a reader that keeps up."""
    async with serving(SLOW) as server, await server.client("a") as reader:
        for number in range(400):
            server.node.publish("a", b'"%06d%s"' % (number, b"x" * 990))
            if number % 40 == 0:
                assert len((await reader.next())["push"]["pub"]["data"]) == 996
        for _ in range(10, 400):
            await reader.next()
        assert server.node.stats().num_clients == 1


async def test_one_message_larger_than_the_queue() -> None:
    async with serving(SLOW) as server, await server.client("a") as reader:
        server.node.publish("a", b'"' + b"x" * 500_000 + b'"')
        assert len((await reader.next())["push"]["pub"]["data"]) == 500_000
        server.node.publish("a", b"1")
        assert (await reader.next())["push"]["pub"]["data"] == 1


async def test_replies_are_bounded_too() -> None:
    """A client that asks for much and reads nothing."""
    settings: Settings = {
        "client": {"insecure": True, "queue_max_size": 100_000},
        "channel": {"without_namespace": {"history_size": 100, "history_ttl": "60s"}},
        "websocket": PATIENT,
    }
    async with serving(settings) as server:
        for _ in range(100):
            await server.node.publish("h", b'"' + b"x" * 1000 + b'"')
        async with stuck(server, "a") as slow:
            (client,) = server.node.clients.values()
            outbox = client._transport.outbox
            commands = b"\n".join(
                b'{"id":%d,"history":{"channel":"h","limit":-1}}' % number
                for number in range(3, 1003))
            await slow.send(frame(TEXT, commands))
            await server.settled(lambda: not server.node.clients)
            assert outbox.queued_bytes < 200_000


async def test_a_client_that_only_pings(server: InProcess) -> None:
    """Pongs pile up like anything else; the server must not keep them all."""
    async with serving(SLOW) as server, stuck(server, "a") as slow:
        (connection,) = server.connections._connections
        flood = frame(PING, b"p" * 125) * 1000
        with contextlib.suppress(ConnectionError, TimeoutError):
            while server.node.clients:
                slow.writer.write(flood)
                await asyncio.wait_for(slow.writer.drain(), 2)
                assert connection.outbox.queued_bytes <= 100_000
        assert not server.node.clients


# A node and its endpoint without the configuration's policy


async def test_the_slow_policy_of_a_channel() -> None:
    """Keep-latest: a reader that is behind gets the newest, not the end."""
    async with serving(SLOW) as server:
        server.node._options = lambda channel: ChannelOptions(slow=SlowPolicy.KEEP_LATEST)
        async with stuck(server, "a") as slow:
            (client,) = server.node.clients.values()
            outbox = client._transport.outbox
            last = await publish_until(
                server.node, lambda number: number > 300 and outbox.num_dropped > 50)
            assert server.node.clients
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            numbers = [-1]
            while numbers[-1] < last:
                opcode, payload = await slow.frame()
                assert opcode == TEXT
                numbers.append(int(payload.split(b'"data":"')[1][:8]))
            assert numbers == sorted(set(numbers))
            assert len(numbers) < last


async def publish_until(node: Node, enough: Callable[[int], bool]) -> int:
    """Publish numbered payloads, one per tick; the last number."""
    number = 0
    while not enough(number):
        number += 1
        node.publish("a", b'"%08d%s"' % (number, b"x" * 5000))
        await asyncio.sleep(0)
        assert number < 10_000
    return number


async def test_a_peer_connection(server: InProcess) -> None:
    """The library that everybody uses, with its defaults, compression offered."""
    async with open_websocket(server.url) as websocket:
        peer = Peer(websocket)
        await peer.call(connect={})
        assert websocket.protocol.extensions == []
        await websocket.ping()
        assert await peer.error(rpc={}) == (108, "not available")
