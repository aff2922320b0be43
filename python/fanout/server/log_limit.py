"""A bound for the log: what clients can provoke must not fill a disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator

__all__ = ["LINES", "WINDOW", "Sparing"]

LINES = 20          # of one kind in a window
WINDOW = 10.0       # seconds
MOST_KINDS = 1_000  # told apart in a window; all others are one more

_REST = ("", 0, "others")
Kind = tuple[str, int, str]


class Sparing:
    """Lets so many records of a kind through in each window, and tells how many it kept back.

    Records are of one kind when they come from the same logger, at the same
    level, with the same text before its arguments are put in. Those below
    ``INFO`` all pass: who asks for them wants them all.
    """

    def __init__(
        self, lines: int = LINES, window: float = WINDOW,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lines = lines
        self._window = window
        self._clock = clock
        self._seen: dict[Kind, int] = {}
        self._end = clock() + window

    def admits(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        kind = _kind(record)
        if kind not in self._seen and len(self._seen) >= MOST_KINDS:
            kind = _REST
        count = self._seen[kind] = self._seen.get(kind, 0) + 1
        return count <= self._lines

    @property
    def is_over(self) -> bool:
        """Whether the window has ended: :meth:`kept_back` is to be told."""
        return self._clock() >= self._end

    def kept_back(self) -> Iterator[logging.LogRecord]:
        """A record for each kind of which some were kept back; then a new window begins."""
        seen, self._seen = self._seen, {}
        self._end = self._clock() + self._window
        for (name, level, text), count in seen.items():
            if count > self._lines:
                yield logging.makeLogRecord({
                    "name": name, "levelno": level or logging.WARNING,
                    "levelname": logging.getLevelName(level or logging.WARNING),
                    "msg": "%d more lines like this: %s",
                    "args": (count - self._lines, text),
                    "fields": {"kept_back": count - self._lines},
                })


def _kind(record: logging.LogRecord) -> Kind:
    text = record.getMessage() if record.msg == "%s" else str(record.msg)
    return record.name, record.levelno, text
