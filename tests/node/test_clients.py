"""Clients in their channels: joins, presence, and being sent away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    ConnectReply,
    ControlMessage,
    Disconnect,
    MemoryEngine,
    Node,
    SlowPolicy,
    SubscribeReply,
    codes,
)
from tests.node.connections import Connection
from tests.node.engines import eventually

PRESENT = ChannelOptions(presence=True, join_leave=True)


def open_node(**arguments: Any) -> Node:
    node = Node(**{"options": PRESENT, **arguments})
    node.on_connect(lambda event: ConnectReply(user=event.token))
    node.on_subscribe(lambda client, event: SubscribeReply(push_join_leave=True))
    return node


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with open_node() as running:
        yield running


async def connected(node: Node, user: str, *channels: str) -> Connection:
    connection = Connection(node)
    await connection.connect(user)
    for channel in channels:
        await connection.subscribe(channel)
    return connection


async def test_the_nodes_clients(node: Node) -> None:
    assert node.clients == {}
    one, two = await connected(node, "1"), await connected(node, "1")
    other = await connected(node, "")
    assert set(node.clients) == {one.client.id, two.client.id, other.client.id}
    assert set(node.clients_of("1")) == {one.client, two.client}
    assert set(node.clients_of("")) == set(node.clients_of("nobody")) == set()
    one.client.disconnect()
    assert set(node.clients_of("1")) == {two.client}


async def test_joins_and_leaves(node: Node) -> None:
    watcher = await connected(node, "w", "a")
    (own,) = watcher.pushes()
    assert own == {"channel": "a", "join": {"info": {"user": "w", "client": watcher.client.id}}}
    other = await connected(node, "o", "a")
    info = {"info": {"user": "o", "client": other.client.id}}
    assert watcher.pushes() == [{"channel": "a", "join": info}]
    await other.client.unsubscribe("a")
    assert watcher.pushes() == [{"channel": "a", "leave": info}]
    await other.client.unsubscribe("a")
    assert watcher.pushes() == []
    await other.subscribe("a")
    other.client.disconnect()
    await eventually(lambda: not node._background)
    assert watcher.pushes() == [{"channel": "a", "join": info}, {"channel": "a", "leave": info}]


async def test_nobody_leaves_who_has_not_joined(node: Node) -> None:
    watcher = await connected(node, "w", "a")
    watcher.pushes()
    (await connected(node, "o")).client.disconnect()
    Connection(node).client.disconnect()
    await eventually(lambda: not node._background)
    assert watcher.pushes() == []


@pytest.mark.parametrize(("options", "user", "wish", "gets"), [
    (PRESENT, "42", True, True),
    (PRESENT, "42", False, False),
    (PRESENT, "", True, False),
    (ChannelOptions(presence=True, join_leave=True, anonymous=True), "", True, True),
    # Who joins says who is present, and that is not for everybody.
    (ChannelOptions(join_leave=True), "42", True, False),
    (ChannelOptions(presence=True), "42", True, False),
])
async def test_a_wish_for_joins(
    options: ChannelOptions, user: str, wish: bool, gets: bool
) -> None:
    async with Node(options=options) as node:
        node.on_connect(lambda event: ConnectReply(user=event.token))
        node.on_subscribe(lambda client, event: None)
        connection = await connected(node, user)
        await connection.subscribe("a", join_leave=wish)
        assert len(connection.pushes()) == gets


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_wish_for_joins_is_for_the_presence_handler(allowed: bool) -> None:
    async with Node(options=PRESENT) as node:
        node.on_connect(lambda event: ConnectReply())
        node.on_subscribe(lambda client, event: None)

        @node.on_presence
        async def presence(client: object, channel: str) -> None:
            if not allowed:
                raise codes.ERROR_PERMISSION_DENIED()

        connection = await connected(node, "")
        await connection.subscribe("a", join_leave=True)
        assert len(connection.pushes()) == allowed


# Presence


async def test_presence_comes_and_goes(node: Node) -> None:
    one = await connected(node, "1", "a", "b")
    two = await connected(node, "2", "a")
    assert await node.presence("a") == {
        one.client.id: ClientInfo("1", one.client.id),
        two.client.id: ClientInfo("2", two.client.id)}
    assert set(await node.presence("b")) == {one.client.id}
    assert (await node.presence_stats("a")).num_users == 2
    one.client.disconnect()
    await eventually(lambda: not node._background)
    assert set(await node.presence("a")) == {two.client.id}
    assert await node.presence("b") == {}
    await two.client.unsubscribe("a")
    assert await node.presence("a") == {}


async def test_presence_is_refreshed() -> None:
    """Its lifetime in the engine is shorter than the test; the refreshes keep it."""
    engine = MemoryEngine(presence_lifetime=0.2)
    refreshes = 0
    async with open_node(engine=engine, presence_interval=0.02) as node:
        connection = await connected(node, "1", "a", "b")
        await node.engine.add_presence("a", "somebody gone", ClientInfo("x", "somebody gone"))
        add_presence = engine.add_presence

        async def counted(channel: str, conn_id: str, info: ClientInfo) -> None:
            nonlocal refreshes
            refreshes += 1
            await add_presence(channel, conn_id, info)

        engine.add_presence = counted   # type: ignore[method-assign]
        async with asyncio.timeout(10):
            while "somebody gone" in await node.presence("a") or refreshes < 6:
                assert connection.client.id in await node.presence("a")
                assert connection.client.id in await node.presence("b")
                await asyncio.sleep(0.005)
        await connection.client.unsubscribe("a")
        before = refreshes
        await eventually_soon(lambda: refreshes > before + 1)
        assert await node.presence("a") == {}
        connection.client.disconnect()
        await eventually(lambda: not node._background)
        before = refreshes
        assert await node.presence("b") == {}
        assert connection.client._channels._presence_timer is None


async def eventually_soon(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - a timer of the node's decides
            await asyncio.sleep(0.005)


async def test_who_unsubscribes_while_being_refreshed_stays_gone() -> None:
    engine = MemoryEngine()
    async with open_node(engine=engine, presence_interval=0.01) as node:
        connection = await connected(node, "1", "a")
        reached, release = asyncio.Event(), asyncio.Event()
        add_presence = engine.add_presence

        async def slow(channel: str, conn_id: str, info: ClientInfo) -> None:
            reached.set()
            await release.wait()
            await add_presence(channel, conn_id, info)

        engine.add_presence = slow      # type: ignore[method-assign]
        await asyncio.wait_for(reached.wait(), 10)
        await connection.client.unsubscribe("a")
        assert await node.presence("a") == {}
        release.set()
        await eventually(lambda: not node._background)
        assert await node.presence("a") == {}
        connection.client.disconnect()


async def test_a_refresh_that_fails_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    engine = MemoryEngine()
    async with open_node(engine=engine, presence_interval=0.01) as node:
        connection = await connected(node, "1", "a")
        add_presence = engine.add_presence
        calls: list[str] = []

        async def failing(channel: str, conn_id: str, info: ClientInfo) -> None:
            calls.append(channel)
            if len(calls) == 1:
                raise ConnectionError("no broker")
            await add_presence(channel, conn_id, info)

        engine.add_presence = failing   # type: ignore[method-assign]
        await eventually_soon(lambda: len(calls) >= 3)
        connection.client.disconnect()
    assert "in the background failed" in caplog.text


# Sent away


async def test_disconnect_a_user(node: Node) -> None:
    one, two = await connected(node, "1", "a"), await connected(node, "1")
    other = await connected(node, "2", "a")
    await node.disconnect(user="1")
    assert one.ended is two.ended is codes.DISCONNECT_FORCE
    assert other.ended is None
    assert set(node.clients) == {other.client.id}
    await node.disconnect(user="1")
    await node.disconnect(user="nobody")


async def test_disconnect_one_connection(node: Node) -> None:
    one, two = await connected(node, "1"), await connected(node, "1")
    await node.disconnect(client=one.client.id, user="2")
    assert one.ended is None
    mine = Disconnect(4001, "mine")
    await node.disconnect(client=one.client.id, user="1", disconnect=mine)
    assert one.ended is not None
    assert (one.ended.code, one.ended.reason) == (4001, "mine")
    assert one.ended is not mine    # which may have been raised, and keep its frames
    assert two.ended is None


@pytest.mark.parametrize("call", [
    lambda node: node.disconnect(), lambda node: node.unsubscribe("a")])
async def test_nobody_is_named(node: Node, call: Any) -> None:
    connection = await connected(node, "", "a")
    with pytest.raises(ValueError, match="name a user, a client or a session"):
        await call(node)
    assert connection.ended is None
    assert connection.client.is_subscribed("a")


async def test_unsubscribe_a_user(node: Node) -> None:
    one, two = await connected(node, "1", "a", "b"), await connected(node, "1", "b")
    other = await connected(node, "2", "a")
    other.pushes()
    await node.unsubscribe("a", user="1")
    assert one.unsubscribed == [("a", 2000, "server unsubscribe")]
    assert two.unsubscribed == other.unsubscribed == []
    assert one.client.channels == ["b"]
    assert other.client.is_subscribed("a")
    assert set(await node.presence("a")) == {other.client.id}
    assert [list(push) for push in other.pushes()] == [["channel", "leave"]]
    await node.unsubscribe("b", client=two.client.id)
    assert two.unsubscribed == [("b", 2000, "server unsubscribe")]
    assert one.client.is_subscribed("b")


async def test_the_other_nodes_word(node: Node) -> None:
    """Control messages of other nodes act here; one's own, coming back, do not."""
    one = await connected(node, "1", "a")

    def said(uid: str, method: str, params: bytes) -> None:
        node.on_control(ControlMessage(uid, method, params))

    away = b'{"user":"1","client":"","code":4001,"reason":"mine"}'
    gone = b'{"channel":"a","user":"1","client":""}'
    said(node.uid, "unsubscribe", gone)
    said(node.uid, "disconnect", away)
    said("other", "unknown", b"{}")
    await asyncio.sleep(0)
    assert one.ended is None
    assert one.client.is_subscribed("a")
    said("other", "unsubscribe", gone)
    await eventually(lambda: one.unsubscribed)
    assert not one.client.is_subscribed("a")
    said("other", "disconnect", away)
    assert one.ended is not None
    assert one.ended.code == 4001


