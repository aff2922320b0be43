"""Who may connect, as whom, and for how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from fanout import codes
from fanout.client import Client
from fanout.codes import DisconnectCode
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    RefreshEvent,
    RefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.node import Node
from fanout.server.config import Config
from fanout.server.log import logger
from fanout.server.permissions import Permissions
from fanout.server.policy.state import AskingClient, ClientState
from fanout.server.policy.tokens import Tokens
from fanout.server.proxy import Proxies

__all__ = ["Connections"]

NAME_LENGTH = 40        # characters of a demo visitor's name


class Connections:
    """Answers for connects and refreshes; in a demo visitors may name themselves."""

    def __init__(
        self, config: Config, permissions: Permissions, tokens: Tokens, proxies: Proxies,
        *, demo: bool,
    ) -> None:
        self._client = config.client
        self._channel = config.channel
        self._permissions = permissions
        self._tokens = tokens
        self._proxies = proxies
        self._demo = demo

    async def connect(self, event: ConnectEvent) -> ConnectReply:
        """The order of the answers is Centrifugo's: token, proxy, header, configuration."""
        channels: frozenset[str] = frozenset()
        asked: Iterable[str] = event.subs
        if event.token:
            reply = await self._by_token(event.token)
            channels = frozenset(reply.subs)
        elif self._proxies.connects:
            decided = await self._proxies.connect(event)
            reply = self._by_configuration(event) if decided is None else decided
            if decided is not None:
                asked = ()      # the backend was told what the client asks for
        else:
            reply = self._by_configuration(event)
        subs = dict(reply.subs)
        personal = self._personal_channel(reply.user)
        if personal:
            subs.setdefault(personal, SubscribeReply())
        for channel in asked:
            if channel not in subs and self._may_ask_for(reply, channel):
                subs[channel] = SubscribeReply()
        headers, emulated = self._proxies.kept(event)
        return replace(
            reply,
            subs={
                channel: self._permissions.subscription(
                    reply.user, event.subs.get(channel) or SubscribeEvent(channel), sub,
                    reply.capabilities)
                for channel, sub in subs.items()},
            client_refresh=not self._proxies.refreshes,
            state=ClientState(channels, headers, emulated),
        )

    async def refresh(self, client: Client, event: RefreshEvent) -> RefreshReply:
        if self._proxies.refreshes:
            return await self._proxies.refresh(AskingClient(client), event)
        claims = await self._tokens.connection(event.token, expired=codes.DISCONNECT_EXPIRED)
        if claims.user != client.user:
            raise codes.DISCONNECT_INVALID_TOKEN()
        if frozenset(claims.subs) != ClientState.of(client).channels:
            raise codes.DISCONNECT_INSUFFICIENT_STATE()
        client.capabilities = claims.capabilities
        return RefreshReply(
            expire_at=0.0 if self._client.insecure else claims.expire_at,
            info=claims.info, meta=claims.meta)

    @property
    def keeps_one(self) -> bool:
        """Whether a user's new connection ends the others."""
        personal = self._client.subscribe_to_user_personal_channel
        return personal.enabled and personal.single_connection

    async def keep_one(self, node: Node, client: Client) -> None:
        """End the other connections of the client's user."""
        if client.user:
            await node.disconnect(
                user=client.user, whitelist=(client.id,),
                disconnect=codes.DISCONNECT_CONNECTION_LIMIT)

    async def _by_token(self, token: str) -> ConnectReply:
        claims = await self._tokens.connection(token)
        _check(self._permissions.may_connect_by_token(claims.user))
        return ConnectReply(
            user=claims.user,
            info=claims.info,
            meta=claims.meta,
            expire_at=0.0 if self._client.insecure else claims.expire_at,
            subs=claims.subs,
            capabilities=claims.capabilities,
        )

    def _by_configuration(self, event: ConnectEvent) -> ConnectReply:
        user = self._permissions.user(event.headers)
        refusal = self._permissions.may_connect(user)
        if refusal is not None and not user:
            # The client hears no more than of a broken frame.
            logger.info("a connect without a token is refused: no proxy decides, and "
                        "client.allow_anonymous_connect_without_token is off")
        _check(refusal)
        return ConnectReply(user, info=_visitor(event.data) if self._demo else b"")

    def _personal_channel(self, user: str) -> str:
        """The channel of the user's own, ``""`` for none."""
        personal = self._client.subscribe_to_user_personal_channel
        if not (personal.enabled and user):
            return ""
        name = f"{self._channel.user_boundary}{user}"
        namespace = personal.personal_channel_namespace
        return f"{namespace}{self._channel.namespace_boundary}{name}" if namespace else name

    def _may_ask_for(self, reply: ConnectReply, channel: str) -> bool:
        """Whether it could subscribe to the channel itself, without a token or a proxy.

        Raises disconnect 3501 for a channel of no namespace.
        """
        if self._permissions.resolve(channel) is None:
            raise codes.DISCONNECT_BAD_REQUEST()
        return not self._proxies.subscribes(channel) and self._permissions.may_subscribe(
            reply.user, channel, reply.capabilities) is None


def _check(refusal: DisconnectCode | None) -> None:
    if refusal is not None:
        raise refusal()


def _visitor(data: bytes) -> bytes:
    """The info of a demo's visitor, from the name in its connect data."""
    try:
        name = msgspec.json.decode(data, type=_Visitor).name
    except (ValueError, RecursionError):
        return b""
    return msgspec.json.encode({"name": name[:NAME_LENGTH]})


class _Visitor(msgspec.Struct):
    name: str
