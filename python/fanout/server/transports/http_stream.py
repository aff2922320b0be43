"""HTTP streaming, two-way with the emulation endpoint."""

from __future__ import annotations

from aiohttp import web

from fanout.server.config import HttpStreamConfig
from fanout.server.protocol import JSON, PROTOBUF
from fanout.server.session import Session
from fanout.server.transports.admission import cors
from fanout.server.transports.bodies import read_body
from fanout.server.transports.emulated import EmulatedConnection
from fanout.server.transports.shared import Shared, session_request
from fanout.server.transports.stream import check_version, stream_head
from fanout.server.transports.takeover import take_over

__all__ = ["OCTETS", "HttpStreamEndpoint", "speaks_protobuf"]

OCTETS = "application/octet-stream"


class HttpStreamEndpoint:
    """The first commands are the request's body, replies and pushes its response."""

    methods = ("POST",)

    def __init__(self, shared: Shared, config: HttpStreamConfig) -> None:
        self._shared = shared
        self._config = config

    async def handle(self, request: web.Request) -> web.StreamResponse:
        shared = self._shared
        check_version(request)
        commands = await read_body(request, self._config.max_request_body_size)
        shared.admission.take_another()
        binary = speaks_protobuf(request)
        protocol = PROTOBUF if binary else JSON
        session = Session(
            shared.node, shared.session, session_request(request, "http_stream"), protocol)
        connection = EmulatedConnection(
            shared.node, shared.connections, shared.encodings.http_stream(protocol), session,
            shared.write_timeout,
            stream_head(OCTETS if binary else "application/json", cors(request)),
            shared.emulated)
        taken = take_over(request, connection)
        if taken is not None:
            connection.begin(taken[0], commands)
        return web.Response()


def speaks_protobuf(request: web.Request) -> bool:
    """By the content type; any other than that of bytes means JSON."""
    content_type = request.headers.get("Content-Type", "")
    return content_type.partition(";")[0].strip().lower() == OCTETS
