"""The core's hub and local queues beside their model, each on a loop of its own."""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from typing import Any

import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fanout._hub import Hub
from fanout._subscription import LocalQueue
from fanout.types import Message, Overflow
from tests.model import reference

CHANNELS = [f"ch{number}" for number in range(3)]
# Enough channels for a subscriber to need an index of them.
MANY = [f"many{number}" for number in range(40)]

channels = st.sampled_from(CHANNELS)
overflows = st.sampled_from(Overflow)
queue_sizes = st.integers(1, 6)

# What a callback does with a message, said by the message's data. It touches
# nothing but its own queue: which queue of a channel is called back first is
# not promised.
ACTIONS = [b"raise", b"close", b"unsubscribe", b"subscribe", b"publish", b"flush", b"leave-all"]
data = st.one_of(st.just(b"data"), st.sampled_from(ACTIONS))


class Side:
    """One implementation, and all that it let be seen."""

    def __init__(self, hub: Any, queue: Any) -> None:
        self.make_queue = queue
        self.loop = uvloop.new_event_loop()
        self.loop.set_exception_handler(self.on_report)
        self.vacated: set[str] = set()
        self.reports: Counter[str] = Counter()
        self.hub = hub(self.loop, self.vacated.update)
        self.queues: dict[int, Any] = {}
        self.called: dict[int, list[Message]] = {}
        self.readers: dict[int, asyncio.Task[list[Message]]] = {}

    def on_report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.reports[type(context["exception"]).__name__] += 1

    def add(self, number: int, size: int, overflow: Overflow, callback: bool) -> None:
        self.called[number] = []
        self.queues[number] = self.make_queue(
            self.hub, size, overflow,
            (lambda message: self.called_back(number, message)) if callback else None)
        if callback:
            self.hub.subscribe(self.queues[number], f"own{number}")

    def called_back(self, number: int, message: Message) -> None:
        self.called[number].append(message)
        queue = self.queues.get(number)
        if queue is None:
            return      # its last messages, after it was forgotten
        own_channel = f"own{number}"
        if message.data == b"raise":
            raise ValueError("the test's callback")
        if message.data == b"close":
            queue.close()
        elif message.data == b"unsubscribe":
            self.hub.unsubscribe(queue, message.channel)
        elif message.data == b"subscribe":
            self.hub.subscribe(queue, own_channel)
        elif message.data == b"publish":
            # The same message on both sides, though each makes its own.
            self.hub.broadcast(
                own_channel, Message(own_channel, b"data", uid=f"by {message.uid}", timestamp=0))
        elif message.data == b"flush":
            self.hub.flush()
        elif message.data == b"leave-all":
            self.hub.remove(queue)

    def tick(self) -> None:
        """Let the loop do what is waiting, and what that left for the next turn."""
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))

    def read(self, number: int, limit: int) -> Any:
        """What a read gives at once, or None when it has to wait."""
        task = self.loop.create_task(self.queues[number].get_batch(limit))
        self.loop.run_until_complete(asyncio.sleep(0))
        if not task.done():
            self.readers[number] = task
            return None
        return self.outcome(task)

    @staticmethod
    def outcome(task: asyncio.Task[list[Message]]) -> Any:
        error = task.exception()
        if error is None:
            return task.result()
        # Its frames hold the queue, in a cycle when one of them holds the error.
        traceback.clear_frames(error.__traceback__)
        return type(error)

    def finished_readers(self) -> dict[int, Any]:
        done = {number: task for number, task in self.readers.items() if task.done()}
        for number in done:
            del self.readers[number]
        return {number: self.outcome(task) for number, task in done.items()}

    def drain(self, number: int) -> list[Message]:
        """All that is queued; a callback's queue is emptied by the tick."""
        queue = self.queues[number]
        try:
            return list(iter(queue.get_nowait, None))
        except RuntimeError:
            return []

    def stop_reading(self, number: int) -> None:
        """A reader that waits would keep its queue."""
        self.readers.pop(number).cancel()
        self.tick()

    def close(self) -> None:
        while self.readers:
            self.stop_reading(next(iter(self.readers)))
        self.tick()
        self.queues.clear()     # the hub is left by those who are still subscribed
        assert self.hub.channels() == []
        self.loop.close()


