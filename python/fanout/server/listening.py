"""Where the server listens: one port for all, or a second one for what is not for clients."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

from aiohttp import web

from fanout.errors import ClosedError
from fanout.server.config import HttpServerConfig, server_context
from fanout.server.log import shown_url
from fanout.server.unread import Unread

__all__ = ["Listening"]

BACKLOG = 4096          # connections that the kernel holds for us in a storm
HTTP_TIMEOUT = 10.0     # seconds for the head of a request, and between two requests
ANSWER_TIMEOUT = 30.0   # seconds for which nothing of an answer is taken
LAST_ANSWERS = 1.0      # seconds for requests that are being answered when all clients are gone


class Listening:
    """The server's sockets, and the two applications behind them.

    ``external`` is for clients, ``internal`` for those who run the server. They
    are the same object unless the configuration has an internal port.
    Raises :exc:`~fanout.server.config.ConfigError` for a certificate or key
    that cannot be used.
    """

    def __init__(self, config: HttpServerConfig, *, max_line_size: int) -> None:
        self._config = config
        self._max_line_size = max_line_size
        self.external = web.Application()
        self.internal = self.external
        self._contexts = [server_context(config.tls, "http_server.tls")]
        # As in Centrifugo, naming the same port twice means one.
        if config.internal_port is not None and config.internal_port != (config.port or None):
            self.internal = web.Application()
            own = server_context(config.internal_tls, "http_server.internal_tls")
            shared = None if config.tls_external else self._contexts[0]
            self._contexts.append(own or shared)
        self._runners: list[web.AppRunner] = []
        self._sites: list[web.TCPSite] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; every route must be there. Raises ``OSError`` when an address cannot be had."""
        config = self._config
        await self._listen(self.external, config.address, config.port, self._contexts[0])
        if self.internal is not self.external:
            assert config.internal_port is not None
            await self._listen(
                self.internal, config.internal_address or config.address, config.internal_port,
                self._contexts[1])
        self._watch = asyncio.create_task(Unread(self._transports, ANSWER_TIMEOUT).watch())

    def _transports(self) -> Iterator[asyncio.Transport]:
        """Of the connections that are aiohttp's: those of clients are taken over."""
        for runner in self._runners:
            for handler in runner.server.connections if runner.server is not None else ():
                if handler.transport is not None:
                    yield handler.transport

    async def _listen(
        self, application: web.Application, host: str, port: int, tls: ssl.SSLContext | None
    ) -> None:
        application.on_response_prepare.append(_name_ourselves)
        runner = web.AppRunner(
            application, access_log=None, handle_signals=False, keepalive_timeout=HTTP_TIMEOUT,
            shutdown_timeout=LAST_ANSWERS, max_line_size=self._max_line_size)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, host or None, port, backlog=BACKLOG, ssl_context=tls)
        await site.start()
        self._sites.append(site)

    @property
    def port(self) -> int:
        """The port for clients; the configuration's may be 0."""
        return self._port(0)

    @property
    def internal_port(self) -> int:
        """The port for those who run the server; that for clients when there is no other."""
        return self._port(-1)

    @property
    def internal_url(self) -> str:
        """Where those who run the server find it; ``""`` when clients find it there too."""
        if self.internal is self.external:
            return ""
        config = self._config
        return shown_url(
            config.internal_address or config.address, self.internal_port,
            tls=self._contexts[1] is not None)

    def _port(self, index: int) -> int:
        if not self._sites:
            raise ClosedError("the server does not listen")
        port: int = self._runners[index].addresses[0][1]
        return port

    async def stop(self) -> None:
        """Take no more connections; those that are open go on."""
        for runner, site in zip(self._runners, self._sites, strict=False):
            if site in runner.sites:
                await site.stop()

    async def close(self) -> None:
        """Cut what is left."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
        for runner in self._runners:
            await runner.cleanup()


async def _name_ourselves(request: web.Request, response: web.StreamResponse) -> None:
    """aiohttp names itself and Python, with versions, to whoever asks."""
    response.headers["Server"] = "fanout"
