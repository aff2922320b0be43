"""Deltas and filters when what they rest on changes, goes away, or finds no memory."""

from __future__ import annotations

import gc
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from fanout import ClientInfo, Message, Overflow
from fanout._filter import TagsFilter, num_filters_in_use
from fanout._fossil import Base
from fanout._frame import JSONEncoder
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._subscription import LocalQueue
from tests.core.objects import fresh_bytes
from tests.hazards.connections import MadeTransport, collecting_everywhere, frame, publish, turn
from tests.hazards.test_allocation import Failures
from tests.hazards.test_moving import ACTIONS, Crowd, once, still_works

A = TagsFilter(key="kind", cmp="eq", val="a")


class Differences:
    """An encoder whose frames say what they start from."""

    def __init__(self) -> None:
        self.act: Callable[[str], object] = lambda form: None
        self.asked: list[tuple[str, bytes, bytes | None]] = []

    def publication(self, channel: str, message: Message) -> bytes | None:
        self.asked.append(("plain", message.data, None))
        self.act("plain")
        return frame(b"plain " + message.data)

    def publication_delta(self, channel: str, message: Message, base: Base | None) -> bytes | None:
        self.asked.append(("delta", message.data, None if base is None else base.data))
        self.act("full" if base is None else "patch")
        return frame(
            b"full " + message.data if base is None else base.data + b" > " + message.data)

    def join(self, channel: str, info: ClientInfo) -> bytes | None:
        return frame(b"join")

    leave = join


class Reader:
    """A connection that takes deltas, and checks that each starts from what it has."""

    def __init__(self, hub: Hub, encoding: int, limit: int = 1 << 20) -> None:
        self.transport = MadeTransport()
        self.slow = 0
        self.outbox = Outbox(hub, self.transport, self, encoding, limit)

    def on_slow(self) -> None:
        self.slow += 1

    def on_unencodable(self, channel: str) -> None:
        pass

    @property
    def texts(self) -> list[bytes]:
        texts: list[bytes] = []
        for payload in self.transport.payloads:
            if payload.startswith(b"full "):
                texts.append(payload[5:])
            else:
                base, text = payload.split(b" > ")
                assert base == texts[-1], f"{payload!r} does not start from {texts[-1]!r}"
                texts.append(text)
        return texts


def publish_delta(hub: Hub, data: bytes, tags: dict[str, str] | None = None) -> int:
    return hub.broadcast("ch", Message("ch", data, delta=True, tags=tags))


@pytest.fixture
def differences() -> Differences:
    return Differences()


@pytest.fixture
def encoding(hub: Hub, differences: Differences) -> int:
    return hub.add_encoder(differences)


def test_a_patch_is_made_once_for_all(hub: Hub, encoding: int, differences: Differences) -> None:
    readers = [Reader(hub, encoding) for _ in range(20)]
    plain = [Reader(hub, encoding) for _ in range(20)]
    for reader in readers:
        hub.subscribe(reader.outbox, "ch", delta=True)
    for number in range(3):
        publish_delta(hub, b"%d" % number)
    assert differences.asked == [
        ("delta", b"0", None), ("delta", b"1", b"0"), ("delta", b"2", b"1")]
    differences.asked.clear()
    for reader in plain:
        hub.subscribe(reader.outbox, "ch")
    late = Reader(hub, encoding)
    hub.subscribe(late.outbox, "ch", delta=True)
    publish_delta(hub, b"3")
    assert sorted(differences.asked, key=str) == [
        ("delta", b"3", None), ("delta", b"3", b"2"), ("plain", b"3", None)]
    hub.flush()
    assert [reader.texts for reader in readers] == [[b"0", b"1", b"2", b"3"]] * 20
    assert [reader.transport.payloads for reader in plain] == [[b"plain 3"]] * 20
    assert late.texts == [b"3"]
    hub.remove(late.outbox)


async def test_all_encodings_start_from_one_base(hub: Hub, encoding: int) -> None:
    given: list[Base | None] = []

    class Keeping(Differences):
        def publication_delta(
            self, channel: str, message: Message, base: Base | None
        ) -> bytes | None:
            given.append(base)
            return super().publication_delta(channel, message, base)

    readers = [Reader(hub, hub.add_encoder(Keeping())) for _ in range(3)]
    for reader in readers:
        hub.subscribe(reader.outbox, "ch", delta=True)
    for number in range(3):
        publish_delta(hub, b"%d" % number)
    hub.flush()
    assert given[:3] == [None] * 3
    for first in (3, 6):
        assert given[first] is given[first + 1] is given[first + 2] is not None
    assert given[3] is not given[6]
    assert [reader.texts for reader in readers] == [[b"0", b"1", b"2"]] * 3


