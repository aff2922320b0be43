"""Who may do what in a channel."""

from __future__ import annotations

from dataclasses import replace

from fanout import codes
from fanout.client import Client
from fanout.codes import ErrorCode
from fanout.events import (
    HistoryEvent,
    PublishEvent,
    PublishReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.server.permissions import Permissions
from fanout.server.policy.state import AskingClient
from fanout.server.policy.tokens import Tokens
from fanout.server.proxy import Proxies

__all__ = ["Channels"]


class Channels:
    """Answers for one configuration; the order of the questions is Centrifugo's."""

    def __init__(self, permissions: Permissions, tokens: Tokens, proxies: Proxies) -> None:
        self._permissions = permissions
        self._tokens = tokens
        self._proxies = proxies

    async def subscribe(self, client: Client, event: SubscribeEvent) -> SubscribeReply:
        permissions, channel = self._permissions, event.channel
        _check(permissions.check_subscribe(channel))
        reply = SubscribeReply()
        if event.token:
            claims = await self._tokens.subscription(client, channel, event.token)
            reply = replace(
                claims.reply, client_refresh=not self._proxies.sub_refreshes(channel))
        elif (
            not permissions.needs_token(channel)
            and not permissions.is_user_limited(channel)
            and self._proxies.subscribes(channel)
        ):
            reply = await self._proxies.subscribe(AskingClient(client), event)
        else:
            _check(permissions.may_subscribe(client.user, channel, client.capabilities))
        return permissions.subscription(client.user, event, reply, client.capabilities)

    async def sub_refresh(self, client: Client, event: SubRefreshEvent) -> SubRefreshReply:
        if not event.token:
            return await self._proxies.sub_refresh(AskingClient(client), event)
        claims = await self._tokens.subscription(
            client, event.channel, event.token, expired=codes.ERROR_EXPIRED)
        return SubRefreshReply(expire_at=claims.reply.expire_at, info=claims.reply.info)

    async def publish(self, client: Client, event: PublishEvent) -> PublishReply | None:
        if self._proxies.publishes(event.channel):
            _check(self._permissions.check_publish(event.channel, event.data))
            return await self._proxies.publish(AskingClient(client), event)
        _check(self._permissions.may_publish(
            client.user, event.channel, event.data, client.is_subscribed(event.channel),
            client.capabilities))
        return None

    def presence(self, client: Client, channel: str) -> None:
        _check(self._permissions.may_presence(
            client.user, channel, client.is_subscribed(channel), client.capabilities))

    def history(self, client: Client, event: HistoryEvent) -> None:
        _check(self._permissions.may_history(
            client.user, event.channel, client.is_subscribed(event.channel),
            client.capabilities))


def _check(refusal: ErrorCode | None) -> None:
    if refusal is not None:
        raise refusal()
