"""A storm of clients that come back to the same place reads the history once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import fanout.positions
from fanout import (
    ChannelOptions,
    ConnectReply,
    EngineUnavailableError,
    Message,
    Node,
    StreamPosition,
    SubscribeReply,
)
from tests.node.connections import Connection
from tests.node.engines import LossyEngine, eventually

OPTIONS = ChannelOptions(recover=True, history_size=1000, history_lifetime=60)


def made(channels: ChannelOptions = OPTIONS, **options: Any) -> Node:
    node = Node(options=channels, **options)
    node.on_connect(lambda event: ConnectReply("42"))
    node.on_subscribe(lambda client, event: SubscribeReply())
    return node


def count_reads(node: Node) -> list[StreamPosition]:
    reads: list[StreamPosition] = []
    history = node.engine.history_stream

    async def counted(channel: str, since: Any = None, *rest: Any, **more: Any) -> Any:
        if since is not None:
            reads.append(since)
        return await history(channel, since, *rest, **more)

    node.engine.history_stream = counted       # type: ignore[method-assign]
    return reads


async def recovered(node: Node, since: StreamPosition) -> list[int] | None:
    connection = await Connection.made(node)
    result = await connection.subscribe("a", since=since)
    return None if result.missed is None else [message.offset for message in result.missed]


async def test_one_after_the_other_they_read_once() -> None:
    async with made() as node:
        seen = await node.publish("a", b"0")
        for _ in range(10):
            await node.publish("a", b"1")
        reads = count_reads(node)
        for number in range(30):
            assert await recovered(node, seen) == list(range(2, 12 + number))
            await node.publish("a", b"live")        # what comes meanwhile is given too
        assert reads == [seen]


async def test_another_place_is_another_read() -> None:
    async with made() as node:
        first = await node.publish("a", b"0")
        second = await node.publish("a", b"1")
        await node.publish("a", b"2")
        reads = count_reads(node)
        for _ in range(3):
            assert await recovered(node, first) == [2, 3]
            assert await recovered(node, second) == [3]
        assert reads == [first, second]


async def test_what_cannot_be_recovered_is_asked_once_too() -> None:
    async with made() as node:
        await node.publish("a", b"0")
        reads = count_reads(node)
        gone = StreamPosition(0, "another")
        for _ in range(5):
            assert await recovered(node, gone) is None
        assert reads == [gone]


async def test_what_is_removed_is_not_given() -> None:
    async with made() as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"secret")
        assert await recovered(node, seen) == [2]
        await node.remove_history("a")
        assert await recovered(node, seen) is None


async def test_whatever_link_breaks_or_comes_back_it_is_read_again() -> None:
    """What others said of the history may have been lost with it."""
    async with made() as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        reads = count_reads(node)
        assert await recovered(node, seen) == [2]
        node.on_link_lost(["another"], EngineUnavailableError("gone"))
        assert await recovered(node, seen) == [2]
        assert await recovered(node, seen) == [2]
        node.on_link_restored(["another"])
        assert await recovered(node, seen) == [2]
        assert reads == [seen] * 3


async def test_it_ends_a_moment_after_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 0.01)
    async with made() as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        assert await recovered(node, seen) == [2]
        track = node.positions.get("a")
        assert track is not None
        await eventually(lambda: not track.readings)
        reads = count_reads(node)
        assert await recovered(node, seen) == [2]
        assert reads == [seen]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds takes hundredths."""
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 0.01)
    monkeypatch.setattr(fanout.positions, "CHECKED_AFTER", 0.03)


def count_looks(node: Node) -> list[str]:
    """How often the oldest message alone was read."""
    looks: list[str] = []
    history = node.engine.history_stream

    async def counted(channel: str, *rest: Any, **more: Any) -> Any:
        if not rest and more == {"limit": 1}:
            looks.append(channel)
        return await history(channel, *rest, **more)

    node.engine.history_stream = counted        # type: ignore[method-assign]
    return looks


async def come_until_none(node: Node, since: StreamPosition) -> None:
    """Several come again and again, so that somebody always waits, until nothing is given."""
    async def come() -> None:
        while await recovered(node, since) is not None:
            pass

    async with asyncio.timeout(10):
        await asyncio.gather(*(come() for _ in range(5)))


