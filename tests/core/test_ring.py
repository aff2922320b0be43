"""HistoryStore: a ring per channel, with offsets, expiry, and exact ownership."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from fanout.types import ClientInfo, Message, StreamPosition
from tests.core.implementations import CORE, Implementation
from tests.core.objects import fresh_bytes, fresh_str, message_with, references
from tests.model.clock import ManualClock

META = 100.0


@pytest.fixture
def expiry(impl: Implementation, clock: ManualClock) -> Any:
    return impl.Expiry(clock)


@pytest.fixture
def store(impl: Implementation, expiry: Any) -> Any:
    return impl.HistoryStore(expiry, META)


@pytest.fixture
def core_expiry(clock: ManualClock) -> Any:
    return CORE.Expiry(clock)


@pytest.fixture
def core_store(core_expiry: Any) -> Any:
    return CORE.HistoryStore(core_expiry, META)


def fill(store: Any, count: int, size: int = 100, channel: str = "ch") -> list[Message]:
    return [store.append(channel, Message(channel, b"%d" % number), size, 10.0)
            for number in range(count)]


def test_append_returns_the_message_as_stored(store: Any) -> None:
    message = Message("ch", b"1", uid="uid", tags={"a": "b"}, info=ClientInfo("u", "c"))
    assert store.append("ch", message, 10, 10.0) == message.at(1)
    assert store.append("ch", message, 10, 10.0) == message.at(2)
    assert message.offset == 0
    assert store.newest("ch", 0) == [message.at(2), message.at(1)]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 16, 100])
def test_the_ring_keeps_the_newest_at_every_fill(store: Any, size: int) -> None:
    stored: list[Message] = []
    for _ in range(3 * size + 2):
        stored += fill(store, 1, size)
        kept = stored[-size:]
        assert store.newest("ch", 0) == kept[::-1]
        assert store.read("ch", None, -1, False).messages == kept
        assert store.num_messages == len(kept)


def test_sizes_that_change_from_message_to_message(store: Any) -> None:
    stored: list[Message] = []
    kept = 0
    for size in [5, 5, 5, 2, 9, 9, 9, 9, 9, 9, 1, 30, *[30] * 40, 7, 7, 100, *[100] * 120, 3]:
        stored += fill(store, 1, size)
        kept = min(kept + 1, size)
        assert store.newest("ch", 0) == stored[-kept:][::-1]
    assert [message.offset for message in stored] == list(range(1, len(stored) + 1))


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 6, 10**9])
def test_newest_gives_at_most_the_limit(store: Any, limit: int) -> None:
    stored = fill(store, 5)
    assert store.newest("ch", limit) == stored[::-1][: limit or 5]


def test_newest_creates_no_stream(store: Any) -> None:
    assert store.newest("ch", 0) == []
    assert store.num_streams == 0


def test_reading_and_asking_for_the_position_create_one(store: Any) -> None:
    position = store.position("a")
    assert position.offset == 0
    assert position.epoch
    assert store.read("b", None, -1, False).position.offset == 0
    assert store.num_streams == 2
    assert store.num_messages == 0
    assert store.position("a") == position


def test_every_stream_has_its_own_epoch(store: Any) -> None:
    assert len({store.position(f"ch{number}").epoch for number in range(500)}) == 500


def test_only_if_alive(store: Any, clock: ManualClock) -> None:
    message = Message("ch", b"1")

    def append() -> Message | None:
        return store.append("ch", message, 10, 10.0, only_if_alive=True)

    assert append() is None
    assert store.num_streams == 0
    store.position("ch")
    assert append() is None     # a stream without messages
    store.append("ch", message, 10, 10.0)
    clock.advance(9)
    assert append() == message.at(2)
    clock.advance(9)
    assert append() == message.at(3)
    clock.advance(10)
    assert append() is None     # expired, though nobody has fired it
    store.append("ch", message, 10, 10.0)
    store.remove("ch")
    assert append() is None
    assert store.position("ch").offset == 4


def test_a_stream_remembers_the_last_version(store: Any, clock: ManualClock) -> None:
    def append(version: int, epoch: str) -> None:
        store.append("ch", Message("ch", b"1"), 1, 10.0, 0.0, False, version, epoch)

    assert not store.has_version("ch", 1, "")
    assert store.num_streams == 0       # asking makes no stream
    append(0, "")
    assert not store.has_version("ch", 1, "")
    append(2**64 - 1, "a")
    append(0, "b")                      # none is no version
    assert store.has_version("ch", 2**64 - 1, "a")
    assert not store.has_version("ch", 1, "b")
    assert not store.has_version("ch", 0, "a")
    append(3, "b")
    assert [store.has_version("ch", version, "b") for version in (2, 3, 4)] == [True, True, False]
    assert not store.has_version("ch", 1, "a")
    store.remove("ch")
    clock.advance(10 + META / 2)
    assert store.has_version("ch", 3, "b")
    clock.advance(META / 2)
    assert not store.has_version("ch", 3, "b")


def test_expired_messages_are_given_back_by_the_expiry(
    store: Any, expiry: Any, clock: ManualClock
) -> None:
    for number in range(50):
        fill(store, 4, channel=f"ch{number}")
    assert (store.num_streams, store.num_messages) == (50, 200)
    clock.advance(10)
    expiry.advance()
    assert (store.num_streams, store.num_messages) == (50, 0)
    clock.advance(META)
    expiry.advance()
    assert (store.num_streams, store.num_messages) == (0, 0)
    assert len(expiry) == 0


def test_expired_messages_are_given_back_by_asking(
    store: Any, clock: ManualClock
) -> None:
    fill(store, 4, channel="a")
    fill(store, 4, channel="b")
    clock.advance(10)
    assert store.newest("a", 0) == []
    assert store.num_messages == 4
    assert store.read("b", None, -1, False).messages == []
    assert store.num_messages == 0


def test_a_stream_that_ended_begins_again_with_another_epoch(
    store: Any, clock: ManualClock
) -> None:
    fill(store, 3)
    old = store.position("ch")
    clock.advance(10 + META)
    new = store.position("ch")
    assert new.offset == 0
    assert new.epoch != old.epoch
    assert fill(store, 1)[0].offset == 1


def test_remove_keeps_offset_and_epoch(store: Any) -> None:
    fill(store, 3)
    position = store.position("ch")
    store.remove("ch")
    assert store.newest("ch", 0) == []
    assert store.position("ch") == position
    assert fill(store, 1)[0].offset == 4
    store.remove("never")
    assert store.num_streams == 1


def test_reading_makes_no_stream_end_sooner(
    store: Any, expiry: Any, clock: ManualClock
) -> None:
    """After a removal the stream has the messages' old lifetime and META before it."""
    fill(store, 3)
    position = store.position("ch")
    store.remove("ch")
    assert store.position("ch") == position
    assert store.read("ch", None, -1, False).position == position
    clock.advance(10 + META - 0.25)
    expiry.advance()
    assert store.num_streams == 1
    clock.advance(0.25)
    expiry.advance()
    assert store.num_streams == 0


