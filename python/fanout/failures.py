"""What failed behind its call, where nobody may have looked."""

from __future__ import annotations

import logging
import time

from fanout.errors import ClosedError

__all__ = ["Failures"]

PAUSE = 10.0        # seconds between two lines of the log


class Failures:
    """Counts an engine's failed operations, and tells the log now and then.

    A publish need not be awaited; who does not would never know.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told_at = float("-inf")
        self._untold = 0
        self.count = 0

    def note(self, error: BaseException, count: int = 1) -> None:
        """``count`` operations have failed; that the engine was closed is no failure."""
        if isinstance(error, ClosedError) or not count:
            return
        self.count += count
        self._untold += count
        now = time.monotonic()
        if now - self._told_at >= PAUSE:
            self._log.warning("%d operations failed, the last: %s", self._untold, error)
            self._told_at = now
            self._untold = 0
