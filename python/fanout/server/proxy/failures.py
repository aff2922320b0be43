"""Calls that failed, and what is logged of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fanout.errors import FanoutError

__all__ = ["BackendFailure", "FailureLog", "TooManyCallsError"]

log = logging.getLogger("fanout")

INTERVAL = 1.0      # seconds between two lines about one backend


class BackendFailure(FanoutError):
    """A backend gave no usable answer; the text says why, and holds no secret.

    ``status`` is its HTTP status where that is the reason, else 0.
    """

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.status = status


class TooManyCallsError(BackendFailure):
    """The backend was not asked: too many calls wait for their answers."""


class FailureLog:
    """Logs the failures of one backend, at most one line in each second.

    A backend that is down fails every client's every command: a line for each
    would bury whatever else the log has to say.
    """

    __slots__ = ("_clock", "_quiet_until", "_suppressed", "_who")

    def __init__(self, who: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._who = who
        self._clock = clock
        self._quiet_until = float("-inf")
        self._suppressed = 0

    def add(self, reason: str) -> None:
        now = self._clock()
        if now < self._quiet_until:
            self._suppressed += 1
            return
        before = f" ({self._suppressed} more before)" if self._suppressed else ""
        self._quiet_until = now + INTERVAL
        self._suppressed = 0
        log.warning("%s: %s%s", self._who, reason, before)
