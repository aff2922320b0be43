"""The server that ``fanout serve`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import os
import pathlib
import resource
import signal
from collections.abc import Awaitable, Callable

from aiohttp import web

import fanout
from fanout.errors import FanoutError
from fanout.node import Node
from fanout.server import api as server_api
from fanout.server.admin import Admin
from fanout.server.config import Config, ConfigError
from fanout.server.drain import Drain
from fanout.server.engines import EngineStartError, make_engine
from fanout.server.listening import Listening
from fanout.server.log import listening_line, logger
from fanout.server.metrics import MetricsEndpoint, NodeCollector, ToldFigures
from fanout.server.permissions import Permissions
from fanout.server.policy import Policy
from fanout.server.session import SessionSettings
from fanout.server.transports import Transports, longest_request_line

__all__ = ["Server", "serve"]

UNLIMITED = 1 << 31
_DEMO_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_DEMO_HEADERS = {
    "Content-Security-Policy":
        "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Server:
    """A node, its clients' endpoint and the HTTP side, made from a configuration."""

    def __init__(self, config: Config, *, demo: bool = False) -> None:
        self.config = config
        self._demo = demo
        _check_root(config, demo)
        self._permissions = Permissions(config)
        client = config.client
        self.node = Node(
            make_engine(config),
            name=config.node.name,
            options=self._permissions.channel_options,
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
        self._policy = Policy(config, self._permissions, demo=demo)
        self._policy.install(self.node)
        self.api = server_api.ServerAPI(
            self.node, self._permissions, config.node.info_metrics_aggregate_interval)
        self.node.measure = ToldFigures(
            self.node, config.node.info_metrics_aggregate_interval)
        self._drain = Drain(self.node, config.shutdown.timeout)
        self._admin = Admin(config, self.node, self._permissions, lambda: self._drain.begun)
        self._listening = Listening(
            config.http_server, max_line_size=longest_request_line(config))
        self._transports: Transports | None = None

    async def start(self) -> None:
        """Start the node and listen.

        Raises :exc:`~fanout.server.engines.EngineStartError` when the engine
        cannot be used, and ``OSError`` when the address cannot be had.
        """
        config, client = self.config, self.config.client
        for warning in self._policy.warnings:
            logger.warning("%s", warning)
        try:
            await self.node.run()
        except FanoutError as error:
            raise EngineStartError(f"cannot start the engine: {error}") from error
        await self._policy.start()
        self._transports = Transports(
            self.node,
            config,
            SessionSettings(
                version=f"fanout {fanout.__version__}",
                ping_interval=client.ping_interval,
                pong_timeout=max(0.0, client.pong_timeout),
                stale_close_delay=client.stale_close_delay,
                history_limit=client.history_max_publication_limit,
                include_server_time=client.connect_include_server_time,
                concurrency=client.concurrency,
            ),
            self._permissions.may_come_from,
        )
        self._add_routes(self._transports)
        await self._listening.start()
        self._admin.start()

    def _add_routes(self, transports: Transports) -> None:
        """Clients' endpoints on one port; what is not for clients on the internal one, if any."""
        config, external = self.config, self._listening.external.router
        internal = self._listening.internal.router
        transports.add_routes(external, self._drain.guard)
        if config.health.enabled:
            internal.add_get(config.health.handler_prefix, self._drain.health)
        if config.prometheus.enabled:
            metrics = MetricsEndpoint(NodeCollector(self.node, self.api, self._policy.proxies))
            internal.add_get(config.prometheus.handler_prefix, metrics.handle)
        server_api.add_routes(config, self.api, external, internal)
        self._admin.add_routes(external, internal)
        if self._demo:
            _add_demo(external)

    @property
    def port(self) -> int:
        """The port it listens on; the configuration's may be 0."""
        return self._listening.port

    @property
    def internal_port(self) -> int:
        """The port of what is not for clients; :attr:`port` when there is no other."""
        return self._listening.internal_port

    async def stop(self) -> None:
        """Take no more clients, ask those here to leave, and cut them when time is up.

        It listens until the last was asked: a load balancer learns at
        ``/health`` that nobody new should be sent here.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + self.config.shutdown.timeout
        await self._drain.spread()
        self._admin.stop()
        await self._listening.stop()
        await self.node.shutdown(max(0.1, end - loop.time()))
        if self._transports is not None:
            await self._transports.close(max(0.1, end - loop.time()))
        await self._listening.close()
        await self._policy.close()


async def serve(config: Config, *, demo: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    Raises :exc:`~fanout.server.config.ConfigError` for what the engine does
    not take, and what :meth:`Server.start` raises.
    """
    _raise_file_limit()
    server = Server(config, demo=demo)
    try:
        await server.start()
        logger.info("%s", listening_line(
            fanout.__version__, config.http_server.address, server.port, server.node.engine.name,
            tls=config.http_server.tls.enabled))
        await _signal()
        if config.shutdown.termination_delay:
            logger.info("going on for %g s before shutting down", config.shutdown.termination_delay)
            await asyncio.sleep(config.shutdown.termination_delay)
        logger.info("shutting down: %d clients are asked to leave", len(server.node.clients))
    finally:
        await server.stop()
    logger.info("stopped")


def _check_root(config: Config, demo: bool) -> None:
    admin = config.admin
    apart = config.http_server.internal_port is not None and not admin.external
    if demo and admin.enabled and not admin.handler_prefix.strip("/") and not apart:
        raise ConfigError(
            "admin.handler_prefix", "must name a path with --demo, whose page is at the root")


def _add_demo(router: web.UrlDispatcher) -> None:
    for file in (importlib.resources.files("fanout.server") / "demo").iterdir():
        kind = _DEMO_TYPES.get(pathlib.PurePath(file.name).suffix)
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/demo/{file.name}"
            router.add_get(path, _file(file.read_bytes(), kind))


def _file(body: bytes, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_DEMO_HEADERS)

    return handle


async def _signal() -> None:
    """Wait for SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    received = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.set)
    await received.wait()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not Python's own: its KeyboardInterrupt can get lost in a callback of the loop.
        loop.add_signal_handler(number, _die_of, number)


def _die_of(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _raise_file_limit() -> None:
    """Every connection is a file: take all that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
