"""Plain HTTP answers that their reader does not take.

aiohttp limits how long it waits for a request, not for the reader of an answer:
whoever sends requests and reads nothing would keep the connection for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fanout.server.log import logger

__all__ = ["Unread"]

LOOK_INTERVAL = 1.0     # seconds


class Unread:
    """Cuts the connections whose peers took nothing for ``timeout`` seconds.

    ``transports`` tells those that are open. What waits for a peer that reads,
    however slowly, is not the same at two looks, and so many looks in a row are
    the same only where nothing was taken. One that has seen an end is looked at
    as long as anything waits for it.
    """

    def __init__(
        self, transports: Callable[[], Iterable[asyncio.Transport]], timeout: float
    ) -> None:
        self._transports = transports
        self._most_looks = max(1, round(timeout / LOOK_INTERVAL))
        # What waited, in bytes, and for how many looks it has been the same.
        self._waiting: dict[asyncio.Transport, tuple[int, int]] = {}

    async def watch(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.look()

    def look(self) -> None:
        waiting: dict[asyncio.Transport, tuple[int, int]] = {}
        cut = 0
        for transport in {*self._waiting, *self._transports()}:
            size = transport.get_write_buffer_size()
            if not size:
                continue
            before, looks = self._waiting.get(transport, (0, 0))
            looks = looks + 1 if size == before else 0
            if looks < self._most_looks:
                waiting[transport] = size, looks
            else:
                transport.abort()
                cut += 1
        self._waiting = waiting
        if cut:
            logger.info("%d connections are cut, whose peers did not take their answers", cut)
