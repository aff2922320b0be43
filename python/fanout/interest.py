"""Which channels a node wants from its engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from fanout._awaitable import Ready
from fanout._hub import Hub
from fanout.engine import Engine

__all__ = ["Interest"]

log = logging.getLogger("fanout")


class Interest:
    """Keeps the engine's subscriptions in step with the hub's channels.

    A channel is wanted while the hub has a subscriber for it, or while
    somebody holds it who is about to add one. Engine calls of one channel
    never overlap: when what is wanted changed meanwhile, the next call
    follows the one under way.
    """

    def __init__(self, engine: Engine, hub: Hub) -> None:
        self._engine = engine
        self._hub = hub
        self._holds: dict[str, int] = {}
        self._moves: dict[str, asyncio.Task[None]] = {}

    def hold(self, channel: str) -> asyncio.Task[None] | None:
        """Want a channel until ``release``.

        Returns None when the engine has it, else a task to wait for (with
        :func:`asyncio.shield`), which raises what the engine raises.
        """
        holds = self._holds.get(channel, 0)
        self._holds[channel] = holds + 1
        move = self._moves.get(channel)
        if move is not None:
            return move
        if holds or self._hub.num_subscribers(channel):
            return None
        try:
            return self._start(channel, self._engine.subscribe(channel), True)
        except BaseException:
            self._drop_hold(channel)
            raise

    def release(self, channel: str) -> None:
        """End a hold; the channel stays wanted if the hub has a subscriber now."""
        self._drop_hold(channel)
        self.vacated(channel)

    def vacated(self, channel: str) -> None:
        """The hub may have lost the last subscriber of a channel."""
        if self._wanted(channel) or channel in self._moves:
            return
        try:
            self._start(channel, self._engine.unsubscribe(channel), False)
        except Exception:
            # Whoever left is gone all the same; nobody waits for this.
            log.exception("the engine could not unsubscribe from %r", channel)

    async def settled(self) -> None:
        """Wait until no engine call is under way."""
        while self._moves:
            await asyncio.wait(list(self._moves.values()))

    def _wanted(self, channel: str) -> bool:
        return channel in self._holds or self._hub.num_subscribers(channel) > 0

    def _drop_hold(self, channel: str) -> None:
        holds = self._holds[channel]
        if holds == 1:
            del self._holds[channel]
        else:
            self._holds[channel] = holds - 1

    def _start(
        self, channel: str, operation: Awaitable[None], subscribed: bool
    ) -> asyncio.Task[None] | None:
        if isinstance(operation, Ready):
            operation.result()
            return None
        task = asyncio.ensure_future(self._move(channel, operation, subscribed))
        task.add_done_callback(_retrieve)
        self._moves[channel] = task
        return task

    async def _move(self, channel: str, operation: Awaitable[None], subscribed: bool) -> None:
        try:
            await operation
            while self._wanted(channel) != subscribed:
                subscribed = not subscribed
                if subscribed:
                    await self._engine.subscribe(channel)
                else:
                    await self._engine.unsubscribe(channel)
        except Exception:
            if subscribed:
                raise  # to those who hold the channel
            log.exception("the engine could not unsubscribe from %r", channel)
        finally:
            del self._moves[channel]


def _retrieve(task: asyncio.Task[None]) -> None:
    """The holders get the failure; the loop has nothing to add to it."""
    if not task.cancelled():
        task.exception()
