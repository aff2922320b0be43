"""Channels whose newest publication is all that matters."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ConnectReply,
    Node,
    RecoveryMode,
    StreamPosition,
    SubscribeEvent,
    SubscribeReply,
)
from fanout._filter import TagsFilter
from tests.node.connections import Connection

OPTIONS = ChannelOptions(
    recover=True, history_size=3, history_lifetime=60, recovery_mode=RecoveryMode.CACHE)
UNASKED = ChannelOptions(
    recover=True, history_size=3, history_lifetime=60, recovery_mode=RecoveryMode.CACHE,
    recover_unasked=True)


def made(options: ChannelOptions) -> Node:
    node = Node(options=options)
    node.on_connect(lambda event: ConnectReply("42"))
    node.on_subscribe(lambda client, event: SubscribeReply())
    return node


def data(result: Any) -> list[bytes] | None:
    return None if result.missed is None else [message.data for message in result.missed]


async def test_the_newest_alone() -> None:
    async with made(OPTIONS) as node:
        for text in (b"1", b"2", b"3", b"4", b"5"):
            top = await node.publish("a", text)
        connection = await Connection.made(node)
        # Also from a place that the history has forgotten long ago.
        for since in (StreamPosition(0, top.epoch), StreamPosition(4, top.epoch),
                      StreamPosition(3, ""), StreamPosition(7, "another")):
            result = await connection.subscribe("a", since=since)
            assert (data(result), result.position) == ([b"5"], top)
            await connection.client.unsubscribe("a")


async def test_who_has_it_is_not_given_it_again() -> None:
    async with made(OPTIONS) as node:
        top = await node.publish("a", b"1")
        connection = await Connection.made(node)
        result = await connection.subscribe("a", since=top)
        assert (data(result), result.position) == ([], top)


async def test_nothing_is_there() -> None:
    async with made(OPTIONS) as node:
        connection = await Connection.made(node)
        first = await connection.subscribe("a")
        assert data(first) is None and first.position is not None
        await connection.client.unsubscribe("a")
        await node.publish("a", b"1")
        await node.remove_history("a")
        gone = await connection.subscribe("a", since=StreamPosition(0, first.position.epoch))
        assert data(gone) is None


async def test_the_newest_that_a_filter_lets_through() -> None:
    wanted = TagsFilter(key="kind", cmp="eq", val="goal")
    options = dataclasses.replace(UNASKED, tags_filter=True, history_size=10)
    async with made(options) as node:
        for text, kind in ((b"1", "goal"), (b"2", "goal"), (b"3", "card")):
            top = await node.publish("a", text, tags={"kind": kind})
        connection = await Connection.made(node)
        result = await connection.client.subscribe(SubscribeEvent("a", tags_filter=wanted))
        assert (data(result), result.position) == ([b"2"], top)
        await connection.client.unsubscribe("a")
        none = TagsFilter(key="kind", cmp="eq", val="none")
        result = await connection.client.subscribe(SubscribeEvent("a", tags_filter=none))
        assert (data(result), result.position) == (None, top)


async def test_who_has_the_newest_that_a_filter_lets_through_is_not_given_it_again() -> None:
    wanted = TagsFilter(key="kind", cmp="eq", val="goal")
    options = dataclasses.replace(UNASKED, tags_filter=True, history_size=10)
    async with made(options) as node:
        before = await node.publish("a", b"1", tags={"kind": "goal"})
        has = await node.publish("a", b"2", tags={"kind": "goal"})
        told = await node.publish("a", b"3", tags={"kind": "card"})
        top = await node.publish("a", b"4", tags={"kind": "card"})
        connection = await Connection.made(node)

        async def back(since: StreamPosition) -> list[bytes] | None:
            result = await connection.client.subscribe(
                SubscribeEvent("a", since=since, tags_filter=wanted))
            await connection.client.unsubscribe("a")
            assert result.position == top
            return data(result)

        assert await back(has) == []
        assert await back(told) == []
        assert await back(top) == []
        assert await back(before) == [b"2"]
        assert await back(StreamPosition(has.offset, "another")) == [b"2"]
        # Of a stream that was set back.
        assert await back(StreamPosition(top.offset + 1, top.epoch)) == [b"2"]


@pytest.mark.parametrize(("options", "given"), [(OPTIONS, None), (UNASKED, [b"1"])])
async def test_who_did_not_ask(options: ChannelOptions, given: list[bytes] | None) -> None:
    async with made(options) as node:
        await node.publish("a", b"1")
        connection = await Connection.made(node)
        result = await connection.subscribe("a")
        assert data(result) == given
        assert result.was_recovering is (given is not None)


async def test_a_storm_reads_once() -> None:
    async with made(UNASKED) as node:
        await node.publish("a", b"1")
        reads = 0
        history = node.engine.history_stream

        async def counted(*args: Any, **kwargs: Any) -> Any:
            nonlocal reads
            reads += 1
            await asyncio.sleep(0)
            return await history(*args, **kwargs)

        node.engine.history_stream = counted       # type: ignore[method-assign]
        connections = [await Connection.made(node) for _ in range(20)]
        results = await asyncio.gather(*(each.subscribe("a") for each in connections))
        assert [data(result) for result in results] == [[b"1"]] * 20
        assert reads <= 2


async def test_who_comes_after_a_removal_does_not_share_a_read_of_before() -> None:
    async with made(UNASKED) as node:
        await Connection.made(node, "a")
        await node.publish("a", b"1")
        history, read, go = node.engine.history_stream, asyncio.Event(), asyncio.Event()

        async def held_up(*args: Any, **kwargs: Any) -> Any:
            page = await history(*args, **kwargs)
            read.set()
            await go.wait()
            return page

        node.engine.history_stream = held_up       # type: ignore[method-assign]
        before, after = [await Connection.made(node) for _ in range(2)]
        first = asyncio.create_task(before.subscribe("a"))
        await read.wait()
        node.engine.history_stream = history       # type: ignore[method-assign]
        await node.remove_history("a")
        async with asyncio.timeout(10):
            assert data(await after.subscribe("a")) is None
        go.set()
        assert data(await first) == [b"1"]      # it asked before


async def test_what_is_published_meanwhile_is_the_newest_and_comes_once() -> None:
    async with made(UNASKED) as node:
        first = await Connection.made(node, "a")
        await node.publish("a", b"1")
        history = node.engine.history_stream

        async def overtaken(*args: Any, **kwargs: Any) -> Any:
            page = await history(*args, **kwargs)
            await node.publish("a", b"2")
            return page

        node.engine.history_stream = overtaken     # type: ignore[method-assign]
        second = await Connection.made(node)
        result = await second.subscribe("a")
        assert data(result) == [b"2"]
        assert result.position is not None and result.position.offset == 2
        await node.publish("a", b"3")
        assert [push["pub"]["data"] for push in second.pushes()] == [3]
        assert [push["pub"]["data"] for push in first.pushes()] == [1, 2, 3]
