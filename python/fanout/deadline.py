"""The end of a connection, or of one of its subscriptions, unless it is prolonged."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fanout._expiry import Timer

if TYPE_CHECKING:
    from fanout.node import Node

__all__ = ["Deadline"]

log = logging.getLogger("fanout")

RETRY = 5.0     # seconds between two tries to prolong what is over


class Deadline:
    """Calls ``expire`` when it is over.

    grace
        Seconds for which all goes on behind the deadline: until the client
        has prolonged it, or while ``prolong`` fails.
    prolong
        Asked at the deadline where the client is not to prolong it itself:
        whether it was set anew. When it raises it is asked again, until the
        grace is over.
    """

    __slots__ = ("_expire", "_grace", "_node", "_prolong", "_timer", "at")

    def __init__(
        self, node: Node, grace: float, prolong: Callable[[], Awaitable[bool]] | None,
        expire: Callable[[], None],
    ) -> None:
        self.at = 0.0
        self._node = node
        self._grace = grace
        self._prolong = prolong
        self._expire = expire
        self._timer: Timer | None = None    # refers back: there only while something is to expire

    def set(self, at: float) -> None:
        """Let it be over at ``at`` (seconds since 1970; 0: never)."""
        self.at = at
        if not at:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            return
        if self._timer is None:
            self._timer = Timer(self._node.expiry, self._on_timer)
        delay = at - time.time() + (self._grace if self._prolong is None else 0.0)
        self._timer.start(max(0.0, delay))

    def cancel(self) -> None:
        self.set(0.0)

    def _on_timer(self) -> None:
        if self._prolong is None:
            self._expire()
        else:
            self._node.background(self._ask(self._prolong))

    async def _ask(self, prolong: Callable[[], Awaitable[bool]]) -> None:
        at = self.at
        try:
            prolonged = await prolong()
        except Exception as error:
            # What may be a passing failure of the application ends nothing at once.
            log.warning("what expires could not be prolonged: %r", error)
            if (
                self._timer is not None and self.at == at
                and time.time() + RETRY < at + self._grace
            ):
                self._timer.start(RETRY)
                return
            prolonged = False
        if not prolonged and self.at == at and at:
            self._expire()
