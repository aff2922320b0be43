"""How a node hands what is published to its engine; to one channel and to many."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from fanout import (
    BackpressureError,
    ChannelOptions,
    EngineUnavailableError,
    MemoryEngine,
    MessageTooLargeError,
    Node,
    StreamPosition,
    UnknownChannelError,
)
from fanout import node as node_module

KEPT = ChannelOptions(history_size=10, history_lifetime=60)


class RecordingEngine(MemoryEngine):
    """Keeps what it was given beside the message."""

    def __init__(self) -> None:
        super().__init__()
        self.options: list[ChannelOptions | None] = []
        self.keywords: list[dict[str, Any]] = []

    def publish_message(self, channel: Any, message: Any, options: Any = None, **keywords: Any):
        self.options.append(options)
        self.keywords.append(keywords)
        return super().publish_message(channel, message, options, **keywords)


def options_of(channel: str) -> ChannelOptions | None:
    return None if channel.startswith("unknown") else KEPT


async def test_what_is_not_kept_is_delivered() -> None:
    async with Node(options=KEPT) as node:
        reader = node.subscribe("a")
        await node.publish("a", b"1")
        assert await node.publish("a", b"2", skip_history=True) == StreamPosition(0, "")
        assert (await node.publish("a", b"3")).offset == 2
        assert [m.data for m in await reader.get_batch()] == [b"1", b"2", b"3"]
        assert [m.data for m in await node.history("a")] == [b"3", b"1"]
        reader.close()


async def test_what_an_engine_is_given() -> None:
    engine = RecordingEngine()
    async with Node(engine, options=KEPT) as node:
        await node.publish("a", b"1")
        await node.publish("a", b"1", idempotency_key="k")
        await node.publish("a", b"1", version=7, version_epoch="e")
        assert engine.keywords == [
            {},
            {"idempotency_key": "k", "version": 0, "version_epoch": ""},
            {"idempotency_key": "", "version": 7, "version_epoch": "e"},
        ]
        assert engine.options == [KEPT] * 3


async def test_idempotency_and_versions() -> None:
    async with Node(options=KEPT) as node:
        first = await node.publish("a", b"1", idempotency_key="k")
        assert await node.publish("a", b"2", idempotency_key="k") == first
        second = await node.publish("a", b"3", version=5)
        assert await node.publish("a", b"4", version=5) == second
        assert [m.data for m in await node.history("a")] == [b"3", b"1"]


async def test_a_broadcast_says_what_became_of_each() -> None:
    async with Node(options=options_of) as node:
        reader = node.subscribe("a", "b")
        results = await node.broadcast(["a", "unknown", "", "x" * 256, "b", "a"], b"1")
        positions = [r.offset if isinstance(r, StreamPosition) else type(r) for r in results]
        assert positions == [1, UnknownChannelError, ValueError, ValueError, 1, 2]
        assert [m.channel for m in await reader.get_batch()] == ["a", "b", "a"]
        reader.close()


async def test_a_broadcast_takes_what_a_publish_takes() -> None:
    engine = RecordingEngine()
    async with Node(engine, options=KEPT) as node:
        reader = node.subscribe("a")
        (position,) = await node.broadcast(
            {"a"}, b"1", tags={"k": "v"}, client="c", skip_history=True, idempotency_key="i")
        (message,) = await reader.get_batch()
        assert (message.tags, message.client) == ({"k": "v"}, "c")
        assert position == StreamPosition()
        assert engine.keywords[0]["idempotency_key"] == "i"
        reader.close()


async def test_many_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "BROADCAST_SIZE", 7)
    async with Node(options=KEPT) as node:
        names = [f"c{n}" for n in range(1000)]
        results = await node.broadcast(names, b"1")
        assert [type(result) for result in results] == [StreamPosition] * 1000
        assert [(await node.history(name))[0].data for name in names] == [b"1"] * 1000


async def test_others_have_their_turn_in_a_long_broadcast() -> None:
    async with Node(options=KEPT) as node:
        names = [f"c{n}" for n in range(5 * node_module.BROADCAST_SIZE)]
        broadcast = asyncio.create_task(node.broadcast(names, b"1"))
        published = set()
        while not broadcast.done():
            await asyncio.sleep(0)
            published.add(node.stats().num_published)
        assert len(await broadcast) == len(names)
        assert {n * node_module.BROADCAST_SIZE for n in range(1, 6)} <= published


async def test_a_broadcast_that_nobody_could_get() -> None:
    async with Node(options=KEPT, max_message_size=3) as node:
        with pytest.raises(TypeError, match="channels"):
            await node.broadcast("abc", b"1")
        with pytest.raises(TypeError, match="channels"):
            await node.broadcast(["a", 7], b"1")        # type: ignore[list-item]
        with pytest.raises(ValueError, match="channels must not be empty"):
            await node.broadcast([], b"1")
        with pytest.raises(MessageTooLargeError):
            await node.broadcast(["a"], b"1234")
        with pytest.raises(TypeError):
            await node.broadcast(["a", "b"], "abc")    # type: ignore[arg-type]
        assert node.stats().num_published == 0


async def test_an_engine_that_fails_for_one() -> None:
    class Failing(MemoryEngine):
        def publish_message(self, channel: Any, message: Any, options: Any = None, **more: Any):
            if channel == "bad":
                raise BackpressureError("too many wait")
            result = super().publish_message(channel, message, options, **more)
            return result if channel == "good" else fails(result)

    async def fails(result: Awaitable[StreamPosition]) -> StreamPosition:
        await result
        raise EngineUnavailableError("away")

    async with Node(Failing(), options=KEPT) as node:
        results = await node.broadcast(["bad", "good", "late"], b"1")
        assert [type(result) for result in results] == [
            BackpressureError, StreamPosition, EngineUnavailableError]


async def test_deltas_are_asked_for_by_the_publisher_or_for_the_whole_channel() -> None:
    def options(channel: str) -> ChannelOptions:
        return ChannelOptions(delta_publish=channel == "all")

    async with Node(options=options) as node:
        reader = node.subscribe("all", "some")
        await node.publish("all", b"1")
        await node.publish("some", b"1")
        await node.broadcast(["some"], b"1", delta=True)
        assert [m.delta for m in await reader.get_batch()] == [True, False, True]
        reader.close()
