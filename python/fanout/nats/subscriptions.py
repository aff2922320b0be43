"""The channels that a node wants, whether or not there is a link."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from fanout._awaitable import Ready
from fanout.errors import ClosedError
from fanout.nats.alarm import Alarm
from fanout.nats.outcome import Outcome
from fanout.nats.pipe import Pipe
from fanout.nats.sink import ChannelSink

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Subscriptions"]

_DONE: Ready[None] = Ready(None)


class Subscriptions:
    """Channels by name; the pipe is told of every change while there is a link."""

    def __init__(self, pipe: Pipe, take: Callable[[ChannelSink, Msg], object]) -> None:
        self._pipe = pipe
        self._take = take
        self._loop = asyncio.get_running_loop()
        self._sinks: dict[str, ChannelSink] = {}
        self._young: deque[ChannelSink] = deque()   # in the order of their deadlines
        self._alarm = Alarm(self._expire)
        self._lost: set[ChannelSink] = set()        # told lost, and not told restored

    def subscribe(self, channel: str, subject: str, wildcard: bool) -> Awaitable[None]:
        """Want a channel; done when what is published from then on arrives."""
        sink = self._sinks.get(channel)
        if sink is not None:
            return _DONE if sink.established else sink.outcome
        deadline = self._loop.time() + self._pipe.timeout
        sink = ChannelSink(channel, subject, wildcard, deadline, self._take)
        self._sinks[channel] = sink
        self._young.append(sink)
        if not self._alarm.is_set:
            self._arm()
        self._pipe.change(sink)
        return sink.outcome

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        """Want a channel no more: nothing of it is delivered from now on."""
        sink = self._sinks.get(channel)
        return _DONE if sink is None else self._drop(sink)

    def __contains__(self, channel: str) -> bool:
        return channel in self._sinks

    @property
    def channels(self) -> list[str]:
        return list(self._sinks)

    def close(self) -> None:
        self._alarm.cancel()
        for sink in self._sinks.values():
            sink.wanted = False
            sink.outcome.fail(ClosedError("the engine is closed"))
        self._sinks.clear()
        self._young.clear()
        self._lost.clear()

    # ---- for the link --------------------------------------------------

    def broke(self) -> list[str]:
        """The link broke. The channels that nothing arrives for from now on."""
        lost: list[str] = []
        for sink in self._sinks.values():
            sink.connection = None
            sink.refused = False
            if sink.established:
                sink.established = False
                self._lost.add(sink)
                lost.append(sink.channel)
        return lost

    @property
    def wanted(self) -> list[ChannelSink]:
        """What is to be subscribed on a new connection."""
        return list(self._sinks.values())

    def restored(self) -> list[str]:
        """Those that were lost are subscribed again: which of them are wanted still."""
        restored = [sink for sink in self._lost if sink.established]
        self._lost.difference_update(restored)
        return [sink.channel for sink in restored]

    def refused(self, text: str, error: Exception) -> bool:
        """The server refused a subscription, and ``text`` is what it said; whether one is in it."""
        refused = [sink for sink in self._sinks.values() if f'"{sink.subject.lower()}"' in text]
        for sink in refused:
            sink.refused = True
            if not sink.outcome.settled:
                sink.outcome.fail(error)
                self._drop(sink)
        return bool(refused)

    # ---- the time limit ------------------------------------------------

    def _drop(self, sink: ChannelSink) -> Awaitable[None]:
        sink.wanted = sink.established = False
        del self._sinks[sink.channel]
        self._lost.discard(sink)
        sink.outcome.succeed(None)
        if sink.connection is None:
            return _DONE        # the server does not know of it
        left: Outcome[None] = Outcome()
        # Nothing is delivered any more, whatever becomes of telling the server.
        self._pipe.change(sink).when_settled(lambda: left.succeed(None))
        return left

    def _arm(self) -> None:
        while self._young and self._young[0].outcome.settled:
            self._young.popleft()
        if self._young:
            self._alarm.set(self._young[0].deadline)

    def _expire(self) -> None:
        now = self._loop.time()
        while self._young and self._young[0].deadline <= now:
            sink = self._young.popleft()
            if not sink.outcome.settled:
                sink.outcome.fail(self._pipe.unavailable(maybe_done=sink.connection is not None))
                self._drop(sink)
        self._arm()
