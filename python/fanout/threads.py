"""The one door from other threads into a node's loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any

from fanout._awaitable import Ready
from fanout.errors import BackpressureError, ClosedError
from fanout.types import StreamPosition

if TYPE_CHECKING:
    from fanout.node import Node

__all__ = ["ThreadDoor"]


class ThreadDoor:
    """Publishes from other threads, carried into the loop in batches."""

    def __init__(self, node: Node, limit: int) -> None:
        self._node = node
        self._limit = limit
        # Re-entrant: a finalizer may publish while this thread makes an object under it.
        self._lock = threading.RLock()
        self._waiting: deque[
            tuple[str, bytes, Mapping[str, Any], concurrent.futures.Future[StreamPosition]]
        ] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._loop = loop

    def close(self) -> None:
        """Publish what waits; refuse what comes later."""
        with self._lock:
            self._loop = None
        self._carry()

    def publish(
        self, channel: str, data: bytes, options: Mapping[str, Any]
    ) -> concurrent.futures.Future[StreamPosition]:
        future: concurrent.futures.Future[StreamPosition] = concurrent.futures.Future()
        with self._lock:
            if self._loop is None:
                raise ClosedError("the node does not run")
            if len(self._waiting) >= self._limit:
                raise BackpressureError(
                    f"{self._limit} publishes from other threads wait already "
                    "(wait for their futures, or raise threadsafe_limit)")
            self._waiting.append((channel, data, options, future))
            if len(self._waiting) == 1:     # else the loop was woken already
                self._loop.call_soon_threadsafe(self._carry)
        return future

    def _carry(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for channel, data, options, future in waiting:
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = self._node.publish(channel, data, **options)
            except BaseException as error:
                future.set_exception(error)
                continue
            if isinstance(result, Ready):
                _settle(future, result)
            else:
                self._node.background(_follow(future, result))


def _settle(
    future: concurrent.futures.Future[StreamPosition], result: Ready[StreamPosition]
) -> None:
    try:
        future.set_result(result.result())
    except BaseException as error:
        future.set_exception(error)


async def _follow(
    future: concurrent.futures.Future[StreamPosition], result: Awaitable[StreamPosition]
) -> None:
    try:
        future.set_result(await result)
    except BaseException as error:
        future.set_exception(error)
