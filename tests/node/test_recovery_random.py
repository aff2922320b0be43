"""Whatever happens in whatever order, nobody has a gap that it was not told of.

The test knows what the stream should be, message by message; what a reader
was given since it was last told to begin anew must be a part of that, up to
its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

import pytest

from fanout import (
    ChannelOptions,
    ClientError,
    ConnectReply,
    EngineUnavailableError,
    InsufficientStateError,
    Node,
    StreamPosition,
    Subscription,
)
from tests.node.connections import Connection
from tests.node.engines import LossyEngine

CUT = ConnectionError("cut")
Given = list[tuple[int, int]]       # offset and data


class Reader:
    """A client that keeps what it was given, and comes back with its position."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.connection: Connection | None = None
        self.joining: asyncio.Task[None] | None = None
        self.position: StreamPosition | None = None
        self.base = 0
        self.given: Given = []
        self.times_set_back = 0

    async def join(self) -> None:
        self.times_set_back = self.world.times_set_back
        connection = await Connection.made(self.world.node)
        try:
            result = await connection.subscribe("ch", since=self.position, join_leave=True)
        except BaseException:
            connection.client.disconnect()
            raise
        assert result.position is not None
        assert result.position.epoch
        self.connection = connection
        if result.missed is None:
            self.begin(result.position)
            return
        for message in result.missed:
            self.take(message.offset, int(message.data))
        assert self.position == result.position

    def begin(self, position: StreamPosition) -> None:
        self.position = position
        self.base = position.offset
        self.given = []

    def take(self, offset: int, data: int) -> None:
        assert self.position is not None
        assert offset == self.position.offset + 1, f"{offset} after {self.position}"
        self.position = StreamPosition(offset, self.position.epoch)
        self.given.append((offset, data))

    def read(self) -> None:
        if self.connection is None:
            return
        for push in self.connection.pushes():
            if "pub" in push:
                self.take(push["pub"]["offset"], push["pub"]["data"])
        if self.connection.unsubscribed:
            assert self.connection.unsubscribed == [("ch", 2500, "insufficient state")]
            self.leave()

    def leave(self) -> None:
        assert self.connection is not None
        self.connection.client.disconnect()
        self.connection = None
        if self.times_set_back != self.world.times_set_back:
            # With an epoch that is the same, nobody could tell its position from another.
            self.position = None

    def stream_was_set_back(self, offset: int) -> None:
        if self.joining is not None:
            self.joining.cancel()
            self.position = None
        elif self.connection is None and self.position and self.position.offset > offset:
            self.position = None

    def check(self) -> None:
        assert self.position is not None
        assert self.position.offset == len(self.world.stream)
        assert [data for _, data in self.given] == self.world.stream[self.base:]


