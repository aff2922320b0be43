"""A steady load of publishes, and the book of what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterable

from fanout import EngineUnavailableError, Node, StreamPosition
from tests.system.checker import Acknowledged
from tests.system.waiting import PATIENCE_S, until

PAUSE_S = 0.01
# A broker that is slower than the pauses is not to be given ever more.
MOST_UNDER_WAY = 25


class Load:
    """Publishes into each channel about a hundred times a second until it is stopped.

    No publish waits for the one before it, as in an application whose requests
    come as they come. ``failures`` has what was not acknowledged.
    """

    def __init__(self, node: Node, channels: Iterable[str], publisher: str = "load") -> None:
        self.node = node
        self.publisher = publisher
        self.acknowledged: dict[str, list[Acknowledged]] = {channel: [] for channel in channels}
        self.failures: list[Exception] = []
        self._numbers = dict.fromkeys(self.acknowledged, 0)
        self._under_way = dict.fromkeys(self.acknowledged, 0)
        self._publishes: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Load:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Publish no more, and wait for the fate of what was published."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._publishes:
            _, unknown = await asyncio.wait(self._publishes, timeout=PATIENCE_S)
            assert not unknown, f"{len(unknown)} publishes were neither done nor failed"
        unexpected = [error for error in self.failures
                      if not isinstance(error, EngineUnavailableError)]
        assert not unexpected, f"a publish may only fail for want of a broker: {unexpected!r}"

    def num_acknowledged(self) -> int:
        return min(len(items) for items in self.acknowledged.values())

    async def more(self, count: int = 10) -> None:
        """Wait until so many more publishes into each channel were acknowledged."""
        wanted = {channel: len(items) + count for channel, items in self.acknowledged.items()}
        await until(
            lambda: all(len(self.acknowledged[channel]) >= n for channel, n in wanted.items()),
            lambda: f"{count} publishes acknowledged; the last failures: {self.failures[-3:]!r}",
        )

    async def failed(self, count: int = 1) -> None:
        """Wait until so many more publishes failed."""
        wanted = len(self.failures) + count
        await until(lambda: len(self.failures) >= wanted, f"{count} publishes failed")

    async def mark(self, channel: str, *, padding: int = 0) -> StreamPosition:
        """One more publish, acknowledged, of so many bytes more; its place in the stream."""
        position = await self._publish(channel, padding)
        assert position is not None, self.failures[-1]
        return position

    async def _run(self) -> None:
        while True:
            for channel, under_way in self._under_way.items():
                if under_way < MOST_UNDER_WAY:
                    task = asyncio.create_task(self._note(channel))
                    self._publishes.add(task)
                    task.add_done_callback(self._publishes.discard)
            await asyncio.sleep(PAUSE_S)

    async def _note(self, channel: str) -> None:
        self._under_way[channel] += 1
        try:
            await self._publish(channel)
        finally:
            self._under_way[channel] -= 1

    async def _publish(self, channel: str, padding: int = 0) -> StreamPosition | None:
        self._numbers[channel] += 1
        number = self._numbers[channel]
        data = {"publisher": self.publisher, "number": number, "padding": " " * padding}
        try:
            position = await self.node.publish(channel, json.dumps(data).encode())
        except Exception as error:
            self.failures.append(error)
            return None
        self.acknowledged[channel].append(
            Acknowledged(position.epoch, position.offset, self.publisher, number))
        return position
