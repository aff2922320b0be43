"""The published client centrifuge-python, as it comes from PyPI, against a server process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from centrifuge import (  # type: ignore[import-untyped]
    CentrifugeError,
    Client,
    ClientDisconnectedError,
    ClientEventHandler,
    ClientState,
    ReplyError,
    StreamPosition,
    Subscription,
    SubscriptionEventHandler,
    SubscriptionState,
)

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


class Told(ClientEventHandler, SubscriptionEventHandler):  # type: ignore[misc]
    """Everything that the client tells, in order."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def until(self, name: str) -> Any:
        """Wait for an event; what came with it. Others before it are passed over."""
        async with asyncio.timeout(15):
            while True:
                told, context = await self.queue.get()
                if told == name:
                    return context

    def seen(self) -> list[str]:
        """The names of all events that nobody waited for."""
        return [self.queue.get_nowait()[0] for _ in range(self.queue.qsize())]


def _teller(name: str) -> Any:
    async def tell(self: Told, ctx: Any) -> None:
        self.queue.put_nowait((name, ctx))

    return tell


for _name in ("connecting", "connected", "disconnected", "error", "subscribing", "subscribed",
              "unsubscribed", "publication", "join", "leave"):
    setattr(Told, f"on_{_name}", _teller(_name))


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


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    """The client closes its connections in the background: not in a loop that is gone."""
    yield
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=15)
        assert not pending


@contextlib.asynccontextmanager
async def client_of(server: Process, **options: Any) -> AsyncIterator[tuple[Client, Told]]:
    told = Told()
    client = Client(server.url, events=told, proxy=None, **options)
    await client.connect()
    try:
        await client.ready(10)
        yield client, told
    finally:
        await client.disconnect()


async def subscribed(client: Client, channel: str, **options: Any) -> tuple[Subscription, Told]:
    told = Told()
    subscription = client.new_subscription(channel, events=told, **options)
    await subscription.subscribe()
    await subscription.ready(10)
    return subscription, told


async def error_of(calling: Any) -> tuple[int, str, bool]:
    with pytest.raises(ReplyError) as caught:
        await calling
    return caught.value.code, caught.value.message, caught.value.temporary


async def test_connect_and_disconnect(server: Process) -> None:
    async with client_of(server) as (client, told):
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
            await client.publish("room:a", 1)
        # And again, with the same object.
        await client.connect()
        await client.ready(10)


async def test_subscribe_publish_unsubscribe(server: Process) -> None:
    async with client_of(server) as (client, _), client_of(server) as (other, _):
        subscription, told = await subscribed(client, "room:talk")
        assert (await told.until("subscribed")).channel == "room:talk"
        theirs, heard = await subscribed(other, "room:talk")
        data = {"text": "grüße 😀", "list": [1, 2.5, None, True], "empty": {}}
        await subscription.publish(data)
        for listener in (told, heard):
            publication = (await listener.until("publication")).pub
            assert publication.data == data
            assert publication.offset == 1
            assert publication.info.user == ""
            assert publication.info.client
        await theirs.publish("from the other")
        assert (await told.until("publication")).pub.data == "from the other"
        await subscription.unsubscribe()
        assert subscription.state == SubscriptionState.UNSUBSCRIBED
        context = await told.until("unsubscribed")
        assert (context.code, context.reason) == (0, "unsubscribe called")
        await theirs.publish("nobody there")
        assert (await heard.until("publication")).pub.data == "from the other"
        assert (await heard.until("publication")).pub.data == "nobody there"
        assert "publication" not in told.seen()
        await subscription.subscribe()
        await subscription.ready(10)
        await theirs.publish("back")
        assert (await told.until("publication")).pub.data == "back"


async def test_many_publications_in_order(server: Process) -> None:
    async with client_of(server) as (client, _), client_of(server) as (other, _):
        _, told = await subscribed(client, "room:order")
        subscription, _ = await subscribed(other, "room:order")
        await asyncio.gather(*(subscription.publish(number) for number in range(300)))
        got = [(await told.until("publication")).pub for _ in range(300)]
        assert [publication.data for publication in got] == list(range(300))
        assert [publication.offset for publication in got] == list(range(1, 301))


