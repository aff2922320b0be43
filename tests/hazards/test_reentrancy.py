"""Letting go of an object, or making one, may run Python that calls back in.

The core's own tests drop messages, infos and callbacks that act; here the
collector acts, which may run at any object that is made, and weak references.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fanout._expiry import Expiry
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._presence import PresenceStore
from fanout._ring import HistoryStore
from fanout._subscription import LocalQueue
from fanout.types import ClientInfo, Message, Overflow, StreamPosition
from tests.core.objects import fresh_str, info_with, message_with, references
from tests.hazards.connections import (
    MadeTransport,
    collecting_everywhere,
    connect,
    frame,
    frames_in,
    publish,
    turn,
)
from tests.model.clock import ManualClock

SIZE = 200_000      # bytes of a message that a small socket buffer takes only in part

PRESENCE: dict[str, Callable[[PresenceStore], object]] = {
    "get": lambda store: store.get("ch"),
    "stats": lambda store: store.stats("ch"),
    "add": lambda store: store.add("ch", "new", ClientInfo("u")),
    "add-again": lambda store: store.add("ch", "0", ClientInfo("u")),
    "remove": lambda store: store.remove("ch", "0"),
    "clear": lambda store: store.clear(),
}


@pytest.mark.parametrize("call", PRESENCE)
def test_the_collector_clears_the_presence(clock: ManualClock, call: str) -> None:
    for act_there in collecting_everywhere(12):
        expiry = Expiry(clock)
        store = PresenceStore(expiry, 10.0)
        for number in range(20):
            store.add("ch", str(number), ClientInfo("u"))
        act_there(store.clear)
        PRESENCE[call](store)
        gc.disable()
        store.clear()
        assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)


HISTORY: dict[str, Callable[[HistoryStore], object]] = {
    "newest": lambda store: store.newest("ch", 0),
    "read": lambda store: store.read("ch", None, -1, False),
    "read-since": lambda store: store.read("ch", StreamPosition(3, ""), 5, True),
    "position": lambda store: store.position("ch"),
    "append": lambda store: store.append("ch", Message("ch", b"more"), 20, 10.0),
    "new-channel": lambda store: store.append("new", Message("new", b"more"), 20, 10.0),
    "trim": lambda store: store.append("ch", Message("ch", b"more"), 2, 10.0),
    "remove": lambda store: store.remove("ch"),
}


@pytest.mark.parametrize("call", HISTORY)
def test_the_collector_clears_the_history(clock: ManualClock, call: str) -> None:
    for act_there in collecting_everywhere(12):
        expiry = Expiry(clock)
        store = HistoryStore(expiry, 100.0)
        for _ in range(20):
            store.append("ch", Message("ch", b"data"), 20, 10.0)
        act_there(store.clear)
        HISTORY[call](store)
        gc.disable()
        store.clear()
        assert (store.num_streams, store.num_messages, len(expiry)) == (0, 0, 0)


def test_a_stream_is_made_once(clock: ManualClock) -> None:
    """What a dropped message runs may make the stream that is about to be made."""
    expiry = Expiry(clock)
    store = HistoryStore(expiry, 20.0)
    store.append("ch", message_with(
        "ch", lambda: store.append("ch", Message("ch", b"first"), 20, 10.0)), 20, 10.0)
    clock.advance(100)      # offset and epoch have ended as well
    store.append("ch", Message("ch", b"second"), 20, 10.0)
    assert [message.data for message in store.newest("ch", 0)] == [b"second", b"first"]
    assert (store.num_streams, len(expiry)) == (1, 1)


def test_clearing_much_takes_a_walk_not_one_per_record(clock: ManualClock) -> None:
    """Each removal looked from the beginning: 100,000 took minutes."""
    expiry = Expiry(clock)
    history, presence = HistoryStore(expiry, 100.0), PresenceStore(expiry, 10.0)
    message, info = Message("ch", b""), ClientInfo("u")
    for number in range(100_000):
        history.append(f"ch{number}", message, 1, 10.0)
        presence.add("ch", str(number), info)
        presence.add(f"ch{number}", "0", info)
    history.clear()
    presence.clear()
    assert (history.num_streams, presence.num_channels, len(expiry)) == (0, 0, 0)


@pytest.mark.parametrize("action", ["flush", "detach", "publish"])
async def test_the_collector_runs_in_the_middle_of_a_flush(hub: Hub, action: str) -> None:
    """Nothing is sent twice, and nothing that was sent is freed twice."""
    for act_there in collecting_everywhere(15):
        connections = [await connect(hub, "ch", send_buffer=4096) for _ in range(4)]
        arrived = [bytearray() for _ in connections]
        # A hand-over through a transport, an abort and more than one join, too.
        made = MadeTransport()
        through = Outbox(hub, made, None, 0, 1 << 30)
        hub.subscribe(through, "ch")

        def act(
            connections: Any = connections, arrived: Any = arrived, through: Outbox = through
        ) -> None:
            if action == "detach":
                through.detach()
                connections[2].outbox.detach()
                return
            for each, stream in zip(connections, arrived, strict=True):
                stream += each.received_now()
            publish(hub, "ch", b"collected")
            if action == "flush":
                hub.flush()

        for number in range(3):
            publish(hub, "ch", b"%d" % number + b"x" * SIZE)
            for each in connections:
                each.outbox.write(frame(b"reply"))
        act_there(act)
        hub.flush()
        gc.enable()
        gc.collect()
        publish(hub, "ch", b"last")
        await turn()
        for at, each in enumerate(connections):
            if action == "detach" and at == 2:
                await each.abort()
                continue
            payloads = frames_in(bytes(arrived[at]) + await each.close())
            numbered = [payload[:1] for payload in payloads if len(payload) > SIZE]
            assert numbered == [b"0", b"1", b"2"]
            assert payloads.count(b"reply") == 3
            assert payloads.count(b"collected") == (action != "detach")
            assert payloads[-1] == b"last" or action != "detach"
        if action != "detach":
            assert [payload[:1] for payload in made.payloads if len(payload) > SIZE] == [
                b"0", b"1", b"2"]
        through.detach()


async def test_the_collector_frees_subscribers_of_the_channel_that_is_walked(hub: Hub) -> None:
    for act_there in collecting_everywhere(12):
        queues = [LocalQueue(hub, 10, Overflow.CLOSE) for _ in range(50)]
        for queue in queues:
            hub.subscribe(queue, "ch")
        keep = queues[25]
        del queue
        act_there(queues.clear)
        publish(hub, "ch", b"one")
        hub.flush()
        gc.enable()
        gc.collect()
        assert hub.num_subscribers("ch") == 1
        assert publish(hub, "ch", b"two") == 1
        assert [message.data for message in await keep.get_batch()] == [b"one", b"two"]
        hub.remove(keep)
        hub.flush()


async def test_a_subscriber_whose_weak_references_are_told_gets_nothing(hub: Hub) -> None:
    """Its last reference is gone; what is delivered now would be freed under the backlog."""
    other = LocalQueue(hub, 10, Overflow.CLOSE)
    hub.subscribe(other, "ch")
    dying = LocalQueue(hub, 10, Overflow.CLOSE)
    hub.subscribe(dying, "ch")
    reached = []
    reference = weakref.ref(dying, lambda reference: reached.append(publish(hub, "ch", b"x")))
    del dying
    assert reached == [1]
    assert reference() is None
    await turn()
    assert [message.data for message in await other.get_batch()] == [b"x"]
    assert hub.num_subscribers("ch") == 1


async def test_a_hub_that_tells_nobody_keeps_no_names(hub: Hub) -> None:
    name = fresh_str("channel")
    before = references(name)
    queue = LocalQueue(hub, 10, Overflow.CLOSE)
    hub.subscribe(queue, name)
    assert references(name) == before + 1
    del queue
    assert references(name) == before


@pytest.mark.parametrize("part", ["transport", "owner"])
async def test_an_outbox_that_dies_has_left_before_its_parts_are_freed(
    hub: Hub, part: str
) -> None:
    reached = []

    class Part(MadeTransport):
        def on_slow(self) -> None: ...

        def on_unencodable(self, channel: str) -> None: ...

        def __del__(self) -> None:
            reached.append(publish(hub, "ch", b"x"))
            hub.flush()

    transport = Part() if part == "transport" else MadeTransport()
    owner = Part() if part == "owner" else None
    outbox = Outbox(hub, transport, owner, 0, 1000)
    hub.subscribe(outbox, "ch")
    publish(hub, "ch", b"queued")
    outbox.pause()
    hub.flush()
    del transport, owner
    del outbox
    assert reached == [0]
    assert hub.channels() == []


@pytest.mark.parametrize("part", ["transport", "owner"])
async def test_a_detached_outbox_lets_go_of_its_parts_last(hub: Hub, part: str) -> None:
    seen: list[object] = []

    class Part(MadeTransport):
        def on_slow(self) -> None: ...

        def on_unencodable(self, channel: str) -> None: ...

        def __del__(self) -> None:
            seen.append(publish(hub, "ch", b"too late"))
            outbox.write(frame(b"too late"))
            hub.flush()
            seen.extend(self.written)
            seen.append(outbox.queued_bytes)

    transport = Part() if part == "transport" else MadeTransport()
    owner = Part() if part == "owner" else None
    outbox = Outbox(hub, transport, owner, 0, 1000)
    hub.subscribe(outbox, "ch")
    publish(hub, "ch", b"queued")
    del transport, owner
    outbox.detach()
    assert seen == [0, 0]
    outbox.detach()
    hub.remove(outbox)


async def test_messages_dropped_by_a_broken_loop_are_let_go_of(
    reports: list[Any],
) -> None:
    """The loop may be closed, and refuse to call: what was dropped is freed all the same."""
    class Closed:
        def __init__(self) -> None:
            self.broken = False

        def is_closed(self) -> bool:
            return self.broken

        def call_soon(self, *arguments: object) -> None:
            if self.broken:
                raise RuntimeError("Event loop is closed")

        def call_exception_handler(self, context: dict[str, Any]) -> None:
            reports.append(context)

    loop = Closed()
    hub = Hub(loop)     # type: ignore[arg-type]
    queue = LocalQueue(hub, 1, Overflow.DROP_OLDEST)
    hub.subscribe(queue, "ch")
    freed: list[int] = []
    hub.broadcast("ch", message_with("ch", lambda: freed.append(1)))
    hub.flush()
    hub._on_tick()      # type: ignore[attr-defined]
    loop.broken = True
    with pytest.raises(RuntimeError):
        publish(hub, "ch", b"x")
    assert freed == [1]
    hub.flush()
    loop.broken = False


async def test_everything_at_once(hub: Hub, clock: ManualClock) -> None:
    """Objects that act when they die, in every store, calling all the others."""
    expiry = Expiry(clock)
    history, presence = HistoryStore(expiry, 50.0), PresenceStore(expiry, 10.0)
    queues = [LocalQueue(hub, 2, overflow) for overflow in Overflow for _ in range(3)]
    for queue in queues:
        hub.subscribe(queue, "ch")
    transport = MadeTransport()
    outbox = Outbox(hub, transport, None, 0, 1 << 20)
    hub.subscribe(outbox, "ch")
    died = 0
    depth = 0

    def act() -> None:
        nonlocal died, depth
        died += 1
        if depth > 3 or died > 3000:
            return
        depth += 1
        try:
            match died % 6:
                case 0:
                    history.append("ch", message_with("ch", act), 3, 5.0)
                case 1:
                    presence.add("ch", str(died % 5), info_with(act))
                case 2:
                    hub.broadcast("ch", message_with("ch", act))
                case 3:
                    presence.remove("ch", str(died % 5))
                case 4:
                    hub.flush()
                case 5:
                    history.remove("ch")
        finally:
            depth -= 1

    for step in range(400):
        history.append("ch", message_with("ch", act), 3, 5.0)
        presence.add("ch", str(step % 5), info_with(act))
        hub.broadcast("ch", message_with("ch", act))
        if step % 10 == 0:
            clock.advance(6.0)
            expiry.advance()
            await turn(1)
            for queue in queues:
                queue.get_nowait() if not queue.closed else None
    died = 1 << 20      # from here on they only die
    history.clear()
    presence.clear()
    for queue in queues:
        hub.remove(queue)
        while queue.get_nowait() is not None:
            pass
    hub.remove(outbox)
    hub.flush()
    assert len(transport.payloads) > 400        # raises where one is torn
    assert (history.num_messages, presence.num_entries, len(expiry)) == (0, 0, 0)
    await asyncio.sleep(0)
