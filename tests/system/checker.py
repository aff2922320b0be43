"""What a subscriber of a recovering channel may have seen, and what it may not.

A log is what one client was told about one channel, in order. From the first
:class:`Subscribed` on the client has a place in the stream. Each
:class:`Received` must follow at the next offset; only a :class:`Subscribed`
that says that nothing was recovered may move the place, for then the client
knows that it lost something.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Acknowledged", "Interrupted", "Log", "Received", "Stretch", "Subscribed", "check"]


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The place that the subscribe reply told, and whether it closed the gap before it."""

    epoch: str
    offset: int
    was_recovering: bool = False
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """A publication; ``number`` counts what its publisher published into the channel."""

    offset: int
    publisher: str
    number: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The subscription is no longer, until the next :class:`Subscribed`."""

    reason: str = ""


Log = Sequence[Subscribed | Received | Interrupted]


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A publish whose place in the stream the publisher was told."""

    epoch: str
    offset: int
    publisher: str
    number: int


@dataclass(slots=True)
class Stretch:
    """What a client received behind a place without a gap."""

    epoch: str
    first: int
    received: list[Received]

    @property
    def last(self) -> int:
        return self.first + len(self.received)


def stretches(log: Log) -> tuple[list[Stretch], list[str]]:
    """A log's stretches, and what is wrong with it."""
    found: list[Stretch] = []
    wrong: list[str] = []
    subscribed = False
    seen: set[tuple[str, int]] = set()
    last_numbers: dict[str, int] = {}
    for entry in log:
        if isinstance(entry, Interrupted):
            subscribed = False
        elif isinstance(entry, Subscribed):
            subscribed = True
            if not entry.recovered:
                if found and not entry.was_recovering:
                    wrong.append(f"{entry} did not ask for what it missed")
                found.append(Stretch(entry.epoch, entry.offset, []))
            elif not found:
                wrong.append(f"{entry} recovered from nowhere")
                found.append(Stretch(entry.epoch, entry.offset, []))
            elif (found[-1].epoch, found[-1].last) != (entry.epoch, entry.offset):
                wrong.append(
                    f"{entry} recovered from another place than {found[-1].epoch!r} "
                    f"{found[-1].last}")
                found.append(Stretch(entry.epoch, entry.offset, []))
        elif not subscribed:
            wrong.append(f"{entry} came without a subscription")
        else:
            wrong += _wrong_with(entry, found[-1], seen, last_numbers)
            if entry.offset == found[-1].last + 1:
                found[-1].received.append(entry)
            elif entry.offset > found[-1].last:
                # One fault is enough for a gap: what follows is judged from here.
                found.append(Stretch(found[-1].epoch, entry.offset - 1, [entry]))
    return found, wrong


def _wrong_with(
    entry: Received,
    stretch: Stretch,
    seen: set[tuple[str, int]],
    last_numbers: dict[str, int],
) -> Iterator[str]:
    if entry.offset > stretch.last + 1:
        yield f"{entry} came after {stretch.last}: a gap that nobody told of"
    elif entry.offset <= stretch.last:
        yield f"{entry} came after {stretch.last}: a duplicate, or out of order"
    if (entry.publisher, entry.number) in seen:
        yield f"{entry} came twice"
    seen.add((entry.publisher, entry.number))
    if entry.number < last_numbers.get(entry.publisher, 0):
        yield f"{entry} came after number {last_numbers[entry.publisher]}"
    last_numbers[entry.publisher] = max(entry.number, last_numbers.get(entry.publisher, 0))


def check(logs: Mapping[str, Log], acknowledged: Iterable[Acknowledged]) -> list[str]:
    """All that is wrong with the logs of one channel's clients, by their names.

    Beside each log by itself: what stood at one place of the stream must be
    the same for all, publishers' acknowledgements included; and what was
    acknowledged must have been received by everybody who passed its place.
    """
    wrong: list[str] = []
    places: dict[tuple[str, int], tuple[str, int]] = {}
    for item in acknowledged:
        place, identity = (item.epoch, item.offset), (item.publisher, item.number)
        if places.setdefault(place, identity) != identity:
            wrong.append(f"{place} was acknowledged to {places[place]} and {identity}")
    for name, log in logs.items():
        found, faults = stretches(log)
        wrong += [f"{name}: {fault}" for fault in faults]
        for stretch in found:
            for entry in stretch.received:
                place, identity = (stretch.epoch, entry.offset), (entry.publisher, entry.number)
                if places.setdefault(place, identity) != identity:
                    wrong.append(f"{name}: {place} was {identity}, elsewhere {places[place]}")
    return wrong