def test_reading_renews_a_stream_without_messages(
    store: Any, expiry: Any, clock: ManualClock
) -> None:
    position = store.position("ch")
    for _ in range(5):
        clock.advance(META - 1)
        expiry.advance()
        assert store.position("ch") == position
    clock.advance(META)
    expiry.advance()
    assert store.num_streams == 0


def test_clear_forgets_all(store: Any, expiry: Any) -> None:
    for number in range(20):
        fill(store, 3, channel=f"ch{number}")
    store.clear()
    assert (store.num_streams, store.num_messages, len(expiry)) == (0, 0, 0)
    store.clear()
    assert fill(store, 1, channel="ch0")[0].offset == 1


def test_a_thousand_channels_with_similar_names(store: Any) -> None:
    names = [f"{kind}:{number}" for number in range(250) for kind in ("a", "b", "\xe9", "\u4e2d")]
    for name in names:
        fill(store, 2, channel=name)
    for name in names[::3]:
        store.remove(name)
    for at, name in enumerate(names):
        assert [m.channel for m in store.newest(name, 0)] == ([name] * 2 if at % 3 else [])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((None, Message("ch", b""), 1, 1.0), TypeError),
        ((b"ch", Message("ch", b""), 1, 1.0), TypeError),
        (("ch", None, 1, 1.0), TypeError),
        (("ch", b"", 1, 1.0), TypeError),
        (("ch", Message("ch", b""), "1", 1.0), TypeError),
        (("ch", Message("ch", b""), None, 1.0), TypeError),
        (("ch", Message("ch", b""), 0, 1.0), ValueError),
        (("ch", Message("ch", b""), -1, 1.0), ValueError),
        (("ch", Message("ch", b""), 2**32, 1.0), ValueError),
        (("ch", Message("ch", b""), 1, "1"), TypeError),
        (("ch", Message("ch", b""), 1, 0.0), ValueError),
        (("ch", Message("ch", b""), 1, -1.0), ValueError),
        (("ch", Message("ch", b""), 1, float("nan")), ValueError),
        (("ch", Message("ch", b""), 1, 1.0, 0.0, False, -1), OverflowError),
        (("ch", Message("ch", b""), 1, 1.0, 0.0, False, 2**64), OverflowError),
        (("ch", Message("ch", b""), 1, 1.0, 0.0, False, "1"), TypeError),
        (("ch", Message("ch", b""), 1, 1.0, 0.0, False, 1, None), TypeError),
        (("ch", Message("ch", b""), 1, 1.0, 0.0, False, 1, b""), TypeError),
    ],
)
def test_bad_arguments_of_append(
    core_store: Any, core_expiry: Any, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    with pytest.raises(error):
        core_store.append(*arguments)
    assert (core_store.num_streams, core_store.num_messages, len(core_expiry)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda store: store.newest(None, 0), TypeError),
        (lambda store: store.newest("ch", "1"), TypeError),
        (lambda store: store.newest("ch", -1), ValueError),
        (lambda store: store.read(7, None, -1, False), TypeError),
        (lambda store: store.read("ch", None, "1", False), TypeError),
        (lambda store: store.read("ch", StreamPosition("1", ""), -1, False), TypeError),
        (lambda store: store.read("ch", StreamPosition(1, b""), -1, False), TypeError),
        (lambda store: store.position(None), TypeError),
        (lambda store: store.remove(None), TypeError),
        (lambda store: store.has_version(None, 1, ""), TypeError),
        (lambda store: store.has_version("ch", 1, None), TypeError),
    ],
)
def test_bad_arguments(
    core_store: Any, call: Callable[[Any], object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        call(core_store)


@pytest.mark.parametrize(
    ("lifetime", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (float("nan"), ValueError), ("1", TypeError)],
)
def test_bad_meta_lifetime(core_expiry: Any, lifetime: object, error: type[Exception]) -> None:
    before = references(core_expiry)
    with pytest.raises(error):
        CORE.HistoryStore(core_expiry, lifetime)
    assert references(core_expiry) == before
    with pytest.raises(TypeError):
        CORE.HistoryStore(None, 1.0)


# -- who owns what


def test_exact_references_of_what_is_stored(core_store: Any, clock: ManualClock) -> None:
    data, channel = fresh_bytes(b"data"), fresh_str("channel")
    message = Message("ch", data)
    before = references(message), references(data), references(channel)

    def held() -> tuple[int, int, int]:
        now = references(message), references(data), references(channel)
        return tuple(each - base for each, base in zip(now, before, strict=True))

    stored = core_store.append(channel, message, 2, 10.0)
    assert references(stored) == 1              # the ring's; the payload is its and `message`'s
    assert held() == (0, 1, 1)
    del stored
    assert held() == (0, 1, 1)
    core_store.append(channel, message, 2, 10.0)
    assert held() == (0, 2, 1)                  # the name is owned once
    core_store.append(channel, message, 2, 10.0)
    assert held() == (0, 2, 1)                  # one came, one was trimmed
    core_store.append(channel, message, 1, 10.0)
    assert held() == (0, 1, 1)                  # a lower size
    kept = core_store.newest(channel, 0)
    page = core_store.read(channel, None, -1, False)
    assert references(kept[0]) == 3             # the ring's and the two lists'
    assert page.messages[0] is kept[0]
    del kept, page
    core_store.remove(channel)
    assert held() == (0, 0, 1)
    core_store.append(channel, message, 5, 10.0)
    clock.advance(10)
    assert core_store.newest(channel, 0) == []
    assert held() == (0, 0, 1)                  # expired and asked for
    core_store.append(channel, message, 5, 10.0)
    core_store.clear()
    assert held() == (0, 0, 0)


def test_exact_references_of_a_version_s_epoch(core_store: Any) -> None:
    first, second = fresh_str("first"), fresh_str("second")
    before = references(first), references(second)

    def append(version: int, epoch: str) -> None:
        core_store.append("ch", Message("ch", b""), 1, 10.0, 0.0, False, version, epoch)

    def held() -> tuple[int, int]:
        return references(first) - before[0], references(second) - before[1]

    append(0, first)
    assert held() == (0, 0)
    append(1, first)
    assert held() == (1, 0)
    append(2, first)
    assert held() == (1, 0)
    append(1, second)
    assert held() == (0, 1)
    append(0, first)
    assert held() == (0, 1)
    core_store.remove("ch")
    assert references(second) == before[1] + 1      # the stream is still there
    core_store.clear()
    assert (references(first), references(second)) == before


def test_exact_references_after_the_expiry_fired(
    core_store: Any, core_expiry: Any, clock: ManualClock
) -> None:
    data, channel = fresh_bytes(b"data"), fresh_str("channel")
    before = references(data), references(channel)
    for _ in range(20):
        core_store.append(channel, Message("ch", data), 10, 10.0)
    assert (references(data), references(channel)) == (before[0] + 10, before[1] + 1)
    clock.advance(10)
    core_expiry.advance()
    assert (references(data), references(channel)) == (before[0], before[1] + 1)
    clock.advance(META)
    core_expiry.advance()
    assert (references(data), references(channel)) == before


def test_exact_references_after_the_store_is_freed(clock: ManualClock) -> None:
    data, channel = fresh_bytes(b"data"), fresh_str("channel")
    expiry = CORE.Expiry(clock)
    before = references(data), references(channel), references(expiry)
    store = CORE.HistoryStore(expiry, META)
    assert references(expiry) == before[2] + 1
    for _ in range(20):
        store.append(channel, Message("ch", data), 10, 10.0)
    del store
    assert (references(data), references(channel), references(expiry)) == before
    assert len(expiry) == 0


def test_a_refused_append_keeps_no_reference(core_store: Any) -> None:
    data, channel = fresh_bytes(b"data"), fresh_str("channel")
    message = Message("ch", data)
    before = references(data), references(channel), references(message)
    for size, lifetime in ((0, 1.0), (1, 0.0), ("x", 1.0), (1, "x")):
        with pytest.raises((TypeError, ValueError)):
            core_store.append(channel, message, size, lifetime)
    assert core_store.append(channel, message, 1, 1.0, only_if_alive=True) is None
    assert (references(data), references(channel), references(message)) == before


def test_a_store_in_a_cycle_is_collected(clock: ManualClock) -> None:
    data = fresh_bytes(b"data")
    before = references(data)

    class Owner:
        def __init__(self) -> None:
            self.expiry = CORE.Expiry(clock)
            self.store = CORE.HistoryStore(self.expiry, META)
            self.store.append("ch", Message("ch", data), 10, 10.0)
            self.timer = CORE.Timer(self.expiry, self.tick)
            self.timer.start(1)

        def tick(self) -> None: ...

    Owner()
    gc.collect()
    assert references(data) == before


# -- dropping a message may run anything, also on the store that drops it

ACTIONS: dict[str, Callable[[Any], object]] = {
    "append": lambda store: store.append("ch", Message("ch", b"new"), 3, 10.0),
    "append-one": lambda store: store.append("ch", Message("ch", b"new"), 1, 10.0),
    "append-others": lambda store: [
        store.append(f"other{n}", Message("o", b""), 3, 10.0) for n in range(100)],
    "newest": lambda store: store.newest("ch", 0),
    "read": lambda store: store.read("ch", None, -1, False),
    "remove": lambda store: store.remove("ch"),
    "clear": lambda store: store.clear(),
}


def trim(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.append("ch", Message("ch", b"last"), 1, 10.0)


def remove(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.remove("ch")


def clear(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.clear()


def expire(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(10)
    expiry.advance()


def forget(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(10 + META)
    expiry.advance()


def ask_late(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(10)
    store.newest("ch", 0)


def read_late(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(10)
    store.read("ch", StreamPosition(1, ""), -1, True)


def append_late(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(10)
    store.append("ch", Message("ch", b"last"), 3, 10.0)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    "drop", [trim, remove, clear, expire, forget, ask_late, read_late, append_late],
    ids=lambda drop: drop.__name__)
def test_a_dropped_message_may_call_the_store(
    core_store: Any, core_expiry: Any, clock: ManualClock,
    drop: Callable[[Any, Any, ManualClock], None], action: str,
) -> None:
    calls = []

    def act() -> None:
        calls.append(1)
        ACTIONS[action](core_store)

    data = fresh_bytes(b"data")
    before = references(data)
    for _ in range(5):
        core_store.append("ch", message_with("ch", act), 10, 10.0)
        core_store.append("ch", Message("ch", data), 10, 10.0)
    drop(core_store, core_expiry, clock)
    assert len(calls) == 5
    kept = core_store.newest("ch", 0)
    offsets = [message.offset for message in kept]
    assert offsets == list(range(max(offsets, default=0), max(offsets, default=0) - len(kept), -1))
    assert [message.data for message in kept if message.data == b"data"] == []
    assert references(data) == before
    core_store.clear()
    assert (core_store.num_streams, core_store.num_messages, len(core_expiry)) == (0, 0, 0)


def test_a_message_dropped_by_a_freed_store_may_run_python(core_expiry: Any) -> None:
    calls = []
    store = CORE.HistoryStore(core_expiry, META)
    for _ in range(5):
        store.append("ch", message_with("ch", lambda: calls.append(len(core_expiry))), 10, 10.0)
    del store
    assert len(calls) == 5
    assert len(core_expiry) == 0
