"""What a node would do with what arrives: remember it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

from fanout import AdminMessage, ControlMessage, Engine, JoinMessage, LeaveMessage, Message
from tests.conformance.engines import PATIENCE

__all__ = ["Recorder"]


async def _in_one_order() -> None:
    """Nothing to wait for where one server hands out everything."""


@dataclass
class Recorder:
    """``EngineEvents`` that keep what they get.

    ``arrived`` is all of it in order, as (kind, channel or None, message), and
    ``epochs`` what the messages among it came with. ``on_arrival`` is called
    after each, and ``error`` then raised if it is set. ``in_order`` waits for what
    several servers sent, each in its own order.
    """

    arrived: list[tuple[str, str | None, object]] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)
    on_arrival: Callable[[], object] | None = None
    error: Exception | None = None
    in_order: Callable[[], Awaitable[None]] = _in_one_order
    _more: asyncio.Event = field(default_factory=asyncio.Event)
    _marks: int = 0

    def on_message(self, channel: str, message: Message, epoch: str) -> None:
        self.epochs.append(epoch)
        self._add("message", channel, message)

    def on_join(self, channel: str, message: JoinMessage) -> None:
        self._add("join", channel, message)

    def on_leave(self, channel: str, message: LeaveMessage) -> None:
        self._add("leave", channel, message)

    def on_control(self, message: ControlMessage) -> None:
        self._add("control", None, message)

    def on_admin(self, message: AdminMessage) -> None:
        self._add("admin", None, message)

    def on_link_lost(self, channels: Collection[str], error: Exception) -> None:
        self._add("link_lost", None, (tuple(channels), error))

    def on_link_restored(self, channels: Collection[str]) -> None:
        self._add("link_restored", None, tuple(channels))

    @property
    def messages(self) -> list[Message]:
        """The publications among what arrived."""
        return [message for _, _, message in self.arrived if isinstance(message, Message)]

    def _add(self, kind: str, channel: str | None, message: object) -> None:
        self.arrived.append((kind, channel, message))
        self._more.set()
        if self.on_arrival is not None:
            self.on_arrival()
        if self.error is not None:
            raise self.error

    async def wait(self, count: int) -> None:
        """Until ``count`` things have arrived in all; fails when they never do."""
        async with asyncio.timeout(PATIENCE):
            while len(self.arrived) < count:
                self._more.clear()
                await self._more.wait()

    async def settle(self, engine: Engine) -> None:
        """Until everything that ``engine`` published before has arrived here.

        An admin message goes the way of the others and needs no channel; this
        one is not kept.
        """
        await self.in_order()
        self._marks += 1
        mark = ("admin", None, AdminMessage("settled", str(self._marks).encode()))
        await engine.publish_admin(mark[2])
        async with asyncio.timeout(PATIENCE):
            while mark not in self.arrived:
                self._more.clear()
                await self._more.wait()
        self.arrived.remove(mark)
