"""Engines that take their time, or fail, when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fanout import ChannelOptions, MemoryEngine

__all__ = ["SlowEngine", "eventually"]


async def eventually(condition: object) -> None:
    """Give the loop turns until ``condition()`` holds."""
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - there is no event for what it looks at
            await asyncio.sleep(0)


class SlowEngine(MemoryEngine):
    """Its subscribe and unsubscribe wait for ``allow``, and never overlap for a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.running: dict[str, str] = {}
        self.has: set[str] = set()
        self.failures: list[str] = []       # operations to fail: "subscribe" or "unsubscribe"
        self._gates: dict[str, asyncio.Future[None]] = {}
        self.free = False                   # nothing waits for `allow` any more
        self.closed = False

    async def close(self) -> None:
        assert not self.running, "closed while its calls run"
        self.closed = True
        await super().close()

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        return self._operation("subscribe", channel)

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        return self._operation("unsubscribe", channel)

    async def allow(self, channel: str = "a") -> None:
        """Let the operation that runs for ``channel`` finish."""
        await eventually(lambda: channel in self._gates)
        self._gates.pop(channel).set_result(None)
        await asyncio.sleep(0)

    async def _operation(self, name: str, channel: str) -> None:
        assert not self.closed, f"{name} after close"
        assert channel not in self.running, f"{name} while {self.running[channel]} runs"
        self.running[channel] = name
        self.calls.append(name)
        try:
            if not self.free:
                gate = self._gates[channel] = asyncio.get_running_loop().create_future()
                await gate
            else:
                await asyncio.sleep(0)
            if name in self.failures:
                self.failures.remove(name)
                raise ConnectionError(f"{name} failed")
        finally:
            self._gates.pop(channel, None)
            del self.running[channel]
        (self.has.add if name == "subscribe" else self.has.discard)(channel)
