"""What may happen around a repair, and must not go by unnoticed."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ClosedError,
    Disconnect,
    EngineUnavailableError,
    HistoryPage,
    InsufficientStateError,
    Interruption,
    Message,
    Node,
    Restoration,
    StreamPosition,
)
from fanout._frame import JSONEncoder
from fanout.positions import Track
from tests.node import connections
from tests.node.connections import Connection
from tests.node.engines import LossyEngine, eventually
from tests.node.recovering import fill, offsets, recovering_node

LOST = [("ch", 2500, "insufficient state")]
CUT = ConnectionError("cut")


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fanout.positions.FIRST_DELAY", 0.001)
    monkeypatch.setattr("fanout.positions.LAST_DELAY", 0.002)


@pytest.fixture
def engine() -> LossyEngine:
    return LossyEngine()


@pytest.fixture
async def node(engine: LossyEngine) -> AsyncIterator[Node]:
    async with recovering_node(engine) as node:
        yield node


async def settle(node: Node) -> None:
    """Let what the node does in the background end."""
    async with asyncio.timeout(10):
        while node._background or node._outages.unsettled or any(    # noqa: ASYNC110
            track.repairing for track in node.positions._tracks.values()
        ):
            await asyncio.sleep(0)


def _track(node: Node) -> Track:
    track = node.positions.get("ch")
    assert track is not None
    return track


# ---- a stream that is set back -------------------------------------------


async def test_a_stream_is_verified_again_when_the_link_breaks_during_a_verification(
    node: Node, engine: LossyEngine
) -> None:
    """The answer under way was given before the server came back with older data."""
    connection = await Connection.made(node, "ch")
    await fill(node, 6)
    connection.pushes()
    engine.reads_wait = True
    node.on_link_restored(["ch"])
    await eventually(lambda: engine.waiting_reads)
    node.on_link_lost(["ch"], CUT)
    engine.late = True
    engine.streams.set_back("ch", 2)
    await fill(node, 2)
    engine.lose(2)
    node.on_link_restored(["ch"])
    await asyncio.sleep(0)
    engine.reads_wait = False
    engine.answer_read()
    await settle(node)
    assert connection.unsubscribed == LOST


async def test_a_verification_while_the_link_is_broken_says_nothing_of_what_comes(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    await fill(node, 6)
    node.on_link_lost(["ch"], CUT)
    await node.positions.repair(_track(node))       # all is as it was
    engine.late = True
    engine.streams.set_back("ch", 1)
    await fill(node, 1)
    engine.lose(1)
    engine.late = False
    await fill(node, 1)                             # 7 seems to fit
    await settle(node)
    node.on_link_restored(["ch"])
    await settle(node)
    assert connection.unsubscribed == LOST
    assert offsets(connection) == [1, 2, 3, 4, 5, 6]


async def test_what_was_held_before_the_link_broke_again_is_not_delivered(
    node: Node, engine: LossyEngine
) -> None:
    """It may be of what the stream is no more, and fit all the same."""
    connection = await Connection.made(node, "ch")
    await fill(node, 5)
    node.on_link_lost(["ch"], CUT)
    engine.read_error = ConnectionError("not yet")
    node.on_link_restored(["ch"])
    for _ in range(4):
        await node.publish("ch", b'"of the stream that is lost"')
    node.on_link_lost(["ch"], CUT)
    engine.cut = True
    engine.streams.set_back("ch", 4)
    for _ in range(2):
        await node.publish("ch", b'"new"')
    engine.read_error = None
    await eventually(lambda: _track(node).offset > 5)
    engine.cut = False
    node.on_link_restored(["ch"])
    await settle(node)
    pushed = [push["pub"] for push in connection.pushes() if "pub" in push]
    assert [(pub["offset"], pub["data"]) for pub in pushed] == [
        *((offset, 1) for offset in range(1, 6)), (6, "new"), (7, "new")]
    assert connection.unsubscribed == []


async def test_what_arrives_before_the_verification_is_not_taken_for_old(
    node: Node, engine: LossyEngine
) -> None:
    """An engine tells that its link is back when all channels are; one may be early."""
    connection = await Connection.made(node, "ch")
    await fill(node, 6)
    connection.pushes()
    node.on_link_lost(["ch"], CUT)
    engine.streams.set_back("ch", 1)
    await fill(node, 2)             # another 6, which looks old, and 7, which seems to fit
    node.on_link_restored(["ch"])
    await settle(node)
    assert offsets(connection) == []
    assert connection.unsubscribed == LOST


async def test_a_stream_set_back_is_noticed_without_a_broken_link(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    await fill(node, 6)
    connection.pushes()
    engine.streams.set_back("ch", 2)
    await fill(node, 3)
    await settle(node)
    assert connection.unsubscribed == LOST


async def test_a_stream_set_back_where_nothing_was_seen_yet(
    node: Node, engine: LossyEngine
) -> None:
    """The place is known from the history alone."""
    await fill(node, 6)
    connection = await Connection.made(node, "ch")
    node.on_link_lost(["ch"], CUT)
    engine.late = True
    engine.streams.set_back("ch", 2)
    await fill(node, 2)
    engine.lose(2)
    node.on_link_restored(["ch"])
    await settle(node)
    assert connection.unsubscribed == LOST


async def test_what_looks_old_does_not_keep_a_channel_from_being_checked(
    engine: LossyEngine
) -> None:
    async with recovering_node(engine, position_check_interval=0.005) as node:
        connection = await Connection.made(node, "ch")
        await fill(node, 40)
        engine.streams.set_back("ch", 35)
        async with asyncio.timeout(10):
            while not connection.unsubscribed:
                await fill(node, 1)
                engine.streams.set_back("ch", 1)        # it stays far behind
                await asyncio.sleep(0)
        assert connection.unsubscribed == LOST


async def test_what_was_read_before_a_stream_was_set_back_is_not_given_to_a_client(
    node: Node, engine: LossyEngine
) -> None:
    await Connection.made(node, "ch")
    seen = await fill(node, 5)
    await fill(node, 1)
    connection = await Connection.made(node)
    engine.reads_wait = True
    subscribing = asyncio.create_task(connection.subscribe("ch", since=seen))
    await eventually(lambda: engine.waiting_reads)      # with 6 in the answer
    late = engine.waiting_reads.popleft()
    engine.reads_wait = False
    engine.streams.set_back("ch", 1)
    await node.publish("ch", b'"another 6"')
    await settle(node)
    late.set_result(None)
    assert [message.data for message in (await subscribing).missed or []] == [b'"another 6"']


async def test_what_was_read_before_the_link_broke_is_not_given_to_the_first_client(
    node: Node, engine: LossyEngine
) -> None:
    """This node had no place in the stream that it could have found set back."""
    seen = await fill(node, 5)
    await fill(node, 1)
    connection = await Connection.made(node)
    engine.reads_wait = True
    subscribing = asyncio.create_task(connection.subscribe("ch", since=seen))
    await eventually(lambda: engine.waiting_reads)
    node.on_link_lost(["ch"], CUT)
    late = engine.waiting_reads.popleft()
    engine.reads_wait = False
    engine.streams.set_back("ch", 1)
    await node.publish("ch", b'"another 6"')
    node.on_link_restored(["ch"])
    await settle(node)
    late.set_result(None)
    assert [message.data for message in (await subscribing).missed or []] == [b'"another 6"']


async def test_a_client_that_is_ahead_of_the_stream_does_not_wait_for_it(
    node: Node, engine: LossyEngine
) -> None:
    await Connection.made(node, "ch")
    await fill(node, 2)
    engine.late = True
    ahead = await fill(node, 3)
    connection = await Connection.made(node)
    engine.reads_wait = True
    subscribing = asyncio.create_task(connection.subscribe("ch", since=ahead))
    await eventually(lambda: engine.waiting_reads)
    engine.streams.set_back("ch", 2)
    engine.reads_wait = False
    engine.answer_read()
    async with asyncio.timeout(10):
        assert (await subscribing).missed is None


async def test_a_read_that_fails_does_not_spare_the_verification(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    await fill(node, 6)
    node.on_link_lost(["ch"], CUT)
    engine.late = True
    engine.streams.set_back("ch", 1)
    await fill(node, 2)
    engine.lose(2)
    engine.read_error = EngineUnavailableError("down")
    reads = engine.num_reads
    node.on_link_restored(["ch"])
    await eventually(lambda: engine.num_reads > reads)
    engine.read_error = None
    await settle(node)
    assert connection.unsubscribed == LOST


async def test_the_check_of_a_quiet_channel_learns_what_a_verification_needs(
    engine: LossyEngine
) -> None:
    """The first client missed nothing, so its read showed no message."""
    async with recovering_node(engine, position_check_interval=0.001) as node:
        top = await fill(node, 6)
        connection = await Connection.made(node)
        await connection.subscribe("ch", since=top)
        await eventually(lambda: _track(node).last is not None)
        node.on_link_lost(["ch"], CUT)
        engine.late = True
        engine.streams.set_back("ch", 1)
        await fill(node, 1)
        engine.lose(1)
        node.on_link_restored(["ch"])
        await settle(node)
        assert connection.unsubscribed == LOST


async def test_a_client_ahead_of_a_repair_that_is_under_way(
    node: Node, engine: LossyEngine
) -> None:
    """What that repair reads is older than what the client has."""
    await Connection.made(node, "ch")
    await fill(node, 2)
    engine.late = True
    engine.reads_wait = True
    repair = node.positions.repair(_track(node))
    await eventually(lambda: engine.waiting_reads)
    ahead = await fill(node, 3)
    connection = await Connection.made(node)
    subscribing = asyncio.create_task(connection.subscribe("ch", since=ahead))
    await eventually(lambda: len(engine.waiting_reads) == 2)
    engine.reads_wait = False
    older, newer = engine.waiting_reads
    newer.set_result(None)
    for _ in range(5):
        await asyncio.sleep(0)
    older.set_result(None)
    assert await repair
    result = await subscribing
    assert (result.missed, result.position) == ([], ahead)


# ---- a history that cannot be read ---------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
async def test_a_history_that_can_never_be_read_is_told(
    node: Node, engine: LossyEngine, error: type[Exception]
) -> None:
    connection = await Connection.made(node, "ch")
    queue = node.subscribe("ch")
    await queue
    await fill(node, 1)
    engine.late = True
    await fill(node, 2)
    engine.lose(1)
    engine.read_error = error("broken")
    engine.deliver_all()
    await settle(node)
    assert offsets(connection) == [1]
    assert connection.unsubscribed == LOST
    assert [message.offset for message in await queue.get_batch()] == [1]
    with pytest.raises(InsufficientStateError):
        await queue.get_batch()
    assert node.positions.get("ch") is None


async def test_a_channel_that_cannot_be_read_does_not_hold_up_the_others(
    node: Node, engine: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.positions.BATCH", 1)
    connection = await Connection.made(node, "bad", "good")
    real = engine.history_stream

    async def read(channel: str, *arguments: Any, **keywords: Any) -> HistoryPage:
        if channel == "bad":
            raise RuntimeError("broken")
        return await real(channel, *arguments, **keywords)

    engine.history_stream = read    # type: ignore[method-assign]
    told: list[Restoration] = []
    node.on_restoration(told.append)
    node.on_link_restored(["bad", "good"])
    await eventually(lambda: told)
    assert told == [Restoration(("good",), ("bad",), ())]
    assert connection.unsubscribed == [("bad", 2500, "insufficient state")]


async def test_a_client_that_recovers_while_the_repair_gives_up(
    node: Node, engine: LossyEngine
) -> None:
    await Connection.made(node, "ch")
    seen = await fill(node, 5)
    connection = await Connection.made(node)
    engine.reads_wait = True
    subscribing = asyncio.create_task(connection.subscribe("ch", since=seen))
    await eventually(lambda: engine.waiting_reads)
    engine.late = True
    engine.read_error = RuntimeError("broken")
    await fill(node, 3)
    engine.lose(1)
    engine.deliver_all()
    await settle(node)
    engine.read_error = None
    engine.reads_wait = False
    engine.answer_read()
    result = await subscribing
    assert result.position == StreamPosition(8, seen.epoch)
    assert [message.offset for message in result.missed or []] == [6, 7, 8]
    await fill(node, 1)
    engine.deliver_all()
    await settle(node)
    assert offsets(connection) == [9]


# ---- what the hub, an encoder or a subscriber raises ---------------------


class Failing:
    """Fails for what says so."""

    def __init__(self) -> None:
        self._encoder = JSONEncoder()

    def publication(self, channel: str, message: Message) -> bytes | None:
        if message.data == b'"bad"':
            raise RuntimeError("no frame")
        return self._encoder.publication(channel, message)


async def test_a_message_that_the_hub_cannot_deliver_is_told(
    node: Node, engine: LossyEngine
) -> None:
    connections._encodings[node] = node.hub.add_encoder(Failing())
    connection = await Connection.made(node, "ch")
    queue = node.subscribe("ch")
    await queue
    await fill(node, 1)
    await node.publish("ch", b'"bad"')
    assert connection.unsubscribed == LOST
    assert [message.offset for message in await queue.get_batch()] == [1]
    with pytest.raises(InsufficientStateError):
        await queue.get_batch()
    again = await Connection.made(node, "ch")
    await fill(node, 1)
    assert offsets(again) == [3]


async def test_a_message_that_a_repair_cannot_deliver_is_told(
    node: Node, engine: LossyEngine
) -> None:
    connections._encodings[node] = node.hub.add_encoder(Failing())
    connection = await Connection.made(node, "ch")
    await fill(node, 1)
    engine.late = True
    await node.publish("ch", b'"bad"')
    await fill(node, 3)
    engine.lose(2)
    engine.deliver_all()
    await settle(node)
    assert connection.unsubscribed == LOST
    assert offsets(connection) == [1]


async def test_one_that_cannot_be_told_does_not_keep_the_others_from_it(
    node: Node, engine: LossyEngine, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await Connection.made(node, "ch"), await Connection.made(node, "ch")
    queue = node.subscribe("ch")
    await queue

    def fail(channel: str) -> None:
        raise RuntimeError("the transport is broken")

    first.on_insufficient = fail    # type: ignore[method-assign]
    await fill(node, 1)
    engine.wipe()
    await fill(node, 1)
    await settle(node)
    assert second.unsubscribed == LOST
    assert queue.closed
    assert "the transport is broken" in caplog.text
    # It must not get what follows as if nothing were missing.
    assert not first.client.is_subscribed("ch")


# ---- link events ---------------------------------------------------------


async def test_a_link_that_breaks_again_is_not_told_restored(
    node: Node, engine: LossyEngine
) -> None:
    told: list[object] = []
    node.on_interruption(told.append)
    node.on_restoration(told.append)
    await Connection.made(node, "a", "b")
    engine.reads_wait = True
    node.on_link_lost(["a", "b"], CUT)
    node.on_link_restored(["a", "b"])
    await eventually(lambda: len(engine.waiting_reads) == 2)
    node.on_link_lost(["a"], CUT)
    engine.reads_wait = False
    engine.answer_read()
    engine.answer_read()
    await settle(node)
    assert told == [
        Interruption(("a", "b"), CUT), Interruption(("a",), CUT), Restoration(("b",), (), ())]
    node.on_link_restored(["a"])
    await settle(node)
    assert told[3:] == [Restoration(("a",), (), ())]


async def test_a_subscription_that_opens_lost_nothing(node: Node, engine: LossyEngine) -> None:
    """It has no position before it is open, so a broken link takes nothing from it."""
    told: list[Restoration] = []
    node.on_restoration(told.append)
    engine.reads_wait = True
    queue = node.subscribe("ch")
    await eventually(lambda: engine.waiting_reads)
    node.on_link_lost(["ch"], CUT)
    engine.late = True
    await fill(node, 2)
    engine.lose(2)
    engine.late = False
    engine.reads_wait = False
    node.on_link_restored(["ch"])
    await settle(node)
    engine.answer_read()
    await queue
    await fill(node, 1)
    assert [message.offset for message in await queue.get_batch()] == [3]
    assert told == [Restoration(("ch",), (), ())]


async def test_a_channel_that_everybody_left_is_not_told_lost(
    node: Node, engine: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.positions.BATCH", 1)
    told: list[Restoration] = []
    node.on_restoration(told.append)
    connection = await Connection.made(node, "a", "b")
    engine.reads_wait = True
    node.on_link_restored(["a", "b"])
    await eventually(lambda: engine.waiting_reads)
    await connection.client.unsubscribe("b")
    engine.reads_wait = False
    engine.answer_read()
    await settle(node)
    assert told == [Restoration(("a",), (), ("b",))]


# ---- the end -------------------------------------------------------------


async def test_a_shutdown_does_not_wait_for_a_history_that_cannot_be_read(
    engine: LossyEngine, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    node = recovering_node(engine)
    await node.run()
    queue = node.subscribe("ch")
    await queue
    await fill(node, 1)
    engine.read_error = EngineUnavailableError("down")
    node.on_link_lost(["ch"], CUT)
    node.on_link_restored(["ch"])
    reads = engine.num_reads
    await eventually(lambda: engine.num_reads > reads)
    async with asyncio.timeout(10):
        await node.shutdown(timeout=1000)
    assert [message.offset for message in await queue.get_batch()] == [1]
    assert await queue.get_batch() == []
    assert asyncio.all_tasks() == before
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_a_shutdown_during_the_reads(
    engine: LossyEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """A subscription opens, a client recovers, a channel is repaired and one checked."""
    before = asyncio.all_tasks()
    node = recovering_node(engine, position_check_interval=0.001)
    await node.run()
    await Connection.made(node, "gap", "quiet")
    seen = await fill(node, 3)
    engine.reads_wait = True
    engine.late = True
    for _ in range(2):
        await node.publish("gap", b"1")
    engine.lose(1)
    engine.deliver_all()
    queue = node.subscribe("ch")
    opening = asyncio.ensure_future(_opened(queue))
    connection = await Connection.made(node)
    recovering = asyncio.create_task(connection.subscribe("ch", since=seen))
    await eventually(lambda: len(engine.waiting_reads) >= 4)
    async with asyncio.timeout(10):
        await node.shutdown(timeout=1000)
        with pytest.raises((ClosedError, Disconnect)):
            await recovering
        with pytest.raises(ClosedError):
            await opening
        assert await queue.get_batch() == []
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert not node.positions._tracks
    assert not node.positions._tasks


async def _opened(queue: Awaitable[object]) -> object:
    return await queue


async def test_link_events_after_the_end_do_nothing(engine: LossyEngine) -> None:
    node = recovering_node(engine)
    told: list[object] = []
    node.on_interruption(told.append)
    node.on_restoration(told.append)
    await node.run()
    await node.shutdown()
    before = asyncio.all_tasks()
    node.on_link_lost(["ch"], CUT)
    node.on_link_restored(["ch"])
    assert asyncio.all_tasks() == before
    assert told == []


# ---- subscribing ---------------------------------------------------------


async def test_a_subscription_of_which_one_channel_fails_leaves_nothing(
    node: Node, engine: LossyEngine
) -> None:
    real = engine.subscribe

    def fail(channel: str, options: ChannelOptions | None = None) -> Awaitable[None]:
        if channel == "b":
            raise ConnectionError("no")
        return real(channel, options)

    engine.subscribe = fail     # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        node.subscribe("a", "b", callback=print)
    await settle(node)
    await eventually(lambda: not engine._wanted)
    assert node.hub.channels() == []
    assert node.positions.get("a") is None
    assert not node._readers._held


async def test_a_channel_listed_twice(node: Node, engine: LossyEngine) -> None:
    async with node.subscribe("ch", "ch") as queue:
        await fill(node, 2)
        assert [message.offset for message in await queue.get_batch()] == [1, 2]
    assert node.positions.get("ch") is None
    assert not engine._wanted


async def test_a_callback_that_publishes_into_its_channel(
    node: Node, engine: LossyEngine
) -> None:
    seen: list[int] = []

    def again(message: Message) -> None:
        seen.append(message.offset)
        if message.offset < 10:
            node.publish("ch", b"1")

    connection = await Connection.made(node, "ch")
    queue = node.subscribe("ch", callback=again)
    await fill(node, 1)
    await eventually(lambda: len(seen) == 10)
    assert seen == offsets(connection) == list(range(1, 11))
    queue.close()


@pytest.mark.parametrize("since", [True, False])
async def test_a_cancelled_subscribe_leaves_nothing(
    node: Node, engine: LossyEngine, since: bool
) -> None:
    seen = await fill(node, 3)
    engine.reads_wait = True
    connection = await Connection.made(node)
    subscribing = asyncio.create_task(
        connection.subscribe("ch", since=seen if since else None))
    await eventually(lambda: engine.waiting_reads)
    track = node.positions.get("ch")
    assert track is not None
    subscribing.cancel()
    await asyncio.wait([subscribing])
    assert subscribing.cancelled()
    assert not track.readings
    assert node.positions.get("ch") is None
    assert not engine._wanted
    engine.answer_read()
    # The one that watches over all is left.
    await eventually(lambda: len(node.positions._tasks) == 1)


async def test_what_waits_is_bounded_by_its_number_as_well(
    node: Node, engine: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages without much data take memory too."""
    monkeypatch.setattr("fanout.positions.HELD_LIMIT", 2000)
    await Connection.made(node, "ch")
    await fill(node, 1)
    engine.reads_wait = True
    node.on_link_restored(["ch"])
    await eventually(lambda: engine.waiting_reads)
    await fill(node, 45)
    track = node.positions.get("ch")
    assert track is not None
    assert 0 < len(track.held) < 20
    engine.reads_wait = False
    engine.answer_read()
    await settle(node)


async def test_tracks_are_freed_without_the_collector(
    node: Node, engine: LossyEngine
) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            connection = await Connection.made(node, "ch")
            queue = node.subscribe("ch")
            await queue
            seen = await fill(node, 2)
            engine.late = True
            await fill(node, 3)
            engine.lose(1)
            engine.deliver_all()
            await settle(node)
            engine.late = False
            other = await Connection.made(node)
            await other.subscribe("ch", since=seen)
            node.on_link_restored(["ch"])
            await settle(node)
            for one in (connection, other):
                one.client.disconnect()
            queue.close()
            await settle(node)
        del connection, queue, other, one
        assert node.positions.get("ch") is None
        for _ in range(5):
            await asyncio.sleep(0)
        # This node's: an exception of another test may hold frames, and in them others.
        assert [
            found for found in gc.get_objects()
            if isinstance(found, Track) and found._positions is node.positions
        ] == []
    finally:
        gc.enable()
