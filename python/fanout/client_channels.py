"""The channels of one client: entering them, being in them, leaving them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from fanout import codes
from fanout._expiry import Timer
from fanout._outbox import Outbox
from fanout.client_recovery import Recovery
from fanout.client_subscription import ClientSubscription, Departure, SubscribeResult
from fanout.codes import Disconnect
from fanout.deadline import Deadline
from fanout.errors import BackpressureError, EngineUnavailableError
from fanout.events import SubRefreshEvent, SubRefreshReply, SubscribeEvent, SubscribeReply
from fanout.handlers import answer_of_type
from fanout.positions import POSITIONED
from fanout.types import ChannelOptions, ClientInfo, SlowPolicy

if TYPE_CHECKING:
    from fanout.client import Client

__all__ = ["ClientChannels"]

log = logging.getLogger("fanout")

WANTS_JOIN_LEAVE = 1        # the hub's number, see fanout._hub.Hub.subscribe
_SLOW = {SlowPolicy.DISCONNECT: 0, SlowPolicy.DROP_OLDEST: 1, SlowPolicy.KEEP_LATEST: 2}


class ClientChannels:
    """The channels of one client: entering them, being in them, leaving them.

    The hub knows which they are. Here is what it does not know: those that the
    client is about to enter, what a subscription has of its own and when it
    expires, and the refreshing of the client's presence. Whoever calls has
    decided that the client may enter, and tells it what came of it.
    """

    __slots__ = (
        "_node", "_open_client", "_outbox", "_pending", "_presence_timer", "_revoked",
        "_subscriptions",
    )

    def __init__(self, client: Client, outbox: Outbox) -> None:
        self._node = client.node
        # None once it is closed: the two refer to each other, and an application may keep it.
        self._open_client: Client | None = client
        self._outbox = outbox
        # Few subscriptions have anything of their own, so none costs nothing.
        self._subscriptions: dict[str, ClientSubscription] | None = None
        # What is being subscribed to, and the code and reason that end it when it is there.
        self._pending: dict[str, tuple[int, str] | None] | None = None
        self._revoked: dict[str, tuple[int, str]] | None = None
        self._presence_timer: Timer | None = None

    @property
    def _client(self) -> Client:
        """Raises :exc:`fanout.Disconnect` when it is closed."""
        if self._open_client is None:
            raise codes.DISCONNECT_CONNECTION_CLOSED()
        return self._open_client

    # ---- being there ---------------------------------------------------

    @property
    def is_full(self) -> bool:
        taken = self._outbox.num_channels + len(self.pending)
        return taken >= self._node.client_channel_limit

    def subscription(self, channel: str) -> ClientSubscription:
        """What the subscription has of its own; only to be read."""
        if self._subscriptions is None:
            return _PLAIN
        return self._subscriptions.get(channel, _PLAIN)

    def options(self, channel: str) -> ChannelOptions | None:
        """The channel's options, as the subscription changes them."""
        return self.subscription(channel).options or self._node.channel_options(channel)

    # ---- what is being subscribed to -----------------------------------

    @property
    def pending(self) -> Collection[str]:
        """Those that the client is being subscribed to."""
        return self._pending or ()

    def reserve(self, channels: Iterable[str]) -> None:
        """Let all of ``channels`` be pending now; each is to be ``reserved`` then."""
        self._pending = dict.fromkeys(channels)

    @contextlib.contextmanager
    def reserved(self, channel: str) -> Iterator[None]:
        """The channel counts as subscribed to, until it is or is not."""
        pending = self._pending if self._pending is not None else {}
        pending.setdefault(channel)
        self._pending = pending
        try:
            yield
        finally:
            revoked = pending.pop(channel)
            if revoked is not None and self._node.hub.is_subscribed(self._outbox, channel):
                self._revoked = {**(self._revoked or {}), channel: revoked}
            if not pending:
                self._pending = None

    def revoke(self, channel: str, code: int, reason: str) -> None:
        """A pending subscription is to end as soon as the client was told that it has it."""
        if self._pending is not None and channel in self._pending:
            self._pending[channel] = code, reason

    def restore(self, channel: str) -> bool:
        """Take a ``revoke`` back; whether the channel is pending at all."""
        if self._pending is None or channel not in self._pending:
            return False
        self._pending[channel] = None
        return True

    def take_revoked(self, channel: str) -> tuple[int, str] | None:
        """The code and reason with which a new subscription is to end at once."""
        return None if self._revoked is None else self._revoked.pop(channel, None)

    # ---- entering ------------------------------------------------------

    async def enter(
        self, event: SubscribeEvent, reply: SubscribeReply, options: ChannelOptions,
        subscription: ClientSubscription, wants_join_leave: bool,
    ) -> SubscribeResult:
        """Enter the channel, which has ``options`` for this subscription.

        Raises :exc:`fanout.ClientError`, :exc:`fanout.Disconnect` when the
        client is gone, and what the engine raises.
        """
        client, interest = self._client, self._node.interest
        move = interest.hold(event.channel)
        try:
            if move is not None:
                await asyncio.shield(move)
            return await self._enter(
                client, event, reply, options, subscription, wants_join_leave)
        finally:
            interest.release(event.channel)

    async def _enter(
        self, client: Client, event: SubscribeEvent, reply: SubscribeReply,
        options: ChannelOptions, subscription: ClientSubscription, wants_join_leave: bool,
    ) -> SubscribeResult:
        """Presence, then the stream, then the hub, with nothing awaited behind the stream."""
        node, channel = self._node, event.channel
        recovery = Recovery(node.positions, event, reply, options)
        if options.presence:
            await node.engine.add_presence(
                channel, client.id,
                ClientInfo(client.user, client.id, client.info, subscription.info))
        try:
            await recovery.read()
            if client.closed:
                raise codes.DISCONNECT_CONNECTION_CLOSED()
        except BaseException:
            if options.presence:
                await node.engine.remove_presence(channel, client.id)
            raise
        missed = recovery.missed
        delta = (
            event.delta != "" and options.delta and options.slow is SlowPolicy.DISCONNECT)
        flags = WANTS_JOIN_LEAVE if options.join_leave and wants_join_leave else 0
        node.hub.subscribe(
            self._outbox, channel, flags | (POSITIONED if recovery.positioned else 0),
            _SLOW[options.slow], delta=delta,
            # Without a message it may never have had the one at its place.
            base=missed[-1] if delta and missed and event.tags_filter is None else None,
            tags_filter=event.tags_filter)
        node.counters.subscribed += 1
        if recovery.since is not None:
            if missed is None:
                node.counters.unrecovered += 1
            else:
                node.counters.recovered += 1
        self._remember(channel, subscription)
        if options.presence and self._presence_timer is None:
            self._presence_timer = Timer(node.expiry, self._on_presence_timer)
            self._presence_timer.start(node.presence_interval)
        return SubscribeResult(
            reply.data,
            recovery.position,
            recovery.wanted,
            recovery.recoverable,
            event.since,
            recovery.was_recovering,
            delta,
            reply.expire_at if reply.client_refresh else 0.0,
        )

    def _remember(self, channel: str, subscription: ClientSubscription) -> None:
        if subscription.is_plain and subscription.deadline is None:
            return
        if self._subscriptions is None:
            self._subscriptions = {}
        self._subscriptions[channel] = subscription
        self._set_deadline(channel, subscription)

    # ---- leaving -------------------------------------------------------

    def exit(self, channel: str) -> Departure | None:
        """Leave the hub; what is to be told of it, or None when it was not there."""
        node = self._node
        if not node.hub.is_subscribed(self._outbox, channel):
            return None
        left = self._departure(channel)
        if self._revoked is not None:
            self._revoked.pop(channel, None)
        node.counters.unsubscribed += 1
        if node.hub.unsubscribe(self._outbox, channel):
            node.interest.vacated(channel)
        if self._subscriptions is not None:
            subscription = self._subscriptions.pop(channel, None)
            if subscription is not None:
                subscription.end()
        return left

    def exit_all(self) -> list[Departure]:
        """The client closes: leave the hub for good; what is to be told of each channel."""
        node = self._node
        if self._presence_timer is not None:
            self._presence_timer.cancel()
            self._presence_timer = None
        departures = [self._departure(channel) for channel in self._client.channels]
        node.counters.unsubscribed += len(departures)
        for subscription in (self._subscriptions or {}).values():
            subscription.end()
        for channel in node.hub.remove(self._outbox):
            node.interest.vacated(channel)
        self._open_client = None
        return departures

    def _departure(self, channel: str) -> Departure:
        return Departure(channel, self._client.client_info(channel), self.options(channel))

    # ---- presence ------------------------------------------------------

    def _on_presence_timer(self) -> None:
        self._node.background(self._refresh_presence(self._client))

    async def _refresh_presence(self, client: Client) -> None:
        engine = self._node.engine
        try:
            for channel in client.channels:
                options = self.options(channel)
                if options is not None and options.presence and client.is_subscribed(channel):
                    await engine.add_presence(channel, client.id, client.client_info(channel))
                    if not client.is_subscribed(channel):       # it left meanwhile
                        await engine.remove_presence(channel, client.id)
        except (EngineUnavailableError, BackpressureError) as error:
            log.info("the presence of %s was not refreshed: %s", client.id, error)
        finally:
            if self._presence_timer is not None:
                self._presence_timer.start(self._node.presence_interval)

    # ---- expiry --------------------------------------------------------

    def prolong(self, channel: str, reply: SubRefreshReply) -> bool:
        """Let a subscription go on until the reply's time; False when that is over."""
        if reply.expired or 0 < reply.expire_at <= time.time():
            return False
        subscription = self.subscription(channel)
        if subscription is _PLAIN:
            subscription = ClientSubscription()
        if reply.info is not None:
            subscription.info = reply.info
        subscription.expire_at = reply.expire_at
        self._remember(channel, subscription)
        return True

    def _set_deadline(self, channel: str, subscription: ClientSubscription) -> None:
        if subscription.deadline is None:
            if not subscription.expire_at:
                return
            subscription.deadline = Deadline(
                self._node, self._node.expired_sub_close_delay,
                None if subscription.client_refresh
                else functools.partial(self._ask_for_more, channel, subscription),
                functools.partial(self._expire, channel))
        subscription.deadline.set(subscription.expire_at)

    async def _ask_for_more(self, channel: str, subscription: ClientSubscription) -> bool:
        client = self._client
        handler = self._node.handlers.sub_refresh
        if handler is None:
            return False
        try:
            reply = await answer_of_type(
                SubRefreshReply, _EXPIRED, "sub_refresh", handler, client,
                SubRefreshEvent(channel))
        except Disconnect as disconnect:
            client.disconnect(disconnect)
            return True
        if client.closed or self.subscription(channel) is not subscription:
            return True     # it left meanwhile
        return self.prolong(channel, reply)

    def _expire(self, channel: str) -> None:
        if self.subscription(channel).server_side:
            self._client.disconnect(codes.DISCONNECT_SUBSCRIPTION_EXPIRED)
        else:
            self._client.unsubscribe_by_server(
                channel, codes.UNSUBSCRIBE_EXPIRED, "subscription expired")


_EXPIRED = SubRefreshReply(expired=True)
_PLAIN = ClientSubscription()