async def test_the_user_connection_limit() -> None:
    async with open_node(user_connection_limit=2) as node:
        one, _ = await connected(node, "1"), await connected(node, "1")
        refused = Connection(node)
        with pytest.raises(Disconnect) as raised:
            await refused.connect("1")
        assert raised.value.code == 3504
        await connected(node, "2")
        for _ in range(5):
            await connected(node, "")
        one.client.disconnect()
        await connected(node, "1")
        # The refused one must not take one of the others with it.
        refused.client.disconnect()
        assert len(list(node.clients_of("1"))) == 2


async def test_ends_come_once(node: Node) -> None:
    told: list[int] = []
    node.on_disconnect(lambda client, disconnect: told.append(disconnect.code))
    connection = await connected(node, "1", "a")
    connection.client.disconnect()
    connection.client.disconnect(codes.DISCONNECT_SLOW)
    connection.client.close(codes.DISCONNECT_CONNECTION_CLOSED)
    await eventually(lambda: not node._background)
    assert told == [3503]
    assert connection.ended is codes.DISCONNECT_FORCE
    connection.client.send(b"1")
    assert connection.messages == []


async def test_send(node: Node) -> None:
    connection = await connected(node, "1")
    connection.client.send(b'{"for":"you"}')
    assert connection.messages == [b'{"for":"you"}']
    with pytest.raises(TypeError, match="data must be bytes"):
        connection.client.send("text")      # type: ignore[arg-type]


async def test_a_slow_client_of_a_node() -> None:
    """The queue is full in one tick and the transport takes nothing."""
    async with open_node(client_queue_size=1000, options=ChannelOptions()) as node:
        connection = await connected(node, "1", "a")
        connection.outbox.pause()
        node.publish("a", b'"' + b"x" * 600 + b'"')
        assert not connection.slow
        node.publish("a", b'"' + b"x" * 600 + b'"')
        await eventually(lambda: connection.slow)
        assert connection.outbox.queued_bytes == 0
        assert node.stats().num_dropped >= 1


def test_a_channel_that_recovers_must_not_drop() -> None:
    with pytest.raises(ValueError, match="recover needs"):
        ChannelOptions(
            recover=True, history_size=1, history_lifetime=1, slow=SlowPolicy.DROP_OLDEST)
