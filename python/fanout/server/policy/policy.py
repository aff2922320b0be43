"""All that the configuration decides for those who connect."""

from __future__ import annotations

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
        """Let the configuration decide for ``node``."""
        node.on_connect(self._connections.connect)
        node.on_refresh(self._connections.refresh)
        node.on_subscribe(self._channels.subscribe)
        node.on_sub_refresh(self._channels.sub_refresh)
        node.on_publish(self._channels.publish)
        node.on_presence(self._channels.presence)
        node.on_history(self._channels.history)

        if self._connections.keeps_one:
            @node.on_connected
            async def connected(client: Client) -> None:
                await self._connections.keep_one(node, client)

        @node.on_rpc
        async def rpc(client: Client, event: RPCEvent) -> RPCReply:
            return await self._proxies.rpc(AskingClient(client), event)

    async def start(self) -> None:
        await self._proxies.start()

    async def close(self) -> None:
        await self._proxies.close()
        await self._tokens.close()
