"""The order of one node's operations in a channel some of which have to wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from fanout.errors import ClosedError
from fanout.nats.outcome import Outcome
from fanout.nats.pipe import Batch, Pipe

__all__ = ["Lanes"]

T = TypeVar("T")


class _Job:
    """An operation that waits for those before it."""

    __slots__ = ("fail", "num_bytes", "start")

    def __init__(
        self,
        start: Callable[[], Coroutine[Any, Any, None] | None],
        fail: Callable[[BaseException], None],
        num_bytes: int,
    ) -> None:
        self.start = start
        self.fail = fail
        self.num_bytes = num_bytes


class Lanes:
    """One lane per channel that has something under way; the jobs of one never overlap."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._lanes: dict[str, deque[_Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __contains__(self, channel: str) -> bool:
        """Whether something is under way there that others must wait for."""
        return channel in self._lanes

    def run(
        self, channel: str, num_bytes: int, work: Callable[[], Coroutine[Any, Any, T]]
    ) -> Awaitable[T]:
        """Do ``work`` when everything before it in the channel is done.

        Raises :exc:`fanout.BackpressureError`.
        """
        outcome: Outcome[T] = Outcome()

        async def start() -> None:
            outcome.succeed(await work())

        self._add(channel, _Job(start, outcome.fail, num_bytes))
        return outcome

    def post(
        self, channel: str, num_bytes: int, post: Callable[[], Batch], value: T
    ) -> Awaitable[T]:
        """Post something when everything before it in the channel is done."""
        outcome: Outcome[T] = Outcome()
        self._add(channel, _Job(lambda: post().forward(outcome, value), outcome.fail, num_bytes))
        return outcome

    async def drain(self) -> None:
        """Until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        """Give up whatever is under way."""
        for task in self._tasks:
            task.cancel()

    async def close(self) -> None:
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _add(self, channel: str, job: _Job) -> None:
        self._pipe.reserve(job.num_bytes)
        lane = self._lanes.get(channel)
        if lane is not None:
            lane.append(job)
            return
        self._lanes[channel] = lane = deque([job])
        task = asyncio.ensure_future(self._follow(channel, lane))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, channel: str, lane: deque[_Job]) -> None:
        try:
            while lane:
                # It stays in the lane until it is done, so that others wait.
                job = lane[0]
                try:
                    work = job.start()
                    if work is not None:
                        await work
                except Exception as error:
                    self._pipe.failures.note(error)
                    job.fail(error)
                lane.popleft()
                self._pipe.release(job.num_bytes)
        finally:
            del self._lanes[channel]
            for left in lane:
                self._pipe.release(left.num_bytes)
                left.fail(ClosedError("the engine is closed"))
