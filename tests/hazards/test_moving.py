"""What is walked may change under the walk: from every place where Python runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._subscription import LocalQueue
from fanout.types import ClientInfo, Message, Overflow
from tests.core.objects import message_with
from tests.hazards.connections import MadeTransport, frame, frames_in, publish, turn

MANY = 40


class Crowd:
    """Many outboxes and queues of one channel, one of which is the actor."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.transports: list[MadeTransport] = []
        self.outboxes: list[Outbox] = []
        self.queues: list[LocalQueue] = []
        self.slow = 0
        self.on_slow_action: Callable[[], object] | None = None
        self.on_unencodable_action: Callable[[], object] | None = None
        for _ in range(MANY):
            self.add()
        self.calls = 0

    def on_slow(self) -> None:
        self.slow += 1
        if self.on_slow_action is not None:
            action, self.on_slow_action = self.on_slow_action, None
            action()

    def on_unencodable(self, channel: str) -> None:
        if self.on_unencodable_action is not None:
            action, self.on_unencodable_action = self.on_unencodable_action, None
            action()

    def add(self) -> None:
        self.transports.append(MadeTransport())
        self.outboxes.append(Outbox(self.hub, self.transports[-1], self, 0, 1 << 20))
        self.queues.append(LocalQueue(self.hub, 10_000, Overflow.CLOSE))
        self.hub.subscribe(self.outboxes[-1], "ch")
        self.hub.subscribe(self.queues[-1], "ch")

    # -- what may happen

    def unsubscribe_most(self) -> None:
        for each in [*self.outboxes[1:], *self.queues[1:]]:
            self.hub.unsubscribe(each, "ch")

    def unsubscribe_all(self) -> None:
        for each in [*self.outboxes, *self.queues]:
            self.hub.unsubscribe(each, "ch")

    def subscribe_many(self) -> None:
        for _ in range(200):
            self.add()

    def detach_all(self) -> None:
        for each in self.outboxes:
            each.detach()

    def close_all(self) -> None:
        for queue in self.queues:
            queue.close()
        for transport in self.transports:
            transport.closing = True

    def pause_all(self) -> None:
        for each in self.outboxes:
            each.pause()

    def free_all(self) -> None:
        self.outboxes.clear()
        self.queues.clear()

    def publish_and_flush(self) -> None:
        publish(self.hub, "ch", b"nested")
        for each in self.outboxes:
            each.write(frame(b"nested reply"))
        self.hub.flush()

    def another_channel(self) -> None:
        for each in self.outboxes:
            self.hub.unsubscribe(each, "ch")
        for number in range(300):       # the channels' table is built anew
            self.hub.subscribe(self.outboxes[0], f"more{number}")
        for each in self.outboxes:
            self.hub.subscribe(each, "ch")


ACTIONS = [
    Crowd.unsubscribe_most, Crowd.unsubscribe_all, Crowd.subscribe_many, Crowd.detach_all,
    Crowd.close_all, Crowd.pause_all, Crowd.free_all, Crowd.publish_and_flush,
    Crowd.another_channel,
]


@pytest.fixture
def crowd(hub: Hub) -> Crowd:
    return Crowd(hub)


async def still_works(crowd: Crowd) -> None:
    """Whatever happened, a new subscriber gets what is published from now on, in order."""
    await turn()
    transport, queue = MadeTransport(), LocalQueue(crowd.hub, 100, Overflow.CLOSE)
    outbox = Outbox(crowd.hub, transport, crowd, 0, 1 << 20)
    crowd.hub.subscribe(outbox, "ch")
    crowd.hub.subscribe(queue, "ch")
    for number in range(10):
        publish(crowd.hub, "ch", b"%d" % number)
    await turn()
    wanted = [b"%d" % number for number in range(10)]
    assert transport.payloads == wanted
    assert [message.data for message in await queue.get_batch()] == wanted
    expected = sum(1 for each in [*crowd.outboxes, *crowd.queues]
                   if crowd.hub.is_subscribed(each, "ch"))
    assert crowd.hub.num_subscribers("ch") == expected + 2
    for old in crowd.transports:
        assert old.payloads is not None     # raises where a frame is torn
    for subscriber in [outbox, queue, *crowd.outboxes, *crowd.queues]:
        crowd.hub.remove(subscriber)
    await turn()
    assert crowd.hub.channels() == []


