"""The engine for many nodes on Redis or Valkey."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache
from typing import TypeVar

from fanout._codec import (
    decode_admin,
    decode_control,
    encode_admin,
    encode_control,
    encode_message,
)
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
from fanout.redis.address import Address, parse_address
from fanout.redis.cluster import Cluster
from fanout.redis.dial import Dialer, ServerDialer
from fanout.redis.envelope import join_payload, leave_payload, read
from fanout.redis.history import History
from fanout.redis.keys import Names
from fanout.redis.link import LinkSettings, pack
from fanout.redis.presence import Presence
from fanout.redis.routes import Route, make_route
from fanout.redis.scripts import HistoryScripts, PresenceScripts
from fanout.redis.sentinel import SentinelDialer
from fanout.redis.servers import Servers
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

__all__ = ["RedisEngine"]

log = logging.getLogger("fanout.redis")

T = TypeVar("T")

_NO_POSITION = StreamPosition()
_MOST_ROUTES = 65536
"""Channels whose names on the server are remembered: about a kilobyte each, and ten
microseconds to make again."""
_RUBBISH_PAUSE = 60.0
"""Seconds between two complaints about what cannot be read."""


class RedisEngine:
    """An :class:`fanout.Engine` for any number of nodes, on Redis 6.2 or later or Valkey.

    addresses
        ``redis://user:password@host:port/database``, ``rediss://`` for TLS,
        ``unix:///path``; ``redis+sentinel://host:port,host:port/name`` for the
        master of that name; ``redis+cluster://host:port,host:port`` for some
        nodes of a cluster of Redis 7 or Valkey; ``rediss+...`` with TLS.
        Several are shards: each channel belongs to one of them, by a consistent
        hash of its name, so all nodes must give them in the same order. A
        cluster stands alone.
    prefix
        In front of the name of every key and pub/sub channel. Nodes with the
        same prefix on the same servers are one system, also in different
        databases, which pub/sub does not know. The prefix of one system must
        not be that of another with ``.client`` behind it.
    timeout
        Seconds until an operation without an answer fails, and within which
        the first connection must succeed.
    presence_lifetime
        Seconds until a presence entry that is not refreshed is gone, by the
        server's clock.
    history_meta_lifetime
        Seconds for which a stream's offset and epoch outlive its messages,
        where the channel's options do not say it.
    idempotency_lifetime
        Seconds for which the result of a publish with an ``idempotency_key``
        is remembered, by the server.
    history_lists
        Keep messages in lists, not in streams. Either all nodes do, or none.
    max_pending, max_pending_bytes
        How many operations and bytes may wait for one server at most.
    ping_interval
        Seconds of silence after which a server is asked whether it is there.

    A message published to a channel is delivered by the server; what is
    published while the link to it is broken is not. Control and admin
    messages go over every shard that can be reached, and keep their order
    while none of them fails.
    """

    def __init__(
        self,
        *addresses: str,
        prefix: str = "fanout",
        timeout: float = 4.0,
        presence_lifetime: float = 60.0,
        history_meta_lifetime: float = 30 * 24 * 3600.0,
        idempotency_lifetime: float = 300.0,
        history_lists: bool = False,
        max_pending: int = 100_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
        ping_interval: float = 5.0,
    ) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {prefix!r}")
        if not prefix or "{" in prefix or "}" in prefix:
            raise ValueError(
                f"prefix must have a character and neither '{{' nor '}}', not {prefix!r}")
        if not isinstance(history_lists, bool):
            raise TypeError(f"history_lists must be a bool, not {history_lists!r}")
        self._settings = LinkSettings(
            timeout=_seconds("timeout", timeout),
            ping_interval=_seconds("ping_interval", ping_interval),
            max_pending=_count("max_pending", max_pending),
            max_pending_bytes=_count("max_pending_bytes", max_pending_bytes),
        )
        parsed = [
            parse_address(address) for address in addresses or ("redis://localhost:6379/0",)]
        self._is_cluster = any(address.kind == "cluster" for address in parsed)
        if self._is_cluster and len(parsed) > 1:
            raise ValueError(
                f"a cluster must be the only address, not one of {len(parsed)}; its nodes "
                "stand in one address, with commas between them")
        self._addresses = parsed
        for address in parsed:
            _dialer(address, self._settings.timeout)    # for what redis-py does not take
        self._names = Names(prefix, tagged_topics=self._is_cluster)
        scripts = HistoryScripts(lists=history_lists, sharded=self._is_cluster)
        self._messages_kind = scripts.messages
        self._history = History(
            scripts, _seconds("history_meta_lifetime", history_meta_lifetime),
            _seconds("idempotency_lifetime", idempotency_lifetime))
        self._presence = Presence(
            PresenceScripts(), _seconds("presence_lifetime", presence_lifetime))
        self._servers: Servers | Cluster | None = None
        self._events: EngineEvents | None = None
        self._closed = False
        self._route = lru_cache(_MOST_ROUTES)(self._make_route)
        self._num_rubbish = 0
        self._complained_at = -math.inf

    @property
    def name(self) -> str:
        if self._is_cluster:
            return "Redis Cluster"
        if len(self._addresses) > 1:
            return f"Redis, {len(self._addresses)} shards"
        return "Redis"

    @property
    def num_failed(self) -> int:
        return self._settings.failures.count

    async def run(self, events: EngineEvents) -> None:
        """Connect. Raises :exc:`fanout.EngineUnavailableError` or :exc:`fanout.EngineError`."""
        if self._closed:
            raise ClosedError("the engine is closed")
        if self._servers is not None:
            raise RuntimeError("the engine runs already")
        self._loop = asyncio.get_running_loop()
        servers = self._servers = self._make_servers()
        try:
            await _first_error(servers.open())
            for subscribed in (
                *servers.subscribe_for_all(self._names.control, self._control_arrived),
                *servers.subscribe_for_all(self._names.admin, self._admin_arrived),
            ):
                await subscribed
        except BaseException:
            self._servers = None
            await servers.close()
            raise
        if self._closed:
            raise ClosedError("the engine was closed while it was started")
        self._events = events

    async def close(self) -> None:
        """Wait for the answers that are due, no longer than the time limit, and disconnect."""
        self._closed = True
        self._events = None
        servers, self._servers = self._servers, None
        if servers is not None:
            await servers.close()

    # ---- publishing ----------------------------------------------------

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
        route = self._running(channel)
        check_message(channel, message)
        check_options(options)
        # Most publishes have none, and are spared the calls.
        if idempotency_key != "":
            check_idempotency_key(idempotency_key)
        if version != 0 or version_epoch != "":
            check_version(version, version_epoch)
        payload = encode_message(message)
        if options is not None and options.keeps_history:
            if idempotency_key or version:
                return self._history.publish_guarded(
                    route, channel, payload, options, idempotency_key, version, version_epoch)
            return self._history.publish(route, channel, payload, options)
        if idempotency_key:
            return self._history.publish_once(route, channel, payload, idempotency_key)
        body = b"%b$%d\r\n%b\r\n" % (route.publish, len(payload), payload)
        return route.commands.execute(body, _no_position, channel)

    def publish_join(self, channel: str, message: JoinMessage) -> Awaitable[None]:
        route = self._running(channel)
        check_join(message)
        return self._publish(route, channel, join_payload(message.info))

    def publish_leave(self, channel: str, message: LeaveMessage) -> Awaitable[None]:
        route = self._running(channel)
        check_leave(message)
        return self._publish(route, channel, leave_payload(message.info))

    def publish_control(self, message: ControlMessage) -> Awaitable[None]:
        servers = self._started()
        check_control(message)
        command = pack(servers.publish_verb, self._names.control, encode_control(message))
        return servers.for_all(self._names.control).execute(
            command, _nothing, self._names.control)

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        servers = self._started()
        check_admin(message)
        command = pack(servers.publish_verb, self._names.admin, encode_admin(message))
        return servers.for_all(self._names.admin).execute(command, _nothing, self._names.admin)

    # ---- subscriptions -------------------------------------------------

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        route = self._running(channel)
        check_options(options)
        refuse_wildcard(self.name, channel, options)
        return route.subscriptions.subscribe(route.topic, channel, self._arrived)

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        route = self._running(channel)
        return route.subscriptions.unsubscribe(route.topic)

    async def channels(self, pattern: str | None = None) -> list[str]:
        servers = self._started()
        check_pattern(pattern)
        matches = channel_pattern("*" if pattern is None else pattern).fullmatch
        command = pack(b"PUBSUB", servers.channels_verb, self._names.topics_pattern(pattern))
        found: set[str] = set()
        for answer in [link.execute(command, _topics) for link in servers.commands]:
            for topic in await answer:
                channel = self._names.channel(topic)
                if channel is None:
                    continue
                try:
                    name = str(channel, "utf-8")
                except UnicodeDecodeError:
                    continue    # nobody who uses this engine
                if matches(name):
                    found.add(name)
        return list(found)

    # ---- presence ------------------------------------------------------

    async def add_presence(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        route = self._running(channel)
        check_conn_id(conn_id)
        check_info(info)
        await self._presence.add(route, channel, conn_id, info)

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        route = self._running(channel)
        check_conn_id(conn_id)
        await self._presence.remove(route, channel, conn_id)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        return await self._presence.entries(self._running(channel), channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        return await self._presence.stats(self._running(channel), channel)

    # ---- history -------------------------------------------------------

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        route = self._running(channel)
        check_limit(limit, none_allowed=False)
        return await self._history.newest(route, channel, limit)

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        route = self._running(channel)
        check_since(since)
        check_limit(limit)
        return await self._history.page(route, channel, since, limit, reverse)

    async def remove_history(self, channel: str) -> None:
        await self._history.remove(self._running(channel), channel)

    # ---- what arrives --------------------------------------------------

    def _arrived(self, channel: str, payload: bytes) -> None:
        events = self._events
        if events is None:
            return
        try:
            message, epoch = read(channel, payload)
        except ValueError as error:
            self._rubbish(channel, error)
            return
        try:
            if type(message) is Message:
                events.on_message(channel, message, epoch)
            elif type(message) is JoinMessage:
                events.on_join(channel, message)
            elif type(message) is LeaveMessage:
                events.on_leave(channel, message)
        except Exception as error:
            self._raised(error)

    def _control_arrived(self, _: None, payload: bytes) -> None:
        try:
            message = decode_control(payload)
        except ValueError as error:
            self._rubbish("control", error)
            return
        self._tell(lambda events: events.on_control(message))

    def _admin_arrived(self, _: None, payload: bytes) -> None:
        try:
            message = decode_admin(payload)
        except ValueError as error:
            self._rubbish("admin", error)
            return
        self._tell(lambda events: events.on_admin(message))

    def _link_lost(self, channels: Collection[str], error: Exception) -> None:
        self._tell(lambda events: events.on_link_lost(channels, error))

    def _link_restored(self, channels: Collection[str]) -> None:
        self._tell(lambda events: events.on_link_restored(channels))

    def _tell(self, tell: Callable[[EngineEvents], None]) -> None:
        if self._events is not None:
            try:
                tell(self._events)
            except Exception as error:
                self._raised(error)

    def _raised(self, error: Exception) -> None:
        self._loop.call_exception_handler(
            {"message": "fanout: an event of the engine raised", "exception": error})

    def _rubbish(self, channel: str, error: Exception) -> None:
        """Somebody else writes to our topics; that must neither stop us nor fill the log."""
        self._num_rubbish += 1
        now = self._loop.time()
        if now >= self._complained_at + _RUBBISH_PAUSE:
            self._complained_at = now
            log.warning(
                "%d messages that cannot be read were dropped so far, the last one in %r: %s",
                self._num_rubbish, channel, error)

    # ---- helpers -------------------------------------------------------

    def _publish(self, route: Route, channel: str, payload: bytes) -> Awaitable[None]:
        body = b"%b$%d\r\n%b\r\n" % (route.publish, len(payload), payload)
        return route.commands.execute(body, _nothing, channel)

    def _make_servers(self) -> Servers | Cluster:
        if self._is_cluster:
            return Cluster(
                self._addresses[0], self._settings, self._names, self._link_lost,
                self._link_restored, self._route.cache_clear)
        dialers = [_dialer(address, self._settings.timeout) for address in self._addresses]
        return Servers(dialers, self._settings, self._link_lost, self._link_restored)

    def _started(self) -> Servers | Cluster:
        if self._events is None or self._servers is None:
            raise ClosedError(
                "the engine is closed" if self._closed
                else "the engine was not started: run() first")
        return self._servers

    def _running(self, channel: str) -> Route:
        """The channel's route, when the engine runs and the channel's name can be one."""
        if self._events is None:
            self._started()
        check_channel(channel)
        return self._route(channel)

    def _make_route(self, channel: str) -> Route:
        servers = self._started()
        name = channel.encode()
        commands, subscriptions = servers.shard(name)
        return make_route(
            self._names, name, self._messages_kind, servers.publish_verb, commands, subscriptions)


def _dialer(address: Address, timeout: float) -> Dialer:
    if address.kind == "sentinel":
        return SentinelDialer(address, timeout)
    return ServerDialer(address, timeout)


def _seconds(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and above 0 seconds, not {value!r}")
    return float(value)


def _count(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, not {value!r}")
    return value


def _no_position(reply: object) -> StreamPosition:
    return _NO_POSITION


def _nothing(reply: object) -> None:
    return None


def _topics(reply: list[bytes]) -> list[bytes]:
    return reply


async def _first_error(work: Awaitable[T]) -> T:
    """What ``work`` gives or raises; of several errors at once, one."""
    try:
        return await work
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
