"""The server's clock, which all nodes go by."""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime

__all__ = ["ServerClock", "parse_time"]

SAMPLES = 8


def parse_time(text: str) -> float:
    """Seconds since 1970, of a time as NATS writes it."""
    return datetime.fromisoformat(text).timestamp()


class ServerClock:
    """What time it is there, by what it said lately and by how long that took to come.

    Off by half of the fastest question and answer of the last ones, at most.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=SAMPLES)   # (width, offset)
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970."""
        return time.monotonic() + self._offset

    def set(self, asked: float, answered: float, then: float) -> None:
        """The server said it was ``then``, between two times of the monotonic clock."""
        self._samples.append((answered - asked, then - (asked + answered) / 2))
        self._offset = min(self._samples)[1]

    def forget(self) -> None:
        """It may be another server's clock from now on."""
        self._samples.clear()