class Local:
    """An in-process subscription."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.subscription: Subscription | None = None
        self.opening: asyncio.Task[Subscription] | None = None
        self.opened_at = 0      # what is published from here on must come
        self.is_open = False
        self.given: Given = []

    def join(self) -> None:
        self.subscription = self.world.node.subscribe("ch", *self.world.rng.choice([(), ("ch",)]))
        self.opening = asyncio.ensure_future(_opened(self.subscription))
        self.is_open = False
        self.given = []

    def look(self) -> None:
        if self.opening is not None and self.opening.done():
            if self.opening.cancelled() or self.opening.exception() is not None:
                if self.subscription is not None:
                    self.leave()
            elif self.subscription is not None:
                self.is_open = True
                self.opened_at = len(self.world.stream)
            self.opening = None

    async def read(self) -> None:
        if self.subscription is None:
            return
        while (message := self.subscription.get_nowait()) is not None:
            assert not self.given or message.offset == self.given[-1][0] + 1
            self.given.append((message.offset, int(message.data)))
        if self.subscription.closed:
            if self.is_open:
                with pytest.raises(InsufficientStateError):
                    await self.subscription.get_batch()
            self.leave()

    def leave(self) -> None:
        assert self.subscription is not None
        self.subscription.close()
        self.subscription = None
        self.is_open = False

    def stream_was_set_back(self, offset: int) -> None:
        self.opened_at = min(self.opened_at, offset)

    def check(self) -> None:
        if not self.is_open:
            return
        stream = self.world.stream
        if self.given:
            first, last = self.given[0][0], self.given[-1][0]
            assert first <= self.opened_at + 1
            assert last == len(stream)
            assert [data for _, data in self.given] == stream[first - 1:]
        else:
            assert self.opened_at == len(stream)


async def _opened(subscription: Subscription) -> Subscription:
    return await subscription


class World:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.engine = LossyEngine()
        kind = ChannelOptions(
            recover=True, history_size=50, history_lifetime=600,
            presence=seed % 2 == 1, join_leave=seed % 2 == 1)
        self.node = Node(
            self.engine, options=kind, recovery_limit=self.rng.choice([20, 20, 0]),
            position_check_interval=self.rng.choice([0, 0.0001]))
        self.node.on_connect(lambda event: ConnectReply(user="u"))
        self.node.on_subscribe(lambda client, event: None)
        self.readers = [Reader(self) for _ in range(4)]
        self.locals = [Local(self) for _ in range(3)]
        self.stream: list[int] = []
        self.times_set_back = 0
        self.link = "up"        # then "cut", "back" (delivers, and has not told it yet)
        self.number = 0

    def publish(self, count: int = 1) -> None:
        for _ in range(count):
            self.number += 1
            self.stream.append(self.number)
            self.node.publish("ch", str(self.number).encode())

    # What can happen.

    async def many(self) -> None:
        self.publish(70)

    async def one(self) -> None:
        self.publish()

    async def deliver(self) -> None:
        self.engine.deliver(self.rng.randint(1, 5))

    async def double(self) -> None:
        arriving = self.engine.arriving
        arriving.extend(list(arriving)[-3:])

    async def lose(self) -> None:
        self.engine.lose(self.rng.randint(1, 3))

    async def answer(self) -> None:
        self.engine.answer_read()

    async def answer_out_of_order(self) -> None:
        waiting = self.engine.waiting_reads
        self.rng.shuffle(waiting)
        self.engine.answer_read()

    async def fail_a_read(self) -> None:
        waiting = [gate for gate in self.engine.waiting_reads if not gate.done()]
        if waiting:
            self.rng.choice(waiting).set_exception(EngineUnavailableError("gone"))

    async def turn(self) -> None:
        await asyncio.sleep(0)

    async def break_link(self) -> None:
        self.engine.arriving.clear()
        self.engine.cut = True
        if self.link != "cut":
            self.link = "cut"
            self.node.on_link_lost(["ch"], CUT)

    async def mend_link(self) -> None:
        if self.link == "cut":
            self.link = "back"
            self.engine.cut = False

    async def tell_link(self) -> None:
        if self.link != "cut":      # also when it was not broken at all
            self.link = "up"
            self.node.on_link_restored(["ch"])

    async def reads_fail(self) -> None:
        self.engine.read_error = self.rng.choice(
            [EngineUnavailableError("down"), RuntimeError("out of order")])

    async def reads_work(self) -> None:
        self.engine.read_error = None

    async def wipe(self) -> None:
        self.engine.wipe()
        self.stream = []
        for local in self.locals:
            # It must be told, or the end finds something else in what it was given.
            local.opened_at = 0

    async def set_back(self) -> None:
        track = self.node.positions.get("ch")
        if self.link != "cut" or (track is not None and track.offset and track.last is None):
            return      # nobody could tell
        for reader in self.readers:
            reader.read()
        count = self.rng.randint(1, 4)
        self.engine.streams.set_back("ch", count)
        del self.stream[-count:]
        self.times_set_back += 1
        for one in (*self.readers, *self.locals):
            one.stream_was_set_back(len(self.stream))

    async def join(self) -> None:
        out = [r for r in self.readers if r.connection is None and r.joining is None]
        if out:
            reader = self.rng.choice(out)
            reader.joining = asyncio.create_task(reader.join())

    async def cancel(self) -> None:
        joining = [r.joining for r in self.readers if r.joining is not None]
        if joining:
            self.rng.choice(joining).cancel()

    async def read(self) -> None:
        self.rng.choice(self.readers).read()
        await self.rng.choice(self.locals).read()

    async def leave(self) -> None:
        reader = self.rng.choice(self.readers)
        reader.read()
        if reader.connection is not None:
            reader.leave()

    async def join_local(self) -> None:
        out = [one for one in self.locals if one.subscription is None and one.opening is None]
        if out:
            self.rng.choice(out).join()

    async def leave_local(self) -> None:
        local = self.rng.choice(self.locals)
        if local.subscription is not None:
            local.leave()

    def look(self) -> None:
        """What tasks of the readers came to."""
        for reader in self.readers:
            if reader.joining is not None and reader.joining.done():
                if not reader.joining.cancelled():
                    error = reader.joining.exception()
                    if not isinstance(error, (ClientError, EngineUnavailableError, RuntimeError)):
                        reader.joining.result()
                reader.joining = None
        for local in self.locals:
            local.look()

    async def settle(self) -> None:
        """No read waits, and nothing is repaired or joined any more."""
        async with asyncio.timeout(20):
            while (
                self.node._outages.unsettled
                or self.node._background
                or any(reader.joining for reader in self.readers)
                or any(local.opening for local in self.locals)
                or any(track.repairing for track in self.node.positions._tracks.values())
            ):
                self.engine.answer_read()
                self.look()
                await asyncio.sleep(0)

    async def calm_down(self) -> None:
        """Everything works in the end, and everything arrives."""
        self.engine.reads_wait = False
        self.engine.read_error = None
        await self.mend_link()
        await self.tell_link()
        await self.settle()
        self.publish()
        self.engine.deliver_all()
        await self.tell_link()
        await self.settle()


WEIGHTS = {
    "one": 20, "deliver": 25, "read": 15, "answer": 15, "turn": 25, "join": 8, "leave": 4,
    "lose": 2, "double": 2, "many": 0.4, "wipe": 0.3, "break_link": 1.5, "mend_link": 3,
    "tell_link": 3, "set_back": 1.5, "reads_fail": 0.7, "reads_work": 3, "fail_a_read": 1,
    "answer_out_of_order": 2, "cancel": 1, "join_local": 5, "leave_local": 1,
}


@pytest.mark.parametrize("seed", range(150))
async def test_whatever_happens_in_whatever_order(
    seed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fanout.positions.FIRST_DELAY", 0.0001)
    monkeypatch.setattr("fanout.positions.LAST_DELAY", 0.0002)
    caplog.set_level(logging.CRITICAL, "fanout")    # all that is told is of no interest here
    before = asyncio.all_tasks()
    world = World(seed)
    names, weights = list(WEIGHTS), list(WEIGHTS.values())
    async with world.node as node:
        world.engine.late = True
        world.engine.reads_wait = True
        for _ in range(500):
            await getattr(world, world.rng.choices(names, weights)[0])()
            world.look()
        if seed % 10 == 9:
            world.engine.cut = False    # and shut down in the middle of it
        else:
            await world.calm_down()
            for reader in world.readers:
                reader.read()
                if reader.connection is None:
                    await reader.join()
                    reader.read()
                reader.check()
            for local in world.locals:
                await local.read()
                local.check()
            for reader in world.readers:
                reader.leave()
            for local in world.locals:
                if local.subscription is not None:
                    local.leave()
            await world.settle()
            assert node.positions.get("ch") is None
            assert not world.engine._wanted
    tasks = [one.joining for one in world.readers] + [one.opening for one in world.locals]
    for task in tasks:
        if task is not None:
            with contextlib.suppress(Exception):
                await task
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert not node.positions._tasks
