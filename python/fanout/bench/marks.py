"""What a run writes into its messages, to know them again when they arrive."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

__all__ = ["Mark", "mark_of", "marked_data", "smallest_size"]


class Mark(NamedTuple):
    """``run`` is the run's name, ``at`` the sender's monotonic clock in nanoseconds."""

    run: str
    publisher: int
    number: int
    at: int


class _Data(msgspec.Struct):
    run: str
    publisher: int
    number: int
    at: int


_decode = msgspec.json.Decoder(_Data).decode


def smallest_size() -> int:
    """Bytes that hold any mark."""
    largest = Mark("0" * 8, 99_999, 10**12, 10**18)
    return len(marked_data(largest, 0))


def marked_data(mark: Mark, size: int) -> bytes:
    """JSON of ``size`` bytes, or more when the mark needs them."""
    run, publisher, number, at = mark
    head = f'{{"run":"{run}","publisher":{publisher},"number":{number},"at":{at},"pad":"'
    return (head + "x" * (size - len(head) - 2) + '"}').encode()


def mark_of(data: bytes) -> Mark | None:
    """The mark in a message's data, or None when somebody else wrote it."""
    try:
        read = _decode(data)
    except msgspec.DecodeError:
        return None
    return Mark(read.run, read.publisher, read.number, read.at)