async def test_a_message_without_the_wish_is_sent_in_full(hub: Hub, encoding: int) -> None:
    reader = Reader(hub, encoding)
    hub.subscribe(reader.outbox, "ch", delta=True)
    for data, delta in ((b"0", True), (b"1", False), (b"2", True)):
        hub.broadcast("ch", Message("ch", data, delta=delta))
    hub.flush()
    assert reader.transport.payloads == [b"full 0", b"full 1", b"1 > 2"]


async def test_the_base_that_a_subscriber_brings(hub: Hub, encoding: int) -> None:
    first, second, third = (Reader(hub, encoding) for _ in range(3))
    hub.subscribe(first.outbox, "ch", delta=True, base=Message("ch", b"recovered"))
    hub.subscribe(second.outbox, "ch", delta=True, base=Message("ch", fresh_bytes(b"recovered")))
    hub.subscribe(third.outbox, "ch", delta=True, base=Message("ch", b"something else"))
    publish_delta(hub, b"live")
    hub.flush()
    assert first.transport.payloads == second.transport.payloads == [b"recovered > live"]
    assert third.transport.payloads == [b"full live"]


async def test_the_base_is_forgotten_with_the_last_who_takes_deltas(
    hub: Hub, encoding: int
) -> None:
    reader, plain = Reader(hub, encoding), Reader(hub, encoding)
    hub.subscribe(plain.outbox, "ch")
    hub.subscribe(reader.outbox, "ch", delta=True)
    publish_delta(hub, b"0")
    hub.unsubscribe(reader.outbox, "ch")
    hub.subscribe(reader.outbox, "ch", delta=True, base=Message("ch", b"other"))
    publish_delta(hub, b"1")
    hub.flush()
    assert reader.transport.payloads == [b"full 0", b"other > 1"]


@pytest.mark.parametrize("slow", [1, 2])
async def test_where_messages_may_be_dropped_there_are_no_deltas(
    hub: Hub, encoding: int, slow: int
) -> None:
    reader = Reader(hub, encoding)
    hub.subscribe(reader.outbox, "ch", slow=slow, delta=True)
    publish_delta(hub, b"0")
    publish_delta(hub, b"1")
    hub.flush()
    assert reader.transport.payloads == [b"plain 0", b"plain 1"]


@pytest.mark.parametrize("slow", [1, 2])
async def test_what_deltas_start_from_is_not_dropped(hub: Hub, encoding: int, slow: int) -> None:
    """The channel's policy is the last subscriber's; one who takes deltas may be there already."""
    reader, other = Reader(hub, encoding, 60), Reader(hub, encoding, 60)
    hub.subscribe(reader.outbox, "ch", delta=True)
    hub.subscribe(other.outbox, "ch", slow=slow)
    reader.outbox.pause()
    other.outbox.pause()
    for number in range(4):
        publish_delta(hub, b"%d" % number)
    reader.outbox.resume()
    hub.flush()
    assert reader.texts == [b"0", b"1", b"2", b"3"]
    reader.outbox.pause()
    for number in range(20):
        publish_delta(hub, b"%d" % number)
    hub.flush()
    assert (reader.slow, other.slow) == (1, 0)


async def test_joins_where_all_take_deltas(hub: Hub, encoding: int) -> None:
    reader = Reader(hub, encoding)
    hub.subscribe(reader.outbox, "ch", 1, delta=True)
    for joins in range(2):
        assert hub.broadcast_join("ch", ClientInfo("u")) == 1
        publish_delta(hub, b"%d" % joins)
    hub.flush()
    assert reader.transport.payloads == [b"join", b"full 0", b"join", b"0 > 1"]


async def test_joins_are_plain_for_all(hub: Hub, encoding: int) -> None:
    readers = [Reader(hub, encoding) for _ in range(3)]
    hub.subscribe(readers[0].outbox, "ch", 1, delta=True)
    hub.subscribe(readers[1].outbox, "ch", 0, delta=True)
    hub.subscribe(readers[2].outbox, "ch", 1, tags_filter=A)
    assert hub.broadcast_join("ch", ClientInfo("u")) == 2
    assert hub.broadcast_leave("ch", ClientInfo("u")) == 2
    hub.flush()
    assert [reader.transport.payloads for reader in readers] == [
        [b"join", b"join"], [], [b"join", b"join"]]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("form", ["plain", "full", "patch"])
