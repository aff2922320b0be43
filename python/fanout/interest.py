"""Which channels a node wants from its engine."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

from fanout._awaitable import Ready
from fanout._hub import Hub
from fanout.engine import Engine
from fanout.types import ChannelOptions

__all__ = ["Interest"]

log = logging.getLogger("fanout")


class Interest:
    """Keeps the engine's subscriptions in step with the hub's channels.

    A channel is wanted while the hub has a subscriber for it, or while
    somebody holds it who is about to add one. Engine calls of one channel
    never overlap: when what is wanted changed meanwhile, the next call
    follows the one under way. ``options`` tells a channel's, for the engine;
    ``on_unwanted`` is called when a channel ceases to be wanted.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        options: Callable[[str], ChannelOptions | None],
        on_unwanted: Callable[[str], object],
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._options = options
        self._on_unwanted = on_unwanted
        self._holds: dict[str, int] = {}
        self._moves: dict[str, asyncio.Task[None]] = {}
        # Wanted, but the engine could not subscribe: the next holder tries again.
        self._failed: set[str] = set()

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
        if (holds or self._hub.num_subscribers(channel)) and channel not in self._failed:
            return None
        try:
            operation = self._engine.subscribe(channel, self._options(channel))
            return self._start(channel, operation, True)
        except BaseException:
            self._drop_hold(channel)
            raise

    def release(self, channel: str) -> None:
        """End a hold; the channel stays wanted if the hub has a subscriber now."""
        self._drop_hold(channel)
        self.vacated(channel)

    def vacated(self, channel: str) -> None:
        """The hub may have lost the last subscriber of a channel."""
        if self._wanted(channel):
            return
        self._on_unwanted(channel)
        if channel in self._moves:
            return
        self._failed.discard(channel)
        try:
            self._start(channel, self._engine.unsubscribe(channel), False)
        except Exception:
            # Whoever left is gone all the same; nobody waits for this.
            log.exception("the engine could not unsubscribe from %r", channel)

    async def settled(self) -> None:
        """Wait until no engine call is under way."""
        while self._moves:
            await asyncio.wait(list(self._moves.values()))

    def abandon(self) -> None:
        """Cancel the engine calls that are under way."""
        for move in list(self._moves.values()):
            move.cancel()

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
            self._failed.discard(channel)
            return None
        task = asyncio.ensure_future(self._move(channel, operation, subscribed))
        task.add_done_callback(functools.partial(_report, channel))
        self._moves[channel] = task
        return task

    async def _move(self, channel: str, operation: Awaitable[None], subscribed: bool) -> None:
        try:
            while True:
                try:
                    await operation
                    self._failed.discard(channel)
                except Exception:
                    if subscribed:
                        if self._wanted(channel):
                            self._failed.add(channel)
                        raise  # to those who hold the channel
                    # Whether the engine has it nobody knows: if it is wanted
                    # again it is asked again.
                    log.exception("the engine could not unsubscribe from %r", channel)
                if self._wanted(channel) == subscribed:
                    return
                subscribed = not subscribed
                operation = self._call(channel, subscribed)
        finally:
            del self._moves[channel]

    async def _call(self, channel: str, subscribed: bool) -> None:
        if subscribed:
            await self._engine.subscribe(channel, self._options(channel))
        else:
            await self._engine.unsubscribe(channel)


def _report(channel: str, move: asyncio.Task[None]) -> None:
    """Also when somebody waits: an engine that fails is the operator's matter too."""
    if not move.cancelled() and move.exception() is not None:
        log.error("the engine could not subscribe to %r: %r", channel, move.exception())
