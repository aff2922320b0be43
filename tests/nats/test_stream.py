"""The rules of a stream whose records a store keeps one by one, against a plain model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout import ChannelOptions, Message, StreamPosition
from fanout.nats.record import STATE, Record, Stored, epoch_mark, pack, unpack
from fanout.nats.stream import (
    Attempt,
    Fate,
    Plan,
    Version,
    exists,
    fate,
    holds,
    is_outdated,
    kept,
    page,
    plan_message,
    plan_state,
    removable_below,
    ttl,
)
from fanout.nats.wire import RECORD
from tests.model.clock import ManualClock
from tests.model.reference import Expiry, HistoryStore

META = 32.0     # seconds


@dataclass
class Store:
    """JetStream, as far as a channel is concerned: the last message of each subject, for a time."""

    clock: ManualClock
    sequence: int = 0
    subjects: dict[str, tuple[Stored, float]] = field(default_factory=dict)

    def write(self, plan: Plan, body: bytes) -> None:
        self.sequence += 1
        now = self.clock()
        kind = RECORD if plan.ring else STATE
        stored = unpack(self.sequence, now, pack(kind, plan.record) + body)
        self.subjects[plan.ring or "state"] = (stored, now + ttl(plan.record, now))

    def purge(self, below: int) -> None:
        self.subjects = {
            name: each for name, each in self.subjects.items() if each[0].sequence >= below}

    @property
    def all(self) -> list[Stored]:
        now = self.clock()
        self.subjects = {name: each for name, each in self.subjects.items() if each[1] > now}
        return sorted((each for each, _ in self.subjects.values()), key=lambda each: each.sequence)

    @property
    def newest(self) -> Stored | None:
        return (self.all or [None])[-1]


SIZES = st.sampled_from([1, 2, 3, 5])
LIFETIMES = st.sampled_from([1.0, 4.0, 16.0])
METAS = st.sampled_from([0.0, 2.0, 64.0])
VERSIONS = st.tuples(st.sampled_from([0, 0, 1, 2, 2**64 - 1]), st.sampled_from(["", "e"]))


def histories(options: st.SearchStrategy[tuple[int, float, float]]) -> st.SearchStrategy[Any]:
    lives = st.booleans()       # whether whoever writes lives to tidy up behind it
    publish = st.tuples(st.just("publish"), lives, options, VERSIONS)
    return st.lists(
        st.one_of(
            publish, publish, publish,      # mostly: a history must grow to be cut
            st.tuples(st.just("wait"), st.sampled_from([0.25, 0.5, 1.0, 4.0, 20.0])),
            st.tuples(st.sampled_from(["compact", "remove"]), lives),
        ),
        min_size=5,
        max_size=30,
    )


class Comparison:
    """The rules on a store beside the model, step by step."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = Store(self.clock)
        self.model = HistoryStore(Expiry(self.clock), META)
        self.is_tidy = True
        self._numbers = 0
        self._places: set[tuple[str, int]] = set()
        self._epochs: dict[str, str] = {}

    def step(self, kind: str, *rest: Any) -> None:
        now = self.clock()
        newest = self.store.newest
        if kind == "publish":
            lives, (size, lifetime, meta), (number, epoch) = rest
            version = Version(number, epoch_mark(epoch))
            assert is_outdated(version, newest, now) is self.model.has_version("ch", number, epoch)
            if is_outdated(version, newest, now):
                return
            self._publish(newest, lives, size, lifetime, meta, version, epoch)
        elif kind == "wait":
            self.clock.advance(rest[0])
        elif newest is not None and newest.is_message and exists(newest, now):
            if kind == "remove":
                self.model.remove("ch")
            elif holds(newest, now):
                return
            plan = plan_state(newest, newest.record.meta_lifetime, newest.ends, b"-" * 16, now)
            self._write(plan, b"", rest[0])

    def _publish(
        self, newest: Stored | None, lives: bool, size: int, lifetime: float, meta: float,
        version: Version, epoch: str,
    ) -> None:
        self._numbers += 1
        number = self._numbers
        options = ChannelOptions(
            history_size=size, history_lifetime=lifetime, history_meta_lifetime=meta)
        self.model.append(
            "ch", Message("ch", b"%d" % number), size, lifetime, meta, False, version.number, epoch)
        plan = plan_message(newest, options, META, b"%016d" % number, self.clock(), version)
        # A place is given to one message only, whatever was left half done before.
        place = (plan.record.epoch, plan.record.offset)
        assert place not in self._places
        self._places.add(place)
        self._write(plan, b"%d" % number, lives)
        position = self.model.position("ch")
        assert position.offset == plan.record.offset
        assert self._epochs.setdefault(plan.record.epoch, position.epoch) == position.epoch

    def _write(self, plan: Plan, body: bytes, lives: bool) -> None:
        self.store.write(plan, body)
        if lives:
            self.store.purge(removable_below(plan, self.store.all))
        if plan.clears:
            self.is_tidy = lives
        elif plan.trims and not lives:
            self.is_tidy = False

    @property
    def kept(self) -> list[tuple[int, bytes]]:
        return [(each.record.offset, each.body)
                for each in kept(self.store.all, self.clock())]

    @property
    def expected(self) -> list[tuple[int, bytes]]:
        return [(each.offset, each.data) for each in reversed(self.model.newest("ch", 0))]

    def assert_nothing_is_left_over(self) -> None:
        if self.is_tidy and self.kept:
            messages = [each.record.offset for each in self.store.all if each.is_message]
            assert messages == [offset for offset, _ in self.kept]


