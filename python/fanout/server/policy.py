"""The handlers of a server that is run by configuration alone."""

from __future__ import annotations

import msgspec

from fanout.client import Client
from fanout.codes import DisconnectCode, ErrorCode
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    PublishEvent,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.node import Node
from fanout.server.permissions import Permissions

__all__ = ["install"]

NAME_LENGTH = 40        # characters of a demo visitor's name


def install(node: Node, permissions: Permissions, demo: bool = False) -> None:
    """Let ``permissions`` decide for ``node``; in a demo visitors may name themselves."""

    def check(refusal: ErrorCode | DisconnectCode | None) -> None:
        if refusal is not None:
            raise refusal()

    @node.on_connect
    def connect(event: ConnectEvent) -> ConnectReply:
        user = permissions.user(event.headers)
        check(permissions.may_connect(event.token, user))
        return ConnectReply(user, info=_visitor(event.data) if demo else b"")

    @node.on_subscribe
    def subscribe(client: Client, event: SubscribeEvent) -> SubscribeReply:
        check(permissions.may_subscribe(client.user, event.channel, event.token))
        return SubscribeReply(
            push_join_leave=permissions.pushes_join_leave(
                client.user, event.channel, event.join_leave),
            recover=permissions.may_recover(event.channel),
        )

    @node.on_publish
    def publish(client: Client, event: PublishEvent) -> None:
        check(permissions.may_publish(
            client.user, event.channel, event.data, client.is_subscribed(event.channel)))

    @node.on_presence
    def presence(client: Client, channel: str) -> None:
        check(permissions.may_presence(client.user, channel, client.is_subscribed(channel)))

    @node.on_history
    def history(client: Client, event: HistoryEvent) -> None:
        check(permissions.may_history(
            client.user, event.channel, client.is_subscribed(event.channel)))


def _visitor(data: bytes) -> bytes:
    """The info of a demo's visitor, from the name in its connect data."""
    try:
        name = msgspec.json.decode(data, type=_Visitor).name
    except (ValueError, RecursionError):
        return b""
    return msgspec.json.encode({"name": name[:NAME_LENGTH]})


class _Visitor(msgspec.Struct):
    name: str
