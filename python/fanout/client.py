"""One connected client: what it is, what it may do, what it is subscribed to."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fanout import codes
from fanout._awaitable import Ready
from fanout.client_channels import ClientChannels
from fanout.client_subscription import (
    ClientSubscription,
    Departure,
    SubscribeResult,
    effective_options,
)
from fanout.client_transport import ClientTransport, ClosedTransport, ConnectResult
from fanout.codes import ClientError, Disconnect, DisconnectCode
from fanout.deadline import Deadline
from fanout.events import (
    Capability,
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RPCEvent,
    RPCReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.handlers import answer, answer_of_type
from fanout.types import (
    ChannelOptions,
    ClientInfo,
    HistoryPage,
    JoinMessage,
    PresenceStats,
    StreamPosition,
)

if TYPE_CHECKING:
    from fanout.node import Node

__all__ = ["Client"]

log = logging.getLogger("fanout")


class Client:
    """One connected client of a node.

    ``meta``, ``capabilities`` and ``state`` are what the application answered
    to its connect. ``session`` is a secret that whoever sends its commands over
    another connection must know, ``""`` where nobody does. ``transport`` and
    ``encoding`` are what it speaks, such as ``"websocket"`` and ``"json"``.
    ``connected_at`` is when it connected, in seconds since 1970; 0 before.

    Its coroutines are what a protocol's commands come down to. They raise
    :exc:`fanout.ClientError` for an error reply and :exc:`fanout.Disconnect`
    when the connection must end.
    """

    __slots__ = (
        "__weakref__", "_client_refresh", "_deadline", "_made_channels", "_transport",
        "capabilities", "closed", "connected", "connected_at", "encoding", "expire_at", "id",
        "info", "meta", "node", "session", "state", "transport", "user",
    )

    def __init__(
        self, node: Node, client_id: str, transport: ClientTransport, *,
        session: str = "", transport_name: str = "", encoding: str = "",
    ) -> None:
        self.node = node
        self.id = client_id
        self.user = ""
        self.info = b""
        self.meta = b""
        self.capabilities: tuple[Capability, ...] = ()
        self.state: Any = None
        self.expire_at = 0.0
        self.session = session
        self.transport = transport_name
        self.encoding = encoding
        self.connected = False
        self.connected_at = 0.0
        self.closed = False
        self._transport = transport
        self._made_channels: ClientChannels | None = None
        self._deadline: Deadline | None = None
        self._client_refresh = True

    @property
    def channels(self) -> list[str]:
        """The channels it is subscribed to."""
        return self.node.hub.subscriptions(self._transport.outbox)

    @property
    def channels_to_be(self) -> list[str]:
        """The channels that it is being subscribed to."""
        return list(self._channels.pending)

    @property
    def busy(self) -> bool:
        """True while commands that it sent are not answered yet."""
        return self._transport.busy

    def is_subscribed(self, channel: str) -> bool:
        return self.node.hub.is_subscribed(self._transport.outbox, channel)

    def is_server_side(self, channel: str) -> bool:
        """Whether its subscription to ``channel`` was made by the application."""
        return self._channels.subscription(channel).server_side

    def client_info(self, channel: str) -> ClientInfo:
        """Who it is, as others in ``channel`` see it."""
        return ClientInfo(
            self.user, self.id, self.info, self._channels.subscription(channel).info)

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
            transport = self._transport
            self.close(disconnect)
            transport.end(disconnect)

    # ---- commands ------------------------------------------------------

    async def connect(self, event: ConnectEvent) -> ConnectResult:
        """Let the application decide who this is, and enter the node.

        With server-side subscriptions the outbox is held back at the return:
        release it with the reply, which so comes before their messages. Then
        call :meth:`announce_connected` with their channels.
        """
        handler = self.node.handlers.connect
        if handler is None:
            raise codes.DISCONNECT_PERMISSION_DENIED()
        reply = await answer(handler, event)
        if not isinstance(reply, ConnectReply):
            raise TypeError(f"on_connect must return a ConnectReply, not {reply!r}")
        self._check_open()
        if 0 < reply.expire_at <= time.time():
            raise codes.ERROR_EXPIRED()
        self.user = reply.user
        self.info = reply.info
        self.meta = reply.meta
        self.capabilities = reply.capabilities
        self.state = reply.state
        self._client_refresh = reply.client_refresh
        self.node.enter(self)
        self.connected = True
        self.connected_at = time.time()
        self._set_deadline(reply.expire_at)
        subs: dict[str, SubscribeResult] = {}
        if reply.subs:
            self._transport.outbox.hold()
            subs = await self._subscribe_at_connect(event, reply.subs)
            self._check_open()
        return ConnectResult(
            reply.data, subs, self.expire_at if self._client_refresh else 0.0)

    def announce_connected(self, channels: Iterable[str] = ()) -> None:
        """The client has its connect reply: tell the application, and the channels in it."""
        for channel in channels:
            self.announce(channel)
        if self.node.handlers.connected is not None and not self.closed:
            self.node.background(answer(self.node.handlers.connected, self))

    async def subscribe(self, event: SubscribeEvent) -> SubscribeResult:
        """Subscribe it to a channel.

        When this returns the next message of the channel goes to the client:
        write the reply before anything else, then call :meth:`announce`.
        """
        channel = event.channel
        self._check_name(channel)
        if self.is_subscribed(channel) or channel in self._channels.pending:
            raise codes.ERROR_ALREADY_SUBSCRIBED()
        if self._channels.is_full:
            raise codes.ERROR_LIMIT_EXCEEDED()
        options = self._options(channel)
        with self._channels.reserved(channel):
            handler = self.node.handlers.subscribe
            if handler is None:
                raise codes.ERROR_PERMISSION_DENIED()
            reply = await answer_of_type(
                SubscribeReply, _SUBSCRIBE, "subscribe", handler, self, event)
            return await self._subscribe(event, reply, options)

    def announce(self, channel: str) -> None:
        """Tell the channel that it joined; the client itself sees it too.

        The client has its reply by now, so a failure of the engine is logged.
        """
        options = self._channels.options(channel)
        if options is not None and options.join_leave and self.is_subscribed(channel):
            join = JoinMessage(channel, self.client_info(channel))
            try:
                self.node.engine.publish_join(channel, join)
            except Exception:
                log.exception("the engine could not publish a join into %r", channel)
        revoked = self._channels.take_revoked(channel)
        if revoked is not None:
            self.unsubscribe_by_server(channel, *revoked)

    async def unsubscribe(self, channel: str) -> None:
        """End its subscription; nothing happens when there is none."""
        left = self._channels.exit(channel)
        if left is not None:
            await left.tell(self.node.engine)

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
            skip_history=reply.skip_history,
            delta=reply.delta,
            idempotency_key=reply.idempotency_key,
            version=reply.version,
            version_epoch=reply.version_epoch,
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

    async def rpc(self, event: RPCEvent) -> RPCReply:
        """Call a method of the application's."""
        handler = self.node.handlers.rpc
        if handler is None:
            raise codes.ERROR_NOT_AVAILABLE()
        return await answer_of_type(RPCReply, _RPC, "rpc", handler, self, event)

    async def message(self, data: bytes) -> None:
        """Give the application what the client sent outside of any channel."""
        handler = self.node.handlers.client_message
        if handler is None:
            raise codes.DISCONNECT_NOT_AVAILABLE()
        await answer(handler, self, data)

    async def refresh(self, event: RefreshEvent) -> float:
        """Prolong the connection; when it expires now (seconds since 1970; 0: never)."""
        if not (event.token and self._client_refresh):
            raise codes.DISCONNECT_BAD_REQUEST()
        handler = self.node.handlers.refresh
        if handler is None:
            raise codes.DISCONNECT_INVALID_TOKEN()
        reply = await answer_of_type(
            RefreshReply, _EXPIRED, "refresh", handler, self, event)
        self._check_open()
        if not self._prolong(reply):
            raise codes.DISCONNECT_EXPIRED()
        return self.expire_at

    async def sub_refresh(self, event: SubRefreshEvent) -> float:
        """Prolong a subscription; when it expires now (seconds since 1970; 0: never)."""
        if not self.is_subscribed(event.channel):
            raise codes.ERROR_PERMISSION_DENIED()
        if not self._channels.subscription(event.channel).client_refresh:
            raise codes.DISCONNECT_BAD_REQUEST()
        if not event.token:
            raise codes.ERROR_BAD_REQUEST()
        handler = self.node.handlers.sub_refresh
        if handler is None:
            raise codes.ERROR_PERMISSION_DENIED()
        reply = await answer_of_type(
            SubRefreshReply, _SUB_EXPIRED, "sub_refresh", handler, self, event)
        if not self.is_subscribed(event.channel):
            raise codes.ERROR_PERMISSION_DENIED()
        if not self._channels.prolong(event.channel, reply):
            raise codes.ERROR_EXPIRED()
        return reply.expire_at

    # ---- the application's side ----------------------------------------

    async def subscribe_by_server(
        self, channel: str, reply: SubscribeReply | None = None,
        since: StreamPosition | None = None,
    ) -> None:
        """Subscribe it to ``channel``, and tell it so.

        Nothing happens when it is subscribed already. Raises
        :exc:`fanout.ClientError` when it may not be, and what the engine
        raises.
        """
        reply = reply if reply is not None else _SUBSCRIBE
        options = self._options(channel)
        self._check_open()
        if self._channels.restore(channel):
            return
        if self.is_subscribed(channel):
            return
        if self._channels.is_full:
            raise codes.ERROR_LIMIT_EXCEEDED()
        with self._channels.reserved(channel):
            result = await self._subscribe(
                SubscribeEvent(channel, since=since), reply, options, server_side=True)
        self._transport.push_subscribe(channel, result)
        self.announce(channel)

    def unsubscribe_by_server(
        self, channel: str, code: int = codes.UNSUBSCRIBE_SERVER, reason: str = "server unsubscribe"
    ) -> Awaitable[None]:
        """End its subscription to ``channel``, and tell it so.

        This is done when it returns; the awaitable, which may be ignored,
        finishes when the client's presence is gone and its leave published.
        What is still being subscribed to ends as soon as the client was told
        that it is.
        """
        left = self._channels.exit(channel)
        if left is None:
            self._channels.revoke(channel, code, reason)
            return _DONE
        self._transport.push_unsubscribe(channel, code, reason)
        return self.node.background(left.tell(self.node.engine)) if left.has_a_trace else _DONE

    def refresh_by_server(self, reply: RefreshReply) -> None:
        """Prolong the connection, or end it when the reply says that it expired."""
        if self.closed:
            return
        if self._prolong(reply):
            self._transport.push_refresh(self.expire_at)
        else:
            self.disconnect(codes.DISCONNECT_EXPIRED)

    def lost_in(self, channel: str) -> None:
        """Messages of ``channel`` are lost to it: it must begin anew there."""
        if self.is_server_side(channel):
            self.disconnect(codes.DISCONNECT_INSUFFICIENT_STATE)
        else:
            self.unsubscribe_by_server(
                channel, codes.UNSUBSCRIBE_INSUFFICIENT, "insufficient state")

    # ---- the end -------------------------------------------------------

    def close(self, disconnect: Disconnect | DisconnectCode) -> None:
        """Leave the node and every channel; called once, by whoever ends it."""
        if self.closed:
            return
        self.closed = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        node = self.node
        node.counters.disconnected(disconnect.code)
        departures = self._channels.exit_all()
        # What carries it refers to it: both would be left to the garbage collector.
        self._transport = ClosedTransport(self._transport.outbox)
        if not self.connected:
            return
        node.exit(self)
        departures = [left for left in departures if left.has_a_trace]
        if departures or node.handlers.disconnect is not None:
            # Never the raised one: a handler that keeps it would keep its frames.
            told = Disconnect(disconnect.code, disconnect.reason)
            node.background(self._leave_all(departures, told))

    async def _leave_all(self, departures: list[Departure], disconnect: Disconnect) -> None:
        for left in departures:
            await left.tell(self.node.engine)
        if self.node.handlers.disconnect is not None:
            await answer(self.node.handlers.disconnect, self, disconnect)

    # ---- the terms of a subscription -----------------------------------

    async def _subscribe_at_connect(
        self, event: ConnectEvent, subs: Mapping[str, SubscribeReply]
    ) -> dict[str, SubscribeResult]:
        if len(subs) > self.node.client_channel_limit:
            raise codes.DISCONNECT_CHANNEL_LIMIT()

        # All at once: the application, which knows the client now, may name one of them.
        self._channels.reserve(subs)

        async def subscribe(channel: str, reply: SubscribeReply) -> SubscribeResult:
            with self._channels.reserved(channel):
                return await self._subscribe(
                    event.subs.get(channel) or SubscribeEvent(channel), reply,
                    self._options(channel), server_side=True)

        try:
            results = await asyncio.gather(*(subscribe(*item) for item in subs.items()))
        except ClientError as error:
            log.info("a server-side subscription is refused: %s", error)
            if error.code == codes.ERROR_PERMISSION_DENIED.code:
                raise codes.DISCONNECT_PERMISSION_DENIED() from None
            raise codes.DISCONNECT_BAD_REQUEST() from None
        return dict(zip(subs, results, strict=True))

    async def _subscribe(
        self, event: SubscribeEvent, reply: SubscribeReply, options: ChannelOptions,
        *, server_side: bool = False,
    ) -> SubscribeResult:
        """Enter the channel on the terms of ``reply``."""
        if event.tags_filter is not None and not options.tags_filter:
            raise codes.ERROR_BAD_REQUEST()
        if 0 < reply.expire_at <= time.time():
            raise codes.ERROR_EXPIRED()
        effective = effective_options(options, reply)
        wants_join_leave = reply.push_join_leave
        if wants_join_leave is None:
            wants_join_leave = event.join_leave and await self._may_read(event.channel, effective)
        subscription = ClientSubscription(
            reply.info, effective if effective is not options else None, server_side,
            reply.expire_at, reply.client_refresh)
        return await self._channels.enter(
            event, reply, effective, subscription, wants_join_leave)

    # ---- presence ------------------------------------------------------

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

    # ---- expiry --------------------------------------------------------

    def _prolong(self, reply: RefreshReply) -> bool:
        """Go on until the reply's time; False when that is over."""
        if reply.expired or 0 < reply.expire_at <= time.time():
            return False
        if reply.info is not None:
            self.info = reply.info
        if reply.meta is not None:
            self.meta = reply.meta
        self._set_deadline(reply.expire_at)
        return True

    def _set_deadline(self, at: float) -> None:
        self.expire_at = at
        if self._deadline is None:
            if not at:
                return
            self._deadline = Deadline(
                self.node, self.node.expired_close_delay,
                None if self._client_refresh else self._ask_for_more,
                functools.partial(self.disconnect, codes.DISCONNECT_EXPIRED))
        self._deadline.set(at)

    async def _ask_for_more(self) -> bool:
        handler = self.node.handlers.refresh
        if handler is None:
            return False
        try:
            reply = await answer_of_type(
                RefreshReply, _EXPIRED, "refresh", handler, self, RefreshEvent())
        except Disconnect as disconnect:
            self.disconnect(disconnect)
            return True
        return self.closed or self._prolong(reply)

    # ---- helpers -------------------------------------------------------

    @property
    def _channels(self) -> ClientChannels:
        """Made when it is first needed: a connection in no channel does not pay for it."""
        if self._made_channels is None:
            self._made_channels = ClientChannels(self, self._transport.outbox)
        return self._made_channels

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
_RPC = RPCReply()
_EXPIRED = RefreshReply(expired=True)
_SUB_EXPIRED = SubRefreshReply(expired=True)
