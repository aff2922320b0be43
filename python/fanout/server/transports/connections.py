"""The connections of a server, whatever their transports: how many, how fast, and their end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from fanout import codes
from fanout.server.log import logger

__all__ = ["Connections", "RateLimit"]


class Closable(Protocol):
    def close(self, code: int, reason: str) -> None: ...
    def abort(self) -> None: ...


class RateLimit:
    """Lets ``rate`` pass in a second, and as many at once after a pause."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._tokens = float(rate)
        self._refilled = clock()

    def passes(self) -> bool:
        now = self._clock()
        self._tokens = min(self._rate, self._tokens + (now - self._refilled) * self._rate)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Connections:
    """Those that are open, and whether another may come.

    ``limit`` is how many there may be at a time, ``rate`` how many may come in
    a second; 0 is no limit.
    """

    def __init__(self, limit: int = 0, rate: int = 0) -> None:
        self._limit = limit
        self._rate = RateLimit(rate) if rate else None
        self._connections: set[Closable] = set()
        self._closing = False
        self._empty = asyncio.Event()

    def __len__(self) -> int:
        return len(self._connections)

    def refusal(self) -> str:
        """Why another may not come now; ``""`` when it may. Each that may counts for the rate."""
        if self._closing:
            return "the server shuts down"
        if self._limit and len(self._connections) >= self._limit:
            return "no more connections here"
        if self._rate is not None and not self._rate.passes():
            return "too many connections at a time"
        return ""

    def added(self, connection: Closable) -> None:
        self._connections.add(connection)
        if self._closing:
            # It was let in before, and was being read from all the while.
            connection.close(codes.DISCONNECT_SHUTDOWN.code, codes.DISCONNECT_SHUTDOWN.reason)

    def lost(self, connection: Closable) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - part of one budget
        """Close what is open, and wait until all are gone; then cut what is left."""
        self._closing = True
        for connection in list(self._connections):
            connection.close(codes.DISCONNECT_SHUTDOWN.code, codes.DISCONNECT_SHUTDOWN.reason)
        try:
            async with asyncio.timeout(timeout):
                while self._connections:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            logger.warning("%d connections did not close in time", len(self._connections))
            for connection in list(self._connections):
                connection.abort()
