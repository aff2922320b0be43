"""The node: an engine, the hub, and everybody connected here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import logging
import math
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from fanout import codes
from fanout._expiry import Expiry
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._subscription import LocalQueue
from fanout.client import Client
from fanout.cluster import ClusterNode
from fanout.counters import Counters
from fanout.engine import Engine
from fanout.errors import (
    BackpressureError,
    ClosedError,
    FanoutError,
    InsufficientStateError,
    MessageTooLargeError,
    UnknownChannelError,
)
from fanout.interest import Interest
from fanout.memory import MemoryEngine
from fanout.outages import Outages
from fanout.peers import NodeInfo, Peers
from fanout.positions import POSITIONED, Positions
from fanout.readers import Readers
from fanout.subscription import Subscription
from fanout.threads import ThreadDoor
from fanout.types import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    HistoryPage,
    HubStats,
    JoinMessage,
    LeaveMessage,
    Message,
    Overflow,
    PresenceStats,
    StreamPosition,
)
from fanout.version import VERSION

__all__ = ["Node", "NodeStats"]

log = logging.getLogger("fanout")

# Publishes awaited in one turn of the loop before the awaiting gives the loop
# a turn, so that a publishing loop cannot starve its own readers.
TURN_SIZE = 64
BROADCAST_SIZE = 1024       # publishes of one broadcast that are under way together


@dataclass(frozen=True, slots=True)
class NodeStats:
    """What a node holds now, and what it has done since it was started.

    ``uptime`` is in seconds; ``num_subscriptions`` counts those of clients
    and of in-process subscriptions; ``num_published`` is what was published
    through this node, and ``num_failed`` what the engine could not do of that
    and of all else, see :attr:`fanout.Engine.num_failed`. The other counters are the hub's, see
    :class:`fanout.HubStats`.
    """

    uid: str
    name: str
    engine: str
    uptime: float
    num_clients: int
    num_users: int
    num_channels: int
    num_subscriptions: int
    num_published: int
    num_failed: int
    num_delivered: int
    num_dropped: int
    num_sends: int
    bytes_sent: int


class Node(ClusterNode):
    """Ties an engine to the hub; what an application uses directly.

    Use it with ``async with``, or call ``run`` and ``shutdown``::

        async with fanout.Node() as node, node.subscribe("news") as news:
            await node.publish("news", b"hello")
            async for message in news:
                print(message.data)

    It belongs to the thread of the event loop that runs it;
    ``publish_threadsafe`` is the one door from other threads. Clients over the
    network come through a :class:`fanout.server.Server`, and its handlers (see
    :class:`fanout.registration.Registration`) decide what they may do.

    engine
        Where messages travel; a :class:`fanout.MemoryEngine` when not given.
    options
        The :class:`fanout.ChannelOptions` of every channel, or a function of
        the channel's name that returns them, or None for an unknown channel.
    name
        What this node is called in ``stats``; its uid when not given.
    max_channel_length
        Longest channel name, in bytes of UTF-8.
    max_message_size
        Longest data of one message, in bytes.
    client_queue_size
        Bytes that may wait for one client that does not keep up.
    client_channel_limit
        Channels to which one client may be subscribed.
    user_connection_limit
        Connections of one user, 0 for any number; anonymous ones do not count.
    presence_interval
        Seconds between two refreshes of a client's presence.
    position_check_interval
        Seconds in which the position in each channel that recovers and is
        quiet is compared once with the channel's stream; 0 never.
    recovery_limit
        The most messages that a client, or this node after a broken link, is
        given from the history to close a gap; 0 for any number.
    expired_close_delay, expired_sub_close_delay
        Seconds for which a connection, or a subscription, that expired and
        that its client is to refresh goes on without.
    info_interval
        Seconds between two messages in which this node tells the others of
        itself; 0 never.
    threadsafe_limit
        Publishes from other threads that may wait for the loop.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        options: ChannelOptions | Callable[[str], ChannelOptions | None] | None = None,
        name: str = "",
        max_channel_length: int = 255,
        max_message_size: int = 1_048_576,
        client_queue_size: int = 1_048_576,
        client_channel_limit: int = 128,
        user_connection_limit: int = 0,
        presence_interval: float = 25.0,
        position_check_interval: float = 40.0,
        recovery_limit: int = 300,
        expired_close_delay: float = 25.0,
        expired_sub_close_delay: float = 25.0,
        info_interval: float = 3.0,
        threadsafe_limit: int = 10_000,
    ) -> None:
        if engine is not None and (isinstance(engine, type) or not isinstance(engine, Engine)):
            raise TypeError(f"engine must be an Engine, such as MemoryEngine(), not {engine!r}")
        if not (options is None or isinstance(options, ChannelOptions) or callable(options)):
            raise TypeError(f"options must be ChannelOptions or a function, not {options!r}")
        for what, value, least in (
            ("max_channel_length", max_channel_length, 1),
            ("max_message_size", max_message_size, 1),
            ("client_queue_size", client_queue_size, 1),
            ("client_channel_limit", client_channel_limit, 1),
            ("user_connection_limit", user_connection_limit, 0),
            ("recovery_limit", recovery_limit, 0),
            ("threadsafe_limit", threadsafe_limit, 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{what} must be an int, not {value!r}")
            if value < least:
                raise ValueError(f"{what} must be at least {least}, not {value!r}")
        if not presence_interval > 0:
            raise ValueError(f"presence_interval must be above 0, not {presence_interval!r}")
        for what, seconds in (
            ("position_check_interval", position_check_interval),
            ("expired_close_delay", expired_close_delay),
            ("expired_sub_close_delay", expired_sub_close_delay),
            ("info_interval", info_interval),
        ):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{what} must be finite and not negative, not {seconds!r}")
        super().__init__(user_connection_limit)
        self.name = name or self.uid
        self.engine: Engine = engine if engine is not None else MemoryEngine()
        self.max_channel_length = max_channel_length
        self.max_message_size = max_message_size
        self.client_queue_size = client_queue_size
        self.client_channel_limit = client_channel_limit
        self.presence_interval = presence_interval
        self.expired_close_delay = expired_close_delay
        self.expired_sub_close_delay = expired_sub_close_delay
        self._position_check_interval = position_check_interval
        self._recovery_limit = recovery_limit
        self._info_interval = info_interval
        self._options: Callable[[str], ChannelOptions | None]
        if callable(options):
            self._options = options
        else:
            fixed = options if options is not None else ChannelOptions()
            self._options = lambda channel: fixed
        self._state = "new"
        self._started = 0.0
        self._published = 0
        self.counters = Counters()
        # What `info` tells of this node beside its own figures, for all nodes to see.
        self.measure: Callable[[], Mapping[str, float]] | None = None
        self._sessions: dict[str, object] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._threads = ThreadDoor(self, threadsafe_limit)
        self.expiry: Expiry
        self._hub: Hub | None = None

    # ---- lifecycle -----------------------------------------------------

    async def run(self) -> None:
        """Start the engine and this node, in the running loop."""
        if self._state != "new":
            raise ClosedError(f"a node is run once; this one is {self._state}")
        self._state = "starting"
        loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._hub = Hub(loop, self._on_vacated)
        self.positions = Positions(
            self.engine, self._hub, self._recovery_limit, self._on_insufficient)
        self._outages = Outages(self.positions, self.handlers, self.background)
        self.interest = Interest(self.engine, self._hub, self._options, self.positions.forget)
        self._readers = Readers(self._hub, self.interest, self.positions)
        self.expiry = Expiry()
        self.expiry.start(loop)
        self._peers = Peers(self.expiry, self._info_interval, self._tell_info)
        try:
            await self.engine.run(self)
        except BaseException:
            self._state = "closed"
            self.expiry.stop()
            raise
        self._started = time.monotonic()
        self._threads.open(loop)
        self._state = "running"
        self._peers.start()
        if self._position_check_interval:
            self.positions.start(self.positions.watch_over(self._position_check_interval))

    async def shutdown(self, timeout: float = 10.0) -> None:  # noqa: ASYNC109 - a budget
        """Disconnect everybody, finish what was accepted, and close the engine.

        Clients are told that the server shuts down, and come back later;
        in-process readers get what is queued for them, then the end. Those
        still there after ``timeout`` seconds are cut off. Then the engine is
        closed, which takes no longer than its own time limit.
        """
        if self._state in ("new", "starting"):
            self._state = "closed"
            return
        if self._state != "running":
            return
        self._state = "closing"
        self._threads.close()
        self.surveys.close()
        for client in list(self.clients.values()):
            client.disconnect(codes.DISCONNECT_SHUTDOWN)
        try:
            async with asyncio.timeout(timeout):
                while self._background:
                    await asyncio.wait(list(self._background))
                self._readers.close_all()
                await self.positions.close()
                await self.interest.settled()
        except TimeoutError:
            for task in list(self._background):
                task.cancel()
            self._readers.close_all()
            await self.positions.close()
            self.interest.abandon()
        self.hub.flush()
        self._say_goodbye()
        self.expiry.stop()
        await self.engine.close()
        self._state = "closed"

    async def __aenter__(self) -> Node:
        await self.run()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.shutdown()

    # ---- publishing ----------------------------------------------------

    def publish(
        self,
        channel: str,
        data: bytes,
        *,
        tags: Mapping[str, str] | None = None,
        client: str = "",
        info: ClientInfo | None = None,
        skip_history: bool = False,
        delta: bool = False,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Awaitable[StreamPosition]:
        """Publish ``data`` to everybody subscribed to ``channel``.

        It is on its way when this returns. The awaitable finishes with the
        message's place in the channel's stream (``StreamPosition(0, "")``
        without history) and raises what the engine raises; it need not be
        awaited, and what fails then is counted (``stats().num_failed``). It is
        no coroutine: for a task of its own use :func:`asyncio.ensure_future`.
        Raises ``TypeError`` or ``ValueError`` for bad arguments,
        :exc:`fanout.MessageTooLargeError` and
        :exc:`fanout.UnknownChannelError`.

        With ``skip_history`` it is delivered and not kept. With ``delta``
        clients that understand it are sent what changed since the channel's
        message before it; a channel's ``delta_publish`` does this for all.
        ``idempotency_key``, ``version`` and ``version_epoch`` are the
        engine's, see :meth:`fanout.Engine.publish_message`.
        """
        hub = self._open_hub()
        result = self._publish(
            channel, data, tags, client, info, skip_history, delta, idempotency_key, version,
            version_epoch)
        return _AfterTurn(result) if hub.turn_size > TURN_SIZE else result

    async def broadcast(
        self,
        channels: Collection[str],
        data: bytes,
        *,
        tags: Mapping[str, str] | None = None,
        client: str = "",
        info: ClientInfo | None = None,
        skip_history: bool = False,
        delta: bool = False,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> list[StreamPosition | Exception]:
        """:meth:`publish` the same into each of ``channels``.

        What became of each, in the order of ``channels``: its position, or
        why it was not published. Raises ``TypeError`` and ``ValueError`` for
        what is wrong with the arguments whatever the channel.
        """
        hub = self._open_hub()
        if isinstance(channels, (str, bytes)) or not all(type(name) is str for name in channels):
            raise TypeError(f"channels must be several strs, not {channels!r}")
        if not channels:
            raise ValueError("channels must not be empty")
        if len(data) > self.max_message_size:
            raise self._too_large(data)
        names = list(channels)
        results: list[StreamPosition | Exception] = []
        for start in range(0, len(names), BROADCAST_SIZE):
            begun: list[Awaitable[StreamPosition] | Exception] = []
            for channel in names[start:start + BROADCAST_SIZE]:
                try:
                    begun.append(self._publish(
                        channel, data, tags, client, info, skip_history, delta,
                        idempotency_key, version, version_epoch))
                except (FanoutError, ValueError) as error:
                    begun.append(error)
            for one in begun:
                if isinstance(one, Exception):
                    results.append(one)
                    continue
                try:
                    results.append(await one)
                except Exception as error:
                    results.append(error)
            if hub.turn_size > TURN_SIZE or start + BROADCAST_SIZE < len(names):
                # For those who read what is published, and for all others.
                await asyncio.sleep(0)
        return results

    def publish_threadsafe(
        self,
        channel: str,
        data: bytes,
        *,
        tags: Mapping[str, str] | None = None,
        skip_history: bool = False,
        delta: bool = False,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> concurrent.futures.Future[StreamPosition]:
        """As :meth:`publish`, from any thread; the future's result is the position.

        Publishes of one thread keep their order. Raises
        :exc:`fanout.BackpressureError` when ``threadsafe_limit`` publishes
        wait already, and :exc:`fanout.ClosedError` when the node does not run.
        """
        return self._threads.publish(channel, data, {
            "tags": tags,
            "skip_history": skip_history,
            "delta": delta,
            "idempotency_key": idempotency_key,
            "version": version,
            "version_epoch": version_epoch,
        })

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        """A message to the admins connected to any node."""
        return self.engine.publish_admin(message)

    # ---- in-process subscriptions --------------------------------------

    def subscribe(
        self,
        *channels: str,
        callback: Callable[[Message], object] | None = None,
        size: int = 1024,
        overflow: Overflow = Overflow.CLOSE,
    ) -> Subscription:
        """Read one or more channels in this process.

        ``size`` messages may wait for the reader; ``overflow`` says what
        happens to one more. With ``callback``, an ordinary function, every
        message is handed to it at the end of the loop's tick, and the
        subscription lives until it is closed; without, it lives as long as
        somebody refers to it. Raises ``TypeError`` or ``ValueError`` for bad
        arguments.
        """
        self._open_hub()
        if not channels:
            raise TypeError("subscribe needs at least one channel")
        wanted = [(channel, self.checked_options(channel)) for channel in channels]
        return self._readers.open(wanted, callback, size, overflow)

    # ---- what the engine keeps -----------------------------------------

    async def channels(self, pattern: str | None = None) -> list[str]:
        """Channels with one or more subscribers, on all nodes; ``pattern`` as in the engine's."""
        return await self.engine.channels(pattern)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is in ``channel``, by connection id, on all nodes."""
        return await self.engine.presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """How many connections and different users are in ``channel``."""
        return await self.engine.presence_stats(channel)

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        """The kept messages of ``channel``, newest first; 0 is all."""
        return await self.engine.history(channel, limit)

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        """As :meth:`fanout.Engine.history_stream`."""
        return await self.engine.history_stream(channel, since, limit, reverse)

    # ---- figures -------------------------------------------------------

    def stats(self) -> NodeStats:
        """What this node holds and has done."""
        hub: HubStats = self._open_hub().stats()
        return NodeStats(
            uid=self.uid,
            name=self.name,
            engine=self.engine.name,
            uptime=time.monotonic() - self._started,
            num_clients=len(self.clients),
            num_users=self._roster.num_users,
            num_channels=hub.num_channels,
            num_subscriptions=hub.num_subscriptions,
            num_published=self._published,
            num_failed=self.engine.num_failed,
            num_delivered=hub.num_delivered,
            num_dropped=hub.num_dropped,
            num_sends=hub.num_sends,
            bytes_sent=hub.bytes_sent,
        )

    # ---- for transports and clients ------------------------------------

    @property
    def hub(self) -> Hub:
        """The hub, also after ``shutdown``: connections may need some time to close."""
        if self._hub is None:
            raise ClosedError(
                "the node is closed" if self._state == "closed"
                else "the node was not started: use `async with node` or `await node.run()`")
        return self._hub

    @property
    def running(self) -> bool:
        return self._state == "running"

    def channel_options(self, channel: str) -> ChannelOptions | None:
        """How ``channel`` behaves, or None when it is unknown."""
        return self._options(channel)

    def checked_options(self, channel: str) -> ChannelOptions:
        """The options of a channel that the application names."""
        if not isinstance(channel, str):
            raise TypeError(f"channel must be a str, not {type(channel).__name__}")
        if not channel:
            raise ValueError("channel must not be empty")
        try:
            length = len(channel) if channel.isascii() else len(channel.encode())
        except UnicodeEncodeError:
            raise ValueError(f"channel must be encodable in UTF-8, not {channel!r}") from None
        if length > self.max_channel_length:
            raise ValueError(
                f"channel must be at most {self.max_channel_length} bytes, not {length}: "
                f"{channel[:40]!r}...")
        options = self._options(channel)
        if options is None:
            raise UnknownChannelError(f"unknown channel {channel!r}")
        return options

    def enter(self, client: Client) -> None:
        """A client may connect; raises what forbids it here and now."""
        if self._state != "running":
            raise codes.DISCONNECT_SHUTDOWN()
        self._roster.enter(client)
        self.counters.came(client.transport, client.encoding)

    def exit(self, client: Client) -> None:
        """A client is gone."""
        self._roster.exit(client)
        self.counters.went(client.transport, client.encoding)

    def add_session(self, session_id: str, session: object) -> None:
        """Let requests that name ``session_id`` find their session at this node."""
        if not session_id:
            raise ValueError("session_id must not be empty")
        if self._sessions.setdefault(session_id, session) is not session:
            raise ValueError("there is another session with this id")

    def session(self, session_id: str) -> object | None:
        """The session of this node with this id, or None."""
        return self._sessions.get(session_id)

    def remove_session(self, session_id: str) -> None:
        """The session is gone; nothing happens when it was not there."""
        self._sessions.pop(session_id, None)

    def background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do something that nobody needs to wait for; ``shutdown`` does."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    # ---- EngineEvents --------------------------------------------------

    def on_message(self, channel: str, message: Message, epoch: str) -> None:
        track = self.positions.get(channel) if epoch else None
        if track is None:
            self.hub.broadcast(channel, message)
        else:
            track.accept(message, epoch)

    def on_join(self, channel: str, message: JoinMessage) -> None:
        self.hub.broadcast_join(channel, message.info)

    def on_leave(self, channel: str, message: LeaveMessage) -> None:
        self.hub.broadcast_leave(channel, message.info)

    def on_admin(self, message: AdminMessage) -> None:
        if self.handlers.admin is not None:
            self.handlers.admin(message)

    def on_link_lost(self, channels: Collection[str], error: Exception) -> None:
        if self._state in ("closing", "closed"):
            return
        self._outages.on_lost(channels, error)

    def on_link_restored(self, channels: Collection[str]) -> None:
        if self._state in ("closing", "closed"):
            return
        self._outages.on_restored(channels)

    # ---- helpers -------------------------------------------------------

    def _open_hub(self) -> Hub:
        """The hub, for a call of the application's: here, now and in the loop's thread."""
        if self._state == "closed":
            raise ClosedError("the node is closed")
        hub = self.hub
        # Before the engine is called, which would store what cannot be delivered.
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "the node belongs to its loop's thread; from another one use publish_threadsafe")
        return hub

    def _own_info(self) -> NodeInfo:
        stats = self.stats()
        return NodeInfo(
            uid=self.uid,
            name=self.name,
            version=VERSION,
            num_clients=stats.num_clients,
            num_users=stats.num_users,
            num_channels=stats.num_channels,
            num_subscriptions=stats.num_subscriptions,
            uptime=stats.uptime,
            metrics=self.measure() if self.measure is not None else {},
        )

    def _tell_info(self) -> None:
        params = self._own_info().to_params()
        with contextlib.suppress(ClosedError, BackpressureError):
            # Whether it arrives does not matter: the next one follows.
            self.engine.publish_control(ControlMessage(self.uid, "node", params))

    def _say_goodbye(self) -> None:
        self._peers.stop()
        if self._info_interval:
            with contextlib.suppress(FanoutError):
                # Not waited for: closing the engine does that. Without it they forget us.
                self.engine.publish_control(ControlMessage(self.uid, "shutdown", b"{}"))

    def _on_insufficient(self, channel: str) -> None:
        """Messages of a channel are lost to those who are subscribed here."""
        for subscriber in self.hub.subscribers(channel, POSITIONED):
            if isinstance(subscriber, Outbox):
                try:
                    if subscriber.owner is not None:
                        subscriber.owner.on_insufficient(channel)
                except Exception:
                    log.exception("a client could not be told what it lost in %r", channel)
                    # It gets nothing that follows as if it had all.
                    if self.hub.unsubscribe(subscriber, channel):
                        self.interest.vacated(channel)
            elif isinstance(subscriber, LocalQueue):
                self._readers.close(subscriber, InsufficientStateError(
                    f"messages of {channel!r} did not arrive, and its history does not have "
                    "them all any more"))

    def _on_vacated(self, channels: list[str]) -> None:
        if self._state in ("running", "closing"):
            for channel in channels:
                self.interest.vacated(channel)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work in the background failed", exc_info=task.exception())

    def _publish(
        self,
        channel: str,
        data: bytes,
        tags: Mapping[str, str] | None,
        client: str,
        info: ClientInfo | None,
        skip_history: bool,
        delta: bool,
        idempotency_key: str,
        version: int,
        version_epoch: str,
    ) -> Awaitable[StreamPosition]:
        options = self.checked_options(channel)
        message = Message(
            channel, data, client=client, info=info, tags=tags,
            delta=delta or options.delta_publish)
        if len(data) > self.max_message_size:
            raise self._too_large(data)
        if skip_history and options.keeps_history:
            options = _without_history(options)
        if idempotency_key or version or version_epoch:
            result = self.engine.publish_message(
                channel, message, options, idempotency_key=idempotency_key, version=version,
                version_epoch=version_epoch)
        else:
            result = self.engine.publish_message(channel, message, options)
        self._published += 1
        return result

    def _too_large(self, data: bytes) -> MessageTooLargeError:
        return MessageTooLargeError(
            f"data must be at most {self.max_message_size} bytes, not {len(data)}")

    def _local_channels(self) -> Iterable[str]:
        return self._readers.channels()


@functools.lru_cache(maxsize=1024)
def _without_history(options: ChannelOptions) -> ChannelOptions:
    return dataclasses.replace(options, history_size=0, history_lifetime=0.0)


class _AfterTurn:
    """An awaitable that gives the loop a turn first."""

    def __init__(self, result: Awaitable[StreamPosition]) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, StreamPosition]:
        yield
        return (yield from self._result.__await__())
