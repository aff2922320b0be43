"""The WebSocket endpoint: from aiohttp's request to a session on the hub's outbox."""

from __future__ import annotations

from aiohttp import web

from fanout._websocket import WebSocketReader
from fanout.node import Node
from fanout.server.config import WebSocketOptions
from fanout.server.protocol import JSON, PROTOBUF
from fanout.server.session import Session
from fanout.server.transports import deflate, handshake
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import BINARY, TEXT, Compression, Encoding
from fanout.server.transports.shared import Shared, session_request
from fanout.server.transports.takeover import take_over
from fanout.server.transports.websocket_connection import FrameConnection

__all__ = ["WebSocketConnection", "WebSocketEndpoint", "agree_on_compression"]


class WebSocketEndpoint:
    """Two-way WebSocket, in JSON or in Protobuf."""

    methods = ("GET",)

    def __init__(self, shared: Shared, config: WebSocketOptions) -> None:
        self._shared = shared
        self._config = config

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer an upgrade request; on success aiohttp never sees the connection again."""
        shared, config = self._shared, self._config
        accept = handshake.accept_key(request)
        subprotocol, binary = handshake.choose_subprotocol(request)
        shared.admission.take_another()
        extensions, compression, reader = agree_on_compression(request, config)
        protocol = PROTOBUF if binary else JSON
        session = Session(
            shared.node, shared.session, session_request(request, "websocket"), protocol)
        connection = WebSocketConnection(
            shared.node, shared.connections, shared.encodings.websocket(protocol, compression),
            session, config.write_timeout, reader, BINARY if binary else TEXT)
        taken = take_over(request, connection)
        if taken is None:
            return web.Response()
        transport, early = taken
        connection.take(transport)
        connection.answer(handshake.response_head(accept, subprotocol, extensions))
        shared.connections.added(connection)
        frame_pings = request.query.get("cf_ws_frame_ping_pong") == "true"
        session.open(connection, connection.ping if frame_pings else None)
        for data in early:
            connection.data_received(data)
        return web.Response()


class WebSocketConnection(FrameConnection):
    """Messages are the session's frames."""

    __slots__ = ("_two_way",)

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, session: Session,
        write_timeout: float, reader: WebSocketReader, opcode: int,
    ) -> None:
        super().__init__(node, connections, encoding, session, write_timeout, reader, opcode)
        self._two_way = session

    def _on_data(self, payload: bytes) -> None:
        self._two_way.on_frame(payload)


def agree_on_compression(
    request: web.Request, config: WebSocketOptions
) -> tuple[str, Compression | None, WebSocketReader]:
    """The answer to the extensions on offer, and how frames are written and read then."""
    extensions = ""
    if config.compression:
        extensions = deflate.negotiate(request.headers.getall("Sec-WebSocket-Extensions", ()))
    limit = config.message_size_limit
    if not extensions:
        return "", None, WebSocketReader(limit)
    inflated = config.decompressed_message_size_limit or 10 * limit
    compression = Compression(config.compression_level, config.compression_min_size)
    return extensions, compression, WebSocketReader(limit, inflated)