def once(crowd: Crowd, action: Callable[[Crowd], object]) -> Callable[[], object]:
    def act() -> None:
        if crowd.calls == 0:
            crowd.calls += 1
            action(crowd)
    return act


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("method", ["is_closing", "write"])
@pytest.mark.parametrize("at", [0, MANY // 2, MANY - 1])
async def test_in_a_transport(
    crowd: Crowd, method: str, at: int, action: Callable[[Crowd], object]
) -> None:
    crowd.transports[at].hooks[method] = once(crowd, action)
    publish(crowd.hub, "ch", b"one")
    crowd.outboxes[at].write(frame(b"reply"))
    publish(crowd.hub, "ch", b"two")
    crowd.hub.flush()
    assert crowd.calls == 1
    await still_works(crowd)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_abort(crowd: Crowd, hub: Hub, action: Callable[[Crowd], object]) -> None:
    """A send that fails, in the middle of a flush."""
    import os
    import socket

    class Broken(MadeTransport):
        def get_extra_info(self, name: str, default: Any = None) -> Any:
            return ours if name == "socket" else None

    ours, theirs = socket.socketpair()
    theirs.close()
    transport = Broken()
    outbox = Outbox(hub, transport, crowd, 0, 1 << 20)
    hub.subscribe(outbox, "ch")
    for _ in range(10):
        crowd.add()
    transport.hooks["abort"] = once(crowd, action)
    publish(hub, "ch", b"one")
    publish(hub, "ch", b"two")
    hub.flush()
    assert crowd.calls == 1
    assert transport.aborted == 1
    assert outbox.queued_bytes == 0
    hub.remove(outbox)
    await still_works(crowd)
    assert transport.written == []
    outbox.detach()
    os.fstat(ours.fileno())
    ours.close()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_a_callback(crowd: Crowd, action: Callable[[Crowd], object]) -> None:
    called = []
    act = once(crowd, action)
    queues = [
        LocalQueue(crowd.hub, 100, Overflow.CLOSE, lambda message: (called.append(message), act()))
        for _ in range(5)
    ]
    for queue in queues:
        crowd.hub.subscribe(queue, "ch")
    publish(crowd.hub, "ch", b"one")
    publish(crowd.hub, "ch", b"two")
    await turn()
    assert len([message for message in called if message.data in (b"one", b"two")]) == 10
    for queue in queues:
        crowd.hub.remove(queue)
    await still_works(crowd)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("method", ["publication", "join", "leave"])
async def test_in_an_encoder(
    hub: Hub, method: str, action: Callable[[Crowd], object]
) -> None:
    crowd = Crowd(hub)
    act = once(crowd, action)

    class Acting:
        def publication(self, channel: str, message: Message) -> bytes | None:
            act()
            return frame(message.data)

        def join(self, channel: str, info: ClientInfo) -> bytes | None:
            act()
            return frame(b"join")

        leave = join

    encoding = hub.add_encoder(Acting())
    transport = MadeTransport()
    outbox = Outbox(hub, transport, crowd, encoding, 1 << 20)
    hub.subscribe(outbox, "ch", 1)
    if method == "publication":
        publish(hub, "ch", b"one")
        publish(hub, "ch", b"two")
    else:
        for _ in range(2):
            (hub.broadcast_join if method == "join" else hub.broadcast_leave)(
                "ch", ClientInfo("u"))
    assert crowd.calls == 1
    hub.flush()
    got = transport.payloads
    assert [payload for payload in got if payload != b"nested"] == (
        [b"one", b"two"] if method == "publication" else [b"join", b"join"])
    hub.remove(outbox)
    await still_works(crowd)
    outbox.detach()


@pytest.mark.parametrize("method", ["publication", "join"])
async def test_an_encoder_that_ends_the_channel(hub: Hub, method: str) -> None:
    """The record that was looked up before it may be another channel's by now."""
    class Ending:
        def publication(self, channel: str, message: Message) -> bytes | None:
            for each in outboxes:
                hub.unsubscribe(each, "ch")
            for each in outboxes:
                hub.subscribe(each, "another", 1)
            return frame(b"to ch")

        def join(self, channel: str, info: ClientInfo) -> bytes | None:
            return self.publication(channel, Message(channel, b""))

        leave = join

    encoding = hub.add_encoder(Ending())
    transports = [MadeTransport() for _ in range(3)]
    outboxes = [Outbox(hub, transport, None, encoding, 1 << 20) for transport in transports]
    for outbox in outboxes:
        hub.subscribe(outbox, "ch", 1)
    if method == "publication":
        assert publish(hub, "ch", b"x") == 0
    else:
        assert hub.broadcast_join("ch", ClientInfo("u")) == 0
    hub.flush()
    assert [transport.written for transport in transports] == [[], [], []]
    assert hub.channels() == ["another"]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.KEEP_LATEST])
