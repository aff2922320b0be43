"""A timer that does not take a loop that was busy for a server that is silent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["Alarm"]

_LATE = 0.05        # seconds by which a timer is late when the loop was busy with something else
_SECOND_LOOK = 0.1      # seconds after which it looks again, then what came meanwhile was read


class Alarm:
    """Calls ``action`` at a time of the loop; one time is set or none."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._action = action
        self._loop = asyncio.get_running_loop()
        self._at = 0.0
        self._handle: asyncio.Handle | None = None

    @property
    def is_set(self) -> bool:
        return self._handle is not None

    def set(self, at: float) -> None:
        self.cancel()
        self._at = at
        self._handle = self._loop.call_at(at, self._fire)

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        now = self._loop.time()
        if now > self._at + _LATE:
            self.set(now + _SECOND_LOOK)
            return
        self._handle = None
        self._action()
