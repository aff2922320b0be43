"""Health, the demo's pages, the drain at SIGTERM, and what a connection leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp.web_protocol import RequestHandler

from fanout.client import Client
from fanout.server.app import Server
from fanout.server.session import Session
from fanout.server.transports.websocket import WebSocketConnection
from tests.server.conftest import OPEN
from tests.server.peer import Peer, connect
from tests.server.running import (
    InProcess,
    Process,
    config_of,
    get,
    raw_socket,
    serving,
    with_options,
)

PRESENT = with_options(OPEN, presence=True, join_leave=True, force_push_join_leave=True)

# The drain


@pytest.fixture
def own_process(tmp_path: Path) -> Process:
    """A process that the test stops itself."""
    server = Process({**PRESENT, "shutdown": {"timeout": "2s"}}, tmp_path)
    server.start()
    return server


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_sends_clients_away(own_process: Process, number: signal.Signals) -> None:
    peers = [await connect(own_process.url) for _ in range(20)]
    for peer in peers:
        await peer.call(connect={})
    own_process.kill(number)
    assert {await peer.closed() for peer in peers} == {(3001, "shutdown")}
    for peer in peers:
        await peer.close()
    assert await asyncio.to_thread(own_process.wait) == 0
    assert "20 clients are asked to leave" in "".join(own_process.log)
    assert not [line for line in own_process.log if "ERROR" in line]


async def test_nobody_connects_any_more_after_a_signal(own_process: Process) -> None:
    async with await connect(own_process.url) as peer:
        await peer.call(connect={})
        own_process.kill(signal.SIGTERM)
        assert await peer.closed() == (3001, "shutdown")
    assert await asyncio.to_thread(own_process.wait) == 0
    with pytest.raises(ConnectionRefusedError):
        raw_socket(own_process.port)


def handshake(path: str = "/connection/websocket") -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def masked(payload: bytes) -> bytes:
    assert len(payload) < 126
    return struct.pack("!BB4x", 0x81, 0x80 | len(payload)) + payload


async def test_who_ignores_the_close_frame_is_cut(own_process: Process) -> None:
    """The bound is the configured 2 s, well under the 20 s that the test waits."""
    deaf = raw_socket(own_process.port)
    deaf.sendall(handshake() + masked(b'{"id":1,"connect":{}}'))
    received = b""
    while b'"connect"' not in received:
        received += deaf.recv(4096)
    own_process.kill(signal.SIGTERM)
    assert await asyncio.to_thread(own_process.wait) == 0
    assert "1 connections did not close in time" in "".join(own_process.log)
    # What it would have read, had it wanted to.
    assert deaf.recv(4096) == b"\x88\x0a" + struct.pack("!H", 3001) + b"shutdown"
    deaf.close()


async def test_after_a_signal_the_server_goes_on_for_as_long_as_it_was_told(
    tmp_path: Path,
) -> None:
    server = Process({**OPEN, "shutdown": {"termination_delay": "1h"}}, tmp_path)
    await asyncio.to_thread(server.start)
    server.kill(signal.SIGTERM)
    async with asyncio.timeout(10):
        while not any("going on for 3600 s" in line for line in server.log):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (await get(f"{server.http}/health"))[0] == 200
    async with await connect(server.url) as peer:
        assert "connect" in await peer.call(connect={})
    server.kill(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait) == -signal.SIGTERM


@pytest.fixture
def hangup(request: pytest.FixtureRequest) -> Iterator[signal.Handlers]:
    """What SIGHUP is to the processes that a test starts; ``nohup`` has it ignored."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield request.param
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("hangup", [signal.SIG_DFL, signal.SIG_IGN], indirect=True)
async def test_a_hangup_ends_nothing(hangup: signal.Handlers, own_process: Process) -> None:
    async with await connect(own_process.url) as peer:
        await peer.call(connect={})
        own_process.kill(signal.SIGHUP)
        if hangup is signal.SIG_DFL:
            async with asyncio.timeout(10):
                while "SIGHUP" not in "".join(own_process.log) and own_process.is_running:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert await peer.call(subscribe={"channel": "news"}) == {"subscribe": {}}
        assert (await get(f"{own_process.http}/health"))[0] == 200
    assert await asyncio.to_thread(own_process.stop) == 0
    assert ("SIGHUP" in "".join(own_process.log)) is (hangup is signal.SIG_DFL)


