"""The account of deliveries: what is new, late, twice, missing, and what nobody can miss."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.ledger import Ledger
from fanout.bench.marks import Mark
from fanout.bench.tally import Arrival, Received, Stream


def published(count: int) -> Stream:
    """A stream of accepted publications."""
    stream = Stream()
    for _ in range(count):
        stream.answer(stream.take(), accepted=True)
    return stream


def test_all_in_order() -> None:
    received = Received()
    assert [received.add(number) for number in range(5)] == [Arrival.NEW] * 5
    assert received.missing(published(5)) == 0


def test_a_gap_is_missing_until_it_is_filled() -> None:
    received, stream = Received(), published(6)
    for number in (0, 1, 5):
        assert received.add(number) is Arrival.NEW
    assert received.missing(stream) == 3
    assert received.add(3) is Arrival.LATE
    assert received.missing(stream) == 2
    assert received.add(3) is Arrival.DUPLICATE
    assert received.add(2) is Arrival.LATE
    assert received.add(4) is Arrival.LATE
    assert received.missing(stream) == 0


def test_what_never_came_is_missing() -> None:
    assert Received().missing(published(7)) == 7


def test_twice_is_a_duplicate() -> None:
    received = Received()
    received.add(0)
    assert received.add(0) is Arrival.DUPLICATE


def test_nobody_misses_what_was_refused_or_not_answered() -> None:
    stream = Stream()
    for accepted in (True, False, None, True):
        number = stream.take()
        if accepted is not None:
            stream.answer(number, accepted)
    received = Received()
    received.add(0)
    assert stream.accepted == 2
    assert received.missing(stream) == 1


@given(st.lists(st.integers(0, 30), max_size=80), st.sets(st.integers(0, 30)))
def test_any_order(arrivals: list[int], refused: set[int]) -> None:
    """Beside a plain set."""
    stream = Stream()
    for number in range(31):
        stream.take()
        stream.answer(number, number not in refused)
    received, seen = Received(), set()
    for number in arrivals:
        arrival = received.add(number)
        assert (arrival is Arrival.DUPLICATE) == (number in seen)
        if arrival is Arrival.NEW:
            assert number > max(seen, default=-1)
        seen.add(number)
    assert received.missing(stream) == len(set(range(31)) - refused - seen)


def test_the_ledger_tells_who_was_cut_off() -> None:
    ledger = Ledger()
    streams = [ledger.stream(0, 0), ledger.stream(0, 1), ledger.stream(1, 0)]
    for stream in streams:
        for _ in range(10):
            stream.answer(stream.take(), accepted=True)
    whole, holed, cut, other = (ledger.subscription(channel) for channel in (0, 0, 0, 1))
    cut.cut = True
    for publisher in (0, 1):
        for number in range(10):
            ledger.deliver(whole, Mark("", publisher, number, 100), 300)
            if number != 4:
                ledger.deliver(holed, Mark("", publisher, number, 100), 300)
    for number in (0, 1, 2, 2):
        ledger.deliver(cut, Mark("", 0, number, 100), 300)
    for number in range(10):
        ledger.deliver(other, Mark("", 0, number, 100), 300)
    assert ledger.missing() == (2, 17)
    assert ledger.accepted == 30
    assert ledger.delivered == 20 + 18 + 3 + 10
    assert ledger.deliveries[Arrival.DUPLICATE] == 1
    # A duplicate has no latency.
    assert ledger.latencies.count == ledger.delivered


def test_its_size_does_not_grow_with_what_arrives() -> None:
    received = Received()
    order = list(range(1000))
    random.Random(1).shuffle(order)
    for number in order:
        received.add(number)
    assert not received._gaps
