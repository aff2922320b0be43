"""A node with its ways in, whatever application carries them."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from contextlib import AbstractAsyncContextManager
from typing import Any

from aiohttp import web

import fanout
from fanout import codes
from fanout.errors import ClosedError, FanoutError
from fanout.node import Node
from fanout.server import api as server_api
from fanout.server.admin import Admin
from fanout.server.config import Config, closed
from fanout.server.config.advice import without_effect
from fanout.server.drain import Drain
from fanout.server.engines import EngineStartError, make_engine
from fanout.server.log import logger
from fanout.server.metrics import MetricsEndpoint, NodeCollector, ToldFigures
from fanout.server.permissions import Permissions
from fanout.server.policy import Policy
from fanout.server.proxy import Proxies
from fanout.server.rules import ChannelSource, NodeChannels
from fanout.server.session import SessionSettings
from fanout.server.transports import Transports

__all__ = ["Service"]

UNLIMITED = 1 << 31

_SERVED: weakref.WeakSet[Node] = weakref.WeakSet()


class Service:
    """What is behind the routes: transports, server API, admin page, figures, health.

    Without a ``node`` it has one of its own, for which the configuration
    decides. An application's is run by it unless it runs already.
    """

    def __init__(self, config: Config, node: Node | None = None, *, demo: bool = False) -> None:
        self.config = config
        self._warnings: list[str] = []
        self._policy: Policy | None = None
        permissions = Permissions(config)
        channels: ChannelSource = permissions
        if node is None:
            node = _make_node(config, permissions)
            self._policy = Policy(config, permissions, demo=demo)
            self._policy.install(node)
            self._warnings += self._policy.warnings
        else:
            if not isinstance(node, Node):
                raise TypeError(f"node must be a Node, not {node!r}")
            if node in _SERVED:
                raise ValueError("the node has a server already: a node is served by one, once")
            channels = NodeChannels(node)
            self._warnings += without_effect(config)
        _SERVED.add(node)
        self.node = node
        self.api = server_api.ServerAPI(
            node, channels, config.node.info_metrics_aggregate_interval)
        if node.measure is None:
            node.measure = ToldFigures(node, config.node.info_metrics_aggregate_interval)
        self.drain = Drain(node, config.shutdown.timeout)
        self.transports = Transports(
            node, config, _session_settings(config), permissions.may_come_from)
        self._admin = Admin(config, node, channels, lambda: self.drain.begun)
        self._runs_node = False
        # Entered when the node runs, and left before it is shut down.
        self.around: AbstractAsyncContextManager[Any] | None = None
        self._entered = contextlib.AsyncExitStack()

    @property
    def proxies(self) -> Proxies | None:
        """The backends that are asked; None with an application's node."""
        return None if self._policy is None else self._policy.proxies

    def add_routes(self, external: web.UrlDispatcher, internal: web.UrlDispatcher) -> None:
        """Clients' endpoints at ``external``; at ``internal`` what is not for clients."""
        config = self.config
        self.transports.add_routes(external, self.drain.guard)
        if config.health.enabled:
            internal.add_get(config.health.handler_prefix, self.drain.health)
        if config.prometheus.enabled:
            metrics = MetricsEndpoint(NodeCollector(self.node, self.api, self.proxies))
            internal.add_get(config.prometheus.handler_prefix, metrics.handle)
        server_api.add_routes(config, self.api, external, internal)
        self._admin.add_routes(external, internal)

    async def start(self) -> None:
        """Be ready for clients.

        Raises :exc:`~fanout.server.engines.EngineStartError` when the engine
        cannot be used, and :exc:`fanout.ClosedError` for a node that was shut
        down.
        """
        for warning in self._warnings:
            logger.warning("%s", warning)
        if not self.node.running:
            try:
                await self.node.run()
            except ClosedError:
                raise
            except FanoutError as error:
                raise EngineStartError(f"cannot start the engine: {error}") from error
            self._runs_node = True
        if self.around is not None:
            await self._entered.enter_async_context(self.around)
        if self._policy is not None:
            if self.node.handlers.is_default("connect") and (warning := closed(self.config)):
                logger.warning("%s", warning)
            await self._policy.start()
        self._admin.start()

    async def leave(self) -> float:
        """Take no more clients, and ask those here to leave; when the time for it is up.

        That is a time of the loop, in seconds.
        """
        end = asyncio.get_running_loop().time() + self.config.shutdown.timeout
        await self.drain.spread()
        self._admin.stop()
        return end

    async def end(self, end: float) -> None:
        """Cut those who are still there at ``end``, and shut the node down if it was run here."""
        loop = asyncio.get_running_loop()
        try:
            await self._entered.aclose()
        except Exception:
            logger.exception("the application did not end well")
        if self._runs_node:
            await self.node.shutdown(max(0.1, end - loop.time()))
        else:
            for client in list(self.node.clients.values()):
                client.disconnect(codes.DISCONNECT_SHUTDOWN)
        await self.transports.close(max(0.1, end - loop.time()))

    async def close(self) -> None:
        """Give back what asked others; nobody is there any more."""
        if self._policy is not None:
            await self._policy.close()


def _make_node(config: Config, permissions: Permissions) -> Node:
    client = config.client
    return Node(
        make_engine(config),
        name=config.node.name,
        options=permissions.channel_options,
        max_channel_length=config.channel.max_length,
        max_message_size=max(1_048_576, config.websocket.message_size_limit),
        client_queue_size=client.queue_max_size,
        client_channel_limit=client.channel_limit or UNLIMITED,
        user_connection_limit=client.user_connection_limit,
        presence_interval=client.presence_update_interval,
        position_check_interval=client.channel_position_check_delay,
        recovery_limit=client.recovery_max_publication_limit,
        expired_close_delay=client.expired_close_delay,
        expired_sub_close_delay=client.expired_sub_close_delay,
    )


def _session_settings(config: Config) -> SessionSettings:
    client = config.client
    return SessionSettings(
        version=f"fanout {fanout.__version__}",
        ping_interval=client.ping_interval,
        pong_timeout=max(0.0, client.pong_timeout),
        stale_close_delay=client.stale_close_delay,
        history_limit=client.history_max_publication_limit,
        include_server_time=client.connect_include_server_time,
        concurrency=client.concurrency,
    )
