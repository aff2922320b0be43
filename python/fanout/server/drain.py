"""How a server lets its clients go: nobody new, and the others not all at once.

Clients that are told to leave together come back together, to the servers that
are left. So they are told a few at a time, over at most half of the time that
the shutdown has; the other half is for what they still have to read.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

from aiohttp import web

from fanout import codes
from fanout.node import Node

__all__ = ["Drain"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TICK = 0.1              # seconds between two groups of clients
SMALLEST_GROUP = 50     # so few can come back together and nobody notices


class Drain:
    """The drain of one server.

    ``budget`` is the time for the whole shutdown, in seconds. ``sleep`` is
    what passes the time between two groups.
    """

    def __init__(
        self, node: Node, budget: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._node = node
        self._window = budget / 2
        self._sleep = sleep
        self._begun = False

    @property
    def begun(self) -> bool:
        """True when no more clients are taken."""
        return self._begun

    def begin(self) -> None:
        """Take no more clients, and say so at ``/health``."""
        self._begun = True

    async def spread(self) -> int:
        """Tell the clients to leave, group by group; returns the number of groups.

        Those who come meanwhile, on a connection that was open already, are
        told as well; those who wait for the answer to a command get it first.
        Who is still there when the time is up is left to
        :meth:`fanout.Node.shutdown`.
        """
        self.begin()
        ticks = max(1, int(self._window / TICK))
        size = max(SMALLEST_GROUP, math.ceil(len(self._node.clients) / ticks))
        groups = 0
        while self._node.clients and groups < ticks:
            if groups:
                await self._sleep(TICK)
            quiet = [client for client in self._node.clients.values() if not client.busy]
            for client in quiet[:size]:
                client.disconnect(codes.DISCONNECT_SHUTDOWN)
            groups += 1
        return groups

    async def health(self, request: web.Request) -> web.Response:
        """``/health``: 200 while clients are taken, 503 in a drain."""
        return web.json_response({}, status=503 if self._begun else 200)

    def guard(self, handler: Handler) -> Handler:
        """``handler``, for requests that begin a connection: refused with 503 in a drain."""

        async def handle(request: web.Request) -> web.StreamResponse:
            if self._begun:
                raise web.HTTPServiceUnavailable(text="the server shuts down\n")
            return await handler(request)

        return handle
