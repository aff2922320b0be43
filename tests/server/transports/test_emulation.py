"""Commands of clients whose connection goes one way: who may send them, and where they go."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from centrifuge.protocol import client_pb2 as pb

from fanout.client import Client
from fanout.events import RPCEvent, RPCReply
from fanout.server.session.bidirectional import INBOX_LIMIT
from fanout.server.transports import connection as connection_module
from fanout.server.transports import emulation
from fanout.server.transports.emulated import MOST_WAITING
from tests.brokers.valkey import ValkeyServer
from tests.server.running import InProcess, serving
from tests.server.transports.conftest import EVERYTHING, ON
from tests.server.transports.stream import (
    OCTETS,
    delimited,
    emulate,
    opened,
    raw,
    request,
)

SUBSCRIBE = {"id": 2, "subscribe": {"channel": "a"}}

pytestmark = pytest.mark.usefixtures("quiet")


async def post(server: InProcess, body: bytes, **headers: str) -> int:
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.http}/emulation", data=body, headers=headers) as response,
    ):
        if response.status == 204:
            assert await response.read() == b""
        return response.status


@pytest.mark.parametrize("kind", ["sse", "http_stream"])
async def test_commands_in_order(server: InProcess, kind: str) -> None:
    async with opened(server, kind) as stream:
        assert await emulate(
            server, stream, SUBSCRIBE, {"id": 3, "publish": {"channel": "a", "data": "é"}},
            {"id": 4, "unsubscribe": {"channel": "a"}}) == 204
        assert await stream.next() == {"id": 2, "subscribe": {}}
        got = [await stream.next(), await stream.next()]
        assert {"id": 3, "publish": {}} in got
        got.remove({"id": 3, "publish": {}})
        assert got[0]["push"]["pub"]["data"] == "é"
        assert await stream.next() == {"id": 4, "unsubscribe": {}}


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "", "x/y"])
async def test_any_content_type_but_that_of_bytes_is_json(
    server: InProcess, content_type: str
) -> None:
    async with opened(server, "sse") as stream:
        body = json.dumps({
            "node": stream.node, "session": stream.session, "data": json.dumps(SUBSCRIBE)})
        assert await post(server, body.encode(), **{"Content-Type": content_type}) == 204
        assert await stream.next() == {"id": 2, "subscribe": {}}


async def test_protobuf(server: InProcess) -> None:
    async with raw(server) as stream:
        await stream.send(request(
            "/connection/http_stream", body=delimited(pb.Command(
                id=1, connect=pb.ConnectRequest())), Content_Type=OCTETS))
        assert await stream.head() == 200
        connected = (await stream.reply()).connect
        body = pb.EmulationRequest(
            node=connected.node, session=connected.session,
            data=delimited(pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="a"))))
        assert await post(
            server, body.SerializeToString(), **{"Content-Type": f"{OCTETS}; x=y"}) == 204
        assert (await stream.reply()).id == 2


async def test_a_node_may_be_left_out(server: InProcess) -> None:
    async with opened(server, "sse") as stream:
        assert await emulate(server, stream, SUBSCRIBE, node="") == 204
        assert await stream.next() == {"id": 2, "subscribe": {}}


@pytest.mark.parametrize(("status", "body", "content_type"), [
    (400, b"", "application/json"),
    (400, b"{", "application/json"),
    (400, b"[]", "application/json"),
    (400, b'{"node":1,"session":"a","data":"{}"}', "application/json"),
    (400, b'{"node":"","session":"a","data":{"id":2}}', "application/json"),
    (400, b'{"node":"","session":"a","data":""}', "application/json"),
    (400, b'{"node":"","session":"","data":"{}"}', "application/json"),
    (400, b'{"node":"","session":"\xff","data":"{}"}', "application/json"),
    (400, b"[" * 10_000, "application/json"),
    (400, b'{"node":"","session":"a","data":"{}"}', OCTETS),
    (400, b"\x0a\xff", OCTETS),
    (404, b'{"node":"","session":"a","data":"{}"}', "application/json"),
    (404, b'{"node":"nowhere","session":"a","data":"{}"}', "application/json"),
    (413, b" " * 65537, "application/json"),
])
async def test_requests_that_are_refused(
    server: InProcess, status: int, body: bytes, content_type: str
) -> None:
    assert await post(server, body, **{"Content-Type": content_type}) == status


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_only_post(server: InProcess, method: str) -> None:
    async with raw(server) as stream:
        await stream.send(request("/emulation", method))
        assert await stream.head() == 405


async def test_the_limit_of_a_request() -> None:
    settings = {**EVERYTHING, "emulation": {"max_request_body_size": 200}}
    async with serving(settings) as server, opened(server, "sse") as stream:
        assert await emulate(server, stream, {"id": 2, "rpc": {"method": "x" * 200}}) == 413
        assert await emulate(server, stream, {"id": 2, "rpc": {}}) == 204


async def test_a_preflight(server: InProcess) -> None:
    async with raw(server) as stream:
        await stream.send(request(
            "/emulation", "OPTIONS", Origin="http://localhost",
            Access_Control_Request_Headers="content-type"))
        assert await stream.head() == 204
        assert stream.headers["access-control-max-age"] == "300"
        assert "POST" in stream.headers["access-control-allow-methods"]
        assert stream.headers["access-control-allow-headers"] == "content-type"
        assert stream.headers["access-control-allow-origin"] == "http://localhost"


async def test_the_answers_may_be_read_by_the_page(server: InProcess) -> None:
    async with raw(server) as stream:
        await stream.send(request("/emulation", body=b"{", Origin="http://localhost"))
        assert await stream.head() == 400
        assert stream.headers["access-control-allow-origin"] == "http://localhost"


# Whose session it is


async def test_nobody_speaks_for_another(server: InProcess) -> None:
    """The client id, which others see, is no way in, nor is a part of the secret."""
    async with opened(server, "sse") as stream, await server.client() as other:
        (client,) = [one for one in server.node.clients.values() if one.session]
        for session in (
            client.id, stream.session[:-1], stream.session + "x", stream.session.swapcase(),
            f"{stream.session}\0", "%00", "*",
        ):
            assert await emulate(server, stream, SUBSCRIBE, session=session) == 404
        assert await other.error(rpc={}) == (108, "not available")
        assert server.node.stats().num_subscriptions == 0


@pytest.mark.parametrize("kind", ["uni_sse", "uni_http_stream"])
async def test_one_way_clients_have_no_way_to_speak(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=b"{}"))
        assert await stream.head() == 200
        if kind == "uni_sse":
            await stream.chunk()
        stream.session = (await stream.next())["connect"]["session"]
        assert stream.session
        assert await emulate(server, stream, SUBSCRIBE) == 404


async def test_sessions_have_secrets_of_their_own(server: InProcess) -> None:
    async with opened(server, "sse") as one, opened(server, "sse") as other:
        assert one.session != other.session
        assert await emulate(server, other, SUBSCRIBE) == 204
        assert await other.next() == {"id": 2, "subscribe": {}}
        server.node.publish("a", b"1")
        assert (await other.next())["push"]["pub"]["data"] == 1
        assert await emulate(server, one, {"id": 2, "rpc": {}}) == 204
        assert (await one.next())["error"]["code"] == 108


async def test_a_session_that_ended(server: InProcess) -> None:
    async with opened(server, "sse") as stream:
        (client,) = server.node.clients.values()
        client.disconnect()
        # Its connection is open still: the client has not closed its end.
        assert len(server.connections) == 1
        assert await emulate(server, stream, SUBSCRIBE) == 404
        await stream.close()
        await server.settled(lambda: len(server.connections) == 0)
        assert await emulate(server, stream, SUBSCRIBE) == 404


async def test_commands_that_break_the_protocol(server: InProcess) -> None:
    async with opened(server, "sse") as stream:
        assert await emulate(server, stream, data="no json") == 204
        assert await stream.disconnected() == (3501, "bad request")


async def test_it_is_there_with_a_two_way_stream_alone() -> None:
    async with serving({"client": {"insecure": True}, "uni_sse": ON}) as server:
        assert await post(server, b"{}") == 404
    async with serving({"client": {"insecure": True}, "http_stream": ON}) as server:
        assert await post(server, b"{}") == 400


# More than a session can do


class Gate:
    """A call that does not come back before the test lets it."""

    def __init__(self, server: InProcess) -> None:
        self.open = asyncio.Event()
        self.calls = 0
        server.node.handlers.rpc = self.rpc

    async def rpc(self, client: Client, event: RPCEvent) -> RPCReply:
        self.calls += 1
        await self.open.wait()
        return RPCReply(b"1")


async def test_requests_wait_until_the_session_has_room(server: InProcess) -> None:
    gate = Gate(server)
    async with opened(server, "http_stream") as stream:
        ids = range(2, INBOX_LIMIT + 4)
        for id in ids:
            assert await emulate(server, stream, {"id": id, "rpc": {}}) == 204
        waiting = [
            asyncio.create_task(emulate(server, stream, {"id": 1000 + n, "rpc": {}}))
            for n in range(MOST_WAITING)]
        (connection,) = server.connections._connections
        await server.settled(lambda: connection._waiting == MOST_WAITING)  # type: ignore[attr-defined]
        # No more may wait, and each hears so.
        assert await emulate(server, stream, {"id": 9999, "rpc": {}}) == 503
        assert not any(task.done() for task in waiting)
        gate.open.set()
        assert await asyncio.gather(*waiting) == [204] * MOST_WAITING
        replied = [(await stream.next())["id"] for _ in range(len(ids) + MOST_WAITING)]
        assert replied[:len(ids)] == list(ids)
        assert sorted(replied[len(ids):]) == [1000 + n for n in range(MOST_WAITING)]
        assert gate.calls == len(replied)


@pytest.mark.parametrize("by_server", [False, True])
async def test_who_waits_for_a_session_hears_of_its_end(
    server: InProcess, by_server: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 3600.0)
    gate = Gate(server)
    async with opened(server, "http_stream") as stream:
        for id in range(2, INBOX_LIMIT + 4):
            assert await emulate(server, stream, {"id": id, "rpc": {}}) == 204
        waiting = asyncio.create_task(emulate(server, stream, {"id": 1000, "rpc": {}}))
        (connection,) = server.connections._connections
        await server.settled(lambda: connection._waiting == 1)  # type: ignore[attr-defined]
        if by_server:       # and the client's end stays open
            (client,) = server.node.clients.values()
            client.disconnect()
        else:
            await stream.close()
        assert await asyncio.wait_for(waiting, 10) == 404
        gate.open.set()


# Two nodes


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@contextlib.asynccontextmanager
async def two_nodes(valkey: ValkeyServer) -> AsyncIterator[tuple[InProcess, InProcess]]:
    settings: dict[str, Any] = {
        **EVERYTHING,
        "engine": {"type": "redis", "redis": {"address": valkey.url}},
    }
    async with serving(settings) as one, serving(settings) as other:
        await one.settled(lambda: len(one.node.info()) == len(other.node.info()) == 2)
        yield one, other


async def test_commands_reach_a_session_of_another_node(valkey: ValkeyServer) -> None:
    async with two_nodes(valkey) as (here, there), opened(there, "http_stream") as stream:
        assert stream.node == there.node.uid
        assert await emulate(here, stream, SUBSCRIBE) == 204
        assert await stream.next() == {"id": 2, "subscribe": {}}
        await here.node.publish("a", b"1")
        assert (await stream.next())["push"]["pub"]["data"] == 1
        # Only by the secret, and only where it is.
        assert await emulate(here, stream, SUBSCRIBE, session="x" * 32) == 404
        assert await emulate(here, stream, SUBSCRIBE, node=here.node.uid) == 404
        assert await emulate(here, stream, SUBSCRIBE, node="") == 404
        assert await emulate(here, stream, data="\0") == 204
        assert await stream.disconnected() == (3501, "bad request")
        assert await emulate(here, stream, SUBSCRIBE) == 404


async def test_commands_for_other_nodes_leave_room_for_other_questions(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emulation, "MOST_FORWARDED", 0)
    async with two_nodes(valkey) as (here, there), opened(there, "http_stream") as stream:
        assert await emulate(here, stream, SUBSCRIBE) == 503
        assert await emulate(there, stream, SUBSCRIBE) == 204


async def test_commands_of_any_bytes_reach_another_node(valkey: ValkeyServer) -> None:
    async with two_nodes(valkey) as (here, there), raw(there) as stream:
        await stream.send(request(
            "/connection/http_stream", body=delimited(pb.Command(
                id=1, connect=pb.ConnectRequest())), Content_Type=OCTETS))
        assert await stream.head() == 200
        connected = (await stream.reply()).connect
        data = bytes(range(256))
        publish = pb.Command(id=2, publish=pb.PublishRequest(channel="a", data=data))
        async with await here.client() as witness:
            subscribe = pb.Command(id=3, subscribe=pb.SubscribeRequest(channel="a"))
            body = pb.EmulationRequest(
                node=connected.node, session=connected.session,
                data=delimited(subscribe, publish))
            assert await post(here, body.SerializeToString(), **{"Content-Type": OCTETS}) == 204
            assert (await stream.reply()).id == 3
            replies = [await stream.reply(), await stream.reply()]
            (push,) = [reply.push for reply in replies if not reply.id]
            assert push.pub.data == data
            assert await witness.error(rpc={}) == (108, "not available")


async def test_a_node_that_left(valkey: ValkeyServer) -> None:
    async with two_nodes(valkey) as (here, there):
        async with opened(there, "sse") as stream:
            there.stop()
            assert await stream.disconnected() == (3001, "shutdown")
        await there.stopped()
        await here.settled(lambda: len(here.node.info()) == 1)
        assert await emulate(here, stream, SUBSCRIBE) == 404