async def test_a_long_storm_reads_once_and_looks_whether_it_is_still_there(
    hurried: None
) -> None:
    async with made() as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        reads, looks = count_reads(node), count_looks(node)
        assert await recovered(node, seen) == [2]
        track = node.positions.get("a")
        assert track is not None
        track.readings[seen].waiting += 1       # somebody always does
        async with asyncio.timeout(10):
            while len(looks) < 3:
                await asyncio.sleep(0.005)
                assert await recovered(node, seen) == [2]
        assert reads == [seen]


@pytest.mark.parametrize("loss", ["removed", "pushed out", "wiped", "set back"])
async def test_what_is_there_no_more_is_not_given_for_long(hurried: None, loss: str) -> None:
    """Nobody tells the node; and somebody always waits."""
    engine = LossyEngine()
    async with made(engine=engine) as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        assert await recovered(node, seen) == [2]
        if loss == "removed":
            await engine.remove_history("a")
        elif loss == "pushed out":
            engine.streams._kept["a"] = []
            engine.cut = True       # what follows is not delivered here
            await engine.publish_message("a", Message("a", b"2"), OPTIONS)
        elif loss == "set back":
            engine.streams.set_back("a", 1)
        else:
            engine.wipe()
            engine.cut = True
            for _ in range(3):
                await engine.publish_message("a", Message("a", b"of another stream"), OPTIONS)
        await come_until_none(node, seen)


async def test_while_nobody_can_look_it_is_not_given_for_long(hurried: None) -> None:
    engine = LossyEngine()
    async with made(engine=engine) as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        assert await recovered(node, seen) == [2]
        engine.read_error = EngineUnavailableError("away")
        with pytest.raises(EngineUnavailableError, match="away"):
            await come_until_none(node, seen)


async def test_more_than_is_recorded_is_read_again() -> None:
    async with made(recovery_limit=4) as node:
        seen = await node.publish("a", b"0")
        reads = count_reads(node)
        assert await recovered(node, seen) == []
        for _ in range(4):
            await node.publish("a", b"1")
        assert await recovered(node, seen) == [2, 3, 4, 5]
        for _ in range(2):
            await node.publish("a", b"1")
        assert await recovered(node, seen) is None      # more than the limit
        assert len(reads) == 2


async def test_what_the_history_no_longer_has_is_not_recovered() -> None:
    async with made(ChannelOptions(recover=True, history_size=2, history_lifetime=60)) as node:
        seen = await node.publish("a", b"0")
        reads = count_reads(node)
        assert await recovered(node, seen) == []
        for _ in range(2):
            await node.publish("a", b"1")
        assert await recovered(node, seen) == [2, 3]
        await node.publish("a", b"1")
        assert await recovered(node, seen) is None
        assert len(reads) == 2


async def test_places_that_nobody_shares_do_not_pile_up() -> None:
    async with made() as node:
        for _ in range(200):
            top = await node.publish("a", b"0")
        for offset in range(200):
            missed = await recovered(node, StreamPosition(offset, top.epoch))
            assert missed == list(range(offset + 1, 201))
        track = node.positions.get("a")
        assert track is not None
        assert len(track.readings) <= fanout.positions.MOST_SHARED


async def test_what_is_large_is_shared_by_those_who_wait_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One client that asks for one place after the other must not fill the memory."""
    monkeypatch.setattr(fanout.positions, "SHARED_LIMIT", 10_000)
    async with made() as node:
        seen = await node.publish("a", b"0")
        for _ in range(20):
            await node.publish("a", b"x" * 1000)
        reads = count_reads(node)
        missed = list(range(2, 22))
        assert await asyncio.gather(*(recovered(node, seen) for _ in range(5))) == [missed] * 5
        assert reads == [seen]
        track = node.positions.get("a")
        assert track is not None and not track.readings
        assert await recovered(node, seen) == missed
        assert reads == [seen, seen]


async def test_a_read_that_takes_long_is_not_begun_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 0.001)
    monkeypatch.setattr(fanout.positions, "CHECKED_AFTER", 0.001)
    async with made() as node:
        seen = await node.publish("a", b"0")
        await node.publish("a", b"1")
        history = node.engine.history_stream

        async def slow(*args: Any, **more: Any) -> Any:
            await asyncio.sleep(0.02)       # its time as a shared one is over long before
            return await history(*args, **more)

        node.engine.history_stream = slow       # type: ignore[method-assign]
        reads = count_reads(node)
        async with asyncio.timeout(10):
            assert await recovered(node, seen) == [2]
        assert reads == [seen]
