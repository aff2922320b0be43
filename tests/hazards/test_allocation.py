"""An allocation that fails leaves everything as it was, and can be tried again.

A debug build lets the first, the second, ... allocation of each scenario fail.
A release build cannot; there each scenario runs once, as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fanout import _memory
from fanout._expiry import Expiry, Timer
from fanout._frame import JSONEncoder
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._presence import PresenceStore
from fanout._protobuf import ProtobufEncoder
from fanout._ring import HistoryStore
from fanout._subscription import LocalQueue
from fanout.types import ClientInfo, Message, Overflow
from tests.hazards.connections import MadeTransport, connect, frame, frames_in, publish
from tests.model.clock import ManualClock


class Failures:
    """Lets one allocation fail, the next one each time round, until none is left."""

    def __init__(self) -> None:
        self.number = 0
        self.happened = 0
        self.more = True

    def __iter__(self) -> Iterator[Failures]:
        while self.more:
            self.number += 1
            self.more = False
            yield self
        if _memory.debug_enabled():
            assert self.happened > 0, "the scenario allocates nothing"

    @contextmanager
    def failing(self) -> Iterator[None]:
        """In here, once, an allocation fails; what is not refused goes on."""
        if _memory.debug_enabled():
            _memory.fail_after(self.number)
        try:
            yield
        except MemoryError:
            assert _memory.debug_enabled()
        finally:
            if _memory.debug_enabled() and _memory.fail_after(0) == 0:
                self.happened += 1
                self.more = True


def attempt(call: Any, *arguments: Any) -> Any:
    """What a call gives, the second time when the first had no memory."""
    try:
        return call(*arguments)
    except MemoryError:
        return call(*arguments)


async def test_subscribing(hub: Hub) -> None:
    names = [f"ch{number}" for number in range(40)]     # enough for an index
    for failures in Failures():
        queues = [LocalQueue(hub, 10, Overflow.CLOSE) for _ in range(3)]
        first: set[str] = set()
        with failures.failing():
            for name in names:
                for queue in queues:
                    first |= {name} if attempt(hub.subscribe, queue, name) else set()
        assert first == set(names)
        for queue in queues:
            assert set(hub.subscriptions(queue)) == set(names)
        for name in names:
            assert hub.num_subscribers(name) == 3
            assert publish(hub, name, b"x") == 3 or len(queues[0]) == 10
        assert hub.stats().num_subscriptions == 120
        with failures.failing():    # leaving allocates only to become smaller
            for queue in queues:
                hub.remove(queue)
        assert hub.channels() == []
        hub.flush()


async def test_a_subscriber_that_could_not_subscribe_is_freed_whole(hub: Hub) -> None:
    before = _memory.counts()
    for failures in Failures():
        queue = LocalQueue(hub, 10, Overflow.CLOSE)
        with failures.failing():
            hub.subscribe(queue, "ch")
        del queue
        hub.flush()
    assert hub.channels() == []
    if _memory.debug_enabled():
        assert _memory.counts() == before


async def test_publishing(hub: Hub) -> None:
    """A message reaches everybody or, where a queue cannot grow, counts as dropped there."""
    for failures in Failures():
        queues = [LocalQueue(hub, 100, overflow) for overflow in Overflow]
        transports = [MadeTransport() for _ in range(3)]
        outboxes = [Outbox(hub, transport, None, 0, 1 << 20) for transport in transports]
        for each in [*queues, *outboxes]:
            hub.subscribe(each, "ch")
            hub.subscribe(each, "other")
        sent = []
        with failures.failing():
            for number in range(60):
                name = "ch" if number % 7 else "other"
                sent.append(b"%d" % number)
                attempt(publish, hub, name, sent[-1])
                if number % 20 == 19:
                    hub.flush()
        hub.flush()
        hub.flush()     # what a failed joining left for the next
        for queue in queues:
            got = []
            while (message := queue.get_nowait()) is not None:
                got.append(message.data)
            if len(got) > 1:        # else it keeps the latest
                assert len(got) + queue.num_dropped == 60
                assert [data for data in sent if data in set(got)] == got
            else:
                assert got == sent[-1:]
        for transport, outbox in zip(transports, outboxes, strict=True):
            if outbox.num_dropped == 0:
                assert transport.payloads == sent
            else:               # no memory for its queue: as one that is too slow
                assert publish(hub, "ch", b"x") < 7
        for each in [*queues, *outboxes]:
            hub.remove(each)
        for outbox in outboxes:
            outbox.detach()


async def test_runs(hub: Hub) -> None:
    """Publishes that share a buffer: each is in it for all encodings or for none."""
    second = hub.add_encoder(type("Second", (), {
        "publication": lambda self, channel, message: frame(b"2" + message.data)})())
    for failures in Failures():
        transports = [MadeTransport() for _ in range(4)]
        outboxes = [
            Outbox(hub, transport, None, second if at % 2 else 0, 1 << 20)
            for at, transport in enumerate(transports)]
        for outbox in outboxes:
            hub.subscribe(outbox, "ch")
        accepted = []
        with failures.failing():
            for number in range(30):
                try:
                    reached = publish(hub, "ch", b"%d" % number * 20)
                except MemoryError:
                    continue
                accepted.append(b"%d" % number * 20)
                if reached < 4:
                    break           # one had no memory for its queue
        hub.flush()
        hub.flush()
        for at, (transport, outbox) in enumerate(zip(transports, outboxes, strict=True)):
            if outbox.num_dropped == 0:
                prefix = b"2" if at % 2 else b""
                assert transport.payloads == [prefix + data for data in accepted]
        for outbox in outboxes:
            hub.remove(outbox)
            outbox.detach()


async def test_sending(hub: Hub) -> None:
    """Joins and replies on real sockets: what is in a queue leaves, late if it must."""
    for failures in Failures():
        connections = [await connect(hub, "a", "b") for _ in range(3)]
        sent: list[bytes] = []
        for number in range(20):
            sent.append(b"%d" % number * 100)
            publish(hub, "ab"[number % 2], sent[-1])
        with failures.failing():
            hub.flush()
        replied = []
        with failures.failing():
            for connection in connections:
                attempt(connection.outbox.write, frame(b"reply"))
                replied.append(connection)
                attempt(connection.outbox.write_last, frame(b"goodbye"))
        assert replied == connections
        for connection in connections:
            assert frames_in(await connection.close()) == [*sent, b"reply", b"goodbye"]
            hub.remove(connection.outbox)


def test_history(clock: ManualClock) -> None:
    message = Message("ch", b"data")
    for failures in Failures():
        expiry = Expiry(clock)
        store = HistoryStore(expiry, 100.0)
        with failures.failing():
            for number in range(30):
                for channel in ("ch", f"ch{number}"):
                    attempt(store.append, channel, message, 20, 10.0)
            attempt(store.position, "another")
            attempt(store.append, "ch", message, 3, 10.0)       # lowered
            attempt(store.read, "ch", None, -1, False)
            attempt(store.append, "ch", message, 30, 10.0)
        assert [each.offset for each in store.newest("ch", 0)] == [32, 31, 30, 29]
        assert store.num_streams == 32
        assert store.num_messages == 34
        with failures.failing():
            clock.advance(50)
            attempt(expiry.advance)
        expiry.advance()
        assert store.num_messages == 0
        with failures.failing():
            store.clear()
        store.clear()
        assert len(expiry) == 0


def test_presence(clock: ManualClock) -> None:
    for failures in Failures():
        expiry = Expiry(clock)
        store = PresenceStore(expiry, 10.0)
        with failures.failing():
            for number in range(20):
                for channel in ("ch", f"ch{number}"):
                    attempt(store.add, channel, str(number), ClientInfo("u"))
                    attempt(store.add, channel, str(number), ClientInfo("v"))
        assert len(store.get("ch")) == 20
        assert {info.user for info in store.get("ch").values()} == {"v"}
        assert (store.num_channels, store.num_entries, len(expiry)) == (21, 40, 40)
        with failures.failing():
            for number in range(20):
                store.remove("ch", str(number))
        assert (store.num_channels, store.num_entries, len(expiry)) == (20, 20, 20)
        clock.advance(20)
        with failures.failing():
            attempt(expiry.advance)
        expiry.advance()
        assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)


def test_a_presence_that_could_not_be_added_leaves_nothing(clock: ManualClock) -> None:
    for failures in Failures():
        expiry = Expiry(clock)
        store = PresenceStore(expiry, 10.0)
        added = False
        with failures.failing():
            store.add("ch", "1", ClientInfo("u"))
            added = True
        present = 1 if added else 0
        assert (store.num_channels, store.num_entries, len(expiry)) == (present,) * 3


def test_timers(clock: ManualClock) -> None:
    for failures in Failures():
        expiry = Expiry(clock)
        fired: list[int] = []
        timers = [Timer(expiry, lambda fired=fired: fired.append(1)) for _ in range(40)]
        with failures.failing():
            for timer in timers:
                attempt(timer.start, 1.0)
        clock.advance(1.0)
        expiry.advance()
        assert len(fired) == 40


@pytest.mark.parametrize("encoder", [JSONEncoder(), ProtobufEncoder()])
def test_frames(encoder: JSONEncoder | ProtobufEncoder) -> None:
    info = ClientInfo("u" * 300, "c", b'"i"')
    message = Message("ch", b'{"a": "' + b"x" * 2000 + b'"}', tags={"k": "v" * 500}, info=info)
    wanted = encoder.publication("ch", message), encoder.join("ch", info)
    for failures in Failures():
        got = None
        with failures.failing():
            got = (
                attempt(encoder.publication, "ch", message), attempt(encoder.join, "ch", info))
        assert got == wanted