async def test_a_hangup_that_a_program_listens_to_stays_its_own() -> None:
    heard: list[int] = []

    def hear(number: int, frame: object) -> None:
        heard.append(number)

    before = signal.signal(signal.SIGHUP, hear)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        serving_it = asyncio.create_task(Server(config_of(OPEN)).serve())
        async with asyncio.timeout(10):
            while signal.getsignal(signal.SIGTERM) is terminate:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        signal.raise_signal(signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving_it, 10)
        assert heard == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) is hear
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, terminate)


async def test_a_second_signal_ends_the_process_at_once(tmp_path: Path) -> None:
    server = Process({**OPEN, "shutdown": {"timeout": "600s"}}, tmp_path)
    server.start()
    deaf = raw_socket(server.port)
    deaf.sendall(handshake() + masked(b'{"id":1,"connect":{}}'))
    received = b""
    while b"shutdown" not in received:
        received += deaf.recv(4096)
        if b'"connect"' in received:
            server.kill(signal.SIGTERM)
            received = b""
    server.kill(signal.SIGTERM)
    assert await asyncio.to_thread(server.wait) == -signal.SIGTERM
    deaf.close()


@pytest.mark.usefixtures("quiet")
async def test_who_did_not_say_connect_does_not_delay_the_drain() -> None:
    async with serving({**OPEN, "shutdown": {"timeout": "60s"}}) as server:
        silent = await server.peer()
        connected = await server.client()
        server.stop()
        assert await connected.closed() == (3001, "shutdown")
        assert await silent.closed() == (3001, "shutdown")
    # serving() waits for 20 s at most


@pytest.mark.usefixtures("quiet")
async def test_an_open_http_connection_does_not_delay_the_drain() -> None:
    async with serving({**OPEN, "shutdown": {"timeout": "60s"}}) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        half_reader, half = await asyncio.open_connection("127.0.0.1", server.port)
        half.write(b"GET /connection/websocket HTTP/1.1\r\nUpg")
        await half.drain()
        server.stop()
        await asyncio.wait_for(reader.read(), 20)
        assert await asyncio.wait_for(half_reader.read(), 20) == b""
    writer.close()
    half.close()


@pytest.mark.usefixtures("quiet")
async def test_what_was_accepted_before_the_drain_is_delivered() -> None:
    async with serving(OPEN) as server:
        reader = await server.client("room")
        writer = await server.client()
        for number in range(100):
            await writer.send({"id": 10 + number, "publish": {"channel": "room", "data": number}})
        for _ in range(100):
            await writer.next()
        server.stop()
        got = [(await reader.next())["push"]["pub"]["data"] for _ in range(100)]
        assert got == list(range(100))
        assert await reader.closed() == (3001, "shutdown")


@pytest.mark.usefixtures("quiet")
async def test_presence_is_gone_when_the_drain_is_over() -> None:
    async with serving(PRESENT) as server:
        await server.client("room")
        left: list[int] = []

        @server.node.on_disconnect
        async def disconnected(client: Client, disconnect: object) -> None:
            left.append(len(await server.node.presence("room")))

        server.stop()
    assert left == [0]


# Plain HTTP


async def test_health(process: Process) -> None:
    status, headers, body = await get(f"{process.http}/health")
    assert (status, json.loads(body)) == (200, {})
    assert headers["Content-Type"].startswith("application/json")


@pytest.mark.parametrize("path", ["/", "/demo/app.js", "/nothing", "/connection", "/health/x"])
async def test_without_the_demo_there_is_nothing_else(process: Process, path: str) -> None:
    assert (await get(process.http + path))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_the_websocket_route_takes_get_alone(process: Process, method: str) -> None:
    assert (await get(f"{process.http}/connection/websocket", method))[0] == 405