async def test_in_the_finalizer_of_a_dropped_message(
    crowd: Crowd, overflow: Overflow, action: Callable[[Crowd], object]
) -> None:
    for queue in crowd.queues:      # the others would keep the message
        crowd.hub.remove(queue)
    crowd.queues.clear()
    queues = [LocalQueue(crowd.hub, 1, overflow) for _ in range(3)]
    last = LocalQueue(crowd.hub, 10, Overflow.CLOSE)
    for queue in [*queues, last]:
        crowd.hub.subscribe(queue, "ch")
    act = once(crowd, action)
    lengths = []

    def finalizer() -> None:
        lengths.append(len(last))       # it has what drops the others' message
        act()

    crowd.hub.broadcast("ch", message_with("ch", finalizer))
    last.get_nowait()
    assert crowd.calls == 0
    publish(crowd.hub, "ch", b"drops it")
    assert crowd.calls == 1
    assert lengths == [1]
    crowd.hub.remove(last)
    assert [len(queue) for queue in queues] == [1, 1, 1]
    for queue in queues:
        crowd.hub.remove(queue)
    await still_works(crowd)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_on_slow(crowd: Crowd, action: Callable[[Crowd], object]) -> None:
    transport = MadeTransport()
    slow = Outbox(crowd.hub, transport, crowd, 0, 100)
    crowd.hub.subscribe(slow, "ch")
    slow.pause()
    crowd.on_slow_action = once(crowd, action)
    for _ in range(20):
        publish(crowd.hub, "ch", b"0123456789")
    crowd.hub.flush()
    assert (crowd.slow, crowd.calls) == (1, 1)
    crowd.hub.remove(slow)
    await still_works(crowd)
    assert transport.written == []
    slow.detach()


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_on_unencodable(
    hub: Hub, action: Callable[[Crowd], object]
) -> None:
    crowd = Crowd(hub)

    class Mute:
        def publication(self, channel: str, message: Message) -> bytes | None:
            return None

    encoding = hub.add_encoder(Mute())
    outboxes = [Outbox(hub, MadeTransport(), crowd, encoding, 1 << 20) for _ in range(5)]
    for outbox in outboxes:
        hub.subscribe(outbox, "ch")
    crowd.on_unencodable_action = once(crowd, action)
    publish(hub, "ch", b"one")
    assert crowd.calls == 1
    for outbox in outboxes:
        hub.remove(outbox)
    await still_works(crowd)


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
async def test_in_the_loop(hub: Hub, action: Callable[[Crowd], object]) -> None:
    """Marking a subscriber calls the loop, which may be anything, too."""

    class Acting:
        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.act: Callable[[], object] = lambda: None

        def __getattr__(self, name: str) -> Any:
            return getattr(self.loop, name)

        def call_soon(self, *arguments: Any) -> Any:
            self.act()
            return self.loop.call_soon(*arguments)

    loop = Acting()
    other = Hub(loop)       # type: ignore[arg-type]
    other.add_encoder(hub_encoder())
    crowd = Crowd(other)
    loop.act = once(crowd, action)
    publish(other, "ch", b"one")
    assert crowd.calls == 1
    await still_works(crowd)


def hub_encoder() -> Any:
    class Plain:
        def publication(self, channel: str, message: Message) -> bytes | None:
            return frame(message.data)

    return Plain()


async def test_a_keyboard_interrupt_loses_nothing(hub: Hub) -> None:
    """It comes out of the flush; what was marked with it is settled by the next."""
    def interrupt() -> None:
        raise KeyboardInterrupt

    crowd = Crowd(hub)
    called = []

    def callback(message: Message) -> None:
        called.append(message.data)
        if len(called) == 1:
            interrupt()

    for _ in range(3):
        queue = LocalQueue(hub, 10, Overflow.CLOSE, callback)
        hub.subscribe(queue, "ch")
        crowd.queues.append(queue)
    for method in ("write", "is_closing"):
        crowd.transports[MANY // 2].hooks[method] = interrupt
        publish(hub, "ch", method.encode())
        with pytest.raises(KeyboardInterrupt):
            hub.flush()
    with pytest.raises(KeyboardInterrupt):
        hub.flush()
    assert len(called) == 1
    hub.flush()
    assert sorted(called) == [b"is_closing"] * 3 + [b"write"] * 3
    for at, transport in enumerate(crowd.transports):
        # What the interrupted write was given is its transport's business.
        wanted = [b"write", b"is_closing"] if at != MANY // 2 else [b"is_closing"]
        assert frames_in(b"".join(transport.written)) == wanted
    await still_works(crowd)
