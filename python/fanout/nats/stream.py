"""The rules of a channel's stream, without any storage.

JetStream drops messages one by one; a history is kept or dropped as a whole.
So a message stays in the store as long as anything of its stream could be
asked for, and whether it is kept is reckoned here: by the times that the server
gave to the messages, and for "now" by its clock.
"""

from __future__ import annotations

import enum
import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from fanout.nats.record import Record, Stored
from fanout.types import ChannelOptions, StreamPosition

__all__ = [
    "NO_VERSION",
    "Attempt",
    "Fate",
    "Plan",
    "Version",
    "exists",
    "fate",
    "holds",
    "is_outdated",
    "kept",
    "page",
    "plan_message",
    "plan_state",
    "removable_below",
    "ring",
    "ttl",
]

T = TypeVar("T")

FOREVER = 1_000_000_000     # seconds, 31 years: longer is not asked of the server
SLACK = 2                   # seconds, for clocks that do not quite agree


def holds(newest: Stored | None, now: float) -> bool:
    """Whether messages of the stream are kept."""
    return newest is not None and now < newest.alive_until


def exists(newest: Stored | None, now: float) -> bool:
    """Whether the stream is remembered."""
    return newest is not None and now < newest.ends


def kept(stored: Sequence[Stored], now: float) -> list[Stored]:
    """What is kept, oldest first, of all there is in the store in the order of sequences."""
    if not stored or not holds(stored[-1], now):
        return []
    newest = stored[-1]
    found = [newest]
    least = 0
    for earlier in reversed(stored[:-1]):
        later = found[-1]
        # What one of them was to leave behind stays dropped, though it may still be there.
        least = max(least, later.record.offset - later.record.size + 1)
        if (
            earlier.record.offset < least
            or not earlier.is_message
            or earlier.record.epoch != newest.record.epoch
            or earlier.record.offset != later.record.offset - 1
            # The history had ended when the later one came.
            or later.time >= earlier.alive_until
        ):
            break
        found.append(earlier)
    found.reverse()
    return found


