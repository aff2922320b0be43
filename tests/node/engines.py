"""Engines that take their time, or fail, when the test says so."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable
from typing import Any

from fanout import (
    ChannelOptions,
    ClosedError,
    EngineEvents,
    HistoryPage,
    MemoryEngine,
    Message,
    StreamPosition,
)

__all__ = ["LossyEngine", "SlowEngine", "eventually"]


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


class Streams:
    """The histories of a server that can come back with older data."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Message]] = {}
        self._tops: dict[str, StreamPosition] = {}

    def append(self, channel: str, message: Message, size: int, *_: object) -> Message:
        top = self.position(channel)
        message = message.at(top.offset + 1)
        self._tops[channel] = StreamPosition(message.offset, top.epoch)
        self._kept[channel] = [*self._kept.get(channel, ()), message][-size:]
        return message

    def position(self, channel: str) -> StreamPosition:
        return self._tops.setdefault(channel, StreamPosition(0, secrets.token_hex(4)))

    def read(
        self, channel: str, since: StreamPosition | None, limit: int, reverse: bool
    ) -> HistoryPage:
        top = self.position(channel)
        kept = self._kept.get(channel, [])
        recoverable = True
        if since is not None:
            if since.epoch not in ("", top.epoch) or since.offset > top.offset:
                return HistoryPage([], top, False)
            recoverable = since.offset + 1 >= top.offset + 1 - len(kept)
            kept = [
                message for message in kept
                if (message.offset < since.offset if reverse else message.offset > since.offset)
            ]
        if reverse:
            kept = kept[::-1]
        return HistoryPage(kept if limit < 0 else kept[:limit], top, recoverable)

    def remove(self, channel: str) -> None:
        self._kept.pop(channel, None)

    def clear(self) -> None:
        self._kept.clear()
        self._tops.clear()

    def set_back(self, channel: str, count: int) -> None:
        """The last ``count`` messages never were; their offsets are used again."""
        top = self.position(channel)
        offset = max(0, top.offset - count)
        self._tops[channel] = StreamPosition(offset, top.epoch)
        self._kept[channel] = [
            message for message in self._kept.get(channel, ()) if message.offset <= offset]


class LossyEngine(MemoryEngine):
    """Delivers, loses and reads the history when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.streams = Streams()
        self._history: Any = self.streams
        self.late = False       # else it delivers at once
        self.cut = False        # nothing that is published arrives
        self.arriving: deque[tuple[str, Message, str]] = deque()
        self.reads_wait = False
        self.waiting_reads: deque[asyncio.Future[None]] = deque()
        self.num_reads = 0
        self.read_error: Exception | None = None

    async def run(self, events: EngineEvents) -> None:
        self.node: Any = events
        await super().run(_Gate(self, events))

    async def close(self) -> None:
        for gate in self.waiting_reads:
            if not gate.done():
                gate.set_exception(ClosedError("the engine is closed"))
        await super().close()

    def deliver(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.arriving))):
            self.node.on_message(*self.arriving.popleft())

    def deliver_all(self) -> None:
        self.deliver(len(self.arriving))

    def lose(self, count: int = 1) -> None:
        for _ in range(min(count, len(self.arriving))):
            self.arriving.popleft()

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        return self._subscribe_later(channel) if self.cut else super().subscribe(channel, options)

    async def _subscribe_later(self, channel: str) -> None:
        while self.cut:     # noqa: ASYNC110 - the test says when it is not
            await asyncio.sleep(0)
        await super().subscribe(channel)

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        self.num_reads += 1
        if self.read_error is not None:
            raise self.read_error
        page = await super().history_stream(channel, since, limit, reverse)
        if self.reads_wait:     # the answer is on its way, and as old as the question
            gate = asyncio.get_running_loop().create_future()
            self.waiting_reads.append(gate)
            await gate
        return page

    def answer_read(self) -> None:
        while self.waiting_reads and self.waiting_reads[0].done():
            self.waiting_reads.popleft()
        if self.waiting_reads:
            self.waiting_reads.popleft().set_result(None)

    def wipe(self) -> None:
        """The server lost everything."""
        self._history.clear()


class _Gate:
    def __init__(self, engine: LossyEngine, events: EngineEvents) -> None:
        self._engine = engine
        self._events = events

    def on_message(self, channel: str, message: Message, epoch: str) -> None:
        if self._engine.cut:
            return
        if self._engine.late:
            self._engine.arriving.append((channel, message, epoch))
        else:
            self._events.on_message(channel, message, epoch)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._events, name)
