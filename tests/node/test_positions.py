"""Recovery: no gap, no duplicate and no reorder that nobody is told of."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from fanout import (
    ChannelOptions,
    EngineUnavailableError,
    InsufficientStateError,
    Interruption,
    Message,
    Node,
    Restoration,
    StreamPosition,
)
from tests.node.connections import Connection
from tests.node.engines import LossyEngine, eventually
from tests.node.recovering import OPTIONS, fill, offsets, recovering_node


@pytest.fixture
def engine() -> LossyEngine:
    return LossyEngine()


@pytest.fixture
async def node(engine: LossyEngine) -> AsyncIterator[Node]:
    async with recovering_node(engine) as node:
        yield node


async def settle(node: Node) -> None:
    """Let repairs that can end do so."""
    track = node.positions.get("ch")
    if track is not None and track.repairing is not None:
        await asyncio.wait([track.repairing])


# ---- subscribing ---------------------------------------------------------


async def test_a_new_client_is_told_where_it_is(node: Node) -> None:
    top = await fill(node, 3)
    connection = await Connection.made(node)
    result = await connection.subscribe("ch")
    assert result.position == top
    assert result.missed is None
    await fill(node, 1)
    assert offsets(connection) == [4]


async def test_only_the_first_subscriber_reads_the_stream(
    node: Node, engine: LossyEngine
) -> None:
    await fill(node, 3)
    for _ in range(5):
        await Connection.made(node, "ch")
    assert engine.num_reads == 1


async def test_a_client_that_comes_back_gets_what_it_missed(node: Node) -> None:
    seen = await fill(node, 3)
    await fill(node, 4)
    connection = await Connection.made(node)
    result = await connection.subscribe("ch", since=seen)
    assert [message.offset for message in result.missed or []] == [4, 5, 6, 7]
    assert result.position == StreamPosition(7, seen.epoch)
    await fill(node, 1)
    assert offsets(connection) == [8]


async def test_a_client_that_missed_nothing_is_told_so(node: Node) -> None:
    seen = await fill(node, 3)
    connection = await Connection.made(node)
    assert (await connection.subscribe("ch", since=seen)).missed == []


@pytest.mark.parametrize(
    ("offset", "epoch"), [(3, "other"), (99, ""), (0, ""), (61, "other")])
async def test_what_is_not_kept_whole_is_not_recovered(
    node: Node, offset: int, epoch: str
) -> None:
    top = await fill(node, 60)
    connection = await Connection.made(node)
    result = await connection.subscribe("ch", since=StreamPosition(offset, epoch or top.epoch))
    assert result.missed is None
    assert result.position == top


async def test_more_than_the_limit_is_not_recovered(node: Node) -> None:
    seen = await fill(node, 1)
    await fill(node, 20)
    connection = await Connection.made(node)
    assert len((await connection.subscribe("ch", since=seen)).missed or []) == 20
    connection = await Connection.made(node)
    await fill(node, 1)
    assert (await connection.subscribe("ch", since=seen)).missed is None


async def test_messages_that_arrive_during_the_read_are_neither_lost_nor_doubled(
    node: Node, engine: LossyEngine
) -> None:
    other = await Connection.made(node, "ch")
    seen = await fill(node, 2)
    connection = await Connection.made(node)
    engine.reads_wait = True
    subscribing = asyncio.create_task(connection.subscribe("ch", since=seen))
    await eventually(lambda: engine.waiting_reads)
    await fill(node, 3)         # after the answer was made, before it arrives
    engine.answer_read()
    result = await subscribing
    assert [message.offset for message in result.missed or []] == [3, 4, 5]
    await fill(node, 1)
    assert offsets(connection) == [6]
    assert offsets(other) == [1, 2, 3, 4, 5, 6]


async def test_what_the_history_shows_first_arrives_once(
    node: Node, engine: LossyEngine
) -> None:
    """The answer of the history overtakes the messages."""
    await Connection.made(node, "ch")
    seen = await fill(node, 2)
    engine.late = True
    await fill(node, 3)
    connection = await Connection.made(node)
    result = await connection.subscribe("ch", since=seen)
    assert result.missed == []      # 3 to 5 come to everybody, and to this one as well
    assert result.position == seen
    engine.deliver_all()
    assert offsets(connection) == [3, 4, 5]


async def test_a_client_that_is_ahead_of_this_node(node: Node, engine: LossyEngine) -> None:
    """It came from a node that had more by then."""
    slow = await Connection.made(node, "ch")
    await fill(node, 2)
    engine.late = True
    ahead = await fill(node, 3)
    connection = await Connection.made(node)
    result = await connection.subscribe("ch", since=ahead)
    assert result.missed == []
    assert result.position == ahead
    engine.deliver_all()
    engine.late = False
    await fill(node, 1)
    assert offsets(connection) == [6]
    assert offsets(slow) == [1, 2, 3, 4, 5, 6]


async def test_a_reconnect_storm_reads_the_history_once(node: Node, engine: LossyEngine) -> None:
    await Connection.made(node, "ch")
    seen = await fill(node, 2)
    await fill(node, 3)
    engine.num_reads = 0
    engine.reads_wait = True
    connections = [await Connection.made(node) for _ in range(50)]
    tasks = [
        asyncio.create_task(connection.subscribe("ch", since=seen))
        for connection in connections
    ]
    await eventually(lambda: engine.waiting_reads)
    engine.reads_wait = False
    await asyncio.sleep(0)
    engine.answer_read()
    for result in await asyncio.gather(*tasks):
        assert [message.offset for message in result.missed] == [3, 4, 5]
    assert engine.num_reads == 1


# ---- gaps ------------------------------------------------------------------


async def test_a_lost_message_is_read_from_the_history(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    queue = node.subscribe("ch")
    await queue
    await fill(node, 2)
    engine.late = True
    await fill(node, 4)
    engine.lose(2)
    engine.deliver_all()
    await settle(node)
    assert offsets(connection) == [1, 2, 3, 4, 5, 6]
    assert [message.offset for message in await queue.get_batch()] == [1, 2, 3, 4, 5, 6]
    assert connection.unsubscribed == []


async def test_a_message_that_comes_twice_is_delivered_once(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    engine.late = True
    await fill(node, 3)
    engine.arriving.extend(list(engine.arriving))
    engine.deliver_all()
    assert offsets(connection) == [1, 2, 3]


async def test_what_arrives_during_a_repair_waits_for_it(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch")
    await fill(node, 1)
    engine.late = True
    engine.reads_wait = True
    await fill(node, 2)
    engine.lose(1)
    engine.deliver_all()                            # 3: shows that 2 is missing
    await eventually(lambda: engine.waiting_reads)
    await fill(node, 3)
    engine.deliver_all()                            # 4 to 6 arrive before the answer
    assert offsets(connection) == [1]
    engine.answer_read()
    await settle(node)
    assert offsets(connection) == [2, 3, 4, 5, 6]


async def test_a_second_gap_during_a_repair(node: Node, engine: LossyEngine) -> None:
    connection = await Connection.made(node, "ch")
    await fill(node, 1)
    engine.late = True
    engine.reads_wait = True
    await fill(node, 2)
    engine.lose(1)
    engine.deliver_all()
    await eventually(lambda: engine.waiting_reads)
    await fill(node, 3)
    engine.lose(2)
    engine.deliver_all()
    engine.reads_wait = False
    engine.answer_read()
    await settle(node)
    assert offsets(connection) == [1, 2, 3, 4, 5, 6]


async def test_a_gap_that_is_not_kept_ends_the_subscriptions(
    node: Node, engine: LossyEngine
) -> None:
    connection = await Connection.made(node, "ch", "other")
    queue = node.subscribe("ch")
    await queue
    seen = await fill(node, 1)
    engine.late = True
    await fill(node, 60)
    engine.lose(59)
    engine.deliver_all()
    await settle(node)
    assert connection.unsubscribed == [("ch", 2500, "insufficient state")]
    assert connection.client.channels == ["other"]
    assert offsets(connection) == [1]
    assert [message.offset for message in await queue.get_batch()] == [1]
    with pytest.raises(InsufficientStateError, match="ch"):
        await queue.get_batch()
    result = await connection.subscribe("ch", since=seen)
    assert result.missed is None
    assert result.position == StreamPosition(61, seen.epoch)
    engine.late = False
    await fill(node, 1)
    assert offsets(connection) == [62]


async def test_another_epoch_ends_the_subscriptions(node: Node, engine: LossyEngine) -> None:
    connection = await Connection.made(node, "ch")
    seen = await fill(node, 7)
    engine.wipe()
    await fill(node, 3)
    await settle(node)
    assert offsets(connection) == [1, 2, 3, 4, 5, 6, 7]
    assert connection.unsubscribed == [("ch", 2500, "insufficient state")]
    result = await connection.subscribe("ch", since=seen)
    assert result.missed is None
    assert result.position is not None
    assert result.position.offset == 3
    assert result.position.epoch != seen.epoch


async def test_what_the_lost_stream_still_sends_is_not_delivered(
    node: Node, engine: LossyEngine
) -> None:
    """Messages of the old epoch that arrive after the new one was read."""
    connection = await Connection.made(node, "ch")
    await fill(node, 2)
    engine.late = True
    old = await fill(node, 2)
    engine.wipe()
    new = await fill(node, 1)
    assert new.epoch != old.epoch
    engine.deliver_all()
    await settle(node)
    await eventually(lambda: connection.unsubscribed)
    assert offsets(connection) == [1, 2, 3, 4]
    engine.late = False
    again = await connection.subscribe("ch")
    assert again.position == new
    await fill(node, 1)
    await settle(node)
    assert offsets(connection) == [2]


async def test_a_history_that_cannot_be_read_yet_is_read_later(
    node: Node, engine: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.positions.FIRST_DELAY", 0.001)
    connection = await Connection.made(node, "ch")
    await fill(node, 1)
    engine.late = True
    engine.read_error = EngineUnavailableError("down")
    await fill(node, 2)
    engine.lose(1)
    engine.deliver_all()
    reads = engine.num_reads
    await eventually(lambda: engine.num_reads > reads + 3)
    assert offsets(connection) == [1]
    engine.read_error = None
    await settle(node)
    assert offsets(connection) == [2, 3]


async def test_what_is_held_is_bounded(
    node: Node, engine: LossyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.positions.HELD_LIMIT", 5)
    connection = await Connection.made(node, "ch")
    await fill(node, 1)
    engine.late = True
    engine.reads_wait = True
    await fill(node, 2)
    engine.lose(1)
    engine.deliver_all()
    await eventually(lambda: engine.waiting_reads)
    await fill(node, 15)
    engine.deliver_all()
    track = node.positions.get("ch")
    assert track is not None
    assert len(track.held) <= 5
    engine.reads_wait = False
    engine.answer_read()
    await settle(node)
    assert offsets(connection) == list(range(1, 19))


# ---- the engine's link -----------------------------------------------------


async def test_after_the_link_is_back_what_was_missed_is_delivered_and_told(
    node: Node, engine: LossyEngine
) -> None:
    told: list[object] = []
    node.on_interruption(told.append)
    node.on_restoration(told.append)
    options = {"ch": OPTIONS, "full": OPTIONS, "plain": ChannelOptions()}
    node._options = options.get
    connection = await Connection.made(node, "ch", "full", "plain")
    for channel in options:
        await node.publish(channel, b"1")
    connection.pushes()
    error = ConnectionError("cut")
    node.on_link_lost(["ch", "full", "plain"], error)
    await eventually(lambda: told)
    assert told == [Interruption(("ch", "full", "plain"), error)]
    engine.late = True
    await fill(node, 3)
    for _ in range(60):
        await node.publish("full", b"1")
    engine.lose(100)
    engine.late = False
    node.on_link_restored(["ch", "full", "plain"])
    await eventually(lambda: len(told) == 2)
    assert told[1] == Restoration(whole=("ch",), lost=("full",), unwatched=("plain",))
    assert offsets(connection) == [2, 3, 4]
    assert connection.unsubscribed == [("full", 2500, "insufficient state")]


async def test_a_stream_that_was_set_back_is_noticed(node: Node, engine: LossyEngine) -> None:
    """The server came back with older data and has used the offsets again."""
    connection = await Connection.made(node, "ch")
    await fill(node, 5)
    history = engine._history
    kept = await engine.history_stream("ch")
    for number in (4, 5):
        assert kept.messages[number - 1].offset == number
    await fill(node, 1)
    connection.pushes()
    # As if 6 had been lost and another message had become the 6th.
    history.remove("ch")
    engine.late = True
    real = engine.history_stream

    async def set_back(channel: str, since: StreamPosition | None = None,
                       limit: int | None = None, reverse: bool = False) -> object:
        page = await real(channel, since, limit, reverse)
        if since is not None and since.offset == 5:
            page.messages.insert(0, Message("ch", b"another", offset=6))
        return page

    engine.history_stream = set_back    # type: ignore[method-assign,assignment]
    node.on_link_restored(["ch"])
    await eventually(lambda: connection.unsubscribed)
    assert connection.unsubscribed == [("ch", 2500, "insufficient state")]


async def test_a_restored_link_reads_in_batches(node: Node, engine: LossyEngine) -> None:
    names = [f"ch{number}" for number in range(600)]
    queue = node.subscribe(*names)
    await queue
    for name in names:
        await node.publish(name, b"1")
    running = most = 0
    real = engine.history_stream

    async def counted(*arguments: object, **keywords: object) -> object:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        try:
            return await real(*arguments, **keywords)   # type: ignore[arg-type]
        finally:
            running -= 1

    engine.history_stream = counted     # type: ignore[method-assign,assignment]
    assert await node.positions.restore(names) == (names, [])
    assert 1 < most <= 256


# ---- quiet channels --------------------------------------------------------


async def test_a_lost_last_message_is_found_by_the_periodic_check(engine: LossyEngine) -> None:
    node = Node(engine, options=OPTIONS, position_check_interval=0.01)
    async with node:
        queue = node.subscribe("ch")
        await queue
        await fill(node, 1)
        engine.late = True
        await fill(node, 2)
        engine.lose(2)
        found: list[int] = []
        async with asyncio.timeout(10):
            while len(found) < 3:
                found += [message.offset for message in await queue.get_batch()]
        assert found == [1, 2, 3]


async def test_busy_channels_are_not_checked(node: Node, engine: LossyEngine) -> None:
    connection = await Connection.made(node, "ch")
    assert connection.client.channels == ["ch"]
    watching = asyncio.create_task(node.positions.watch_over(0.001))
    engine.num_reads = 0
    for _ in range(20):
        await fill(node, 1)
        await asyncio.sleep(0)
    track = node.positions.get("ch")
    assert track is not None
    assert not track.quiet or engine.num_reads == 0
    watching.cancel()
    await asyncio.wait([watching])


async def test_no_track_is_kept_without_subscribers(node: Node) -> None:
    connection = await Connection.made(node, "ch")
    queue = node.subscribe("ch")
    await queue
    await connection.client.unsubscribe("ch")
    assert node.positions.get("ch") is not None
    queue.close()
    assert node.positions.get("ch") is None


@pytest.mark.parametrize(
    "options",
    [
        ChannelOptions(history_size=5, history_lifetime=60),
        ChannelOptions(recover=True),
        ChannelOptions(recover=True, history_size=5, history_lifetime=60, wildcards=True),
    ],
    ids=["not-asked-for", "no-history", "wildcard"],
)
async def test_channels_that_do_not_recover_have_no_track(
    node: Node, options: ChannelOptions
) -> None:
    channel = "ch.*" if options.wildcards else "ch"
    assert node.positions.watch(channel, options) is None


# ---- everything together ---------------------------------------------------


class Reader:
    """A client that keeps what it was given, and comes back with its position."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.position: StreamPosition | None = None
        self.told = 0           # how often it was told that it lost something
        self.seen: list[int] = []

    async def join(self, node: Node) -> None:
        self.connection = connection = await Connection.made(node)
        result = await connection.subscribe("ch", since=self.position)
        assert result.position is not None
        if result.missed is None:
            self.told += 1
            self.seen = []
            self.position = result.position
            return
        for message in result.missed:
            self._take(message.offset)
        assert self.position == result.position

    def read(self) -> None:
        """Take what arrived; a reader that was told to begin anew is out then."""
        if self.connection is None:
            return
        for offset in offsets(self.connection):
            self._take(offset)
        if self.connection.unsubscribed:
            assert self.connection.unsubscribed == [("ch", 2500, "insufficient state")]
            self.leave()

    def leave(self) -> None:
        assert self.connection is not None
        self.connection.client.disconnect()
        self.connection = None

    def _take(self, offset: int) -> None:
        assert self.position is not None
        assert offset == self.position.offset + 1, f"{offset} after {self.position}"
        self.position = StreamPosition(offset, self.position.epoch)
        self.seen.append(offset)


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_happens_no_gap_goes_unnoticed(
    node: Node, engine: LossyEngine, seed: int
) -> None:
    rng = random.Random(seed)
    engine.late = True
    engine.reads_wait = True
    readers = [Reader() for _ in range(4)]
    joining: list[tuple[Reader, asyncio.Task[None]]] = []
    wipes = 0
    for _ in range(400):
        action = rng.choices(
            ["publish", "deliver", "lose", "read", "answer", "join", "leave", "turn",
             "restore", "wipe", "many"],
            [20, 25, 2, 15, 15, 8, 5, 20, 2, 0.3, 0.4])[0]
        busy = [reader for reader, _ in joining]
        if action == "publish":
            await node.publish("ch", b"1")
        elif action == "many":
            await fill(node, 70)
        elif action == "deliver":
            engine.deliver(rng.randint(1, 5))
        elif action == "lose":
            engine.lose(rng.randint(1, 3))
        elif action == "answer":
            engine.answer_read()
        elif action == "restore":
            node.on_link_restored(["ch"])
        elif action == "wipe":
            engine.wipe()
            wipes += 1
        elif action == "turn":
            await asyncio.sleep(0)
        elif action == "join":
            out = [r for r in readers if r.connection is None and r not in busy]
            if out:
                reader = rng.choice(out)
                joining.append((reader, asyncio.create_task(reader.join(node))))
        else:
            inside = [r for r in readers if r.connection is not None and r not in busy]
            if inside:
                reader = rng.choice(inside)
                reader.read()
                if action == "leave" and reader.connection is not None:
                    reader.leave()
        for reader, task in list(joining):
            if task.done():
                task.result()
                joining.remove((reader, task))
    # Everything arrives in the end, and one message more shows what is missing.
    engine.reads_wait = False
    for gate in engine.waiting_reads:
        if not gate.done():
            gate.set_result(None)
    for _, task in joining:
        await task
    top = await node.publish("ch", b"1")
    engine.deliver_all()
    node.on_link_restored(["ch"])
    while node._outages.unsettled:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)
    for reader in readers:
        reader.read()
        if reader.connection is None:
            await reader.join(node)
            reader.read()
        assert reader.position == top
