"""The node: an engine, the hub, and everybody connected here."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import logging
import math
import secrets
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from fanout import codes
from fanout._expiry import Expiry
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._subscription import LocalQueue
from fanout.client import Client
from fanout.codes import Disconnect, DisconnectCode
from fanout.engine import Engine
from fanout.errors import (
    BackpressureError,
    ClosedError,
    FanoutError,
    InsufficientStateError,
    MessageTooLargeError,
    UnknownChannelError,
)
from fanout.events import Interruption, Restoration
from fanout.handlers import Handlers, answer
from fanout.interest import Interest
from fanout.memory import MemoryEngine
from fanout.peers import NodeInfo, Peers
from fanout.positions import Positions, Track
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

H = TypeVar("H", bound=Callable[..., Any])

# Publishes awaited in one turn of the loop before the awaiting gives the loop
# a turn, so that a publishing loop cannot starve its own readers.
TURN_SIZE = 64


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


class Node:
    """Ties an engine to the hub; what an application uses directly.

    Use it with ``async with``, or call ``run`` and ``shutdown``. It belongs to
    the thread of the event loop that runs it; ``publish_threadsafe`` is the
    one door from other threads.

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
            ("info_interval", info_interval),
        ):
            if not 0 <= seconds < math.inf:
                raise ValueError(f"{what} must be finite and not negative, not {seconds!r}")
        self.uid = secrets.token_hex(16)
        self.name = name or self.uid
        self.engine: Engine = engine if engine is not None else MemoryEngine()
        self.handlers = Handlers()
        self.max_channel_length = max_channel_length
        self.max_message_size = max_message_size
        self.client_queue_size = client_queue_size
        self.client_channel_limit = client_channel_limit
        self.user_connection_limit = user_connection_limit
        self.presence_interval = presence_interval
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
        self._clients: dict[str, Client] = {}
        self._users: dict[str, set[Client]] = {}
        self._queues: weakref.WeakSet[LocalQueue] = weakref.WeakSet()
        self._held: set[LocalQueue] = set()     # with a callback: they live until closed
        self._background: set[asyncio.Task[None]] = set()
        self._restoring: list[set[str]] = []    # channels whose restoration is to be told
        self._emptied: asyncio.Event
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
        self.interest = Interest(self.engine, self._hub, self._options, self.positions.forget)
        self.expiry = Expiry()
        self.expiry.start(loop)
        self._emptied = asyncio.Event()
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
        for client in list(self._clients.values()):
            client.disconnect(codes.DISCONNECT_SHUTDOWN)
        try:
            async with asyncio.timeout(timeout):
                while self._background:
                    await asyncio.wait(list(self._background))
                self._close_all_local()
                await self.positions.close()
                await self.interest.settled()
        except TimeoutError:
            for task in list(self._background):
                task.cancel()
            self._close_all_local()
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

    # ---- handlers ------------------------------------------------------

    def on_connect(self, handler: H) -> H:
        """Decides who may connect: ``(ConnectEvent) -> ConnectReply``. Without it nobody may."""
        self.handlers.register("connect", handler)
        return handler

    def on_subscribe(self, handler: H) -> H:
        """Decides who may subscribe: ``(Client, SubscribeEvent) -> SubscribeReply | None``.

        Without it nobody may.
        """
        self.handlers.register("subscribe", handler)
        return handler

    def on_publish(self, handler: H) -> H:
        """Decides which clients may publish: ``(Client, PublishEvent) -> PublishReply | None``.

        Without it a client may publish where the channel's options have
        ``publish`` and it is subscribed.
        """
        self.handlers.register("publish", handler)
        return handler

    def on_presence(self, handler: H) -> H:
        """Decides who may read a channel's presence: ``(Client, channel) -> None``.

        Without it those who are subscribed may.
        """
        self.handlers.register("presence", handler)
        return handler

    def on_history(self, handler: H) -> H:
        """Decides who may read a channel's history: ``(Client, HistoryEvent) -> None``.

        Without it those who are subscribed may.
        """
        self.handlers.register("history", handler)
        return handler

    def on_rpc(self, handler: H) -> H:
        """Answers a client's call: ``(Client, RPCEvent) -> RPCReply | None``.

        Without it calls are refused as not available.
        """
        self.handlers.register("rpc", handler)
        return handler

    def on_client_message(self, handler: H) -> H:
        """Gets what clients send outside of any channel: ``(Client, data) -> None``.

        Without it whoever sends such a message is disconnected.
        """
        self.handlers.register("client_message", handler)
        return handler

    def on_refresh(self, handler: H) -> H:
        """Prolongs connections that expire: ``(Client, RefreshEvent) -> RefreshReply | None``.

        None lets the connection expire. Without a handler all do.
        """
        self.handlers.register("refresh", handler)
        return handler

    def on_sub_refresh(self, handler: H) -> H:
        """Prolongs subscriptions that expire.

        ``(Client, SubRefreshEvent) -> SubRefreshReply | None``, as ``on_refresh``.
        """
        self.handlers.register("sub_refresh", handler)
        return handler

    def on_disconnect(self, handler: H) -> H:
        """Is told that a connected client is gone, and why: ``(Client, Disconnect) -> None``."""
        self.handlers.register("disconnect", handler)
        return handler

    def on_admin_message(self, handler: H) -> H:
        """Gets the admin messages of all nodes: ``(AdminMessage) -> None``."""
        self.handlers.register("admin", handler)
        return handler

    def on_interruption(self, handler: H) -> H:
        """Is told that the engine's link broke: ``(Interruption) -> None``."""
        self.handlers.register("interruption", handler)
        return handler

    def on_restoration(self, handler: H) -> H:
        """Is told that the engine's link is back, and what was missed: ``(Restoration) -> None``.

        It comes when the positions of the channels that recover were checked.
        """
        self.handlers.register("restoration", handler)
        return handler

    # ---- publishing ----------------------------------------------------

    def publish(
        self,
        channel: str,
        data: bytes,
        *,
        tags: Mapping[str, str] | None = None,
        client: str = "",
        info: ClientInfo | None = None,
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
        """
        hub = self._open_hub()
        options = self.checked_options(channel)
        message = Message(channel, data, client=client, info=info, tags=tags)
        if len(data) > self.max_message_size:
            raise MessageTooLargeError(
                f"data must be at most {self.max_message_size} bytes, not {len(data)}")
        result = self.engine.publish_message(channel, message, options)
        self._published += 1
        return _AfterTurn(result) if hub.turn_size > TURN_SIZE else result

    def publish_threadsafe(
        self, channel: str, data: bytes, *, tags: Mapping[str, str] | None = None
    ) -> concurrent.futures.Future[StreamPosition]:
        """As :meth:`publish`, from any thread; the future's result is the position.

        Publishes of one thread keep their order. Raises
        :exc:`fanout.BackpressureError` when ``threadsafe_limit`` publishes
        wait already, and :exc:`fanout.ClosedError` when the node does not run.
        """
        return self._threads.publish(channel, data, tags)

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
        hub = self._open_hub()
        if not channels:
            raise TypeError("subscribe needs at least one channel")
        all_options = [self.checked_options(channel) for channel in channels]
        queue = LocalQueue(hub, size, overflow, callback)
        self._queues.add(queue)
        if callback is not None:
            self._held.add(queue)
        moves: list[asyncio.Task[None]] = []
        try:
            for channel, options in zip(channels, all_options, strict=True):
                move = self.interest.hold(channel)
                track = self.positions.watch(channel, options)
                hub.subscribe(queue, channel)
                if track is not None and not track.epoch:
                    move = self.positions.start(self._open_track(track, move))
                if move is None:
                    self.interest.release(channel)
                else:
                    move.add_done_callback(functools.partial(self._moved, channel, queue))
                    moves.append(move)
        except BaseException:
            self._close_local(queue)
            raise
        return Subscription(self, channels, queue, moves)

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

    async def remove_history(self, channel: str) -> None:
        """Forget the kept messages of ``channel``."""
        await self.engine.remove_history(channel)

    # ---- clients -------------------------------------------------------

    @property
    def clients(self) -> Mapping[str, Client]:
        """The connected clients, by connection id."""
        return self._clients

    def clients_of(self, user: str) -> Iterable[Client]:
        """The connections of a user at this node."""
        return tuple(self._users.get(user, ()))

    async def disconnect(
        self, *, user: str = "", client: str = "",
        disconnect: Disconnect | DisconnectCode = codes.DISCONNECT_FORCE,
    ) -> None:
        """Disconnect a user's connections, or one of them, on all nodes."""
        self._disconnect_here(user, client, disconnect)
        await self._tell_nodes("disconnect", {
            "user": user, "client": client, "code": disconnect.code, "reason": disconnect.reason})

    async def unsubscribe(self, channel: str, *, user: str = "", client: str = "") -> None:
        """End the subscriptions of a user's connections, or one of them, on all nodes."""
        await self._unsubscribe_all(channel, self._matching(user, client))
        await self._tell_nodes("unsubscribe", {"channel": channel, "user": user, "client": client})

    def info(self) -> list[NodeInfo]:
        """This node first, then the others that were heard of lately."""
        return [self._own_info(), *self._peers.all()]

    def stats(self) -> NodeStats:
        """What this node holds and has done."""
        hub: HubStats = self._open_hub().stats()
        return NodeStats(
            uid=self.uid,
            name=self.name,
            engine=self.engine.name,
            uptime=time.monotonic() - self._started,
            num_clients=len(self._clients),
            num_users=len(self._users),
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
        if client.user:
            others = self._users.setdefault(client.user, set())
            if self.user_connection_limit and len(others) >= self.user_connection_limit:
                raise codes.DISCONNECT_CONNECTION_LIMIT()
            others.add(client)
        self._clients[client.id] = client

    def exit(self, client: Client) -> None:
        """A client is gone."""
        self._clients.pop(client.id, None)
        others = self._users.get(client.user)
        if others is not None:
            others.discard(client)
            if not others:
                del self._users[client.user]

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

    def on_control(self, message: ControlMessage) -> None:
        if message.uid == self.uid:
            return
        try:
            self._obey(message)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            log.warning("a control message %r from node %s cannot be read: %r",
                        message.method, message.uid, error)

    def on_admin(self, message: AdminMessage) -> None:
        if self.handlers.admin is not None:
            self.handlers.admin(message)

    def on_link_lost(self, channels: Collection[str], error: Exception) -> None:
        if self._state in ("closing", "closed"):
            return
        self.positions.doubt(channels, cut=True)
        for awaited in self._restoring:
            awaited.difference_update(channels)
        log.warning("the engine's link broke, nothing arrives for %d channels: %s",
                    len(channels), error)
        if self.handlers.interruption is not None:
            event = Interruption(tuple(channels), error)
            self.background(answer(self.handlers.interruption, event))

    def on_link_restored(self, channels: Collection[str]) -> None:
        if self._state in ("closing", "closed"):
            return
        self.positions.doubt(channels, cut=False)
        awaited = set(channels)
        self._restoring.append(awaited)
        # No work that a shutdown should wait for: it lasts as long as the engine is away.
        self.positions.start(self._restore(tuple(channels), awaited))

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

    def _obey(self, message: ControlMessage) -> None:
        if message.method == "node":
            info = NodeInfo.from_params(message.params)
            if info.uid != message.uid:
                raise ValueError(f"it tells of {info.uid!r}")
            self._peers.heard(info)
            return
        params = json.loads(message.params)
        if message.method == "disconnect":
            user, client, reason = _texts(params, "user", "client", "reason")
            if type(code := params["code"]) is not int:
                raise TypeError(f"code must be an int, not {code!r}")
            self._disconnect_here(user, client, Disconnect(code, reason))
        elif message.method == "unsubscribe":
            channel, user, client = _texts(params, "channel", "user", "client")
            leaving = self._matching(user, client)
            self.background(self._unsubscribe_all(channel, leaving))
        elif message.method == "shutdown":
            self._peers.left(message.uid)
        else:
            log.warning("unknown control method %r from node %s", message.method, message.uid)

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

    async def _open_track(self, track: Track, move: asyncio.Task[None] | None) -> None:
        if move is not None:
            await asyncio.shield(move)
        await self.positions.open(track)

    async def _restore(self, channels: tuple[str, ...], awaited: set[str]) -> None:
        """Check the positions, then tell; what is not ``awaited`` any more broke again."""
        try:
            whole, lost = await self.positions.restore(channels)
        finally:
            self._restoring = [other for other in self._restoring if other is not awaited]
        event = Restoration(
            tuple(channel for channel in whole if channel in awaited),
            tuple(lost),
            tuple(awaited.difference(whole, lost)))
        if not (event.whole or event.lost or event.unwatched) and channels:
            return
        log.info(
            "the engine's link is back: %d channels lost nothing, %d did, of %d nobody knows",
            len(event.whole), len(event.lost), len(event.unwatched))
        if self.handlers.restoration is not None:
            self.background(answer(self.handlers.restoration, event))

    def _on_insufficient(self, channel: str) -> None:
        """Messages of a channel are lost to those who are subscribed here."""
        for subscriber in self.hub.subscribers(channel):
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
                self._close_local(subscriber, InsufficientStateError(
                    f"messages of {channel!r} did not arrive, and its history does not have "
                    "them all any more"))

    def _close_local(self, queue: LocalQueue, error: BaseException | None = None) -> None:
        self._held.discard(queue)
        if self._hub is not None:
            for channel in self._hub.remove(queue):
                self.interest.vacated(channel)
        queue.close(error)

    def _close_all_local(self) -> None:
        for queue in list(self._queues):
            self._close_local(queue)

    def _moved(self, channel: str, queue: LocalQueue, move: asyncio.Task[None]) -> None:
        """The engine has the channel of an in-process subscription, or it failed."""
        self.interest.release(channel)
        if not move.cancelled() and (error := move.exception()) is not None:
            # Whoever reads must hear that nothing will come.
            self._close_local(queue, error)

    def _on_vacated(self, channels: list[str]) -> None:
        if self._state in ("running", "closing"):
            for channel in channels:
                self.interest.vacated(channel)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("work in the background failed", exc_info=task.exception())

    async def _tell_nodes(self, method: str, params: Mapping[str, object]) -> None:
        await self.engine.publish_control(
            ControlMessage(self.uid, method, json.dumps(params).encode()))

    def _matching(self, user: str, client: str) -> list[Client]:
        if not user and not client:
            raise ValueError("name a user or a client")
        if client:
            one = self._clients.get(client)
            return [one] if one is not None and user in ("", one.user) else []
        return list(self._users.get(user, ()))

    def _disconnect_here(
        self, user: str, client: str, disconnect: Disconnect | DisconnectCode
    ) -> None:
        for connection in self._matching(user, client):
            connection.disconnect(disconnect)

    async def _unsubscribe_all(self, channel: str, connections: list[Client]) -> None:
        for leaving in [
            connection.unsubscribe_by_server(channel) for connection in connections
        ]:
            await leaving


def _texts(params: Any, *names: str) -> list[str]:
    """Raises ``KeyError`` or ``TypeError`` for what is missing or no str."""
    for name in names:
        if type(params[name]) is not str:
            raise TypeError(f"{name} must be a str, not {params[name]!r}")
    return [params[name] for name in names]


class _AfterTurn:
    """An awaitable that gives the loop a turn first."""

    def __init__(self, result: Awaitable[StreamPosition]) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, StreamPosition]:
        yield
        return (yield from self._result.__await__())
