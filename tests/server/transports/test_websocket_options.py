"""WebSocket in Protobuf, its own pings, its path, and readers that take nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from centrifuge.protocol import client_pb2 as pb
from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from fanout.codes import Disconnect
from fanout.server.transports.websocket import WebSocketConnection
from tests.server.conftest import OPEN
from tests.server.running import InProcess, get, serving
from tests.server.test_websocket import (
    PING,
    PONG,
    TEXT,
    closing,
    frame,
    handshake,
    raw,
    stuck,
    upgraded,
)
from tests.server.transports.stream import delimited

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(OPEN) as running:
        yield running


# Protobuf

CONNECT = pb.Command(id=1, connect=pb.ConnectRequest())


async def replies(websocket: ClientConnection) -> list[pb.Reply]:
    """What the next message holds."""
    message = await asyncio.wait_for(websocket.recv(), 10)
    assert isinstance(message, bytes), "a Protobuf connection gets binary frames only"
    found = []
    at = 0
    while at < len(message):
        size, at = _DecodeVarint32(message, at)
        found.append(pb.Reply())
        found[-1].ParseFromString(message[at:at + size])
        at += size
    return found


async def closed(websocket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as error:
        await asyncio.wait_for(websocket.recv(), 10)
    assert error.value.rcvd is not None
    return error.value.rcvd.code, error.value.rcvd.reason


@pytest.mark.parametrize(("query", "options", "chosen"), [
    ("?format=protobuf", {}, None),
    ("?cf_protocol=protobuf", {}, None),
    ("?format=protobuf", {"subprotocols": ["centrifuge-protobuf"]}, "centrifuge-protobuf"),
    ("?format=protobuf", {"subprotocols": ["centrifuge-json", "centrifuge-protobuf"]},
     "centrifuge-protobuf"),
    ("", {"subprotocols": ["centrifuge-protobuf"]}, "centrifuge-protobuf"),
    ("", {"subprotocols": ["other", "centrifuge-protobuf", "centrifuge-json"]},
     "centrifuge-protobuf"),
])
async def test_ways_to_ask_for_protobuf(
    server: InProcess, query: str, options: dict[str, Any], chosen: str | None
) -> None:
    async with open_websocket(server.url + query, **options) as websocket:
        assert websocket.subprotocol == chosen
        await websocket.send(delimited(
            CONNECT, pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="a"))))
        got: list[pb.Reply] = []
        while len(got) < 2:
            got += await replies(websocket)
        assert [reply.id for reply in got] == [1, 2]
        server.node.publish("a", b"\x00\xff")
        (push,) = await replies(websocket)
        assert push.push.pub.data == b"\x00\xff"


@pytest.mark.parametrize(("query", "subprotocols"), [
    ("", None), ("?format=json", None), ("?format=", None), ("?cf_protocol=json", None),
    ("", ["centrifuge-json", "centrifuge-protobuf"]),
])
async def test_json_otherwise(
    server: InProcess, query: str, subprotocols: Any
) -> None:
    async with open_websocket(server.url + query, subprotocols=subprotocols) as websocket:
        await websocket.send('{"id":1,"connect":{}}')
        assert isinstance(await asyncio.wait_for(websocket.recv(), 10), str)


async def test_messages_of_the_other_kind(server: InProcess) -> None:
    async with open_websocket(server.url + "?format=protobuf") as websocket:
        await websocket.send(delimited(CONNECT))
        await replies(websocket)
        await websocket.send("{}")
        assert await closed(websocket) == (3501, "bad request")
    async with open_websocket(server.url) as websocket:
        await websocket.send(delimited(CONNECT))
        assert await closed(websocket) == (3501, "bad request")


@pytest.mark.parametrize("message", [b"", b"\x05\x00", b"\xff" * 12, b"\x02\xff\xff"])
async def test_messages_that_are_no_commands(server: InProcess, message: bytes) -> None:
    async with open_websocket(server.url + "?format=protobuf") as websocket:
        await websocket.send(delimited(CONNECT))
        await replies(websocket)
        await websocket.send(message)
        assert await closed(websocket) == (3501, "bad request")


async def test_data_that_only_protobuf_can_say(server: InProcess) -> None:
    """The subscribers in JSON are told so, those in Protobuf get it."""
    async with (
        await server.client("a") as json_peer,
        open_websocket(server.url + "?format=protobuf") as websocket,
    ):
        await websocket.send(delimited(
            CONNECT, pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="a"))))
        got: list[pb.Reply] = []
        while len(got) < 2:
            got += await replies(websocket)
        server.node.publish("a", b"\xff")
        assert (await replies(websocket))[0].push.pub.data == b"\xff"
        assert await json_peer.closed() == (3506, "inappropriate protocol")


# Pings of WebSocket's own

PINGED = {"client": {"insecure": True, "ping_interval": "1s", "pong_timeout": "300ms"}}
FRAME_PINGS = "/connection/websocket?cf_ws_frame_ping_pong=true"


async def test_pings_in_frames() -> None:
    async with serving(PINGED) as server, raw(server) as connection:
        await connection.send(handshake(FRAME_PINGS) + frame(TEXT, b'{"id":1,"connect":{}}'))
        assert (await connection.head())[0] == 101
        _, reply = await connection.frame()
        assert b'"ping"' not in reply
        assert b'"pong"' not in reply
        assert await connection.frame() == (PING, b"")
        # One too many does no harm: peers may send them unasked.
        await connection.send(frame(PONG) * 2)
        assert await connection.frame() == (PING, b"")
        assert await connection.frame() == closing(3012, "no pong")


@pytest.mark.parametrize("query", ["", "?cf_ws_frame_ping_pong=false"])
async def test_pings_in_messages(query: str) -> None:
    async with serving(PINGED) as server, raw(server) as connection:
        await connection.send(
            handshake("/connection/websocket" + query) + frame(TEXT, b'{"id":1,"connect":{}}'))
        assert (await connection.head())[0] == 101
        assert b'"ping":1,"pong":true' in (await connection.frame())[1]
        assert await connection.frame() == (TEXT, b"{}")
        # A pong of the other kind is none.
        await connection.send(frame(PONG))
        assert await connection.frame() == closing(3012, "no pong")


# Where it is


async def test_another_path() -> None:
    settings = {**OPEN, "websocket": {"handler_prefix": "/live/ws"}}
    async with serving(settings) as server:
        async with raw(server) as connection:
            await connection.send(handshake("/live/ws"))
            assert (await connection.head())[0] == 101
        for path in ("/connection/websocket", "/live/ws/", "/live/wsx"):
            assert (await get(server.http + path))[0] == 404


async def test_no_websocket_at_all() -> None:
    async with serving({**OPEN, "websocket": {"disabled": True}}) as server:
        assert (await get(server.http + "/connection/websocket"))[0] == 404
        assert (await get(server.http + "/health"))[0] == 200


async def test_the_init_endpoint() -> None:
    async with serving({**OPEN, "init": {"enabled": True}}) as server:
        status, headers, body = await get(
            server.http + "/connection/init", Origin=f"http://127.0.0.1:{server.port}")
        assert (status, body) == (200, b"{}")
        assert headers["Access-Control-Allow-Origin"] == f"http://127.0.0.1:{server.port}"
        assert (await get(server.http + "/connection/init", "POST"))[0] == 405


# A reader that takes nothing


async def test_who_takes_nothing_is_cut_after_a_while() -> None:
    settings = {**OPEN, "websocket": {"write_timeout": "100ms"}}
    async with serving(settings) as server, stuck(server, "a") as slow:
        reasons: list[Disconnect] = []
        server.node.on_disconnect(lambda client, disconnect: reasons.append(disconnect))
        (client,) = server.node.clients.values()
        outbox = client._transport.outbox
        while not outbox.blocked:
            server.node.publish("a", b'"' + b"x" * 5000 + b'"')
            await asyncio.sleep(0)
        await server.settled(lambda: bool(reasons))
        assert (reasons[0].code, reasons[0].reason) == (3009, "write error")
        # It hears of it, should it read on.
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while (received := await slow.frame())[0] == TEXT:
            pass
        assert received == closing(3009, "write error")


async def test_who_takes_all_at_once_is_not_watched() -> None:
    settings = {**OPEN, "websocket": {"write_timeout": "1ms"}}
    async with serving(settings) as server, upgraded(server):
        (connection,) = server.connections._connections
        assert isinstance(connection, WebSocketConnection)
        assert connection._stall is None
