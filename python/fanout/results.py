"""What publishes with an idempotency key came to, so that a repeat comes to the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["MOST_RESULTS", "Results"]

T = TypeVar("T")

MOST_RESULTS = 1_000_000
"""Results that one engine keeps in this process; more push the oldest out."""


class Results(Generic[T]):
    """A result for each channel and key, for ``lifetime`` seconds of ``clock``.

    All live equally long, so that they end in the order in which they came.
    The owner calls :meth:`purge`; what has ended is not seen before that either.
    """

    def __init__(
        self, lifetime: float, clock: Callable[[], float], most: int = MOST_RESULTS
    ) -> None:
        self._lifetime = lifetime
        self._clock = clock
        self._most = most
        self._kept: dict[tuple[str, str], tuple[float, T]] = {}

    def __len__(self) -> int:
        """How many there are, with those that have ended since the last purge."""
        return len(self._kept)

    def get(self, channel: str, key: str) -> T | None:
        found = self._kept.get((channel, key))
        return None if found is None or found[0] <= self._clock() else found[1]

    def put(self, channel: str, key: str, result: T) -> None:
        self.forget(channel, key)       # what ended goes to the end of the line
        if len(self._kept) >= self._most:
            del self._kept[next(iter(self._kept))]
        self._kept[channel, key] = self._clock() + self._lifetime, result

    def forget(self, channel: str, key: str) -> None:
        self._kept.pop((channel, key), None)

    def clear(self) -> None:
        self._kept.clear()

    def purge(self) -> float | None:
        """Give back what has ended; in how many seconds the next one does."""
        now = self._clock()
        while self._kept:
            place = next(iter(self._kept))
            left = self._kept[place][0] - now
            if left > 0:
                return left
            del self._kept[place]
        return None
