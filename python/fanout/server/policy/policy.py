"""All that the configuration decides for those who connect."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from fanout.client import Client
from fanout.events import RPCEvent, RPCReply
from fanout.node import Node
from fanout.server.config import Config
from fanout.server.permissions import Permissions
from fanout.server.policy.channels import Channels
from fanout.server.policy.connections import Connections
from fanout.server.policy.state import AskingClient
from fanout.server.policy.tokens import Tokens
from fanout.server.proxy import Proxies

__all__ = ["Policy"]


class Policy:
    """The handlers of a server's node, from its configuration.

    Raises :exc:`~fanout.server.config.ConfigError` for what the configuration
    names and cannot be used, such as a key or a proxy's address.
    """

    def __init__(self, config: Config, permissions: Permissions, *, demo: bool = False) -> None:
        self._tokens = Tokens(config)
        self._proxies = Proxies(config, permissions)
        self._connections = Connections(
            config, permissions, self._tokens, self._proxies, demo=demo)
        self._channels = Channels(permissions, self._tokens, self._proxies)
        self.warnings = self._tokens.warnings

    @property
    def proxies(self) -> Proxies:
        return self._proxies

    def install(self, node: Node) -> None:
        """Let the configuration decide for ``node``, but where the application does."""
        handlers: dict[str, Callable[..., Any]] = {
            "connect": self._connections.connect,
            "refresh": self._connections.refresh,
            "subscribe": self._channels.subscribe,
            "sub_refresh": self._channels.sub_refresh,
            "publish": self._channels.publish,
            "presence": self._channels.presence,
            "history": self._channels.history,
            "rpc": self._rpc,
        }
        if self._connections.keeps_one:
            handlers["connected"] = functools.partial(self._connections.keep_one, node)
        for name, handler in handlers.items():
            node.handlers.register(name, handler, default=True)

    async def _rpc(self, client: Client, event: RPCEvent) -> RPCReply:
        return await self._proxies.rpc(AskingClient(client), event)

    async def start(self) -> None:
        await self._proxies.start()

    async def close(self) -> None:
        await self._proxies.close()
        await self._tokens.close()
