"""The embedded engine: one process, no broker."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

from fanout._awaitable import Ready
from fanout._expiry import Expiry, Timer
from fanout._presence import PresenceStore
from fanout._ring import HistoryStore
from fanout.checks import (
    check_admin,
    check_channel,
    check_conn_id,
    check_control,
    check_idempotency_key,
    check_info,
    check_join,
    check_leave,
    check_limit,
    check_message,
    check_options,
    check_pattern,
    check_since,
    check_version,
    refuse_wildcard,
)
from fanout.engine import EngineEvents
from fanout.errors import ClosedError
from fanout.pattern import channel_pattern
from fanout.results import Results
from fanout.types import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    HistoryPage,
    JoinMessage,
    LeaveMessage,
    Message,
    PresenceStats,
    StreamPosition,
)

__all__ = ["MemoryEngine"]

_NO_POSITION: Ready[StreamPosition] = Ready(StreamPosition())
_DONE: Ready[None] = Ready(None)


class MemoryEngine:
    """An :class:`fanout.Engine` in this process's memory, for a single node.

    presence_lifetime
        Seconds until a presence entry that is not refreshed is gone.
    history_meta_lifetime
        Seconds for which a stream's offset and epoch outlive its messages,
        where the channel's options do not say it (Centrifugo's 720 hours).
    idempotency_lifetime
        Seconds for which the result of a publish with an ``idempotency_key``
        is remembered. More than a million results push the oldest out.
    clock
        Returns seconds that never go back; for tests, which then drive
        expiry by ``expiry.advance()``. By default the system's monotonic
        clock and the event loop do both.
    """

    def __init__(
        self,
        *,
        presence_lifetime: float = 60.0,
        history_meta_lifetime: float = 30 * 24 * 3600.0,
        idempotency_lifetime: float = 300.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.expiry = Expiry(clock)
        self._presence = PresenceStore(self.expiry, presence_lifetime)
        self._history = HistoryStore(self.expiry, history_meta_lifetime)
        if not idempotency_lifetime > 0:
            raise ValueError(
                f"idempotency_lifetime must be above 0 seconds, not {idempotency_lifetime!r}")
        self._results: Results[Ready[StreamPosition]] = Results(
            idempotency_lifetime, clock or time.monotonic)
        self._results_end: Timer | None = None
        self._wanted: set[str] = set()
        self._events: EngineEvents | None = None
        self._closed = False
        self._num_failed = 0

    @property
    def name(self) -> str:
        return "In memory - single node only"

    @property
    def num_failed(self) -> int:
        return self._num_failed

    async def run(self, events: EngineEvents) -> None:
        if self._events is not None:
            raise RuntimeError("the engine runs already")
        if self._closed:
            raise ClosedError("the engine is closed")
        self._events = events
        self.expiry.start(asyncio.get_running_loop())

    async def close(self) -> None:
        self._closed = True
        self._events = None
        self.expiry.stop()
        self._history.clear()
        self._presence.clear()
        self._results_end = None
        self._results.clear()
        self._wanted.clear()

    def publish_message(
        self,
        channel: str,
        message: Message,
        options: ChannelOptions | None = None,
        *,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Awaitable[StreamPosition]:
        events = self._events
        # First as it nearly always is: calls that check cost as much as all the rest.
        if (
            events is None
            or type(message) is not Message
            or type(channel) is not str
            or not channel
            or message.channel != channel
        ):
            events = self._running(channel)
            check_message(channel, message)
        if type(options) is not ChannelOptions:
            check_options(options)
        if idempotency_key != "":
            check_idempotency_key(idempotency_key)
            result = self._results.get(channel, idempotency_key)
            if result is not None:
                return result
        if version != 0 or version_epoch != "":
            check_version(version, version_epoch)
        wanted = channel in self._wanted
        position = _NO_POSITION
        epoch = ""
        if options is not None and options.keeps_history:
            if version and self._history.has_version(channel, version, version_epoch):
                return Ready(self._history.position(channel))
            stored = self._history.append(
                channel,
                message,
                options.history_size,
                options.history_lifetime,
                options.history_meta_lifetime,
                options.history_drop_inactive and not wanted,
                version,
                version_epoch,
            )
            if stored is not None:
                message = stored
                place = self._history.position(channel)
                position = Ready(place)
                epoch = place.epoch
        if idempotency_key:
            # Before anybody is told: who publishes again then has published it already.
            self._remember(channel, idempotency_key, position)
        if wanted:
            try:
                events.on_message(channel, message, epoch)
            except Exception as error:
                self._num_failed += 1
                return Ready(error=error)
        return position

    def publish_join(self, channel: str, message: JoinMessage) -> Awaitable[None]:
        events = self._running(channel)
        check_join(message)
        return self._tell(events.on_join, channel, message) if channel in self._wanted else _DONE

    def publish_leave(self, channel: str, message: LeaveMessage) -> Awaitable[None]:
        events = self._running(channel)
        check_leave(message)
        return self._tell(events.on_leave, channel, message) if channel in self._wanted else _DONE

    def publish_control(self, message: ControlMessage) -> Awaitable[None]:
        events = self._running()
        check_control(message)
        return self._tell(events.on_control, message)

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        events = self._running()
        check_admin(message)
        return self._tell(events.on_admin, message)

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        self._running(channel)
        check_options(options)
        refuse_wildcard(self.name, channel, options)
        self._wanted.add(channel)
        return _DONE

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        self._running(channel)
        self._wanted.discard(channel)
        return _DONE

    async def channels(self, pattern: str | None = None) -> list[str]:
        self._running()
        check_pattern(pattern)
        if pattern is None:
            return list(self._wanted)
        matches = channel_pattern(pattern).fullmatch
        return [channel for channel in self._wanted if matches(channel)]

    async def add_presence(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        self._running(channel)
        check_conn_id(conn_id)
        check_info(info)
        self._presence.add(channel, conn_id, info)

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        self._running(channel)
        check_conn_id(conn_id)
        self._presence.remove(channel, conn_id)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        self._running(channel)
        return self._presence.get(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        self._running(channel)
        return self._presence.stats(channel)

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        self._running(channel)
        check_limit(limit, none_allowed=False)
        return self._history.newest(channel, min(limit, sys.maxsize))

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        self._running(channel)
        check_since(since)
        check_limit(limit)
        most = -1 if limit is None else min(limit, sys.maxsize)
        return self._history.read(channel, since, most, reverse)

    async def remove_history(self, channel: str) -> None:
        self._running(channel)
        self._history.remove(channel)

    def _running(self, channel: str = "-") -> EngineEvents:
        """The events, when the engine runs and the channel's name can be one."""
        if self._events is None:
            raise ClosedError(
                "the engine is closed" if self._closed
                else "the engine was not started: run() first")
        check_channel(channel)
        return self._events

    def _remember(self, channel: str, key: str, result: Ready[StreamPosition]) -> None:
        self._results.put(channel, key, result)
        if self._results_end is None:
            self._results_end = Timer(self.expiry, self._purge_results)
            self._purge_results()

    def _purge_results(self) -> None:
        timer, left = self._results_end, self._results.purge()
        if timer is None or left is None:
            self._results_end = None
        else:
            timer.start(left)

    def _tell(self, event: Callable[..., None], *arguments: object) -> Awaitable[None]:
        try:
            event(*arguments)
        except Exception as error:
            self._num_failed += 1
            return Ready(error=error)
        return _DONE
