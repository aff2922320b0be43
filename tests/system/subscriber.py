"""Published clients (centrifuge-python) that keep a log of what they are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from centrifuge import (  # type: ignore[import-untyped]
    Client,
    ClientEventHandler,
    ConnectedContext,
    ConnectingContext,
    DisconnectedContext,
    PublicationContext,
    SubscribedContext,
    SubscribingContext,
    Subscription,
    SubscriptionEventHandler,
    UnsubscribedContext,
)

from tests.system.checker import Interrupted, Received, Subscribed, stretches

Entry = Subscribed | Received | Interrupted


class _Listener(SubscriptionEventHandler):  # type: ignore[misc]
    """Writes the log of one channel."""

    def __init__(self, log: list[Entry]) -> None:
        self.log = log
        self.unsubscribed: list[int] = []

    async def on_subscribed(self, ctx: SubscribedContext) -> None:
        place = ctx.stream_position
        self.log.append(
            Subscribed(
                place.epoch if place else "",
                place.offset if place else 0,
                ctx.was_recovering,
                ctx.recovered,
            )
        )

    async def on_publication(self, ctx: PublicationContext) -> None:
        data = ctx.pub.data
        self.log.append(Received(ctx.pub.offset, data["publisher"], data["number"]))

    async def on_subscribing(self, ctx: SubscribingContext) -> None:
        self.log.append(Interrupted(f"subscribing: {ctx.code} {ctx.reason}"))

    async def on_unsubscribed(self, ctx: UnsubscribedContext) -> None:
        self.unsubscribed.append(ctx.code)
        self.log.append(Interrupted(f"unsubscribed: {ctx.code} {ctx.reason}"))


class Subscriber(ClientEventHandler):  # type: ignore[misc]
    """One client of one user, subscribed to some channels; ``logs`` has what each told.

    Use it with ``async with``: it is subscribed when that begins.
    """

    def __init__(self, url: str, channels: Iterable[str], *, user: str, name: str = "") -> None:
        self.user = user
        self.name = name or user
        self.id = ""
        self.num_connects = 0
        self.disconnected: list[int] = []
        self.lost: list[str] = []
        self.logs: dict[str, list[Entry]] = {channel: [] for channel in channels}
        self.client = Client(
            url,
            events=self,
            headers={"X-User-Id": user},
            min_reconnect_delay=0.05,
            max_reconnect_delay=0.3,
            proxy=None,
        )
        self.subscriptions: dict[str, Subscription] = {}
        self._listeners: dict[str, _Listener] = {}

    async def __aenter__(self) -> Subscriber:
        await self.client.connect()
        for channel, log in self.logs.items():
            self._listeners[channel] = listener = _Listener(log)
            subscription = self.client.new_subscription(
                channel, listener, min_resubscribe_delay=0.05, max_resubscribe_delay=0.3)
            self.subscriptions[channel] = subscription
            await subscription.subscribe()
        for subscription in self.subscriptions.values():
            await subscription.ready(20)
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.client.disconnect()

    async def on_connected(self, ctx: ConnectedContext) -> None:
        self.id = ctx.client
        self.num_connects += 1

    async def on_connecting(self, ctx: ConnectingContext) -> None:
        self.lost.append(f"{ctx.code} {ctx.reason}")

    async def on_disconnected(self, ctx: DisconnectedContext) -> None:
        self.disconnected.append(ctx.code)

    def unsubscribed(self, channel: str) -> list[int]:
        """The codes with which the server ended the subscription for good."""
        return self._listeners[channel].unsubscribed

    def received(self, channel: str) -> list[Received]:
        return [entry for entry in self.logs[channel] if isinstance(entry, Received)]

    def place(self, channel: str) -> tuple[str, int]:
        """Epoch and offset up to which it received the channel's stream."""
        found, _ = stretches(self.logs[channel])
        return (found[-1].epoch, found[-1].last) if found else ("", 0)

    def num_lost(self, channel: str) -> int:
        """How often it was told that it missed something for good."""
        return sum(
            isinstance(entry, Subscribed) and entry.was_recovering and not entry.recovered
            for entry in self.logs[channel]
        )

    def num_recovered(self, channel: str) -> int:
        return sum(
            isinstance(entry, Subscribed) and entry.recovered for entry in self.logs[channel])
