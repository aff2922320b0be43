"""How clients reach the server: WebSocket, server-sent events, HTTP streaming.

All of them share the hub's outboxes and encodings. :class:`Transports` makes
the routes that a configuration enables, and ends their connections.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from fanout.node import Node
from fanout.server.config import Config
from fanout.server.session import SessionSettings
from fanout.server.transports.admission import Admission, Handler
from fanout.server.transports.connections import Connections
from fanout.server.transports.emulation import PREFLIGHT, EmulationEndpoint
from fanout.server.transports.encodings import Encodings
from fanout.server.transports.http_stream import HttpStreamEndpoint
from fanout.server.transports.refusals import Refusals
from fanout.server.transports.shared import Shared
from fanout.server.transports.sse import SseEndpoint
from fanout.server.transports.uni_http_stream import UniHttpStreamEndpoint, UniSseEndpoint
from fanout.server.transports.uni_websocket import UniWebSocketEndpoint
from fanout.server.transports.websocket import WebSocketEndpoint

__all__ = ["Transports", "longest_request_line"]

LONG_LINE = 65536       # bytes of a request line that carries a connect request


class Transports:
    """The ways in of one server.

    ``may_come_from`` is asked with a request's ``Origin`` and ``Host``.
    """

    def __init__(
        self,
        node: Node,
        config: Config,
        session: SessionSettings,
        may_come_from: Callable[[str | None, str], bool],
    ) -> None:
        self._config = config
        self.connections = Connections(
            config.client.connection_limit, config.client.connection_rate_limit)
        self._admission = Admission(self.connections, may_come_from)
        self._shared = Shared(
            node, session, self.connections, self._admission, Encodings(node),
            config.websocket.write_timeout)

    def add_routes(
        self, router: web.UrlDispatcher, begins: Callable[[Handler], Handler]
    ) -> None:
        """Add what is enabled; ``begins`` wraps the handlers that begin a connection."""
        config, shared = self._config, self._shared
        refusals = Refusals(config.client.connect_code_to_unidirectional_disconnect)

        def add(
            path: str, endpoint: WebSocketEndpoint | SseEndpoint | HttpStreamEndpoint
            | UniHttpStreamEndpoint | UniWebSocketEndpoint, *, cross_origin: bool = True,
        ) -> None:
            router.add_route("*", path, begins(self._admission.guard(
                endpoint.handle, endpoint.methods, {} if cross_origin else None)))

        if not config.websocket.disabled:
            add(config.websocket.handler_prefix, WebSocketEndpoint(shared, config.websocket),
                cross_origin=False)
        if config.sse.enabled:
            add(config.sse.handler_prefix, SseEndpoint(shared, config.sse))
        if config.http_stream.enabled:
            add(config.http_stream.handler_prefix,
                HttpStreamEndpoint(shared, config.http_stream))
        if config.sse.enabled or config.http_stream.enabled:
            emulation = EmulationEndpoint(shared, config.emulation)
            router.add_route("*", config.emulation.handler_prefix, self._admission.guard(
                emulation.handle, emulation.methods, PREFLIGHT))
        if config.uni_sse.enabled:
            add(config.uni_sse.handler_prefix, UniSseEndpoint(shared, config.uni_sse, refusals))
        if config.uni_http_stream.enabled:
            add(config.uni_http_stream.handler_prefix,
                UniHttpStreamEndpoint(shared, config.uni_http_stream, refusals))
        if config.uni_websocket.enabled:
            add(config.uni_websocket.handler_prefix,
                UniWebSocketEndpoint(shared, config.uni_websocket, refusals),
                cross_origin=False)
        if config.init.enabled:
            router.add_route(
                "*", config.init.handler_prefix, self._admission.guard(_init, ("GET",), {}))

    async def close(self, timeout: float) -> None:  # noqa: ASYNC109 - part of one budget
        """Close every connection, and wait until all are gone; then cut what is left."""
        await self.connections.close(timeout)


async def _init(request: web.Request) -> web.Response:
    """For a client that opens its connection to the server before it needs it."""
    return web.json_response({})


def longest_request_line(config: Config) -> int:
    """Bytes of a request line that must be taken."""
    carries = config.sse.enabled or config.uni_sse.enabled or config.uni_websocket.enabled
    return LONG_LINE if carries else 8190
