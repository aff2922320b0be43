"""The in-process subscriptions of a node: making them, keeping them, ending them."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Callable, Iterable, Sequence

from fanout._hub import Hub
from fanout._subscription import LocalQueue
from fanout.interest import Interest
from fanout.positions import POSITIONED, Positions, Track
from fanout.subscription import Subscription
from fanout.types import ChannelOptions, Message, Overflow

__all__ = ["Readers"]


class Readers:
    """The queues that are read in this process; an application holds a ``Subscription`` of each.

    One without a callback lives as long as its subscription, one with a
    callback until it is closed.
    """

    def __init__(self, hub: Hub, interest: Interest, positions: Positions) -> None:
        self._hub = hub
        self._interest = interest
        self._positions = positions
        self._queues: weakref.WeakSet[LocalQueue] = weakref.WeakSet()
        self._held: set[LocalQueue] = set()     # with a callback

    def open(
        self, channels: Sequence[tuple[str, ChannelOptions]],
        callback: Callable[[Message], object] | None, size: int, overflow: Overflow,
    ) -> Subscription:
        """Read ``channels``, each with its options; the others as in ``Node.subscribe``."""
        queue = LocalQueue(self._hub, size, overflow, callback)
        self._queues.add(queue)
        if callback is not None:
            self._held.add(queue)
        moves: list[asyncio.Task[None]] = []
        try:
            for channel, options in channels:
                move = self._interest.hold(channel)
                track = self._positions.watch(channel, options)
                self._hub.subscribe(queue, channel, POSITIONED)
                if track is not None and not track.epoch:
                    move = self._positions.start(self._open_track(track, move))
                if move is None:
                    self._interest.release(channel)
                else:
                    move.add_done_callback(functools.partial(self._moved, channel, queue))
                    moves.append(move)
        except BaseException:
            self.close(queue)
            raise
        return Subscription(self, tuple(channel for channel, _ in channels), queue, moves)

    def close(self, queue: LocalQueue, error: BaseException | None = None) -> None:
        """No more messages come; whoever reads gets what is queued, then ``error``."""
        self._held.discard(queue)
        for channel in self._hub.remove(queue):
            self._interest.vacated(channel)
        queue.close(error)

    def close_all(self) -> None:
        for queue in list(self._queues):
            self.close(queue)

    def channels(self) -> Iterable[str]:
        """The channel of each subscription; one that several read comes several times."""
        return (channel for queue in self._queues for channel in self._hub.subscriptions(queue))

    async def _open_track(self, track: Track, move: asyncio.Task[None] | None) -> None:
        if move is not None:
            await asyncio.shield(move)
        await self._positions.open(track)

    def _moved(self, channel: str, queue: LocalQueue, move: asyncio.Task[None]) -> None:
        """The engine has the channel, or it failed."""
        self._interest.release(channel)
        if not move.cancelled() and (error := move.exception()) is not None:
            # Whoever reads must hear that nothing will come.
            self.close(queue, error)
