"""The published client centrifuge-python, as it comes from PyPI, against a server process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from centrifuge import (  # type: ignore[import-untyped]
    CentrifugeError,
    ClientDisconnectedError,
    ClientState,
    StreamPosition,
    SubscriptionState,
)

from tests.clients.centrifuge_python import JSON, PROTOBUF, Encoding, error_of, settled
from tests.server.peer import connect
from tests.server.running import Process, Settings

OPEN_ROOM = {
    "name": "room", "presence": True, "join_leave": True, "history_size": 20,
    "history_ttl": "60s",
    **{f"allow_{what}_for_{whom}": True
       for what, whom in (
           ("subscribe", "client"), ("subscribe", "anonymous"),
           ("publish", "subscriber"), ("publish", "anonymous"),
           ("presence", "client"), ("presence", "anonymous"),
           ("history", "client"), ("history", "anonymous"))},
}
SETTINGS: Settings = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "ping_interval": "1s", "pong_timeout": "900ms", "channel_limit": 5,
    },
    "channel": {"namespaces": [
        OPEN_ROOM,
        {"name": "plain", "allow_subscribe_for_client": True,
         "allow_subscribe_for_anonymous": True},
        {"name": "shut"},
    ]},
    "shutdown": {"timeout": "5s"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(SETTINGS, tmp_path_factory.mktemp("server"))
    running.start()
    yield running
    assert running.stop() == 0
    assert not [line for line in running.log if "ERROR" in line]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Process]:
    """A server that the test may stop and start again, at the same port."""
    running = Process(SETTINGS, tmp_path)
    running.start()
    yield running
    assert running.stop() == 0
    assert not [line for line in running.log if "ERROR" in line]


@pytest.fixture(params=[JSON, PROTOBUF], ids=str)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    chosen: Encoding = request.param
    return chosen


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await settled()


async def test_connect_and_disconnect(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, told):
        assert client.state == ClientState.CONNECTED
        assert (await told.until("connecting")).reason == "connect called"
        context = await told.until("connected")
        assert context.client
        assert context.version.startswith("fanout ")
        await client.disconnect()
        assert client.state == ClientState.DISCONNECTED
        context = await told.until("disconnected")
        assert (context.code, context.reason) == (0, "disconnect called")
        with pytest.raises(ClientDisconnectedError):
            await client.publish("room:a", encoding.out(1))
        # And again, with the same object.
        await client.connect()
        await client.ready(10)


async def test_subscribe_publish_unsubscribe(server: Process, encoding: Encoding) -> None:
    async with (
        encoding.connected(server.url) as (client, _),
        encoding.connected(server.url) as (other, _),
    ):
        subscription, told = await encoding.subscribed(client, f"room:talk-{encoding}")
        assert (await told.until("subscribed")).channel == f"room:talk-{encoding}"
        theirs, heard = await encoding.subscribed(other, f"room:talk-{encoding}")
        data = {"text": "grüße 😀", "list": [1, 2.5, None, True], "empty": {}}
        await subscription.publish(encoding.out(data))
        for listener in (told, heard):
            publication = (await listener.until("publication")).pub
            assert publication.data == data
            assert publication.offset == 1
            assert publication.info.user == ""
            assert publication.info.client
        await theirs.publish(encoding.out("from the other"))
        assert (await told.until("publication")).pub.data == "from the other"
        await subscription.unsubscribe()
        assert subscription.state == SubscriptionState.UNSUBSCRIBED
        context = await told.until("unsubscribed")
        assert (context.code, context.reason) == (0, "unsubscribe called")
        await theirs.publish(encoding.out("nobody there"))
        assert (await heard.until("publication")).pub.data == "from the other"
        assert (await heard.until("publication")).pub.data == "nobody there"
        assert "publication" not in told.seen()
        await subscription.subscribe()
        await subscription.ready(10)
        await theirs.publish(encoding.out("back"))
        assert (await told.until("publication")).pub.data == "back"


async def test_many_publications_in_order(server: Process, encoding: Encoding) -> None:
    async with (
        encoding.connected(server.url) as (client, _),
        encoding.connected(server.url) as (other, _),
    ):
        _, told = await encoding.subscribed(client, f"room:order-{encoding}")
        subscription, _ = await encoding.subscribed(other, f"room:order-{encoding}")
        await asyncio.gather(*(subscription.publish(encoding.out(number)) for number in range(300)))
        got = [(await told.until("publication")).pub for _ in range(300)]
        assert [publication.data for publication in got] == list(range(300))
        assert [publication.offset for publication in got] == list(range(1, 301))


async def test_history(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, _):
        subscription, _ = await encoding.subscribed(client, f"room:past-{encoding}")
        for number in range(1, 31):
            await subscription.publish(encoding.out({"n": number}))
        top = await subscription.history()
        assert (top.offset, top.publications) == (30, [])
        assert top.epoch

        async def offsets(**request: Any) -> list[int]:
            page = await subscription.history(**request)
            assert (page.offset, page.epoch) == (30, top.epoch)
            assert [encoding.back(one.data) for one in page.publications] == [
                {"n": one.offset} for one in page.publications]
            assert all(one.info.client for one in page.publications)
            return [one.offset for one in page.publications]

        assert await offsets(limit=-1) == list(range(11, 31))
        assert await offsets(limit=3) == [11, 12, 13]
        assert await offsets(limit=3, reverse=True) == [30, 29, 28]
        since = StreamPosition(offset=25, epoch=top.epoch)
        assert await offsets(limit=100, since=since) == [26, 27, 28, 29, 30]
        assert await offsets(limit=2, since=since) == [26, 27]
        assert await offsets(limit=2, since=since, reverse=True) == [24, 23]
        assert await error_of(subscription.history(
            limit=1, since=StreamPosition(offset=25, epoch="another"))) == (
                112, "unrecoverable position", False)


async def test_presence(server: Process, encoding: Encoding) -> None:
    async with (
        encoding.connected(server.url) as (client, told),
        encoding.connected(server.url) as (other, heard),
    ):
        me = (await told.until("connected")).client
        they = (await heard.until("connected")).client
        subscription, events = await encoding.subscribed(
            client, f"room:here-{encoding}", join_leave=True)
        assert set((await subscription.presence()).clients) == {me}
        theirs, _ = await encoding.subscribed(other, f"room:here-{encoding}")
        clients = (await subscription.presence()).clients
        assert set(clients) == {me, they}
        assert (clients[they].client, clients[they].user, clients[they].conn_info) == (
            they, "", None)
        stats = await subscription.presence_stats()
        assert (stats.num_clients, stats.num_users) == (2, 1)
        await theirs.unsubscribe()
        # The client does not wait for the reply to its unsubscribe.
        await events.until("leave")
        assert set((await client.presence(f"room:here-{encoding}")).clients) == {me}


async def test_joins_and_leaves(server: Process, encoding: Encoding) -> None:
    async with (
        encoding.connected(server.url) as (client, told),
        encoding.connected(server.url) as (other, heard),
    ):
        me = (await told.until("connected")).client
        they = (await heard.until("connected")).client
        _, events = await encoding.subscribed(client, f"room:door-{encoding}", join_leave=True)
        assert (await events.until("join")).info.client == me
        theirs, _ = await encoding.subscribed(other, f"room:door-{encoding}")
        assert (await events.until("join")).info.client == they
        await theirs.unsubscribe()
        assert (await events.until("leave")).info.client == they
        await theirs.subscribe()
        assert (await events.until("join")).info.client == they
        await other.disconnect()
        assert (await events.until("leave")).info.client == they


async def test_pings_keep_the_connection(server: Process, encoding: Encoding) -> None:
    """A second ping comes only when the first was answered."""
    async with encoding.connected(server.url, max_server_ping_delay=0.8) as (client, told):
        pings = asyncio.Queue[None]()
        handle_ping = client._handle_ping

        async def seen() -> None:
            await handle_ping()
            pings.put_nowait(None)

        client._handle_ping = seen
        subscription, _ = await encoding.subscribed(client, f"room:ping-{encoding}")
        async with asyncio.timeout(15):
            for _ in range(2):
                await pings.get()
                await subscription.publish(encoding.out(1))
        assert client.state == ClientState.CONNECTED
        assert told.seen() == ["connecting", "connected"]


async def test_reconnect_when_the_server_restarts(own_server: Process, encoding: Encoding) -> None:
    async with encoding.connected(own_server.url, max_reconnect_delay=0.3) as (client, told):
        subscription, events = await encoding.subscribed(client, f"room:again-{encoding}")
        await subscription.publish(encoding.out("before"))
        assert (await events.until("publication")).pub.data == "before"
        first = (await told.until("connected")).client
        assert await asyncio.to_thread(own_server.stop) == 0
        context = await told.until("connecting")
        assert (context.code, context.reason) == (3001, "shutdown")
        await events.until("subscribing")
        await asyncio.to_thread(own_server.start)
        assert (await told.until("connected")).client != first
        await events.until("subscribed")
        await subscription.publish(encoding.out("after"))
        publication = (await events.until("publication")).pub
        # The memory engine begins anew.
        assert (publication.data, publication.offset) == ("after", 1)


async def test_reconnect_when_the_server_is_killed(own_server: Process, encoding: Encoding) -> None:
    async with encoding.connected(own_server.url, max_reconnect_delay=0.3) as (client, told):
        subscription, events = await encoding.subscribed(client, f"room:again-{encoding}")
        await told.until("connected")
        await asyncio.to_thread(own_server.stop, signal.SIGKILL)
        assert (await told.until("connecting")).code == 1       # transport closed
        await asyncio.to_thread(own_server.start)
        await told.until("connected")
        await subscription.ready(10)
        await subscription.publish(encoding.out("after"))
        assert (await events.until("publication")).pub.data == "after"


# Errors, as the client shows them


async def test_subscribe_errors(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, _):
        for channel, code, reason in (
            ("shut:a", 103, "permission denied"),
            ("without a namespace", 103, "permission denied"),
            ("nobody:a", 102, "unknown channel"),
            ("room:" + "x" * 251, 107, "bad request"),
            ("room:é", 107, "bad request"),
            ("$room:private", 103, "permission denied"),
        ):
            subscription, told = await encoding.subscribing(client, channel)
            context = await told.until("unsubscribed")
            assert (context.code, context.reason) == (code, reason), channel
            assert subscription.state == SubscriptionState.UNSUBSCRIBED
        assert client.state == ClientState.CONNECTED


async def test_the_channel_limit(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, _):
        for number in range(5):
            await encoding.subscribed(client, f"room:{number}")
        _, told = await encoding.subscribing(client, "room:5")
        context = await told.until("unsubscribed")
        assert (context.code, context.reason) == (106, "limit exceeded")


async def test_command_errors(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, _):
        denied = (103, "permission denied", False)
        unavailable = (108, "not available", False)
        one = encoding.out(1)
        assert await error_of(client.publish("room:a", one)) == denied      # not subscribed
        assert await error_of(client.publish("plain:a", one)) == denied
        assert await error_of(client.publish("nobody:a", one)) == (102, "unknown channel", False)
        assert await error_of(client.presence("plain:a")) == unavailable
        assert await error_of(client.presence_stats("plain:a")) == unavailable
        assert await error_of(client.history("plain:a")) == unavailable
        assert await error_of(client.rpc("method", encoding.out({}))) == unavailable
        assert client.state == ClientState.CONNECTED


async def test_a_token_that_nobody_can_check(server: Process, encoding: Encoding) -> None:
    client, told = encoding.client(server.url, token="a.b.c")
    await client.connect()
    context = await told.until("disconnected")
    assert (context.code, context.reason) == (3500, "invalid token")
    assert client.state == ClientState.DISCONNECTED


async def test_a_message_beyond_the_limit(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, told):
        await told.until("connected")
        subscription, _ = await encoding.subscribed(client, f"room:big-{encoding}")
        with pytest.raises(CentrifugeError):
            await subscription.publish(encoding.out("x" * 70000))
        context = await told.until("connecting")
        assert (context.code, context.reason) == (3, "message size limit")
        await told.until("connected")
        await subscription.ready(10)
        await subscription.publish(encoding.out("x" * 60000))


async def test_the_same_channel_in_json_and_in_protobuf(server: Process) -> None:
    """Both get what either publishes."""
    async with JSON.connected(server.url) as (one, _), PROTOBUF.connected(server.url) as (two, _):
        in_json, json_events = await JSON.subscribed(one, "room:both")
        in_protobuf, protobuf_events = await PROTOBUF.subscribed(two, "room:both")
        for publish in (in_json.publish({"n": 1}), in_protobuf.publish(b'{"n":1}')):
            await publish
            for events in (json_events, protobuf_events):
                assert await events.publications(1) == [{"n": 1}]


async def test_beside_a_client_that_breaks_the_rules(server: Process, encoding: Encoding) -> None:
    async with encoding.connected(server.url) as (client, told):
        subscription, events = await encoding.subscribed(client, f"room:calm-{encoding}")
        for text in ("", "{", "null", '{"id":1}'):
            async with await connect(server.url) as bad:
                await bad.send_text(text)
                assert (await bad.closed())[0] == 3501
        await subscription.publish(encoding.out("still here"))
        assert (await events.until("publication")).pub.data == "still here"
        assert told.seen() == ["connecting", "connected"]
