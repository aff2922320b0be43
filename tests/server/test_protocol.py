"""The client protocol as it runs: replies, pushes, their order and their bytes."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect as open_websocket

import fanout
from fanout import ClientInfo, ConnectReply, SubscribeReply
from tests.server.conftest import OPEN
from tests.server.peer import Peer
from tests.server.running import InProcess, Settings, serving, with_options

HISTORY: dict[str, object] = {"history_size": 10, "history_ttl": "60s"}
PRESENT = with_options(OPEN, presence=True, join_leave=True, force_push_join_leave=True)
NO_PINGS: Settings = {"client": {"insecure": True, "ping_interval": 0}}

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(OPEN) as running:
        yield running


# Connect


async def test_the_connect_reply(server: InProcess) -> None:
    async with await server.peer() as peer:
        reply = await peer.call(connect={})
    result = reply["connect"]
    assert uuid.UUID(result["client"]).version == 4
    assert result == {
        "client": result["client"], "version": f"fanout {fanout.__version__}",
        "ping": 25, "pong": True,
    }


async def test_the_connect_reply_without_pings() -> None:
    async with serving(NO_PINGS) as server, await server.peer() as peer:
        assert set((await peer.call(connect={}))["connect"]) == {"client", "version"}


@pytest.mark.parametrize("off", [0, -1])
async def test_the_connect_reply_without_pongs(off: int) -> None:
    settings: Settings = {"client": {"insecure": True, "pong_timeout": off}}
    async with serving(settings) as server, await server.peer() as peer:
        result = (await peer.call(connect={}))["connect"]
        assert result["ping"] == 25
        assert "pong" not in result


async def test_the_servers_time() -> None:
    settings: Settings = {"client": {"insecure": True, "connect_include_server_time": True}}
    async with serving(settings) as server, await server.peer() as peer:
        before = time.time()
        told = (await peer.call(connect={}))["connect"]["time"] / 1000
        assert before - 0.001 <= told <= time.time()


async def test_what_the_application_says_at_connect(server: InProcess) -> None:
    seen: list[Any] = []

    def connect(event: Any) -> ConnectReply:
        seen.append(event)
        return ConnectReply(user="42", info=b'{"name": 1.0}', data=b'{"b":\n1.50,"a":2}')

    server.node.handlers.connect = connect
    async with await server.peer(additional_headers={"X-Trace": "abc"}) as peer:
        await peer.send_text(
            '{"id":1,"connect":{"token":"t","data":{"z":1.0,"a":[]},"name":"n","version":"v",'
            '"subs":{},"headers":{},"flag":3}}')
        assert '"data":{"b":1.50,"a":2}' in await peer.next_text()
        (event,) = seen
        assert (event.token, event.name, event.version) == ("t", "n", "v")
        assert event.data == b'{"z":1.0,"a":[]}'
        assert event.headers["x-trace"] == "abc"
        (client,) = server.node.clients_of("42")
        assert event.client == client.id
        assert client.client_info("a") == ClientInfo("42", client.id, b'{"name": 1.0}')


# Frames and their order


async def test_everything_in_the_first_frame() -> None:
    async with serving(with_options(OPEN, **HISTORY)) as server, await server.peer() as peer:
        await peer.send(
            {"id": 1, "connect": {}},
            {"id": 2, "subscribe": {"channel": "a"}},
            {"id": 3, "subscribe": {"channel": "b"}},
            {"id": 4, "publish": {"channel": "a", "data": "first"}},
            {"id": 5, "history": {"channel": "a", "limit": 1}},
            {"id": 6, "unsubscribe": {"channel": "b"}},
        )
        got = [await peer.next() for _ in range(7)]
    replies = [one for one in got if "id" in one]
    assert [(one["id"], *(set(one) - {"id"})) for one in replies] == [
        (1, "connect"), (2, "subscribe"), (3, "subscribe"), (4, "publish"), (5, "history"),
        (6, "unsubscribe")]
    (push,) = (one for one in got if "push" in one)
    assert push["push"]["pub"]["data"] == "first"
    assert got.index(replies[1]) < got.index(push)


@pytest.mark.parametrize("text", [
    pytest.param('{"id":1,"connect":{}}\n', id="newline at the end"),
    pytest.param('{"id":1,"connect":{}}\n{"id":2,"rpc":{}}\n', id="two and a newline"),
    pytest.param(' {"id" : 1 ,\t"connect" : { } } ', id="white space"),
    pytest.param('{"id":1,"connect":{"future":[1,{"a":null}]},"later":"x"}', id="unknown fields"),
    pytest.param('{"id":1,"connect":{},"subscribe":null,"publish":null}', id="nulls"),
    pytest.param('{"connect":{},"id":1}', id="id at the end"),
    pytest.param('{"id":4294967295,"connect":{}}', id="largest id"),
    pytest.param('{"id":1,"ping":{},"connect":{}}', id="connect comes before ping"),
    pytest.param('{"id":1,"subscribe":{"channel":"a"},"connect":{}}', id="connect comes first"),
    pytest.param('{"\\u0069d":1,"con\\u006eect":{}}', id="escaped names"),
])
async def test_frames_that_are_understood(server: InProcess, text: str) -> None:
    async with await server.peer() as peer:
        await peer.send_text(text)
        reply = await peer.next()
        assert reply["id"] in (1, 4294967295)
        assert "connect" in reply
        assert server.node.stats().num_subscriptions == 0


async def test_the_first_method_of_a_command_wins(server: InProcess) -> None:
    methods = ["subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history",
               "rpc"]
    async with await server.client() as peer:
        for index in range(len(methods)):
            command: dict[str, Any] = {
                method: {"channel": "a", "data": 1} for method in reversed(methods[index:])}
            reply = await peer.call(**command)
            # presence and history are off: told apart by nothing, but answered once
            assert set(reply) == {methods[index] if index < 3 else "error"}


async def test_results_without_fields_are_present(server: InProcess) -> None:
    async with await server.client() as peer:
        for command in ({"subscribe": {"channel": "a"}}, {"unsubscribe": {"channel": "a"}},
                        {"publish": {"channel": "a", "data": 1}}):
            (method,) = command
            await peer.send({"id": 70, **command})
            assert await peer.next_text() == f'{{"id":70,"{method}":{{}}}}'


async def test_unsubscribe_of_what_is_not_subscribed(server: InProcess) -> None:
    async with await server.client() as peer:
        assert await peer.call(unsubscribe={"channel": "never"}) == {"unsubscribe": {}}
        assert await peer.call(unsubscribe={"channel": "x" * 5000}) == {"unsubscribe": {}}


async def test_the_reply_comes_before_the_first_publication(server: InProcess) -> None:
    """Somebody publishes all the time, from the same loop and in every turn of it."""
    stop = asyncio.Event()

    async def publish_on() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for _ in range(3):
                server.node.publish("a", b"%d" % number)
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish_on())
    async with await server.peer() as peer:
        await peer.call(connect={})
        for id in range(10, 60, 2):
            await peer.send({"id": id, "subscribe": {"channel": "a"}})
            assert await peer.next() == {"id": id, "subscribe": {}}
            assert "push" in await peer.next()
            await peer.send({"id": id + 1, "unsubscribe": {"channel": "a"}})
            while "push" in (reply := await peer.next()):
                pass
            assert reply == {"id": id + 1, "unsubscribe": {}}
    stop.set()
    await publishing


async def test_everybody_gets_everything_in_order(server: InProcess) -> None:
    peers = [await server.client("a", "b") for _ in range(20)]
    for number in range(300):
        server.node.publish("ab"[number % 2], b"%d" % number)
        if number % 7 == 0:
            await asyncio.sleep(0)
    for peer in peers:
        got = [(await peer.next())["push"] for _ in range(300)]
        assert [push["pub"]["data"] for push in got] == list(range(300))
        assert [push["channel"] for push in got] == ["a", "b"] * 150
        await peer.close()


async def test_commands_of_one_connection_run_one_at_a_time(server: InProcess) -> None:
    running = 0
    most = 0

    async def subscribe(client: object, event: object) -> SubscribeReply:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return SubscribeReply()

    server.node.handlers.subscribe = subscribe
    async with await server.client() as peer:
        for id in range(10, 110):       # more frames than the inbox takes without pausing
            await peer.send({"id": id, "subscribe": {"channel": f"c{id}"}})
        assert [(await peer.next())["id"] for _ in range(100)] == list(range(10, 110))
    assert most == 1


async def test_the_inbox_is_bounded_and_loses_nothing(server: InProcess) -> None:
    """While a handler waits the server stops reading; then everything is answered."""
    release = asyncio.Event()

    async def publish(client: object, event: object) -> None:
        await release.wait()

    server.node.handlers.publish = publish
    async with await server.client() as peer:
        (connection,) = server.connections._connections
        text = json.dumps({"id": 9, "publish": {"channel": "a", "data": "x" * 50000}})
        sending = asyncio.create_task(send_often(peer, text, 400))
        await server.settled(lambda: not connection._transport.is_reading())  # type: ignore[union-attr]
        assert not sending.done()
        assert len(connection._session._inbox or ()) < 100
        release.set()
        assert [(await peer.next())["id"] for _ in range(400)] == [9] * 400
        await sending


async def send_often(peer: Peer, text: str, times: int) -> None:
    for _ in range(times):
        await peer.send_text(text)


# Payloads


PAYLOADS = [
    "1.0", "1e3", "-0", "1E+2", "0.10", "123456789012345678901234567890", "true", "null", '""',
    "{}", "[]", '{"b":1,"a":2}', '{"a":1,"a":2}', "[1, 2,\t3 ]", '"\\u00e9"', '"é"', '"\\/"',
    '"\\ud83d\\ude00"', '"😀"', '"\u2028"', '{"":{"":[[]]}}', '"\\u0000"',
]


@pytest.mark.parametrize("data", PAYLOADS)
async def test_payloads_arrive_to_the_byte(data: str) -> None:
    settings = with_options(OPEN, **HISTORY)
    async with serving(settings) as server, await server.client("a") as reader:
        async with await server.client() as writer:
            await writer.send_text(f'{{"id":7,"publish":{{"channel":"a","data":{data}}}}}')
            assert await writer.next() == {"id": 7, "publish": {}}
        text = await reader.next_text()
        assert text.startswith(f'{{"push":{{"channel":"a","pub":{{"data":{data},"info":')
        await reader.send({"id": 8, "history": {"channel": "a", "limit": 1}})
        assert f'"publications":[{{"data":{data},"info":' in await reader.next_text()


async def test_newlines_in_data_are_left_out(server: InProcess) -> None:
    async with await server.client("a") as reader, await server.client() as writer:
        # Within one command: the decoder takes the value, not the line.
        await writer.send_text('{"id":7,"publish":{"channel":"a","data":{"x":\n[1,\n\n 2.0]\n}}}')
        assert await writer.next() == {"id": 7, "publish": {}}
        assert '"data":{"x":[1, 2.0]}' in await reader.next_text()
        server.node.publish("a", b'\n{"y":\r\n1}\n')
        assert '"data":{"y":\r1}' in await reader.next_text()


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@settings(
    deadline=None, max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.lists(
    st.tuples(json_values, st.booleans(), st.booleans()), min_size=1, max_size=8))
def test_any_json_arrives_as_it_was_sent(values: list[tuple[Any, bool, bool]]) -> None:
    texts = [
        json.dumps(value, ensure_ascii=ascii, indent=1 if indent else None)
        for value, ascii, indent in values]

    async def run() -> None:
        async with (
            serving(OPEN) as server,
            await server.client("a") as reader, await server.client() as writer,
        ):
            await writer.send_text("\n".join(
                f'{{"id":7,"publish":{{"channel":"a","data":{text}}}}}' for text in texts))
            for text in texts:
                assert await writer.next() == {"id": 7, "publish": {}}
                line = text.replace("\n", "")
                assert f'"pub":{{"data":{line},"info"' in await reader.next_text()

    asyncio.run(run())


async def test_who_published(server: InProcess) -> None:
    server.node.handlers.connect = lambda event: ConnectReply(user="42", info=b'{"n":1.0}')
    server.node.handlers.subscribe = lambda client, event: SubscribeReply(info=b"[2.0]")
    async with await server.client("a") as peer:
        await peer.send({"id": 7, "publish": {"channel": "a", "data": 1}})
        (client,) = server.node.clients
        push = (
            '{"push":{"channel":"a","pub":{"data":1,"info":{"user":"42",'
            f'"client":"{client}","conn_info":{{"n":1.0}},"chan_info":[2.0]}}}}}}}}')
        # The order of the reply and one's own publication is not promised.
        assert {await peer.next_text(), await peer.next_text()} == {
            push, '{"id":7,"publish":{}}'}
        server.node.publish("a", b"2", tags={"k": "v\n"})
        assert await peer.next_text() == (
            '{"push":{"channel":"a","pub":{"data":2,"tags":{"k":"v\\u000a"}}}}')


async def test_large_messages_go_through(server: InProcess) -> None:
    """Up to the limit of 65536 bytes for the whole frame."""
    async with await server.client("a") as reader, await server.client() as writer:
        for size in (100, 126, 65000, 65535, 65536):
            command = '{"id":7,"publish":{"channel":"a","data":"%s"}}'
            text = command % ("x" * (size - len(command % "")))
            assert len(text) == size
            await writer.send_text(text)
            assert await writer.next() == {"id": 7, "publish": {}}
            assert len((await reader.next())["push"]["pub"]["data"]) == size - len(command % "")


async def test_a_message_beyond_the_limit(server: InProcess) -> None:
    async with await server.client() as peer:
        await peer.send_text("x" * 65537)
        code, reason = await peer.closed()
        assert code == 1009
        assert "65536" in reason
    await server.settled(lambda: server.node.stats().num_clients == 0)


# History, presence, join and leave


async def test_history() -> None:
    async with serving(with_options(OPEN, **HISTORY)) as server, await server.client("a") as peer:
        empty = (await peer.call(history={"channel": "a", "limit": -1}))["history"]
        assert list(empty) == ["publications", "epoch", "offset"]
        assert (empty["publications"], empty["offset"]) == ([], 0)
        assert empty["epoch"]
        for number in range(1, 16):
            await server.node.publish("a", b"%d" % number)

        async def offsets(**request: Any) -> list[int]:
            page = (await peer.call(history={"channel": "a", **request}))["history"]
            assert (page["offset"], page["epoch"]) == (15, empty["epoch"])
            for publication in page["publications"]:
                assert publication == {
                    "data": publication["offset"], "offset": publication["offset"]}
            return [publication["offset"] for publication in page["publications"]]

        for _ in range(15):
            await peer.next()
        epoch = empty["epoch"]
        assert await offsets() == await offsets(limit=0) == []
        assert await offsets(limit=3) == [6, 7, 8]
        assert await offsets(limit=-1) == await offsets(limit=99) == list(range(6, 16))
        assert await offsets(limit=3, reverse=True) == [15, 14, 13]
        since = {"offset": 12, "epoch": epoch}
        assert await offsets(limit=-1, since=since) == [13, 14, 15]
        assert await offsets(limit=2, since=since) == [13, 14]
        assert await offsets(limit=2, since={"offset": 12}) == [13, 14]
        assert await offsets(limit=2, since=since, reverse=True) == [11, 10]
        # Older than the oldest that is kept.
        assert await offsets(limit=2, since={"offset": 2, "epoch": epoch}) == [6, 7]
        assert await offsets(limit=2, since={"offset": 3, "epoch": epoch}, reverse=True) == []
        assert await offsets(limit=2, since={"offset": 15, "epoch": epoch}) == []


async def test_a_history_reply_has_at_most_300_publications() -> None:
    settings = with_options(OPEN, history_size=400, history_ttl="60s")
    async with serving(settings) as server, await server.client() as peer:
        for number in range(400):
            await server.node.publish("a", b"%d" % number)
        for limit in (-1, 301, 2_000_000_000):
            page = (await peer.call(history={"channel": "a", "limit": limit}))["history"]
            assert [one["offset"] for one in page["publications"]] == list(range(1, 301))


async def test_presence() -> None:
    async with serving(PRESENT) as server, await server.client() as watcher:
        assert (await watcher.call(presence={"channel": "a"})) == {"presence": {"presence": {}}}
        assert (await watcher.call(presence_stats={"channel": "a"})) == {
            "presence_stats": {"num_clients": 0, "num_users": 0}}
        server.node.handlers.connect = lambda event: ConnectReply(user="42", info=b"{}")
        one, two = await server.client("a"), await server.client("a")
        present = (await watcher.call(presence={"channel": "a"}))["presence"]["presence"]
        assert sorted(present) == sorted(set(server.node.clients) & set(present))
        assert all(info == {"user": "42", "client": client, "conn_info": {}}
                   for client, info in present.items())
        assert (await watcher.call(presence_stats={"channel": "a"})) == {
            "presence_stats": {"num_clients": 2, "num_users": 1}}
        await one.call(unsubscribe={"channel": "a"})
        assert (await watcher.call(presence_stats={"channel": "a"}))[
            "presence_stats"] == {"num_clients": 1, "num_users": 1}
        two.websocket.transport.abort()
        await server.settled(lambda: server.node.stats().num_subscriptions == 0)
        await server.settled(lambda: not server.node._background)
        assert (await watcher.call(presence={"channel": "a"})) == {"presence": {"presence": {}}}
        await one.close()


async def test_one_sees_oneself_at_once() -> None:
    async with serving(PRESENT) as server, await server.peer() as peer:
        await peer.send(
            {"id": 1, "connect": {}}, {"id": 2, "subscribe": {"channel": "a"}},
            {"id": 3, "presence": {"channel": "a"}})
        me = (await peer.next())["connect"]["client"]
        assert await peer.next() == {"id": 2, "subscribe": {}}
        got = [await peer.next(), await peer.next()]
        info = {"user": "", "client": me}
        assert {"push": {"channel": "a", "join": {"info": info}}} in got
        assert {"id": 3, "presence": {"presence": {me: info}}} in got


async def leave_by_unsubscribe(peer: Peer) -> None:
    await peer.call(unsubscribe={"channel": "a"})


async def leave_by_closing(peer: Peer) -> None:
    await peer.close()


async def leave_by_reset(peer: Peer) -> None:
    peer.websocket.transport.abort()
    await peer.websocket.wait_closed()


async def leave_by_a_bad_command(peer: Peer) -> None:
    await peer.send_text("?")


@pytest.mark.parametrize(
    "leave", [leave_by_unsubscribe, leave_by_closing, leave_by_reset, leave_by_a_bad_command])
async def test_joins_and_leaves(leave: Any) -> None:
    async with serving(PRESENT) as server, await server.client("a") as watcher:
        assert "join" in (await watcher.next())["push"]     # its own
        peer = await server.peer()
        who = (await peer.call(connect={}))["connect"]["client"]
        info = {"info": {"user": "", "client": who}}
        await peer.send({"id": 2, "subscribe": {"channel": "a"}})
        assert await peer.next() == {"id": 2, "subscribe": {}}
        assert await peer.next() == {"push": {"channel": "a", "join": info}}
        assert await watcher.next() == {"push": {"channel": "a", "join": info}}
        await leave(peer)
        assert await watcher.next() == {"push": {"channel": "a", "leave": info}}
        await peer.close()


async def test_joins_are_for_those_who_want_them() -> None:
    settings = with_options(OPEN, presence=True, join_leave=True)
    async with serving(settings) as server:
        plain = await server.client("a")
        wishing = await server.client()
        await wishing.call(subscribe={"channel": "a", "join_leave": True})
        assert "join" in (await wishing.next())["push"]
        other = await server.client("a")
        assert "join" in (await wishing.next())["push"]
        server.node.publish("a", b"1")
        assert (await plain.next())["push"]["pub"]["data"] == 1
        await other.close()
        assert (await wishing.next())["push"]["pub"]["data"] == 1
        assert "leave" in (await wishing.next())["push"]
        server.node.publish("a", b"2")
        assert (await plain.next())["push"]["pub"]["data"] == 2
        await plain.close()
        await wishing.close()


async def test_presence_outlives_its_lifetime_while_subscribed() -> None:
    settings: Settings = {
        **with_options(OPEN, presence=True),
        "client": {"insecure": True, "presence_update_interval": "1s"}}
    async with serving(settings) as server, await server.client("a"):
        refreshed = asyncio.Event()
        add_presence = server.node.engine.add_presence

        async def seen(channel: str, conn_id: str, info: ClientInfo) -> None:
            await add_presence(channel, conn_id, info)
            refreshed.set()

        server.node.engine.add_presence = seen  # type: ignore[method-assign]
        async with asyncio.timeout(10):
            for _ in range(2):
                await refreshed.wait()
                refreshed.clear()
        assert len(await server.node.presence("a")) == 1


async def test_the_application_unsubscribes(server: InProcess) -> None:
    async with await server.client("a", "b") as peer:
        (client,) = server.node.clients
        await server.node.unsubscribe("a", client=client)
        assert await peer.next() == {"push": {
            "channel": "a", "unsubscribe": {"code": 2000, "reason": "server unsubscribe"}}}
        server.node.publish("a", b"1")
        server.node.publish("b", b"2")
        assert (await peer.next())["push"]["channel"] == "b"
        assert "subscribe" in await peer.call(subscribe={"channel": "a"})


async def test_a_recoverable_channel_tells_its_position() -> None:
    settings = with_options(OPEN, force_recovery=True, **HISTORY)
    async with serving(settings) as server, await server.client() as peer:
        position = await server.node.publish("a", b"1")
        assert await peer.call(subscribe={"channel": "a"}) == {"subscribe": {
            "recoverable": True, "positioned": True, "epoch": position.epoch, "offset": 1}}


# Pings


@pytest.fixture
async def pinging() -> AsyncIterator[InProcess]:
    """Pings after half a second to a second, then every second."""
    async with serving(
        {"client": {"insecure": True, "ping_interval": "1s", "pong_timeout": "300ms"}}
    ) as running:
        yield running


async def test_pings_and_pongs(pinging: InProcess) -> None:
    async with await pinging.peer() as peer:
        assert (await peer.call(connect={}))["connect"]["ping"] == 1
        for _ in range(3):
            assert await peer.next_text() == "{}"
            await peer.send({})
            assert await peer.error(rpc={}) == (108, "not available")


async def test_no_pong_in_time(pinging: InProcess) -> None:
    async with await pinging.client() as peer:
        assert await peer.next_text() == "{}"
        assert await peer.closed() == (3012, "no pong")


@pytest.mark.parametrize(("query", "connect", "call", "pong"), [
    ("", '{"id":1,"connect":{}}', '{"id":2,"rpc":{}}', "{}"),
    ("", '{"id":1,"connect":{}}', '{"id":2,"rpc":{}}', "{}\n"),
    ("?format=protobuf", b"\x04\x08\x01\x22\x00", b"\x04\x08\x02\x6a\x00", b"\x00"),
])
async def test_a_pong_does_not_wait_for_a_handler(
    pinging: InProcess, query: str, connect: str | bytes, call: str | bytes, pong: str | bytes
) -> None:
    """Who answers in time stays, however long its commands take."""
    done = asyncio.Event()

    async def rpc(client: object, event: object) -> None:
        await done.wait()

    pinging.node.handlers.rpc = rpc
    async with open_websocket(pinging.url + query, compression=None) as websocket:
        await websocket.send(connect)
        await websocket.recv()
        await websocket.send(call)
        for _ in range(2):
            # In Protobuf, as in JSON, an empty reply and an empty command are the same.
            assert await asyncio.wait_for(websocket.recv(), 10) in (pong, pong.strip())
            await websocket.send(pong)
        done.set()
        # So are, by chance, a call and its answer without data.
        assert await asyncio.wait_for(websocket.recv(), 10) == call


async def test_a_pong_that_nobody_asked_for_waits_for_its_turn(server: InProcess) -> None:
    done = asyncio.Event()

    async def rpc(client: object, event: object) -> None:
        await done.wait()

    server.node.handlers.rpc = rpc
    async with await server.client() as peer:
        await peer.send({"id": 2, "rpc": {}})
        await peer.send({})
        await peer.send({"id": 3, "rpc": {}})
        done.set()
        assert await peer.next() == {"id": 2, "rpc": {}}
        assert await peer.closed() == (3501, "bad request")


async def test_other_commands_are_no_pongs(pinging: InProcess) -> None:
    async with await pinging.client() as peer:
        assert await peer.next_text() == "{}"
        assert await peer.error(rpc={}) == (108, "not available")
        assert await peer.closed() == (3012, "no pong")


async def test_one_pong_for_one_ping(pinging: InProcess) -> None:
    async with await pinging.client() as peer:
        assert await peer.next_text() == "{}"
        await peer.send({}, {})
        assert await peer.closed() == (3501, "bad request")


async def test_a_command_without_an_id_is_a_pong(pinging: InProcess) -> None:
    async with await pinging.client() as peer:
        assert await peer.next_text() == "{}"
        await peer.send({"subscribe": {"channel": "a"}})
        assert await peer.error(rpc={}) == (108, "not available")
        assert pinging.node.stats().num_subscriptions == 0


async def test_pings_without_pongs() -> None:
    settings: Settings = {
        "client": {"insecure": True, "ping_interval": "1s", "pong_timeout": 0}}
    async with serving(settings) as server, await server.client() as peer:
        for _ in range(3):
            assert await peer.next_text() == "{}"


async def test_pings_do_not_come_before_connect() -> None:
    settings: Settings = {"client": {
        "insecure": True, "ping_interval": "1s", "pong_timeout": "300ms",
        "stale_close_delay": "1500ms"}}
    async with serving(settings) as server, await server.peer() as peer:
        assert await peer.closed() == (3502, "stale")
