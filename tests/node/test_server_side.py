"""Subscriptions that the application makes for its clients."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ClientError,
    ConnectEvent,
    ConnectReply,
    Disconnect,
    Node,
    StreamPosition,
    SubscribeEvent,
    SubscribeReply,
)
from tests.node.connections import CONNECTED, Connection

KEPT = ChannelOptions(presence=True, join_leave=True, recover=True, history_size=10,
                      history_lifetime=60)


def connects(node: Node, **reply: Any) -> None:
    node.handlers.connect = lambda event: ConnectReply("42", **reply)


async def test_a_connect_subscribes() -> None:
    async with Node(options=KEPT) as node:
        position = await node.publish("a", b"1")
        connects(node, subs={"a": SubscribeReply(data=b'"hello"', info=b'"chan"'),
                             "b": SubscribeReply(presence=False, recover=False, position=False)})
        connection = Connection(node)
        result = await connection.connect()
        client = connection.client
        assert sorted(client.channels) == ["a", "b"]
        assert (result.subs["a"].data, result.subs["a"].position) == (b'"hello"', position)
        assert result.subs["b"].position is None
        assert client.is_server_side("a") and client.is_server_side("b")
        assert await node.presence("a") == {client.id: client.client_info("a")}
        assert await node.presence("b") == {}
        joins = [push for push in connection.pushes() if "join" in push]
        assert joins == []      # it did not ask for them
        with pytest.raises(ClientError, match="already subscribed"):
            await connection.subscribe("a")


async def test_it_sees_its_own_join() -> None:
    async with Node(options=KEPT) as node:
        connects(node, subs={"a": SubscribeReply(push_join_leave=True)})
        connection = Connection(node)
        await connection.connect()
        (push,) = connection.pushes()
        assert push["join"]["info"]["client"] == connection.client.id


async def test_messages_come_behind_the_connect_reply() -> None:
    """Also those that are published while other channels are still being entered."""
    async with Node(options=KEPT) as node:
        connects(node, subs={"a": SubscribeReply(), "b": SubscribeReply()})
        entered, go_on = asyncio.Event(), asyncio.Event()
        newest = node.positions._newest

        async def slow(track: Any) -> Any:
            if track.channel == "b":
                entered.set()
                await go_on.wait()
            return await newest(track)

        node.positions._newest = slow       # type: ignore[method-assign]
        connection = Connection(node)
        connecting = asyncio.ensure_future(connection.connect())
        await entered.wait()
        assert connection.client.channels == ["a"]
        await node.publish("a", b'"early"')
        node.hub.flush()
        assert connection.wire.sent == b""
        go_on.set()
        result = await connecting
        node.hub.flush()
        sent = connection.wire.sent
        assert sent.index(CONNECTED) < sent.index(b'"early"')
        assert [push["pub"]["offset"] for push in connection.pushes()] == [1]
        assert result.subs["a"].position is not None
        assert result.subs["a"].position.offset == 0


async def test_a_connect_recovers() -> None:
    async with Node(options=KEPT) as node:
        seen = await node.publish("a", b"1")
        await node.publish("a", b"2")
        connects(node, subs={"a": SubscribeReply()})
        connection = Connection(node)
        result = await connection.connect(subs={"a": SubscribeEvent("a", since=seen)})
        missed = result.subs["a"].missed
        assert missed is not None and [each.data for each in missed] == [b"2"]


async def test_a_refused_channel_ends_the_connect() -> None:
    async with Node(options=lambda name: KEPT if name == "a" else None) as node:
        connects(node, subs={"a": SubscribeReply(), "unknown": SubscribeReply()})
        connection = Connection(node)
        with pytest.raises(Disconnect) as caught:
            await connection.connect()
        assert caught.value.code == 3501
        connection.client.disconnect(caught.value)
        await asyncio.gather(*node._background)
        assert node.stats().num_subscriptions == 0
        assert await node.presence("a") == {}


async def test_more_channels_than_the_limit() -> None:
    async with Node(client_channel_limit=1) as node:
        connects(node, subs={"a": SubscribeReply(), "b": SubscribeReply()})
        with pytest.raises(Disconnect) as caught:
            await Connection(node).connect()
        assert caught.value.code == 3505


async def test_the_application_subscribes() -> None:
    async with Node(options=KEPT) as node:
        connects(node)
        connection = Connection(node)
        await connection.connect()
        position = await node.publish("a", b"1")
        await connection.client.subscribe_by_server("a", SubscribeReply(data=b'"hi"'))
        ((channel, result),) = connection.subscribed
        assert (channel, result.data, result.position) == ("a", b'"hi"', position)
        await connection.client.subscribe_by_server("a")        # nothing happens
        assert len(connection.subscribed) == 1
        await node.publish("a", b"2")
        assert [push["pub"]["data"] for push in connection.pushes() if "pub" in push] == [2]
        await connection.client.unsubscribe_by_server("a")
        assert connection.unsubscribed == [("a", 2000, "server unsubscribe")]
        with pytest.raises(ClientError, match="unknown channel"):
            node._options = lambda channel: None
            await connection.client.subscribe_by_server("b")


async def test_lost_messages_end_the_connection() -> None:
    """A server-side subscription cannot be made again by the client alone."""
    async with Node(options=KEPT) as node:
        connects(node, subs={"a": SubscribeReply()})
        connection = Connection(node)
        await connection.connect()
        connection.client.lost_in("a")
        assert connection.ended is not None and connection.ended.code == 3010


async def test_only_those_who_are_positioned_are_told() -> None:
    async with Node(options=KEPT) as node:
        connects(node)
        node.handlers.subscribe = lambda client, event: SubscribeReply(
            recover=json.loads(event.data), position=json.loads(event.data))
        told, untold = await Connection.made(node), await Connection.made(node)
        await told.client.subscribe(SubscribeEvent("a", data=b"true"))
        result = await untold.client.subscribe(SubscribeEvent("a", data=b"false"))
        assert result.position is None
        node._on_insufficient("a")
        assert [each[1] for each in told.unsubscribed] == [2500]
        assert untold.unsubscribed == [] and untold.client.channels == ["a"]


async def test_the_application_is_told_of_who_is_connected() -> None:
    async with Node() as node:
        connects(node)
        told = []
        node.on_connected(lambda client: told.append(client))
        connection = Connection(node)
        event = ConnectEvent(connection.client.id)
        await connection.client.connect(event)
        assert told == []
        connection.client.announce_connected()
        await asyncio.gather(*node._background)
        assert told == [connection.client]


async def test_reject_unrecovered() -> None:
    async with Node(options=KEPT) as node:
        connects(node)
        node.handlers.subscribe = lambda client, event: SubscribeReply()
        connection = await Connection.made(node)
        await node.publish("a", b"1")
        wish = SubscribeEvent("a", since=StreamPosition(9, "gone"), reject_unrecovered=True)
        with pytest.raises(ClientError) as caught:
            await connection.client.subscribe(wish)
        assert caught.value.code == 112
        assert connection.client.channels == [] and await node.presence("a") == {}


async def test_who_is_subscribed_while_it_connects_joins_once() -> None:
    async with Node(options=KEPT) as node:
        connects(node, subs={"a": SubscribeReply()})
        watcher = await Connection.made(node)
        await watcher.client.subscribe_by_server("x", SubscribeReply(push_join_leave=True))
        await watcher.client.unsubscribe("a")
        watcher.pushes()
        connection = Connection(node)
        result = await connection.client.connect(ConnectEvent(connection.client.id))
        await connection.client.subscribe_by_server("x")
        connection.client.announce_connected(result.subs)
        joins = [push for push in watcher.pushes() if "join" in push]
        assert [join["channel"] for join in joins] == ["x"]


# While a client is being subscribed


@pytest.fixture
def slow_subscribe() -> Any:
    """A handler that lets nobody subscribe yet, and what lets them."""
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def handler(client: Any, event: SubscribeEvent) -> SubscribeReply:
        asked.set()
        await go_on.wait()
        return SubscribeReply()

    return handler, asked, go_on


@pytest.mark.parametrize("channel", ["a", ""])
async def test_an_order_to_leave_holds_for_who_is_on_its_way_in(
    channel: str, slow_subscribe: Any
) -> None:
    async with Node(options=KEPT) as node:
        handler, asked, go_on = slow_subscribe
        node.handlers.subscribe = handler
        connects(node)
        connection = Connection(node)
        await connection.connect()
        subscribing = asyncio.create_task(connection.subscribe("a"))
        await asked.wait()
        await node.unsubscribe(channel, user="42", code=2100, reason="banned")
        go_on.set()
        await subscribing
        assert connection.unsubscribed == [("a", 2100, "banned")]
        assert connection.client.channels == []
        # The order is over: it may come back.
        await connection.subscribe("a")
        assert connection.client.channels == ["a"]


async def test_the_last_order_counts(slow_subscribe: Any) -> None:
    async with Node(options=KEPT) as node:
        handler, asked, go_on = slow_subscribe
        node.handlers.subscribe = handler
        connects(node)
        connection = Connection(node)
        await connection.connect()
        subscribing = asyncio.create_task(connection.subscribe("a"))
        await asked.wait()
        await node.unsubscribe("a", user="42")
        await node.subscribe_user("a", user="42")
        go_on.set()
        await subscribing
        assert connection.unsubscribed == [] and connection.client.channels == ["a"]


async def test_an_order_about_a_subscribe_that_fails_ends_with_it() -> None:
    async with Node(options=KEPT) as node:
        async def refuse(client: Any, event: SubscribeEvent) -> SubscribeReply:
            await node.unsubscribe("a", user="42")
            raise ClientError(1000, "no")

        node.handlers.subscribe = refuse
        connects(node)
        connection = Connection(node)
        await connection.connect()
        with pytest.raises(ClientError, match="no"):
            await connection.subscribe("a")
        node.handlers.subscribe = lambda client, event: SubscribeReply()
        await connection.subscribe("a")
        assert connection.unsubscribed == [] and connection.client.channels == ["a"]


async def test_an_order_to_leave_while_it_connects() -> None:
    async with Node(options=KEPT) as node:
        connects(node, subs={"a": SubscribeReply(), "b": SubscribeReply()})
        connection = Connection(node)
        connecting = asyncio.create_task(connection.connect())
        while not node.clients:     # noqa: ASYNC110 - in the turn in which it is known
            await asyncio.sleep(0)
        await node.unsubscribe("a", user="42")
        await node.subscribe_user("b", user="42")
        await connecting
        assert connection.client.channels == ["b"]
        assert [channel for channel, *_ in connection.unsubscribed] == ["a"]
        assert node.counters.subscribed == 2