async def test_in_the_encoder(
    hub: Hub, encoding: int, differences: Differences, form: str,
    action: Callable[[Crowd], object],
) -> None:
    crowd = Crowd(hub)
    readers = [Reader(hub, encoding) for _ in range(4)]
    for reader in readers[:3]:
        hub.subscribe(reader.outbox, "ch", delta=True)
    hub.subscribe(readers[3].outbox, "ch", tags_filter=A)
    publish_delta(hub, b"0")
    late = Reader(hub, encoding)
    hub.subscribe(late.outbox, "ch", delta=True)
    act = once(crowd, action)
    differences.act = lambda asked: act() if asked == form else None
    publish_delta(hub, b"1", {"kind": "a"})
    assert crowd.calls == 1
    publish_delta(hub, b"2")
    hub.flush()
    for reader in [*readers[:3], late]:
        assert [text for text in reader.texts if text != b"nested"] == (
            [b"1", b"2"] if reader is late else [b"0", b"1", b"2"])
    assert readers[3].transport.payloads == [b"plain 1"]
    for reader in [*readers, late]:
        hub.remove(reader.outbox)
    await still_works(crowd)


@pytest.mark.parametrize("form", ["plain", "full", "patch"])
@pytest.mark.parametrize("what", ["publish", "leave", "enter", "again", "new channel", "no deltas"])
async def test_the_encoder_changes_what_it_was_asked_for(
    hub: Hub, encoding: int, differences: Differences, form: str, what: str
) -> None:
    readers = [Reader(hub, encoding) for _ in range(4)]
    other, plain = Reader(hub, encoding), Reader(hub, encoding)
    entered = Reader(hub, encoding)
    hub.subscribe(plain.outbox, "ch")
    for reader in readers:
        hub.subscribe(reader.outbox, "ch", delta=True)
    publish_delta(hub, b"0")
    hub.subscribe(other.outbox, "ch", delta=True)

    def act(asked: str) -> None:
        if asked != form:
            return
        differences.act = lambda form: None
        if what == "publish":
            publish_delta(hub, b"nested")
        elif what == "leave":
            for reader in [*readers, other]:
                hub.unsubscribe(reader.outbox, "ch")
        elif what == "enter":
            hub.subscribe(entered.outbox, "ch", delta=True, base=Message("ch", b"0"))
        elif what == "again":
            for reader in [*readers, other]:
                hub.unsubscribe(reader.outbox, "ch")
                hub.subscribe(reader.outbox, "ch", delta=True)
            publish_delta(hub, b"nested")
        elif what == "new channel":
            for reader in [*readers, other, plain]:
                hub.unsubscribe(reader.outbox, "ch")
            for reader in [*readers, other]:
                hub.subscribe(reader.outbox, "ch", delta=True)
        else:
            for reader in [*readers, other]:
                hub.subscribe(reader.outbox, "ch")

    differences.act = act
    publish_delta(hub, b"1")
    publish_delta(hub, b"2")
    hub.flush()
    if what == "no deltas":
        for reader in readers:
            assert reader.transport.payloads[0] == b"full 0"
            assert reader.transport.payloads[-1] == b"plain 2"
        return
    wanted = [b"0"] if what == "leave" else [b"0", b"1", b"2"]
    for reader in readers:
        assert [text for text in reader.texts if text != b"nested"] == wanted
    assert [text for text in other.texts if text != b"nested"] == wanted[1:]
    assert entered.outbox.num_channels == (what == "enter")
    if what == "enter":
        assert entered.transport.payloads[0] in (b"0 > 1", b"full 1", b"full 2")
        assert entered.transport.payloads[-1] in (b"1 > 2", b"full 2")


@pytest.mark.parametrize("there", [1, 2])
async def test_the_encoder_publishes_before_anybody_has_a_base(
    hub: Hub, encoding: int, differences: Differences, there: int
) -> None:
    readers = [Reader(hub, encoding) for _ in range(there)]
    for reader in readers:
        hub.subscribe(reader.outbox, "ch", delta=True)

    def act(form: str) -> None:
        differences.act = lambda form: None
        publish_delta(hub, b"nested")

    differences.act = act
    assert publish_delta(hub, b"0") == there
    publish_delta(hub, b"1")
    hub.flush()
    for reader in readers:
        assert reader.transport.payloads == [b"full nested", b"full 0", b"0 > 1"]