@settings(max_examples=300)
@given(st.tuples(SIZES, LIFETIMES, METAS).flatmap(lambda same: histories(st.just(same))))
def test_what_is_kept_is_what_the_model_keeps(steps: list[Any]) -> None:
    """With the same options all the time."""
    comparison = Comparison()
    for step in steps:
        comparison.step(*step)
        assert comparison.kept == comparison.expected
        comparison.assert_nothing_is_left_over()


@settings(max_examples=300)
@given(histories(st.tuples(SIZES, LIFETIMES, st.just(10_000.0))))
def test_sizes_and_lifetimes_may_change(steps: list[Any]) -> None:
    """As long as the stream itself is remembered for longer than messages are kept."""
    comparison = Comparison()
    for step in steps:
        comparison.step(*step)
        assert comparison.kept == comparison.expected
        comparison.assert_nothing_is_left_over()


@settings(max_examples=300)
@given(histories(st.tuples(SIZES, LIFETIMES, METAS)))
def test_whatever_changes_the_newest_messages_are_kept(steps: list[Any]) -> None:
    """An earlier one goes before its time when it was not to be kept for so long."""
    comparison = Comparison()
    for step in steps:
        comparison.step(*step)
        expected = comparison.expected
        found = comparison.kept
        assert bool(found) == bool(expected)
        assert found == expected[len(expected) - len(found):]


def test_the_stream_is_remembered_as_long_as_the_model_does() -> None:
    clock = ManualClock()
    store = Store(clock)
    options = ChannelOptions(history_size=2, history_lifetime=4)
    store.write(plan_message(None, options, META, b"1" * 16, clock()), b"")
    first = store.newest
    assert first is not None
    clock.advance(4 + META - 0.5)
    after = plan_message(store.newest, options, META, b"2" * 16, clock())
    assert (after.record.epoch, after.record.offset) == (first.record.epoch, 2)
    assert after.clears
    clock.advance(0.5)
    again = plan_message(store.newest, options, META, b"3" * 16, clock())
    assert again.record.offset == 1
    assert again.record.epoch != first.record.epoch


def test_a_record_outlives_what_could_be_taken_for_the_newest_without_it() -> None:
    """A short-lived one after a long-lived one: the offset is not given twice."""
    clock = ManualClock()
    store = Store(clock)
    long = ChannelOptions(history_size=1, history_lifetime=1000, history_meta_lifetime=1000)
    short = ChannelOptions(history_size=2, history_lifetime=1, history_meta_lifetime=1)
    store.write(plan_message(None, long, META, b"1" * 16, clock()), b"")
    epoch = store.newest.record.epoch
    # Nobody tidies up behind them, so the first is there as long as it was to be.
    for number in (b"2", b"3", b"4"):
        store.write(plan_message(store.newest, short, META, number * 16, clock()), b"")
    clock.advance(500)
    plan = plan_message(store.newest, short, META, b"5" * 16, clock())
    assert plan.record.epoch != epoch or plan.record.offset > 4


