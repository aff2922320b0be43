"""An in-process subscription, as an application holds it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fanout._subscription import LocalQueue
from fanout.positions import finished
from fanout.types import Message

if TYPE_CHECKING:
    from fanout.readers import Readers

__all__ = ["Subscription"]


class Subscription:
    """Messages of one or more channels, read in this process.

    Made by :meth:`fanout.Node.subscribe`. ``await`` it, or enter it with
    ``async with``: from then on the engine delivers the channels. With a
    :class:`fanout.MemoryEngine` it does so from the moment it is made.

    It ends with ``close()``, with the ``async with`` block, when nobody
    refers to it any more, or when the node shuts down; with an error when
    the reader is too slow for its queue (:exc:`fanout.SlowConsumerError`),
    when the engine cannot subscribe, or when messages of a channel that
    recovers are lost (:exc:`fanout.InsufficientStateError`).
    """

    def __init__(self, readers: Readers, channels: tuple[str, ...], queue: LocalQueue,
                 moves: list[asyncio.Task[None]]) -> None:
        self._readers = readers
        self._channels = channels
        self._queue = queue
        self._moves = moves

    @property
    def channels(self) -> tuple[str, ...]:
        return self._channels

    @property
    def closed(self) -> bool:
        """True when no more messages will come; what is queued can still be read."""
        return self._queue.closed

    @property
    def num_queued(self) -> int:
        return len(self._queue)

    @property
    def num_received(self) -> int:
        """How many messages were queued since it was made."""
        return self._queue.num_received

    @property
    def num_dropped(self) -> int:
        """How many messages its overflow policy dropped."""
        return self._queue.num_dropped

    @property
    def num_wakeups(self) -> int:
        """How often a waiting reader, or the callback, was run for new messages."""
        return self._queue.num_wakeups

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._queue.__aiter__()

    async def get_batch(self, limit: int = 0) -> list[Message]:
        """Wait for at least one message; returns all that are queued.

        ``limit`` above 0 is the most to return. An empty list says that the
        subscription was closed. Raises :exc:`fanout.SlowConsumerError` after
        the last message when it was closed because the reader fell behind.
        """
        return await self._queue.get_batch(limit)

    def get_nowait(self) -> Message | None:
        """The oldest queued message, or None."""
        return self._queue.get_nowait()

    def close(self) -> None:
        """End it: no more messages come, what is queued can still be read."""
        self._readers.close(self._queue)

    async def _ready(self) -> Subscription:
        for move in self._moves:
            await finished(move)
        return self

    def __await__(self) -> Generator[Any, None, Subscription]:
        return self._ready().__await__()

    async def __aenter__(self) -> Subscription:
        try:
            return await self._ready()
        except BaseException:
            self.close()
            raise

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        self.close()
