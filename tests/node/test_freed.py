"""A closed client is freed at once: nothing is left to the garbage collector."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ConnectReply,
    Node,
    RefreshEvent,
    RefreshReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeReply,
)
from fanout.deadline import Deadline
from tests.node.connections import Connection

pytestmark = pytest.mark.usefixtures("no_collector")

LATER = time.time() + 3600


async def made(node: Node, *, client_refresh: bool = True) -> Connection:
    """With all that has a time: presence, the connection's end and its subscriptions'."""
    ends = SubscribeReply(info=b"1", expire_at=LATER, client_refresh=client_refresh)
    node.on_connect(lambda event: ConnectReply(
        user="42", expire_at=LATER, client_refresh=client_refresh, subs={"b": ends}))
    node.on_subscribe(lambda client, event: ends)
    return await Connection.made(node, "a")


def ended(connection: Connection) -> None:
    """What the transport does when the peer is gone."""
    connection.outbox.detach()


def deadlines() -> int:
    return sum(type(one) is Deadline for one in gc.get_objects())


async def work_done(node: Node) -> None:
    while node._background:
        await asyncio.wait(list(node._background))


@pytest.mark.parametrize("client_refresh", [True, False])
async def test_a_client_that_is_closed(client_refresh: bool) -> None:
    options = ChannelOptions(presence=True, join_leave=True)
    freed: list[weakref.ref[Any]]
    async with Node(options=options) as node:
        before = len(node.expiry), deadlines()
        connection = await made(node, client_refresh=client_refresh)
        freed = [weakref.ref(connection.client), weakref.ref(connection)]
        connection.client.disconnect()
        ended(connection)
        del connection
        await work_done(node)
        assert [each() for each in freed] == [None, None]
        assert (len(node.expiry), deadlines()) == before


async def test_a_subscription_that_is_left() -> None:
    async with Node(options=ChannelOptions()) as node:
        connection = await made(node)
        before = deadlines()
        await connection.client.unsubscribe("a")
        assert deadlines() == before - 1
        assert connection.client.channels == ["b"]


async def test_who_keeps_a_client_does_not_keep_its_connection() -> None:
    async with Node(options=ChannelOptions()) as node:
        connection = await made(node)
        client = connection.client
        freed = weakref.ref(connection)
        client.disconnect()
        ended(connection)
        del connection
        assert freed() is None
        assert client.closed and not client.busy
        assert client.channels == [] and not client.is_subscribed("a")
        assert client.client_info("b").channel_info == b"1"
        client.send(b"1")
        client.disconnect()
        client.refresh_by_server(RefreshReply(expire_at=LATER))
        client.lost_in("a")
        client.announce("a")
        await client.unsubscribe_by_server("a")
        await client.unsubscribe("a")


@pytest.mark.parametrize("what", ["connection", "subscription"])
async def test_a_node_that_prolongs_what_is_closed_meanwhile(what: str) -> None:
    """Else its deadline would run on, and keep it."""
    asked, answer = asyncio.Event(), asyncio.Event()

    async def prolong(reply: Any) -> Any:
        asked.set()
        await answer.wait()
        return reply

    async with Node(options=ChannelOptions()) as node:
        before = len(node.expiry), deadlines()
        soon = time.time() + 0.01
        ends = SubscribeReply(
            expire_at=soon if what == "subscription" else 0.0, client_refresh=False)
        node.on_connect(lambda event: ConnectReply(
            expire_at=soon if what == "connection" else 0.0, client_refresh=False))
        node.on_subscribe(lambda client, event: ends)

        @node.on_refresh
        async def refresh(client: Any, event: RefreshEvent) -> Any:
            return await prolong(RefreshReply(expire_at=LATER))

        @node.on_sub_refresh
        async def sub_refresh(client: Any, event: SubRefreshEvent) -> Any:
            return await prolong(SubRefreshReply(expire_at=LATER))

        connection = await Connection.made(node, "a")
        freed = weakref.ref(connection.client)
        await asyncio.wait_for(asked.wait(), 10)
        connection.client.disconnect()
        ended(connection)
        del connection
        answer.set()
        await work_done(node)
        assert freed() is None
        assert (len(node.expiry), deadlines()) == before
