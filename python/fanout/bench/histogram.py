"""Percentiles of many durations in little memory."""

from __future__ import annotations

import math

__all__ = ["Histogram"]

# Each power of two is divided into so many buckets: a percentile is off by 1.6% at most.
_STEPS_BITS = 6
_STEPS = 1 << _STEPS_BITS


class Histogram:
    """Counts durations, in nanoseconds, in buckets that grow with them.

    It has one bucket for each 1/64 of a power of two, whatever the number of
    durations.
    """

    __slots__ = ("_buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.largest = 0

    def add(self, duration: int, times: int = 1) -> None:
        """Count ``duration``; one below 0 is 0."""
        if duration < _STEPS:
            duration = max(duration, 0)
            bucket = duration
        else:
            shift = duration.bit_length() - _STEPS_BITS - 1
            bucket = (shift << _STEPS_BITS) + (duration >> shift)
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + times
        self.count += times
        self.total += duration * times
        if duration > self.largest:
            self.largest = duration

    def percentile(self, percent: float) -> int:
        """The duration that ``percent`` of all do not exceed; 0 when there are none."""
        if not self.count:
            return 0
        rank = max(1, math.ceil(self.count * percent / 100))
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                return min(_upper(bucket), self.largest)
        return self.largest

    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def clear(self) -> None:
        self._buckets.clear()
        self.count = self.total = self.largest = 0


def _upper(bucket: int) -> int:
    """The largest duration of a bucket."""
    if bucket < 2 * _STEPS:
        return bucket
    shift = (bucket >> _STEPS_BITS) - 1
    return ((bucket - (shift << _STEPS_BITS) + 1) << shift) - 1
