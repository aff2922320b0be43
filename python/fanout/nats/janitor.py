"""Gives back what has ended, and keeps the clock."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Protocol

from fanout.errors import FanoutError
from fanout.nats.api import ApiError, JetStreamApi, NotReady
from fanout.nats.clock import ServerClock
from fanout.nats.requests import Interrupted
from fanout.nats.streams import Streams

__all__ = ["Janitor"]

log = logging.getLogger("fanout")

WORKERS = 16
CLOCK_INTERVAL = 15.0       # seconds between two looks at the server's clock
LATE = 0.02                 # seconds after a history's end, for a clock that is a little off
FAILED = 30.0               # seconds until it is tried again
MOST_DUE = 1_000_000        # channels that are looked after
ADOPTED = 500               # channels looked at in a second, when a node starts


class Compact(Protocol):
    """Gives back what a channel does not keep any more."""

    def __call__(self, channel: str, until: float, *, thorough: bool) -> Awaitable[None]: ...


class Janitor:
    """Compacts each channel when its history ends.

    channels
        All that have messages in the store.
    """

    def __init__(
        self,
        api: JetStreamApi,
        streams: Streams,
        clock: ServerClock,
        compact: Compact,
        channels: Callable[[float], Awaitable[set[str]]],
    ) -> None:
        self._api = api
        self._streams = streams
        self._clock = clock
        self._compact = compact
        self._channels = channels
        self._loop = asyncio.get_running_loop()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []    # one entry for each of them
        self._timer: asyncio.TimerHandle | None = None
        self._adopted: set[str] = set()     # and not looked at yet
        self._ready: deque[str] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_workers = 0

    def start(self) -> None:
        self._spawn(self._keep_clock())
        self._spawn(self._adopt())

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def due(self, channel: str, at: float) -> None:
        """A channel's history is over at ``at``, by the server's clock."""
        is_new = channel not in self._due
        if is_new and len(self._due) >= MOST_DUE:
            return      # the server removes it some time
        self._due[channel] = at
        if is_new:
            heapq.heappush(self._heap, (at, channel))
            if self._heap[0][1] == channel:
                self._arm()

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            pause = self._heap[0][0] + LATE - self._clock.now()
            # Not for longer than the clock is looked at: it may go wrong.
            self._timer = self._loop.call_later(
                min(max(pause, 0.0), CLOCK_INTERVAL), self._collect)

    def _collect(self) -> None:
        self._timer = None
        now = self._clock.now() - LATE
        while self._heap and self._heap[0][0] <= now:
            at, channel = heapq.heappop(self._heap)
            if self._due[channel] > at:
                # It was published to since.
                heapq.heappush(self._heap, (self._due[channel], channel))
            else:
                del self._due[channel]
                self._ready.append(channel)
        while self._num_workers < min(WORKERS, len(self._ready)):
            self._num_workers += 1
            self._spawn(self._work())
        self._arm()

    async def _work(self) -> None:
        try:
            while self._ready:
                channel = self._ready.popleft()
                try:
                    thorough = channel in self._adopted
                    self._adopted.discard(channel)
                    await self._compact(channel, self._api.deadline, thorough=thorough)
                except FanoutError as error:
                    log.info("what is over of %r is not given back yet: %s", channel, error)
                    self.due(channel, self._clock.now() + FAILED)
        finally:
            self._num_workers -= 1

    async def _adopt(self) -> None:
        """Look after the channels of nodes that are gone, all the same whose they were."""
        try:
            channels = await self._channels(self._api.deadline)
        except FanoutError as error:
            log.info("what is stored cannot be looked through: %s", error)
            return
        now = self._clock.now()
        for at, channel in enumerate(channels):
            if channel not in self._due:
                self._adopted.add(channel)
                self.due(channel, now + at / ADOPTED)

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_INTERVAL)
            try:
                await self._streams.set_clock(self._api.deadline)
            except (ApiError, NotReady, Interrupted, TimeoutError):
                continue
