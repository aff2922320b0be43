"""One-way WebSocket: a connect request, in the URL or as the first message, then pushes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from fanout import codes
from fanout._websocket import WebSocketReader
from fanout.codes import ClientError, Disconnect
from fanout.node import Node
from fanout.server.config import UniWebSocketConfig
from fanout.server.protocol import UNI_JSON
from fanout.server.protocol.messages import ConnectRequest
from fanout.server.session import UniSession
from fanout.server.session.base import start
from fanout.server.session.unidirectional import decode_connect
from fanout.server.transports import handshake
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import TEXT, Encoding
from fanout.server.transports.refusals import Refusals
from fanout.server.transports.shared import Shared, session_request
from fanout.server.transports.takeover import take_over
from fanout.server.transports.uni_http_stream import connect_request_of
from fanout.server.transports.websocket import agree_on_compression
from fanout.server.transports.websocket_connection import FrameConnection

__all__ = ["UniWebSocketEndpoint"]


class UniWebSocketEndpoint:
    methods = ("GET",)

    def __init__(self, shared: Shared, config: UniWebSocketConfig, refusals: Refusals) -> None:
        self._shared = shared
        self._config = config
        self._refusals = refusals

    async def handle(self, request: web.Request) -> web.StreamResponse:
        shared, config = self._shared, self._config
        accept = handshake.accept_key(request)
        shared.admission.take_another()
        wanted = None
        if "cf_connect" in request.query:
            wanted = connect_request_of(
                request.query["cf_connect"].encode("utf-8", "surrogateescape"))
        extensions, compression, reader = agree_on_compression(request, config)
        session = UniSession(
            shared.node, shared.session, session_request(request, "uni_websocket"))
        connection = UniWebSocketConnection(
            shared.node, shared.connections, shared.encodings.websocket(UNI_JSON, compression),
            session, reader, config, self._refusals)
        taken = take_over(request, connection)
        if taken is None:
            return web.Response()
        transport, early = taken
        connection.take(transport)
        connection.answer(handshake.response_head(accept, "", extensions))
        shared.connections.added(connection)
        session.open(connection)
        if wanted is not None:
            connection.connect(wanted)
        for data in early:
            connection.data_received(data)
        return web.Response()


class UniWebSocketConnection(FrameConnection):
    """What the client says after its connect request is for nobody."""

    __slots__ = ("_asked", "_config", "_connecting", "_one_way", "_refusals")

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, session: UniSession,
        reader: WebSocketReader, config: UniWebSocketConfig, refusals: Refusals,
    ) -> None:
        super().__init__(
            node, connections, encoding, session, config.write_timeout, reader, TEXT)
        self._one_way = session
        self._config = config
        self._refusals = refusals
        self._asked = False
        self._connecting: asyncio.Task[None] | None = None

    def connect(self, request: ConnectRequest) -> None:
        self._asked = True
        connecting = start(self._connect(request))
        if not connecting.done():       # as one that was started eagerly may be
            self._connecting = connecting

    async def _connect(self, request: ConnectRequest) -> None:
        try:
            await self._one_way.connect(request)
        except (ClientError, Disconnect) as refusal:
            self._one_way.client.disconnect(self._refusals.disconnect(refusal))
        finally:
            self._connecting = None

    def _on_data(self, payload: bytes) -> None:
        if self._asked:
            return
        try:
            request = decode_connect(payload)
        except (ValueError, RecursionError):
            self._one_way.client.disconnect(codes.DISCONNECT_BAD_REQUEST)
        else:
            self.connect(request)

    def _farewell(self, code: int, reason: str) -> bytes:
        farewell = b""
        # Codes below are those of a broken WebSocket.
        if code >= 3000 and not self._config.disable_disconnect_push:
            farewell = self.framing.frame(self._one_way.disconnect_push(code, reason))
        if not self._config.disable_closing_handshake:
            farewell += super()._farewell(code, reason)
        return farewell

    def _after_farewell(self) -> None:
        if self._config.disable_closing_handshake:
            self._end_soon()