async def test_the_demo_serves_its_files() -> None:
    async with serving(OPEN, demo=True) as server:
        status, headers, page = await get(server.http + "/")
        assert status == 200
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert b"<script" in page
        for path, kind in (("/demo/app.js", "text/javascript"), ("/demo/style.css", "text/css")):
            status, headers, body = await get(server.http + path)
            assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
            assert body


@pytest.mark.parametrize("path", ["/", "/demo/app.js", "/demo/style.css"])
async def test_the_demo_trusts_nobody_elses_content(path: str) -> None:
    async with serving(OPEN, demo=True) as server:
        _, headers, _ = await get(server.http + path)
    policy = {
        name: values
        for name, *values in (
            part.split() for part in headers["Content-Security-Policy"].split(";"))
    }
    assert policy["default-src"] == ["'self'"]
    assert policy["frame-ancestors"] == ["'none'"]
    assert "script-src" not in policy
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "https:"} & {
        value for values in policy.values() for value in values}
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", [
    "/demo/", "/demo/index.html", "/demo/../app.py", "/demo/..%2fapp.py", "/demo/%2e%2e/app.py",
    "/demo//etc/passwd", "/demo/app.js/",
])
async def test_the_demo_serves_nothing_else(path: str) -> None:
    async with serving(OPEN, demo=True) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 404 ")
        writer.close()


# What a connection leaves behind


def alive(*kinds: type) -> dict[str, int]:
    gc.collect()
    gc.collect()
    counts = {kind.__name__: 0 for kind in kinds}
    for one in gc.get_objects():
        if type(one) in kinds:
            counts[type(one).__name__] += 1
    return counts


def num_files() -> int:
    return len(os.listdir("/dev/fd"))


def nothing_is_left(server: InProcess) -> bool:
    stats = server.node.stats()
    return (
        stats.num_clients == stats.num_users == stats.num_channels == stats.num_subscriptions == 0
        and not server.connections._connections
        and not server.node._background
    )


async def leave_by_closing(peer: Peer) -> None:
    await peer.close()


async def leave_by_reset(peer: Peer) -> None:
    peer.websocket.transport.abort()
    await peer.websocket.wait_closed()


async def leave_by_breaking_the_rules(peer: Peer) -> None:
    await peer.send_text("no json")
    while True:
        try:
            await peer.next()
        except Exception:
            break
    await peer.close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize(
    "leave", [leave_by_closing, leave_by_reset, leave_by_breaking_the_rules])
async def test_many_come_and_go(leave: object) -> None:
    assert callable(leave)
    kinds = (WebSocketConnection, Session, RequestHandler)
    async with serving(PRESENT) as server:
        await (await server.client("warm", "up")).close()
        await server.settled(lambda: nothing_is_left(server))
        tasks = len(asyncio.all_tasks())
        files = num_files()
        before = alive(*kinds)
        for _ in range(10):
            peers = await asyncio.gather(*(server.client("a", "b", "c") for _ in range(20)))
            assert server.node.stats().num_clients == 20
            assert server.node.stats().num_subscriptions == 60
            assert len(await server.node.presence("a")) == 20
            await asyncio.gather(*(leave(peer) for peer in peers))
            await server.settled(lambda: nothing_is_left(server))
            assert await server.node.presence("a") == {}
            assert await server.node.channels() == []
        del peers
        await server.settled(lambda: len(asyncio.all_tasks()) <= tasks)
        await server.settled(lambda: num_files() <= files)
        assert alive(*kinds) == before


@pytest.mark.usefixtures("quiet")
async def test_an_idle_connection_has_no_task() -> None:
    async with serving(OPEN) as server:
        async with asyncio.timeout(10):
            before = len(asyncio.all_tasks())
            socks = [raw_socket(server.port) for _ in range(50)]
            loop = asyncio.get_running_loop()
            for sock in socks:
                sock.setblocking(False)
                await loop.sock_sendall(sock, handshake() + masked(b'{"id":1,"connect":{}}'))
            await server.settled(lambda: server.node.stats().num_clients == 50)
            await server.settled(lambda: len(asyncio.all_tasks()) <= before)
        for sock in socks:
            sock.close()
        await server.settled(lambda: nothing_is_left(server))
