"""What a broken link of the engine means for the channels, told when it breaks and mends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from fanout.events import Interruption, Restoration
from fanout.handlers import Handlers, answer
from fanout.positions import Positions

__all__ = ["Outages"]

log = logging.getLogger("fanout")


class Outages:
    """Has positions doubted while the link is broken, and tells the application.

    ``background`` does what a shutdown waits for.
    """

    def __init__(
        self,
        positions: Positions,
        handlers: Handlers,
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._positions = positions
        self._handlers = handlers
        self._background = background
        self._restoring: list[set[str]] = []    # channels whose restoration is to be told

    @property
    def unsettled(self) -> bool:
        """Whether a restoration is still to be told."""
        return bool(self._restoring)

    def on_lost(self, channels: Collection[str], error: Exception) -> None:
        self._positions.doubt(channels, cut=True)
        for awaited in self._restoring:
            awaited.difference_update(channels)
        log.warning("the engine's link broke, nothing arrives for %d channels: %s",
                    len(channels), error)
        if self._handlers.interruption is not None:
            event = Interruption(tuple(channels), error)
            self._background(answer(self._handlers.interruption, event))

    def on_restored(self, channels: Collection[str]) -> None:
        self._positions.doubt(channels, cut=False)
        awaited = set(channels)
        self._restoring.append(awaited)
        # No work that a shutdown should wait for: it lasts as long as the engine is away.
        self._positions.start(self._restore(tuple(channels), awaited))

    async def _restore(self, channels: tuple[str, ...], awaited: set[str]) -> None:
        """Check the positions, then tell; what is not ``awaited`` any more broke again."""
        try:
            whole, lost = await self._positions.restore(channels)
        finally:
            self._restoring = [other for other in self._restoring if other is not awaited]
        event = Restoration(
            tuple(channel for channel in whole if channel in awaited),
            tuple(lost),
            tuple(awaited.difference(whole, lost)))
        if not (event.whole or event.lost or event.unwatched) and channels:
            return
        log.info(
            "the engine's link is back: %d channels lost nothing, %d did, of %d nobody knows",
            len(event.whole), len(event.lost), len(event.unwatched))
        if self._handlers.restoration is not None:
            self._background(answer(self._handlers.restoration, event))