async def test_history(server: Process) -> None:
    async with client_of(server) as (client, _):
        subscription, _ = await subscribed(client, "room:past")
        for number in range(1, 31):
            await subscription.publish({"n": number})
        top = await subscription.history()
        assert (top.offset, top.publications) == (30, [])
        assert top.epoch

        async def offsets(**request: Any) -> list[int]:
            page = await subscription.history(**request)
            assert (page.offset, page.epoch) == (30, top.epoch)
            assert [one.data for one in page.publications] == [
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


async def test_presence(server: Process) -> None:
    async with client_of(server) as (client, told), client_of(server) as (other, heard):
        me = (await told.until("connected")).client
        they = (await heard.until("connected")).client
        subscription, events = await subscribed(client, "room:here", join_leave=True)
        assert set((await subscription.presence()).clients) == {me}
        theirs, _ = await subscribed(other, "room:here")
        clients = (await subscription.presence()).clients
        assert set(clients) == {me, they}
        assert (clients[they].client, clients[they].user, clients[they].conn_info) == (
            they, "", None)
        stats = await subscription.presence_stats()
        assert (stats.num_clients, stats.num_users) == (2, 1)
        await theirs.unsubscribe()
        # The client does not wait for the reply to its unsubscribe.
        await events.until("leave")
        assert set((await client.presence("room:here")).clients) == {me}


async def test_joins_and_leaves(server: Process) -> None:
    async with client_of(server) as (client, told), client_of(server) as (other, heard):
        me = (await told.until("connected")).client
        they = (await heard.until("connected")).client
        _, events = await subscribed(client, "room:door", join_leave=True)
        assert (await events.until("join")).info.client == me
        theirs, _ = await subscribed(other, "room:door")
        assert (await events.until("join")).info.client == they
        await theirs.unsubscribe()
        assert (await events.until("leave")).info.client == they
        await theirs.subscribe()
        assert (await events.until("join")).info.client == they
        await other.disconnect()
        assert (await events.until("leave")).info.client == they


async def test_pings_keep_the_connection(server: Process) -> None:
    """Four pings, each of which would end the connection if it was not answered."""
    async with client_of(server, max_server_ping_delay=0.8) as (client, told):
        pings = asyncio.Queue[None]()
        handle_ping = client._handle_ping

        async def seen() -> None:
            await handle_ping()
            pings.put_nowait(None)

        client._handle_ping = seen
        subscription, _ = await subscribed(client, "room:ping")
        async with asyncio.timeout(15):
            for _ in range(4):
                await pings.get()
                await subscription.publish(1)
        assert client.state == ClientState.CONNECTED
        assert told.seen() == ["connecting", "connected"]


async def test_reconnect_when_the_server_restarts(own_server: Process) -> None:
    async with client_of(own_server, max_reconnect_delay=0.3) as (client, told):
        subscription, events = await subscribed(client, "room:again")
        await subscription.publish("before")
        assert (await events.until("publication")).pub.data == "before"
        first = (await told.until("connected")).client
        assert await asyncio.to_thread(own_server.stop) == 0
        context = await told.until("connecting")
        assert (context.code, context.reason) == (3001, "shutdown")
        await events.until("subscribing")
        await asyncio.to_thread(own_server.start)
        assert (await told.until("connected")).client != first
        await events.until("subscribed")
        await subscription.publish("after")
        publication = (await events.until("publication")).pub
        # The memory engine begins anew.
        assert (publication.data, publication.offset) == ("after", 1)


async def test_reconnect_when_the_server_is_killed(own_server: Process) -> None:
    async with client_of(own_server, max_reconnect_delay=0.3) as (client, told):
        subscription, events = await subscribed(client, "room:again")
        await told.until("connected")
        await asyncio.to_thread(own_server.stop, signal.SIGKILL)
        assert (await told.until("connecting")).code == 1       # transport closed
        await asyncio.to_thread(own_server.start)
        await told.until("connected")
        await subscription.ready(10)
        await subscription.publish("after")
        assert (await events.until("publication")).pub.data == "after"


# Errors, as the client shows them


async def test_subscribe_errors(server: Process) -> None:
    async with client_of(server) as (client, _):
        for channel, code, reason in (
            ("shut:a", 103, "permission denied"),
            ("without a namespace", 103, "permission denied"),
            ("nobody:a", 102, "unknown channel"),
            ("room:" + "x" * 251, 107, "bad request"),
            ("room:é", 107, "bad request"),
            ("$room:private", 103, "permission denied"),
        ):
            told = Told()
            subscription = client.new_subscription(channel, events=told)
            await subscription.subscribe()
            context = await told.until("unsubscribed")
            assert (context.code, context.reason) == (code, reason), channel
            assert subscription.state == SubscriptionState.UNSUBSCRIBED
        assert client.state == ClientState.CONNECTED


async def test_the_channel_limit(server: Process) -> None:
    async with client_of(server) as (client, _):
        for number in range(5):
            await subscribed(client, f"room:{number}")
        told = Told()
        await client.new_subscription("room:5", events=told).subscribe()
        context = await told.until("unsubscribed")
        assert (context.code, context.reason) == (106, "limit exceeded")


async def test_command_errors(server: Process) -> None:
    async with client_of(server) as (client, _):
        denied = (103, "permission denied", False)
        unavailable = (108, "not available", False)
        assert await error_of(client.publish("room:a", 1)) == denied     # not subscribed
        assert await error_of(client.publish("plain:a", 1)) == denied
        assert await error_of(client.publish("nobody:a", 1)) == (102, "unknown channel", False)
        assert await error_of(client.presence("plain:a")) == unavailable
        assert await error_of(client.presence_stats("plain:a")) == unavailable
        assert await error_of(client.history("plain:a")) == unavailable
        assert await error_of(client.rpc("method", {})) == unavailable
        assert client.state == ClientState.CONNECTED


async def test_a_token_that_nobody_can_check(server: Process) -> None:
    told = Told()
    client = Client(server.url, events=told, token="a.b.c", proxy=None)
    await client.connect()
    context = await told.until("disconnected")
    assert (context.code, context.reason) == (3500, "invalid token")
    assert client.state == ClientState.DISCONNECTED


async def test_a_message_beyond_the_limit(server: Process) -> None:
    async with client_of(server) as (client, told):
        await told.until("connected")
        subscription, _ = await subscribed(client, "room:big")
        with pytest.raises(CentrifugeError):
            await subscription.publish("x" * 70000)
        context = await told.until("connecting")
        assert (context.code, context.reason) == (3, "message size limit")
        await told.until("connected")
        await subscription.ready(10)
        await subscription.publish("x" * 60000)


async def test_the_same_channel_in_json_and_in_protobuf(server: Process) -> None:
    """Both get what either publishes; data of a Protobuf client is bytes."""
    async with client_of(server) as (client, _):
        in_json, json_events = await subscribed(client, "room:both")
        told_too = Told()
        other = Client(server.url, events=told_too, use_protobuf=True, proxy=None)
        await other.connect()
        await told_too.until("connected")
        in_protobuf, protobuf_events = await subscribed(other, "room:both")
        for publish in (in_json.publish({"n": 1}), in_protobuf.publish(b'{"n":1}')):
            await publish
            assert (await json_events.until("publication")).pub.data == {"n": 1}
            data = (await protobuf_events.until("publication")).pub.data
            assert isinstance(data, bytes)
            assert json.loads(data) == {"n": 1}
        await other.disconnect()
        await told_too.until("disconnected")


async def test_beside_a_client_that_breaks_the_rules(server: Process) -> None:
    async with client_of(server) as (client, told):
        subscription, events = await subscribed(client, "room:calm")
        for text in ("", "{", "null", '{"id":1}'):
            async with await connect(server.url) as bad:
                await bad.send_text(text)
                assert (await bad.closed())[0] == 3501
        await subscription.publish("still here")
        assert (await events.until("publication")).pub.data == "still here"
        assert told.seen() == ["connecting", "connected"]
