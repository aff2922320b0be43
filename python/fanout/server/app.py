"""The server: a program's own, and the one that ``fanout serve`` runs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.resources
import os
import pathlib
import resource
import signal
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

import fanout
from fanout.errors import ClosedError
from fanout.node import Node
from fanout.server.api import ServerAPI
from fanout.server.application import Application
from fanout.server.config import Config, ConfigError, made
from fanout.server.listening import Listening
from fanout.server.log import listening_line, logger
from fanout.server.service import Service
from fanout.server.transports import longest_request_line

__all__ = ["Server", "serve"]

_SIGNALS = signal.SIGTERM, signal.SIGINT
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
    """Serves a node to clients of the Centrifuge protocol, in the running loop.

    Use it with ``async with``, or call :meth:`start` and :meth:`stop`::

        node = fanout.Node()

        @node.on_connect
        async def connect(event):
            return fanout.ConnectReply(user=await user_of(event.token))

        async def main():
            async with fanout.server.Server({"http_server": {"port": 8000}}, node=node):
                await what_the_program_does()

    :meth:`serve` is for a program that does nothing else.

    config
        A :class:`~fanout.server.config.Config`, or a mapping with the keys of a
        configuration file; without one its defaults hold. Raises
        :exc:`~fanout.server.config.ConfigError`, for an unknown key too.
    node
        The application's own. Its handlers and its ``options`` decide
        everything: what the configuration says of tokens, channels, proxies and
        the engine has no effect then, and is named in a warning. A node that
        runs already goes on when the server stops; otherwise the server runs it
        and shuts it down. A node is served by one server, once.

        Without it the server has a node made from the configuration, which
        decides wherever the application registers no handler with
        :attr:`node`.
    demo
        Serve the demo's page at ``/`` as well; for the configuration's node.

    Signals are left to the application but in :meth:`serve`, and so is logging
    (by the loggers below ``"fanout"``).
    """

    def __init__(
        self, config: Config | Mapping[str, Any] | None = None, *,
        node: Node | None = None, demo: bool = False,
    ) -> None:
        self.config, self._warnings = made(config)
        if demo and node is not None:
            raise ValueError("the demo needs a node made from the configuration")
        _check_root(self.config, demo)
        self._demo = demo
        self._service = Service(self.config, node, demo=demo)
        self._listening = Listening(
            self.config.http_server, max_line_size=longest_request_line(self.config))
        self._started = False
        self._stopping: asyncio.Future[None] | None = None

    @property
    def node(self) -> Node:
        """The node that is served."""
        return self._service.node

    @property
    def api(self) -> ServerAPI:
        """The server API; ``api.on_rpc`` adds methods of the application's."""
        return self._service.api

    async def start(self) -> None:
        """Start the node, if it does not run, and listen.

        Raises :exc:`~fanout.server.engines.EngineStartError` when the engine
        cannot be used, ``OSError`` when the address cannot be had, and
        :exc:`fanout.ClosedError` the second time; nothing is left running then.
        """
        await self._start()
        self._tell()

    async def _start(self) -> None:
        if self._started or self._stopping is not None:
            raise ClosedError("a server is started once")
        self._started = True
        try:
            await self._listen()
        except BaseException:
            await self.stop()
            raise

    async def _listen(self) -> None:
        for warning in self._warnings:
            logger.warning("%s", warning)
        await self._service.start()
        listening = self._listening
        self._service.add_routes(listening.external.router, listening.internal.router)
        if self._demo:
            _add_demo(listening.external.router)
        await listening.start()

    def _tell(self) -> None:
        http = self.config.http_server
        logger.info("%s", listening_line(
            fanout.__version__, http.address, self.port, self.node.engine.name,
            tls=http.tls.enabled, internal=self._listening.internal_url))

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
        ``/health`` that nobody new should be sent here. That takes at most
        ``shutdown.timeout`` of the configuration. Whoever calls again waits for
        the same end.
        """
        if self._stopping is None:
            self._stopping = asyncio.ensure_future(self._stop())
        await asyncio.shield(self._stopping)

    async def _stop(self) -> None:
        end = await self._service.leave()
        await self._listening.stop()
        await self._service.end(end)
        await self._listening.close()
        await self._service.close()

    async def serve(self) -> None:
        """Start, serve until SIGTERM or SIGINT, and stop; for the main thread.

        ``shutdown.termination_delay`` of the configuration passes before it
        stops. A second signal ends the process at once. SIGHUP is logged, and
        changes nothing. Raises as :meth:`start`.
        """
        await self._start()
        # Before anybody is told that it listens, and so may ask it to end.
        asked = _watch_signals()
        self._tell()
        try:
            await asked.wait()
            for number in _SIGNALS:
                # Not Python's own: its KeyboardInterrupt can get lost in a callback of the loop.
                asyncio.get_running_loop().add_signal_handler(number, _die_of, number)
            delay = self.config.shutdown.termination_delay
            if delay:
                logger.info("going on for %g s before shutting down", delay)
                await asyncio.sleep(delay)
            logger.info("shutting down: %d clients are asked to leave", len(self.node.clients))
        finally:
            await self.stop()
            for number in (*_SIGNALS, signal.SIGHUP):
                # False where it is not the loop's: a program has its own for SIGHUP.
                asyncio.get_running_loop().remove_signal_handler(number)
        logger.info("stopped")

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.stop()


async def serve(
    config: Config, *, demo: bool = False, application: Application | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, then drain.

    ``application`` is given the node before the start, or has one. Raises
    :exc:`~fanout.server.config.ConfigError` for what the engine does not take,
    :exc:`~fanout.server.application.ApplicationError`, and what
    :meth:`Server.start` raises.
    """
    _raise_file_limit()
    server = Server(config, node=None if application is None else application.node, demo=demo)
    if application is not None:
        server._service.around = await application.prepare(server.node)
    await server.serve()


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


def _watch_signals() -> asyncio.Event:
    """What SIGTERM or SIGINT sets; SIGHUP, which would end the process as it is, does not."""
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, asked.set)
    # To Centrifugo it says to read its configuration again. `nohup`, and a program, may have
    # decided already what it is here.
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        loop.add_signal_handler(
            signal.SIGHUP, logger.warning,
            "SIGHUP changes nothing: the configuration is read at the start alone")
    return asked


def _die_of(number: signal.Signals) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _raise_file_limit() -> None:
    """Every connection is a file: take all that the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