def page(
    messages: Sequence[T],
    top: StreamPosition,
    since: StreamPosition | None,
    limit: int | None,
    reverse: bool,
) -> tuple[list[T], bool]:
    """Which of the kept messages a read gives, and whether it is recoverable."""
    recoverable = True
    oldest = top.offset - len(messages) + 1
    low, high = oldest, top.offset + 1          # offsets [low, high) are asked for
    if since is not None:
        if since.offset > top.offset or (since.epoch and since.epoch != top.epoch):
            return [], False
        recoverable = since.offset + 1 >= oldest
        if reverse:
            high = max(since.offset, oldest)
        else:
            low = max(since.offset + 1, oldest)
    found = list(messages[low - oldest:high - oldest])
    if reverse:
        found.reverse()
    return (found if limit is None else found[:limit]), recoverable


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written next.

    ring
        Which of its kind it replaces, ``""`` for a state.
    clears
        Nothing that was stored before is kept any more.
    trims
        Messages in other rings below this offset are not kept any more, 0 for none.
    """

    record: Record
    ring: str
    clears: bool = False
    trims: int = 0


def ring(size: int, offset: int) -> str:
    """Where the message of an offset is, in a ring of so many."""
    return f"{size}-{offset % size}"


@dataclass(frozen=True, slots=True)
class Version:
    """Of a message; see ``fanout.nats.record`` for the mark."""

    number: int = 0
    mark: bytes = b""


NO_VERSION = Version()


def is_outdated(version: Version, newest: Stored | None, now: float) -> bool:
    """Whether a message of this version comes too late."""
    return (
        version.number > 0
        and newest is not None and exists(newest, now)
        and newest.record.version_mark == version.mark
        and version.number <= newest.record.version
    )


def _last_version(newest: Stored | None, now: float) -> Version:
    if newest is None or not exists(newest, now):
        return NO_VERSION
    return Version(newest.record.version, newest.record.version_mark)


def plan_message(
    newest: Stored | None, options: ChannelOptions, meta_lifetime: float, mark: bytes,
    now: float, version: Version = NO_VERSION,
) -> Plan:
    """The record of a message that follows ``newest``."""
    if not version.number:
        version = _last_version(newest, now)
    size, lifetime = options.history_size, options.history_lifetime
    own_meta = options.history_meta_lifetime or meta_lifetime
    if newest is not None and exists(newest, now):
        epoch, offset = newest.record.epoch, newest.record.offset + 1
    else:
        epoch, offset = _new_epoch(), 1
    since, others, trims = offset, 0, 0
    if newest is not None and holds(newest, now):
        before = newest.record
        if before.size == size:
            since, others = before.since, before.others
        else:
            others = before.others or max(before.offset - before.size + 1, 1)
        low = offset - size + 1
        if others and others < low:
            trims = low
            others = low if low < since else 0
        clears = False
    else:
        clears = newest is not None and newest.is_message
    record = Record(
        epoch, offset, mark, size, lifetime, own_meta,
        guard=_guard(newest, now), since=since, others=others,
        version=version.number, version_mark=version.mark)
    return Plan(record, ring(size, offset), clears, trims)


def plan_state(
    newest: Stored | None, meta_lifetime: float, ends: float, mark: bytes, now: float
) -> Plan:
    """The record of a stream of which nothing is kept from now on."""
    if newest is not None and exists(newest, now):
        epoch, offset = newest.record.epoch, newest.record.offset
    else:
        epoch, offset = _new_epoch(), 0
    version = _last_version(newest, now)
    record = Record(
        epoch, offset, mark, meta_lifetime=meta_lifetime, ends=ends, guard=_guard(newest, now),
        version=version.number, version_mark=version.mark)
    return Plan(record, "", clears=newest is not None and newest.is_message)


def removable_below(plan: Plan, stored: Sequence[Stored]) -> int:
    """Below which sequence nothing is kept, once ``plan`` is carried out; 0 for none.

    ``stored`` is all that is in the store then.
    """
    if plan.clears:
        return stored[-1].sequence
    if not plan.trims:
        return 0
    return min(
        each.sequence for each in stored
        if each.record.epoch == plan.record.epoch and each.record.offset >= plan.trims)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A write whose answer is missing; ``after`` is the sequence that it had to follow."""

    after: int
    record: Record


class Fate(enum.Enum):
    """What became of an attempt."""

    STORED = enum.auto()
    OPEN = enum.auto()
    """Not stored yet; another attempt after the same record excludes this one, or is it."""
    LOST = enum.auto()
    """Not stored, and it cannot be any more."""
    UNKNOWN = enum.auto()
    """It may have been stored and removed since."""


def fate(attempt: Attempt, stored: Sequence[Stored]) -> Fate:
    """What became of an attempt, by all that is in the store in the order of sequences."""
    record = attempt.record
    if any(each.record.mark == record.mark for each in stored):
        return Fate.STORED
    newest = stored[-1] if stored else None
    if (newest.sequence if newest is not None else 0) == attempt.after:
        return Fate.OPEN
    if newest is None or newest.record.epoch != record.epoch:
        return Fate.UNKNOWN
    if newest.record.offset < record.offset:
        return Fate.LOST
    for each in stored:
        if each.is_message and each.record.epoch == record.epoch and (
            each.record.offset == record.offset
        ):
            return Fate.LOST        # it is another's
    return Fate.UNKNOWN


def ttl(record: Record, now: float) -> int:
    """Seconds that the server is to keep a record.

    A message may be kept until as many others came as are kept, each just
    before the history would have ended.
    """
    ends = record.ends or now + record.lifetime + record.meta_lifetime
    kept_until = now + record.size * record.lifetime
    return math.ceil(min(max(ends, kept_until, record.guard) - now + SLACK, FOREVER))


def _guard(newest: Stored | None, now: float) -> float:
    if newest is None:
        return 0.0
    guard = max(newest.record.guard, newest.ends)
    return guard if guard > now else 0.0


def _new_epoch() -> str:
    return secrets.token_hex(8)
