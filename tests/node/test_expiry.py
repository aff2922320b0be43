"""Connections and subscriptions that end unless they are prolonged."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import fanout.deadline
from fanout import (
    ClientError,
    ConnectReply,
    Disconnect,
    Node,
    RefreshEvent,
    RefreshReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeReply,
)
from tests.node.connections import Connection
from tests.node.engines import eventually

SOON = 0.05     # seconds


def made(**options: Any) -> Node:
    return Node(expired_close_delay=SOON, expired_sub_close_delay=SOON, **options)


def connects(node: Node, **reply: Any) -> None:
    node.handlers.connect = lambda event: ConnectReply("42", **reply)


async def test_a_connection_expires() -> None:
    async with made() as node:
        connects(node, expire_at=time.time() + SOON)
        connection = Connection(node)
        result = await connection.connect()
        assert result.expire_at == connection.client.expire_at
        await eventually(lambda: connection.ended is not None)
        assert connection.ended is not None and connection.ended.code == 3005


async def test_what_expired_already_does_not_connect() -> None:
    async with made() as node:
        connects(node, expire_at=time.time() - 1)
        with pytest.raises(ClientError) as caught:
            await Connection(node).connect()
        assert caught.value.code == 110
        assert not node.clients


async def test_the_client_refreshes() -> None:
    async with made() as node:
        connects(node, expire_at=time.time() + SOON)
        later = time.time() + 100
        node.on_refresh(lambda client, event: RefreshReply(
            expire_at=later, info=b'"new"', meta=event.token.encode()))
        connection = Connection(node)
        await connection.connect()
        assert await connection.client.refresh(RefreshEvent("token")) == later
        assert (connection.client.info, connection.client.meta) == (b'"new"', b"token")
        await asyncio.sleep(3 * SOON)       # nothing is to happen
        assert connection.ended is None
        with pytest.raises(Disconnect, match="bad request"):
            await connection.client.refresh(RefreshEvent(""))


@pytest.mark.parametrize("reply", [
    None, RefreshReply(expired=True), RefreshReply(expire_at=time.time() - 1)])
async def test_a_refresh_that_comes_to_nothing(reply: RefreshReply | None) -> None:
    async with made() as node:
        connects(node, expire_at=time.time() + 100)
        node.on_refresh(lambda client, event: reply)
        connection = Connection(node)
        await connection.connect()
        with pytest.raises(Disconnect) as caught:
            await connection.client.refresh(RefreshEvent("token"))
        assert caught.value.code == 3005


async def test_a_client_that_is_not_to_refresh_itself() -> None:
    """Else it could have the application asked as often as it likes."""
    async with made() as node:
        connects(node, expire_at=time.time() + 100, client_refresh=False)
        asked = []
        node.on_refresh(lambda client, event: asked.append(event))
        connection = Connection(node)
        await connection.connect()
        with pytest.raises(Disconnect) as caught:
            await connection.client.refresh(RefreshEvent("token"))
        assert caught.value.code == 3501
        assert not asked


async def test_the_node_refreshes() -> None:
    async with made() as node:
        connects(node, expire_at=time.time() + SOON, client_refresh=False)
        asked = []

        @node.on_refresh
        async def refresh(client: Any, event: RefreshEvent) -> RefreshReply | None:
            asked.append(event)
            return RefreshReply(expire_at=time.time() + SOON) if len(asked) < 3 else None

        connection = Connection(node)
        assert (await connection.connect()).expire_at == 0      # nothing for the client to do
        await eventually(lambda: connection.ended is not None)
        assert asked == [RefreshEvent()] * 3
        assert connection.ended is not None and connection.ended.code == 3005


async def test_a_refresh_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout.deadline, "RETRY", 0.01)
    async with Node(expired_close_delay=100) as node:
        connects(node, expire_at=time.time() + SOON, client_refresh=False)
        asked = 0

        @node.on_refresh
        async def refresh(client: Any, event: RefreshEvent) -> RefreshReply:
            nonlocal asked
            asked += 1
            if asked < 3:
                raise OSError("the database is away")
            return RefreshReply(expire_at=time.time() + 100)

        connection = Connection(node)
        await connection.connect()
        await eventually(lambda: connection.client.expire_at > time.time() + 50)
        assert asked == 3 and connection.ended is None


async def test_a_refresh_that_fails_for_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout.deadline, "RETRY", 0.01)
    async with made() as node:
        connects(node, expire_at=time.time() + SOON, client_refresh=False)

        @node.on_refresh
        async def refresh(client: Any, event: RefreshEvent) -> RefreshReply:
            raise OSError("the database is away")

        connection = Connection(node)
        await connection.connect()
        await eventually(lambda: connection.ended is not None)
        assert connection.ended is not None and connection.ended.code == 3005


async def test_a_subscription_expires() -> None:
    async with made() as node:
        connects(node)
        node.on_subscribe(lambda client, event: SubscribeReply(expire_at=time.time() + SOON))
        connection = await Connection.made(node, "a")
        await eventually(lambda: bool(connection.unsubscribed))
        assert connection.unsubscribed == [("a", 2501, "subscription expired")]
        assert connection.ended is None


async def test_a_server_side_subscription_expires_with_its_connection() -> None:
    async with made() as node:
        connects(node, subs={"a": SubscribeReply(expire_at=time.time() + SOON)})
        connection = Connection(node)
        await connection.connect()
        await eventually(lambda: connection.ended is not None)
        assert connection.ended is not None and connection.ended.code == 3006


async def test_a_subscription_is_refreshed_by_the_client() -> None:
    async with made() as node:
        connects(node)
        node.on_subscribe(lambda client, event: SubscribeReply(expire_at=time.time() + SOON))
        later = time.time() + 100
        node.on_sub_refresh(lambda client, event: SubRefreshReply(later, info=b'"new"'))
        connection = await Connection.made(node, "a")
        assert await connection.client.sub_refresh(SubRefreshEvent("a", "token")) == later
        assert connection.client.client_info("a").channel_info == b'"new"'
        with pytest.raises(ClientError) as caught:
            await connection.client.sub_refresh(SubRefreshEvent("other", "token"))
        assert caught.value.code == 103
        with pytest.raises(ClientError) as caught:
            await connection.client.sub_refresh(SubRefreshEvent("a", ""))
        assert caught.value.code == 107


async def test_a_subscription_refreshed_for_ever_does_not_expire() -> None:
    async with made() as node:
        connects(node)
        soon = time.time() + SOON
        node.on_subscribe(lambda client, event: SubscribeReply(expire_at=soon))
        node.on_sub_refresh(lambda client, event: SubRefreshReply())
        connection = await Connection.made(node, "a", "b")
        assert await connection.client.sub_refresh(SubRefreshEvent("a", "token")) == 0
        await eventually(lambda: bool(connection.unsubscribed))
        assert connection.unsubscribed == [("b", 2501, "subscription expired")]
        assert connection.client.channels == ["a"]


async def test_a_subscription_is_refreshed_by_the_node() -> None:
    async with made() as node:
        connects(node)
        node.on_subscribe(lambda client, event: SubscribeReply(
            expire_at=time.time() + SOON, client_refresh=False))
        asked = []

        @node.on_sub_refresh
        async def refresh(client: Any, event: SubRefreshEvent) -> SubRefreshReply:
            asked.append(event.channel)
            return SubRefreshReply(time.time() + SOON, expired=len(asked) == 3)

        connection = await Connection.made(node, "a")
        with pytest.raises(Disconnect, match="bad request"):
            await connection.client.sub_refresh(SubRefreshEvent("a", "token"))
        await eventually(lambda: bool(connection.unsubscribed))
        assert asked == ["a"] * 3
        assert connection.unsubscribed[0][1] == 2501


async def test_what_is_left_does_not_expire() -> None:
    async with made() as node:
        connects(node, expire_at=time.time() + SOON)
        node.on_subscribe(lambda client, event: SubscribeReply(expire_at=time.time() + SOON))
        connection = await Connection.made(node, "a")
        await connection.client.unsubscribe("a")
        connection.client.disconnect()
        before = len(node.expiry)
        await asyncio.sleep(3 * SOON)       # nothing is to happen
        assert connection.unsubscribed == [] and before <= 1
        assert connection.ended is not None and connection.ended.code == 3503
