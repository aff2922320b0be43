"""What an engine told, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.conformance.engines import PATIENCE
from tests.conformance.events import Recorder

__all__ = ["Told"]


class Told(Recorder):
    """A recorder that waits for more than a number of arrivals."""

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until ``condition`` holds, which only an arrival can bring about."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._more.clear()
                await self._more.wait()

    async def lost(self, times: int = 1) -> list[set[str]]:
        """Until the link was lost so many times; the channels of each."""
        await self.until(lambda: len(self._of("link_lost")) >= times)
        return [set(channels) for channels, _ in self._of("link_lost")]

    async def restored(self, times: int = 1) -> list[set[str]]:
        """Until the link was restored so many times; the channels of each."""
        await self.until(lambda: len(self._of("link_restored")) >= times)
        return [set(channels) for channels in self._of("link_restored")]

    @property
    def errors(self) -> list[Exception]:
        """Why links were lost."""
        return [error for _, error in self._of("link_lost")]

    @property
    def data(self) -> list[bytes]:
        """What the messages that arrived say."""
        return [message.data for message in self.messages]

    def _of(self, wanted: str) -> list[object]:
        return [what for kind, _, what in self.arrived if kind == wanted]
