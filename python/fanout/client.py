"""One connected client: what it is, what it may do, what it is subscribed to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fanout import codes
from fanout._awaitable import Ready
from fanout._expiry import Timer
from fanout._outbox import Outbox
from fanout.codes import ClientError, Disconnect, DisconnectCode
from fanout.errors import BackpressureError, EngineUnavailableError
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    PublishEvent,
    PublishReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.handlers import answer, answer_of_type
from fanout.types import (
    ChannelOptions,
    ClientInfo,
    HistoryPage,
    JoinMessage,
    LeaveMessage,
    Message,
    PresenceStats,
    SlowPolicy,
    StreamPosition,
)

if TYPE_CHECKING:
    from fanout.node import Node

__all__ = ["Client", "ClientTransport", "SubscribeResult"]

log = logging.getLogger("fanout")

# The hub's numbers, see fanout._hub.Hub.subscribe.
WANTS_JOIN_LEAVE = 1
_SLOW = {SlowPolicy.DISCONNECT: 0, SlowPolicy.DROP_OLDEST: 1, SlowPolicy.KEEP_LATEST: 2}


class ClientTransport(Protocol):
    """What a client needs of the connection that carries it."""

    @property
    def outbox(self) -> Outbox: ...

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        """Tell the peer why, and close; the client is cleaned up already."""
        ...

    def push_message(self, data: bytes) -> None:
        """An asynchronous message to this client, outside of any channel."""
        ...

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        """The application ended the subscription to ``channel``."""
        ...


@dataclass(frozen=True, slots=True)
class SubscribeResult:
    """What a subscribe came to.

    ``position`` is where the client is in the stream, when the channel
    recovers. ``missed`` are the messages between where it said it was and
    there, oldest first; None when it did not ask, or they are not all kept.
    ``recoverable`` says whether it may ask.
    """

    data: bytes = b""
    position: StreamPosition | None = None
    missed: list[Message] | None = None
    recoverable: bool = True


class Client:
    """One connected client of a node.

    Its coroutines are what a protocol's commands come down to. They raise
    :exc:`fanout.ClientError` for an error reply and :exc:`fanout.Disconnect`
    when the connection must end.
    """

    __slots__ = (
        "__weakref__", "_infos", "_pending", "_presence_timer", "_transport", "closed",
        "connected", "id", "info", "node", "user",
    )

    def __init__(self, node: Node, client_id: str, transport: ClientTransport) -> None:
        self.node = node
        self.id = client_id
        self.user = ""
        self.info = b""
        self.connected = False
        self.closed = False
        self._transport = transport
        # Few subscriptions have an info of their own, so none costs nothing.
        self._infos: dict[str, bytes] | None = None
        self._pending: set[str] | None = None
        self._presence_timer: Timer | None = None

    @property
    def channels(self) -> list[str]:
        """The channels it is subscribed to."""
        return self.node.hub.subscriptions(self._transport.outbox)

    def is_subscribed(self, channel: str) -> bool:
        return self.node.hub.is_subscribed(self._transport.outbox, channel)

    def client_info(self, channel: str) -> ClientInfo:
        """Who it is, as others in ``channel`` see it."""
        channel_info = self._infos.get(channel, b"") if self._infos is not None else b""
        return ClientInfo(self.user, self.id, self.info, channel_info)

    def send(self, data: bytes) -> None:
        """Send it an asynchronous message, outside of any channel."""
        if not isinstance(data, bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if not self.closed:
            self._transport.push_message(data)

    def disconnect(
        self, disconnect: Disconnect | DisconnectCode = codes.DISCONNECT_FORCE
    ) -> None:
        """End the connection; does nothing the second time."""
        if not self.closed:
            self.close(disconnect)
            self._transport.end(disconnect)

    # ---- commands ------------------------------------------------------

    async def connect(self, event: ConnectEvent) -> ConnectReply:
        """Let the application decide who this is, and enter the node."""
        handler = self.node.handlers.connect
        if handler is None:
            raise codes.DISCONNECT_PERMISSION_DENIED()
        reply = await answer(handler, event)
        if not isinstance(reply, ConnectReply):
            raise TypeError(f"on_connect must return a ConnectReply, not {reply!r}")
        self._check_open()
        self.user = reply.user
        self.info = reply.info
        self.node.enter(self)
        self.connected = True
        return reply

    async def subscribe(self, event: SubscribeEvent) -> SubscribeResult:
        """Subscribe it to a channel.

        When this returns the next message of the channel goes to the client:
        write the reply before anything else, then call :meth:`announce`.
        """
        node = self.node
        channel = event.channel
        self._check_name(channel)
        pending = self._pending
        if pending is None:
            pending = set()
        if self.is_subscribed(channel) or channel in pending:
            raise codes.ERROR_ALREADY_SUBSCRIBED()
        if self._transport.outbox.num_channels + len(pending) >= node.client_channel_limit:
            raise codes.ERROR_LIMIT_EXCEEDED()
        options = self._options(channel)
        pending.add(channel)
        self._pending = pending
        try:
            handler = node.handlers.subscribe
            if handler is None:
                raise codes.ERROR_PERMISSION_DENIED()
            reply = await answer_of_type(
                SubscribeReply, _SUBSCRIBE, "subscribe", handler, self, event)
            wants_join_leave = reply.push_join_leave
            if wants_join_leave is None:
                wants_join_leave = event.join_leave and await self._may_read(channel, options)
            self._check_open()
            move = node.interest.hold(channel)
            try:
                if move is not None:
                    await asyncio.shield(move)
                return await self._enter(event, reply, options, wants_join_leave)
            finally:
                node.interest.release(channel)
        finally:
            pending.discard(channel)
            if not pending:
                self._pending = None

    def announce(self, channel: str) -> None:
        """Tell the channel that it joined; the client itself sees it too.

        The client has its reply by now, so a failure of the engine is logged.
        """
        options = self.node.channel_options(channel)
        if options is not None and options.join_leave and self.is_subscribed(channel):
            join = JoinMessage(channel, self.client_info(channel))
            try:
                self.node.engine.publish_join(channel, join)
            except Exception:
                log.exception("the engine could not publish a join into %r", channel)

    async def unsubscribe(self, channel: str) -> None:
        """End its subscription; nothing happens when there is none."""
        info = self._exit(channel)
        if info is not None:
            await self._leave(channel, info)

    async def publish(self, event: PublishEvent) -> StreamPosition:
        """Publish into a channel, with its info beside the data."""
        node = self.node
        options = self._options(event.channel)
        if not event.data:
            raise codes.ERROR_BAD_REQUEST()
        handler = node.handlers.publish
        if handler is not None:
            reply = await answer_of_type(
                PublishReply, _PUBLISH, "publish", handler, self, event)
        elif options.publish and self.is_subscribed(event.channel) and self._known(options):
            reply = _PUBLISH
        else:
            raise codes.ERROR_PERMISSION_DENIED()
        return await node.publish(
            event.channel,
            event.data if reply.data is None else reply.data,
            tags=reply.tags,
            client=self.id,
            info=self.client_info(event.channel),
        )

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        await self._check_presence(channel)
        return await self.node.engine.presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        await self._check_presence(channel)
        return await self.node.engine.presence_stats(channel)

    async def history(self, event: HistoryEvent) -> HistoryPage:
        """Read a channel's stream; ``event.limit`` below 0 is all."""
        options = self._options(event.channel)
        if not options.keeps_history:
            raise codes.ERROR_NOT_AVAILABLE()
        handler = self.node.handlers.history
        if handler is not None:
            await answer(handler, self, event)
        elif not (self.is_subscribed(event.channel) and self._known(options)):
            raise codes.ERROR_PERMISSION_DENIED()
        page = await self.node.engine.history_stream(
            event.channel,
            event.since,
            event.limit if event.limit >= 0 else None,
            event.reverse,
        )
        if event.since is not None and event.since.epoch not in ("", page.position.epoch):
            raise codes.ERROR_UNRECOVERABLE_POSITION()
        return page

    # ---- the application's side ----------------------------------------

    def unsubscribe_by_server(
        self, channel: str, code: int = codes.UNSUBSCRIBE_SERVER, reason: str = "unsubscribed"
    ) -> Awaitable[None]:
        """End its subscription to ``channel``, and tell it so.

        This is done when it returns; the awaitable, which may be ignored,
        finishes when the client's presence is gone and its leave published.
        """
        info = self._exit(channel)
        if info is None:
            return _DONE
        self._transport.push_unsubscribe(channel, code, reason)
        if not self._leaves_a_trace(channel):
            return _DONE
        return self.node.background(self._leave(channel, info))

    # ---- the end -------------------------------------------------------

    def close(self, disconnect: Disconnect | DisconnectCode) -> None:
        """Leave the node and every channel; called once, by whoever ends it."""
        if self.closed:
            return
        self.closed = True
        if self._presence_timer is not None:
            self._presence_timer.cancel()
            self._presence_timer = None
        node = self.node
        channels = self.channels
        infos = [(channel, self.client_info(channel)) for channel in channels]
        for channel in node.hub.remove(self._transport.outbox):
            node.interest.vacated(channel)
        if not self.connected:
            return
        node.exit(self)
        infos = [(channel, info) for channel, info in infos if self._leaves_a_trace(channel)]
        if infos or node.handlers.disconnect is not None:
            # Never the raised one: a handler that keeps it would keep its frames.
            told = Disconnect(disconnect.code, disconnect.reason)
            node.background(self._leave_all(infos, told))

    async def _leave_all(
        self, infos: list[tuple[str, ClientInfo]], disconnect: Disconnect
    ) -> None:
        for channel, info in infos:
            await self._leave(channel, info)
        if self.node.handlers.disconnect is not None:
            await answer(self.node.handlers.disconnect, self, disconnect)

    async def _leave(self, channel: str, info: ClientInfo) -> None:
        options = self.node.channel_options(channel)
        if options is None:
            return
        try:
            if options.presence:
                await self.node.engine.remove_presence(channel, self.id)
            if options.join_leave:
                await self.node.engine.publish_leave(channel, LeaveMessage(channel, info))
        except (EngineUnavailableError, BackpressureError) as error:
            # It has left all the same; its presence ends by itself.
            log.warning("leaving %r was not told: %s", channel, error)

    def _leaves_a_trace(self, channel: str) -> bool:
        options = self.node.channel_options(channel)
        return options is not None and (options.presence or options.join_leave)

    # ---- helpers -------------------------------------------------------

    async def _enter(
        self, event: SubscribeEvent, reply: SubscribeReply, options: ChannelOptions,
        wants_join_leave: bool,
    ) -> SubscribeResult:
        """Presence, then the stream, then the hub, with nothing awaited behind the stream."""
        node = self.node
        channel = event.channel
        missed = None
        # Before anything is awaited: what happens to the link is noted in it.
        track = node.positions.watch(channel, options)
        if options.presence:
            await node.engine.add_presence(
                channel, self.id, ClientInfo(self.user, self.id, self.info, reply.info))
        try:
            if track is not None:
                if event.since is not None and reply.recover:
                    missed = await node.positions.recover(track, event.since)
                # Awaits nothing when the place is known, as it is with what was missed.
                await node.positions.open(track)
            self._check_open()
        except BaseException:
            if options.presence:
                await node.engine.remove_presence(channel, self.id)
            raise
        flags = WANTS_JOIN_LEAVE if options.join_leave and wants_join_leave else 0
        node.hub.subscribe(self._transport.outbox, channel, flags, _SLOW[options.slow])
        if reply.info:
            if self._infos is None:
                self._infos = {}
            self._infos[channel] = reply.info
        if options.presence and self._presence_timer is None:
            self._presence_timer = Timer(node.expiry, self._on_presence_timer)
            self._presence_timer.start(node.presence_interval)
        position = track.position if track is not None else None
        return SubscribeResult(reply.data, position, missed, reply.recover)

    def _exit(self, channel: str) -> ClientInfo | None:
        """Leave the hub; who it was there, or None when it was not."""
        hub = self.node.hub
        if not hub.is_subscribed(self._transport.outbox, channel):
            return None
        info = self.client_info(channel)
        if hub.unsubscribe(self._transport.outbox, channel):
            self.node.interest.vacated(channel)
        if self._infos is not None:
            self._infos.pop(channel, None)
        return info

    def _on_presence_timer(self) -> None:
        self.node.background(self._refresh_presence())

    async def _refresh_presence(self) -> None:
        try:
            for channel in self.channels:
                options = self.node.channel_options(channel)
                if options is not None and options.presence and self.is_subscribed(channel):
                    await self.node.engine.add_presence(
                        channel, self.id, self.client_info(channel))
                    if not self.is_subscribed(channel):     # it left meanwhile
                        await self.node.engine.remove_presence(channel, self.id)
        except (EngineUnavailableError, BackpressureError) as error:
            log.info("the presence of %s was not refreshed: %s", self.id, error)
        finally:
            if self._presence_timer is not None:
                self._presence_timer.start(self.node.presence_interval)

    async def _check_presence(self, channel: str) -> None:
        options = self._options(channel)
        if not options.presence:
            raise codes.ERROR_NOT_AVAILABLE()
        handler = self.node.handlers.presence
        if handler is not None:
            await answer(handler, self, channel)
        elif not (self.is_subscribed(channel) and self._known(options)):
            raise codes.ERROR_PERMISSION_DENIED()

    async def _may_read(self, channel: str, options: ChannelOptions) -> bool:
        """Whether it may see who is there, from the moment it is subscribed."""
        handler = self.node.handlers.presence
        if handler is None:
            return options.presence and self._known(options)
        try:
            await answer(handler, self, channel)
        except ClientError:
            return False
        return options.presence

    def _known(self, options: ChannelOptions) -> bool:
        return bool(self.user) or options.anonymous

    def _check_name(self, channel: str) -> None:
        if not channel:
            raise codes.DISCONNECT_BAD_REQUEST()
        if len(channel.encode("utf-8", "surrogatepass")) > self.node.max_channel_length:
            raise codes.ERROR_BAD_REQUEST()

    def _options(self, channel: str) -> ChannelOptions:
        self._check_name(channel)
        options = self.node.channel_options(channel)
        if options is None:
            raise codes.ERROR_UNKNOWN_CHANNEL()
        return options

    def _check_open(self) -> None:
        if self.closed:
            raise codes.DISCONNECT_CONNECTION_CLOSED()


_DONE: Ready[None] = Ready(None)
_SUBSCRIBE = SubscribeReply()
_PUBLISH = PublishReply()