class Fan(RuleBasedStateMachine):
    queues: Bundle[int] = Bundle("queues")

    def __init__(self) -> None:
        super().__init__()
        self.core = Side(Hub, LocalQueue)
        self.model = Side(reference.Hub, reference.LocalQueue)
        self.sides = (self.core, self.model)
        self.made = 0

    def both(self, operation: Any) -> Any:
        core, model = (operation(side) for side in self.sides)
        assert core == model
        return core

    # -- subscribers

    @rule(
        target=queues, size=queue_sizes, overflow=overflows, callback=st.booleans(),
        subscribed=st.sets(channels),
    )
    def add_queue(
        self, size: int, overflow: Overflow, callback: bool, subscribed: set[str]
    ) -> int:
        self.made += 1
        for side in self.sides:
            side.add(self.made, size, overflow, callback)
        for channel in sorted(subscribed):
            self.subscribe(self.made, channel)
        return self.made

    @rule(number=queues, channel=channels)
    def subscribe(self, number: int, channel: str) -> None:
        self.both(lambda side: side.hub.subscribe(side.queues[number], channel))

    @rule(number=queues)
    def subscribe_to_many(self, number: int) -> None:
        for channel in MANY:
            self.both(lambda side, channel=channel:
                      side.hub.subscribe(side.queues[number], channel))

    @rule(number=queues, channel=channels)
    def unsubscribe(self, number: int, channel: str) -> None:
        self.both(lambda side: side.hub.unsubscribe(side.queues[number], channel))

    @rule(number=queues, first=st.integers(0, 39), step=st.integers(1, 39))
    def unsubscribe_from_many(self, number: int, first: int, step: int) -> None:
        for channel in MANY[first::step]:
            self.both(lambda side, channel=channel:
                      side.hub.unsubscribe(side.queues[number], channel))

    @rule(number=queues)
    def remove(self, number: int) -> None:
        self.both(lambda side: sorted(side.hub.remove(side.queues[number])))

    @rule(number=queues, failed=st.booleans())
    def close_queue(self, number: int, failed: bool) -> None:
        for side in self.sides:
            side.queues[number].close(LookupError("the test's end") if failed else None)

    @rule(number=consumes(queues))
    def forget_queue(self, number: int) -> None:
        """Nobody holds it any more, but for the hub until the end of the tick."""
        for side in self.sides:
            if number in side.readers:
                side.stop_reading(number)
            del side.queues[number]
            side.tick()

    # -- messages

    @rule(channel=channels, data=data)
    def broadcast(self, channel: str, data: bytes) -> None:
        message = Message(channel, data)
        self.both(lambda side: side.hub.broadcast(channel, message))

    @rule(channel=st.sampled_from([*CHANNELS, MANY[0], MANY[20]]), count=st.integers(2, 10))
    def broadcast_burst(self, channel: str, count: int) -> None:
        for _ in range(count):
            self.broadcast(channel, b"data")

    @rule(channel=channels)
    def broadcast_to_be_answered(self, channel: str) -> None:
        """Callbacks publish to themselves as they are called back."""
        self.broadcast(channel, b"publish")
        self.flush()

    @rule(number=queues)
    def get_nowait(self, number: int) -> None:
        def get(side: Side) -> Any:
            try:
                return side.queues[number].get_nowait()
            except RuntimeError:
                return RuntimeError     # it has a callback

        self.both(get)

    @rule(number=queues)
    def drain(self, number: int) -> None:
        self.both(lambda side: side.drain(number))

    @rule(number=queues, limit=st.integers(0, 4))
    def read(self, number: int, limit: int) -> None:
        # A read lets the loop turn, which ends the tick.
        self.both(lambda side: side.read(number, limit) if number not in side.readers else None)

    @rule()
    def flush(self) -> None:
        for side in self.sides:
            side.hub.flush()

    @rule()
    def tick(self) -> None:
        for side in self.sides:
            side.tick()
        self.both(lambda side: side.finished_readers())
        self.both(lambda side: side.vacated)
        for side in self.sides:
            side.vacated.clear()

    # -- all that can be seen without changing anything

    @invariant()
    def same_queues(self) -> None:
        self.both(lambda side: {
            number: (
                len(queue), queue.closed, queue.num_received, queue.num_dropped,
                queue.num_wakeups, queue.num_channels, sorted(side.hub.subscriptions(queue)),
                [side.hub.is_subscribed(queue, channel) for channel in CHANNELS],
            )
            for number, queue in side.queues.items()
        })

    @invariant()
    def same_calls(self) -> None:
        self.both(lambda side: side.called)
        self.both(lambda side: side.reports)

    @invariant()
    def same_hub(self) -> None:
        self.both(lambda side: sorted(side.hub.channels()))
        self.both(lambda side: [side.hub.num_subscribers(channel) for channel in CHANNELS])

        def stats(side: Side) -> Any:
            stats = side.hub.stats()
            return (
                stats.num_channels, stats.num_subscriptions, stats.num_published,
                stats.num_delivered, stats.num_dropped, stats.num_sends, stats.bytes_sent,
            )

        self.both(stats)

    def teardown(self) -> None:
        for number in self.core.queues:
            self.drain(number)
        for side in self.sides:
            side.close()


def test_the_hub_is_like_its_model() -> None:
    run_state_machine_as_test(
        Fan,
        settings=settings(
            max_examples=150, stateful_step_count=50, deadline=None, report_multiple_bugs=False))