def test_a_message_is_there_until_as_many_came_as_are_kept() -> None:
    """Each just before the history would have ended, which is long after its own end."""
    clock = ManualClock()
    store = Store(clock)
    options = ChannelOptions(history_size=3, history_lifetime=16, history_meta_lifetime=1)
    for number in (b"1", b"2", b"3", b"4"):
        store.write(plan_message(store.newest, options, META, number * 16, clock()), b"")
        clock.advance(15.5)
    assert [each.record.offset for each in kept(store.all, clock())] == [2, 3, 4]


def test_a_ring_of_another_size_is_emptied_message_by_message() -> None:
    clock = ManualClock()
    store = Store(clock)
    for number in range(1, 12):
        size = 5 if number < 7 else 3
        options = ChannelOptions(history_size=size, history_lifetime=60)
        plan = plan_message(store.newest, options, META, b"%016d" % number, clock())
        store.write(plan, b"")
        store.purge(removable_below(plan, store.all))
        offsets = [each.record.offset for each in store.all]
        assert offsets == list(range(max(number - size, 0) + 1, number + 1))


READS = [
    (None, None, False, [4, 5, 6], True),
    (None, 2, True, [6, 5], True),
    (StreamPosition(3, "e"), None, False, [4, 5, 6], True),
    (StreamPosition(2, "e"), 1, False, [4], False),
    (StreamPosition(6, "e"), None, False, [], True),
    (StreamPosition(7, "e"), None, False, [], False),
    (StreamPosition(6, "x"), None, False, [], False),
    (StreamPosition(6, ""), None, True, [5, 4], True),
    (StreamPosition(2, "e"), None, True, [], False),
    (StreamPosition(5, "e"), 0, False, [], True),
]


@pytest.mark.parametrize(("since", "limit", "reverse", "offsets", "recoverable"), READS)
def test_a_page(
    since: StreamPosition | None, limit: int | None, reverse: bool, offsets: list[int],
    recoverable: bool,
) -> None:
    assert page([4, 5, 6], StreamPosition(6, "e"), since, limit, reverse) == (
        offsets, recoverable)


def record(offset: int, mark: str, sequence: int, *, message: bool = True, epoch: str = "e" * 16
           ) -> Stored:
    kind = RECORD if message else STATE
    return unpack(sequence, 0.0, pack(kind, Record(epoch, offset, mark.encode() * 16)))


MINE = Attempt(7, Record("e" * 16, 5, b"m" * 16))

FATES = {
    "it-is-there": ([record(4, "a", 7), record(5, "m", 8)], Fate.STORED),
    "it-is-there-with-others-behind-it": ([record(5, "m", 8), record(6, "a", 9)], Fate.STORED),
    "nothing-came-since": ([record(4, "a", 7)], Fate.OPEN),
    "another-was-faster": ([record(4, "a", 7), record(5, "b", 8)], Fate.LOST),
    "others-were-faster": ([record(5, "b", 8), record(6, "c", 9)], Fate.LOST),
    "the-history-was-removed-before": ([record(4, "a", 9, message=False)], Fate.LOST),
    "the-history-was-removed-behind": ([record(5, "a", 9, message=False)], Fate.UNKNOWN),
    "its-place-is-not-kept-any-more": ([record(6, "b", 9)], Fate.UNKNOWN),
    "everything-is-gone": ([], Fate.UNKNOWN),
    "it-is-another-stream": ([record(5, "b", 3, epoch="x" * 16)], Fate.UNKNOWN),
}


@pytest.mark.parametrize("case", FATES)
def test_the_fate_of_a_write_whose_answer_is_missing(case: str) -> None:
    stored, expected = FATES[case]
    assert fate(MINE, stored) is expected


def test_a_first_write_is_open_while_there_is_nothing() -> None:
    attempt = Attempt(0, Record("e" * 16, 1, b"m" * 16))
    assert fate(attempt, []) is Fate.OPEN


@pytest.mark.parametrize("data", [b"", b"\x03", b"\x03" + bytes(20), b"\x09" + bytes(200)])
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(1, 0.0, data)
