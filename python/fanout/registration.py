"""How an application hands its handlers to a node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fanout.handlers import Handlers

__all__ = ["Registration"]

H = TypeVar("H", bound=Callable[..., Any])


class Registration:
    """The decorators that a node is given its handlers with, one for each event.

    A handler is a function or a coroutine function; it refuses by raising
    :exc:`fanout.ClientError` or :exc:`fanout.Disconnect`::

        @node.on_subscribe
        async def subscribe(client, event):
            if not await may_read(client.user, event.channel):
                raise fanout.ClientError(403, "not yours")

    There is one for each event. At the node of a
    :class:`fanout.server.Server` that is made from a configuration, it takes the
    place of the configuration's, which it finds beforehand in ``node.handlers``
    and may call::

        configured = node.handlers.subscribe
    """

    def __init__(self) -> None:
        self.handlers = Handlers()

    def on_connect(self, handler: H) -> H:
        """Decides who may connect: ``(ConnectEvent) -> ConnectReply``. Without it nobody may.

        ``on_connecting`` is the same, by the name that it has in the Go library
        of the protocol.
        """
        self.handlers.register("connect", handler)
        return handler

    on_connecting = on_connect

    def on_connected(self, handler: H) -> H:
        """Is told that a client is connected, and has been told so: ``(Client) -> None``."""
        self.handlers.register("connected", handler)
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
