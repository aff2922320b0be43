"""Server-sent events, two-way with the emulation endpoint."""

from __future__ import annotations

from aiohttp import web

from fanout.server.config import SseConfig
from fanout.server.protocol import JSON
from fanout.server.session import Session
from fanout.server.transports.admission import cors
from fanout.server.transports.bodies import read_body
from fanout.server.transports.emulated import EmulatedConnection
from fanout.server.transports.shared import Shared, session_request
from fanout.server.transports.stream import check_version, stream_head
from fanout.server.transports.takeover import take_over

__all__ = ["EVENT_STREAM", "FIRST_EVENT_BYTES", "SseEndpoint", "connect_request"]

EVENT_STREAM = "text/event-stream; charset=utf-8"
FIRST_EVENT_BYTES = b"\r\n"     # what the protocol's events begin with


class SseEndpoint:
    """The first commands are in the URL or in the body. JSON alone."""

    methods = ("GET", "POST")

    def __init__(self, shared: Shared, config: SseConfig) -> None:
        self._shared = shared
        self._config = config

    async def handle(self, request: web.Request) -> web.StreamResponse:
        shared = self._shared
        check_version(request)
        commands = await connect_request(request, self._config.max_request_body_size)
        if not commands:
            raise web.HTTPBadRequest(
                text="a connect command is needed, as cf_connect or as the body of a POST\n")
        if request.method == "GET" and not _only_begins(commands):
            raise web.HTTPBadRequest(
                text="cf_connect may connect and subscribe; post other commands\n")
        shared.admission.take_another()
        session = Session(shared.node, shared.session, session_request(request, "sse"), JSON)
        connection = EmulatedConnection(
            shared.node, shared.connections, shared.encodings.sse(JSON), session,
            shared.write_timeout, stream_head(EVENT_STREAM, cors(request), FIRST_EVENT_BYTES),
            shared.emulated)
        taken = take_over(request, connection)
        if taken is not None:
            connection.begin(taken[0], commands)
        return web.Response()


async def connect_request(request: web.Request, limit: int) -> bytes:
    """What a client wants to connect with: ``cf_connect`` of a GET, the body of a POST."""
    if request.method == "POST":
        return await read_body(request, limit)
    # Bytes that are no UTF-8 come back as they were sent, to be refused by who reads them.
    return request.query.get("cf_connect", "").encode("utf-8", "surrogateescape")


def _only_begins(frame: bytes) -> bool:
    """Whether its commands are harmless whoever made the user's browser send them.

    A link can: a page that is opened sends cookies and, without TLS, nothing
    that tells where it comes from.
    """
    try:
        return all(
            command.connect is not None or command.subscribe is not None
            for command in JSON.decode_commands(frame))
    except (ValueError, RecursionError):
        return True         # the session says so