@pytest.mark.parametrize("form", ["plain", "full", "patch"])
@pytest.mark.parametrize("fails", ["raises", "text", "none"])
async def test_an_encoder_that_fails_does_not_break_the_chain(
    hub: Hub, encoding: int, differences: Differences, form: str, fails: str
) -> None:
    reader, plain, late = (Reader(hub, encoding) for _ in range(3))
    hub.subscribe(reader.outbox, "ch", delta=True)
    hub.subscribe(plain.outbox, "ch")
    publish_delta(hub, b"0")
    hub.subscribe(late.outbox, "ch", delta=True)
    made = differences.publication, differences.publication_delta

    def fail(asked: str, frame: bytes | None) -> Any:
        if asked != form:
            return frame
        if fails == "raises":
            raise LookupError("the test's encoder")
        return "text" if fails == "text" else None

    differences.publication = (     # type: ignore[method-assign]
        lambda channel, message: fail("plain", made[0](channel, message)))
    differences.publication_delta = (     # type: ignore[method-assign]
        lambda channel, message, base: fail(
            "full" if base is None else "patch", made[1](channel, message, base)))
    if fails == "none":
        publish_delta(hub, b"1")
    else:
        with pytest.raises(LookupError if fails == "raises" else TypeError):
            publish_delta(hub, b"1")
    differences.publication, differences.publication_delta = made   # type: ignore[method-assign]
    publish_delta(hub, b"2")
    publish_delta(hub, b"3")
    hub.flush()
    assert reader.texts[-2:] == late.texts[-2:] == [b"2", b"3"]


async def test_filters_are_given_back(hub: Hub, encoding: int) -> None:
    before = num_filters_in_use()
    readers = [Reader(hub, encoding) for _ in range(10)]
    queues = [LocalQueue(hub, 10, Overflow.CLOSE) for _ in range(10)]
    for at, each in enumerate([*(reader.outbox for reader in readers), *queues]):
        equal = TagsFilter(key="kind", cmp="eq", val="ab"[at % 2])
        for channel in ("ch", "more"):
            hub.subscribe(each, channel, tags_filter=equal, delta=at % 3 == 0)
            hub.subscribe(each, channel, tags_filter=equal, delta=at % 3 == 0)
    assert num_filters_in_use() == before + 2
    hub.subscribe(queues[0], "ch")
    hub.unsubscribe(queues[1], "ch")
    hub.remove(readers[0].outbox)
    assert num_filters_in_use() == before + 2
    del each
    readers.clear()
    queues.clear()
    gc.collect()
    assert num_filters_in_use() == before
    assert hub.channels() == []


async def test_a_subscription_that_is_refused_keeps_no_filter(hub: Hub) -> None:
    before = num_filters_in_use()
    queue = LocalQueue(hub, 10, Overflow.CLOSE)
    for arguments in ({"slow": 7}, {"base": b"bytes"}, {"delta": []}):
        if "delta" in arguments:
            hub.subscribe(queue, "ch", tags_filter=A, **arguments)
            continue
        with pytest.raises((TypeError, ValueError)):
            hub.subscribe(queue, "ch", tags_filter=A, **arguments)
    with pytest.raises(TypeError):
        hub.subscribe(queue, "ch", tags_filter={"key": "kind"})  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        hub.subscribe(queue, "ch", 0, 0, True)  # type: ignore[misc]
    hub.remove(queue)
    assert num_filters_in_use() == before


async def test_filters_move_with_their_subscribers(hub: Hub, encoding: int) -> None:
    """The array closes its gaps, grows and shrinks; the one of the filters goes along."""
    chance = random.Random(7)
    filters = [None, *(TagsFilter(key="kind", cmp="eq", val=str(number)) for number in range(5))]
    there: dict[int, tuple[LocalQueue, TagsFilter | None]] = {}
    for round_number in range(40):
        growing = round_number % 10 < 5
        for _ in range(40):
            if growing or not there:
                queue = LocalQueue(hub, 10, Overflow.CLOSE)
                wanted = chance.choice(filters)
                there[id(queue)] = queue, wanted
                hub.subscribe(queue, "ch", tags_filter=wanted)
                del queue
            else:
                there.pop(chance.choice(list(there)))
        kind = str(chance.randrange(6))
        expected = [
            wanted is None or wanted.matches({"kind": kind}) for _, wanted in there.values()]
        assert hub.broadcast("ch", Message("ch", b"x", tags={"kind": kind})) == sum(expected)
        got = [queue.get_nowait() is not None for queue, _ in there.values()]
        assert got == expected
        await turn()


