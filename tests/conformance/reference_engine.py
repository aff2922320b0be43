"""An engine of several nodes in plain Python, to try the suite itself on.

Unlike :class:`fanout.MemoryEngine` it delivers in a later turn of the loop and
has other nodes. A test that only held for an engine that delivers at once, to
itself, would fail here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from fanout import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ClosedError,
    ControlMessage,
    EngineEvents,
    HistoryPage,
    JoinMessage,
    LeaveMessage,
    Message,
    PresenceStats,
    StreamPosition,
    UnsupportedError,
)
from fanout.pattern import channel_pattern
from tests.model.reference import Deadline, Expiry, HistoryStore, PresenceStore

__all__ = ["Bus", "ReferenceEngine"]


def _checked(name: str, value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{name} must be a {kind.__name__}, not {value!r}")
    return value


def _checked_channel(channel: Any) -> str:
    if not _checked("channel", channel, str):
        raise ValueError("channel must not be empty")
    return channel


class Bus:
    """What the nodes share: storage, and a way to each other."""

    def __init__(
        self, presence_lifetime: float, history_meta_lifetime: float,
        idempotency_lifetime: float, clock: Callable[[], float],
    ) -> None:
        self.expiry = Expiry(clock)
        self.idempotency_lifetime = idempotency_lifetime
        self.results: dict[tuple[str, str], StreamPosition] = {}
        self._result_ends: dict[tuple[str, str], Deadline] = {}
        self.history = HistoryStore(self.expiry, history_meta_lifetime)
        self.presence = PresenceStore(self.expiry, presence_lifetime)
        self.nodes: list[ReferenceEngine] = []
        self.error: Exception | None = None
        self.num_failed = 0

    def remember(self, channel: str, key: str, position: StreamPosition) -> None:
        self.results[channel, key] = position
        end = Deadline(lambda: self.results.pop((channel, key), None))
        self._result_ends[channel, key] = end
        self.expiry.set(end, self.expiry.now() + self.idempotency_lifetime)

    def result(self, channel: str, key: str) -> StreamPosition | None:
        end = self._result_ends.get((channel, key))
        if end is None or end.at is None or end.at <= self.expiry.now():
            return None
        return self.results.get((channel, key))

    def send(
        self, channel: str | None, deliver: Callable[[EngineEvents], object], result: object
    ) -> Awaitable[Any]:
        """To the nodes that want ``channel``, or to all for None, one turn later."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        # Looked at once, so that the loop does not complain when nobody does.
        done.add_done_callback(lambda future: future.exception())

        def finish() -> None:
            if self.error is not None:
                self.num_failed += 1
                done.set_exception(self.error)
                return
            for node in self.nodes:
                if channel is None or channel in node.wanted:
                    deliver(node.events)
            done.set_result(result)

        loop.call_soon(finish)
        return done


