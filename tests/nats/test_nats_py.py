"""What the engine relies on nats-py for, and what nats-py is not asked to do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlparse

import nats
import pytest

from fanout import ChannelOptions, Message
from fanout.nats.headers import Headers
from fanout.nats.sink import ChannelSink, Sink
from fanout.nats.transport import LinkTransport
from tests.brokers.nats import NatsServer
from tests.conformance.engines import PATIENCE
from tests.nats.conftest import MakeEngine

KEPT = ChannelOptions(history_size=5, history_lifetime=60)


@pytest.mark.parametrize(
    "program",
    [
        "import sys, fanout; assert 'nats' not in sys.modules; fanout.NatsEngine; "
        "assert 'nats' in sys.modules",
        "import sys; sys.modules['nats'] = None; import fanout\n"
        "try: fanout.NatsEngine\n"
        "except ImportError as error: assert \"pip install 'fanout[nats]'\" in str(error)\n"
        "else: raise AssertionError",
    ],
    ids=["only-when-it-is-asked-for", "where-it-is-missing"],
)
def test_nats_py_is_imported(program: str) -> None:
    subprocess.run([sys.executable, "-c", program], check=True)


async def test_the_transport_is_the_link_s_own(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url)
    connection = engine._link._connection
    assert connection._client._transport is connection._transport


async def test_messages_go_where_they_are_read(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a task, and without a queue, for each subscription."""
    engine, told = await make_engine(server.url, jetstream=True)
    tasks = len(asyncio.all_tasks())
    got: list[Any] = []
    take = engine._take
    monkeypatch.setattr(
        engine._subscriptions, "_take", lambda sink, message: (got.append(message),
                                                               take(sink, message)))
    for number in range(100):
        await engine.subscribe(f"ch{number}")
    assert len(asyncio.all_tasks()) <= tasks
    await engine.publish_message("ch7", Message("ch7", b"1"), KEPT)
    await told.wait(1)
    # Nor are headers taken apart that nobody reads.
    assert [type(message.headers) for message in got] == [Headers]


async def test_headers_are_those_that_nats_py_reads(server: NatsServer) -> None:
    ours: list[Any] = []
    theirs: list[Any] = []
    client = await nats.connect(server.url)

    async def on_message(message: Any) -> None:
        theirs.append(message.headers)

    await client.subscribe("x", cb=on_message)
    process = client._process_headers

    async def both(raw: bytes) -> Any:
        if raw:
            ours.append(Headers(raw))
        return await process(raw)

    client._process_headers = both
    sent = {"Nats-Sequence": "12", "Nats-Expected-Last-Subject-Sequence": "11",
            "Nats-Subject": "p.history.a", "Empty": ""}
    await client.publish("x", b"", headers=sent)
    while not theirs:  # noqa: ASYNC110 - nats-py calls in a task of its own
        await asyncio.sleep(0.001)
    await client.close()
    (headers,) = ours
    assert {name: headers.get(name) for name in sent} == sent == theirs[0]
    assert headers.get("Nats-Stream") == ""
    assert headers.get("Nats-Stream", "none") == "none"
    assert headers.get("Status") == ""
    assert Headers("NATS/1.0\r\nNats-Subject: \N{SNOWMAN}\r\n\r\n".encode()).get(
        "Nats-Subject") == "\N{SNOWMAN}"


@pytest.mark.parametrize(
    ("raw", "status", "description"),
    [
        (b"NATS/1.0 503\r\n\r\n", "503", ""),
        (b"NATS/1.0 404 No Results\r\n\r\n", "404", "No Results"),
        (b"NATS/1.0 204 EOB\r\nNats-Num-Pending: 3\r\n\r\n", "204", "EOB"),
    ],
)
def test_a_status(raw: bytes, status: str, description: str) -> None:
    headers = Headers(raw)
    assert (headers.get("Status"), headers.get("Description")) == (status, description)
    assert headers.get("Nats-Num-Pending", "0") == ("3" if b"Num" in raw else "0")


@contextlib.asynccontextmanager
async def connected(
    lost: list[Exception],
) -> AsyncIterator[tuple[LinkTransport, asyncio.StreamWriter]]:
    """A transport, and the other end of it."""
    peers: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: peers.put_nowait(writer), "127.0.0.1", 0)
    transport = LinkTransport(needs_tls=False, lost=lost.append)
    port = server.sockets[0].getsockname()[1]
    await transport.connect(urlparse(f"nats://127.0.0.1:{port}"), 1, 5)
    peer = await peers.get()
    try:
        yield transport, peer
    finally:
        transport.abort()
        peer.transport.abort()
        server.close()


def reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("how", ["reset", "closed", "aborted"])
async def test_a_transport_that_is_lost_tells_it_once_and_raises_nothing(how: str) -> None:
    """nats-py would tell nobody if it did."""
    lost: list[Exception] = []
    async with asyncio.timeout(PATIENCE), connected(lost) as (transport, peer):
        if how == "aborted":
            transport.abort()
        elif how == "reset":
            reset(peer)
        else:
            peer.close()
        if how != "aborted":
            assert await transport.read(1) == b""
        await asyncio.sleep(0)
        for _ in range(3):
            transport.write(b"x")
            transport.writelines([b"x", b"y"])
            await transport.drain()
            assert await transport.read(1) == b""
        assert transport.at_eof()
        assert [isinstance(error, OSError) for error in lost] == [True]
        transport.abort()
        await transport.wait_closed()


async def test_what_is_not_wanted_any_more_is_not_taken() -> None:
    taken: list[Any] = []
    sink = ChannelSink("ch", "p.client.ch", False, 0.0, lambda sink, message: taken.append(message))
    sink.set_result("one")
    sink.wanted = False
    sink.set_result("two")
    assert taken == ["one"]


async def test_what_a_sink_cannot_take_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Received:
        subject = "some.subject"

    sink = Sink("some.*", lambda message: 1 // 0)
    sink.set_result(Received())
    assert "some.subject makes no sense" in caplog.text