async def test_the_collector_acts_while_somebody_subscribes(hub: Hub, encoding: int) -> None:
    before = num_filters_in_use()
    for act_there in collecting_everywhere(15):
        readers = [Reader(hub, encoding) for _ in range(5)]
        for reader in readers[:4]:
            hub.subscribe(reader.outbox, "ch", delta=True, tags_filter=A)
        publish_delta(hub, b"0", {"kind": "a"})

        def act(readers: list[Reader] = readers) -> None:
            for reader in readers[:4]:
                hub.unsubscribe(reader.outbox, "ch")

        act_there(act)
        hub.subscribe(readers[4].outbox, "ch", delta=True,
                      tags_filter=TagsFilter(key="kind", cmp="eq", val="a"))
        publish_delta(hub, b"1", {"kind": "a"})
        gc.disable()
        publish_delta(hub, b"2", {"kind": "a"})
        hub.flush()
        assert readers[4].texts[-1] == b"2"
        for reader in readers:
            assert reader.texts is not None     # raises where a chain is broken
            hub.remove(reader.outbox)
    del readers, reader
    gc.collect()
    assert num_filters_in_use() == before


def test_no_memory_for_a_subscription(hub: Hub, encoding: int) -> None:
    before = num_filters_in_use()
    for failures in Failures():
        readers = [Reader(hub, encoding) for _ in range(12)]
        refused = []
        with failures.failing():
            for at, reader in enumerate(readers):
                arguments: dict[str, Any] = {
                    "delta": at % 2 == 0, "tags_filter": A if at % 3 == 0 else None}
                try:
                    hub.subscribe(reader.outbox, "ch", **arguments)
                except MemoryError:
                    refused.append(at)
                    assert not hub.is_subscribed(reader.outbox, "ch")
                    hub.subscribe(reader.outbox, "ch", **arguments)
        publish_delta(hub, b"0", {"kind": "a"})
        publish_delta(hub, b"1", {"kind": "b"})
        publish_delta(hub, b"2", {"kind": "a"})
        hub.flush()
        for at, reader in enumerate(readers):
            if at % 2 == 0:
                assert reader.texts == [b"0", b"2"] if at % 3 == 0 else [b"0", b"1", b"2"]
            hub.remove(reader.outbox)
        assert hub.channels() == []
        assert num_filters_in_use() == before


def test_no_memory_for_a_publication(hub: Hub, encoding: int) -> None:
    """It is lost for all or for nobody, and the next one starts from what they have."""
    for failures in Failures():
        readers = [Reader(hub, encoding) for _ in range(4)]
        for at, reader in enumerate(readers):
            hub.subscribe(reader.outbox, "ch", delta=True, tags_filter=A if at == 3 else None)
        with failures.failing():
            for number in range(12):
                try:
                    publish_delta(hub, b"%d" % number, {"kind": "ab"[number % 2]})
                except MemoryError:
                    continue
        publish_delta(hub, b"last", {"kind": "a"})
        hub.flush()
        for reader in readers:
            if reader.outbox.num_dropped == 0:      # else there was no memory for its queue
                assert reader.texts[-1] == b"last"
            hub.remove(reader.outbox)


def test_no_memory_for_a_patch() -> None:
    base = b'{"name": "' + b"x" * 1000 + b'", "value": 1, "more": "' + b"y" * 1000 + b'"}'
    message = Message("ch", base.replace(b"1", b"2").replace(b"x" * 500, b"z" * 3 + b"x" * 400))
    wanted = JSONEncoder().publication_delta("ch", message, Base(base))
    for failures in Failures():
        got, start = None, Base(base)
        with failures.failing():
            try:
                got = JSONEncoder().publication_delta("ch", message, start)
            except MemoryError:
                got = JSONEncoder().publication_delta("ch", message, start)
        assert got == wanted
    assert json.loads(wanted[2 if wanted[1] < 126 else 4:])["push"]["pub"]["delta"] is True


async def test_a_burst_of_deltas_is_one_buffer(hub: Hub, encoding: int) -> None:
    """Publishes that follow each other share their buffers, with deltas too."""
    readers = [Reader(hub, encoding) for _ in range(3)]
    for reader in readers:
        hub.subscribe(reader.outbox, "ch", delta=True)
    for number in range(50):
        assert publish_delta(hub, b"%d" % number) == 3
    plain = Reader(hub, encoding)
    hub.subscribe(plain.outbox, "ch")
    publish(hub, "ch", b"more")
    publish_delta(hub, b"last")
    hub.flush()
    for reader in readers:
        assert reader.texts == [*(b"%d" % number for number in range(50)), b"more", b"last"]
        assert reader.transport.payloads[-1] == b"more > last"
    assert plain.transport.payloads == [b"plain more", b"plain last"]