class ReferenceEngine:
    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.expiry = bus.expiry
        self.wanted: set[str] = set()
        self.events: EngineEvents

    @property
    def name(self) -> str:
        return "reference"

    @property
    def num_failed(self) -> int:
        return self.bus.num_failed

    async def run(self, events: EngineEvents) -> None:
        self.events = events
        self.bus.nodes.append(self)

    async def close(self) -> None:
        if self in self.bus.nodes:
            self.bus.nodes.remove(self)
            if not self.bus.nodes:
                self.bus.history.clear()
                self.bus.presence.clear()

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
        self._check_open()
        _checked_channel(channel)
        _checked("message", message, Message)
        for name, text in (("idempotency_key", idempotency_key), ("version_epoch", version_epoch)):
            if len(_checked(name, text, str)) > 255:
                raise ValueError(f"{name} is too long: {text!r}")
            text.encode()
        if not 0 <= _checked("version", version, int) < 2**64:
            raise ValueError(f"version must have 64 bits, not {version!r}")
        known = self.bus.result(channel, idempotency_key) if idempotency_key else None
        if known is not None:
            return self._done(known)
        position = StreamPosition()
        if options is not None and _checked("options", options, ChannelOptions).keeps_history:
            history = self.bus.history
            if history.has_version(channel, version, version_epoch):
                return self._done(history.position(channel))
            idle = not any(channel in node.wanted for node in self.bus.nodes)
            stored = history.append(
                channel, message, options.history_size, options.history_lifetime,
                options.history_meta_lifetime, options.history_drop_inactive and idle,
                version, version_epoch,
            )
            if stored is not None:
                message = stored
                position = StreamPosition(stored.offset, history.position(channel).epoch)
        if idempotency_key:
            self.bus.remember(channel, idempotency_key, position)
        return self.bus.send(
            channel, lambda events: events.on_message(channel, message, position.epoch), position)

    def publish_join(self, channel: str, message: JoinMessage) -> Awaitable[None]:
        self._check_open()
        _checked_channel(channel)
        _checked("message", message, JoinMessage)
        return self.bus.send(channel, lambda events: events.on_join(channel, message), None)

    def publish_leave(self, channel: str, message: LeaveMessage) -> Awaitable[None]:
        self._check_open()
        _checked_channel(channel)
        _checked("message", message, LeaveMessage)
        return self.bus.send(channel, lambda events: events.on_leave(channel, message), None)

    def publish_control(self, message: ControlMessage) -> Awaitable[None]:
        self._check_open()
        _checked("message", message, ControlMessage)
        return self.bus.send(None, lambda events: events.on_control(message), None)

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        self._check_open()
        _checked("message", message, AdminMessage)
        return self.bus.send(None, lambda events: events.on_admin(message), None)

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        self._check_open()
        _checked_channel(channel)
        if options is not None:
            _checked("options", options, ChannelOptions)
            if options.wildcards and set(channel) & {"*", ">"}:
                raise UnsupportedError(f"no wildcards: {channel!r}")
        self.wanted.add(channel)
        return self._done()

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        self._check_open()
        self.wanted.discard(_checked_channel(channel))
        return self._done()

    async def channels(self, pattern: str | None = None) -> list[str]:
        self._check_open()
        wanted = set().union(*(node.wanted for node in self.bus.nodes))
        if pattern is not None:
            matches = channel_pattern(_checked("pattern", pattern, str)).fullmatch
            wanted = {channel for channel in wanted if matches(channel)}
        return list(wanted)

    async def add_presence(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        self._check_open()
        _checked_channel(channel)
        _checked("conn_id", conn_id, str)
        _checked("info", info, ClientInfo)
        self.bus.presence.add(channel, conn_id, info)

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        self._check_open()
        _checked("conn_id", conn_id, str)
        self.bus.presence.remove(_checked_channel(channel), conn_id)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        self._check_open()
        return self.bus.presence.get(_checked_channel(channel))

    async def presence_stats(self, channel: str) -> PresenceStats:
        self._check_open()
        return self.bus.presence.stats(_checked_channel(channel))

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        self._check_open()
        return self.bus.history.newest(_checked_channel(channel), _checked("limit", limit, int))

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        self._check_open()
        _checked_channel(channel)
        if since is not None:
            _checked("since", since, StreamPosition)
            _checked("since.epoch", since.epoch, str)
            if _checked("since.offset", since.offset, int) < 0:
                raise ValueError(f"since.offset must not be negative, not {since.offset!r}")
        if limit is not None and _checked("limit", limit, int) < 0:
            raise ValueError(f"limit must not be negative, not {limit!r}")
        return self.bus.history.read(channel, since, -1 if limit is None else limit, reverse)

    async def remove_history(self, channel: str) -> None:
        self._check_open()
        self.bus.history.remove(_checked_channel(channel))

    def _check_open(self) -> None:
        if self not in self.bus.nodes:
            raise ClosedError("the engine is not running")

    def _done(self, result: Any = None) -> Awaitable[Any]:
        done = asyncio.get_running_loop().create_future()
        done.set_result(result)
        return done
