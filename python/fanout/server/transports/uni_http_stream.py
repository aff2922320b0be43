"""One-way HTTP streaming and server-sent events."""

from __future__ import annotations

from aiohttp import web

from fanout.server.config import UniHttpStreamConfig, UniSseConfig
from fanout.server.protocol import UNI_JSON
from fanout.server.protocol.messages import ConnectRequest
from fanout.server.session import UniSession
from fanout.server.session.unidirectional import decode_connect
from fanout.server.transports.admission import cors
from fanout.server.transports.bodies import read_body
from fanout.server.transports.encodings import Encoding
from fanout.server.transports.refusals import Refusals, Statuses
from fanout.server.transports.shared import Shared, session_request
from fanout.server.transports.sse import EVENT_STREAM, FIRST_EVENT_BYTES, connect_request
from fanout.server.transports.stream import check_version, stream_head
from fanout.server.transports.takeover import take_over
from fanout.server.transports.uni_stream import UniStreamConnection

__all__ = ["UniHttpStreamEndpoint", "UniSseEndpoint", "connect_request_of"]


class UniHttpStreamEndpoint:
    """The connect request is the body, each line of the response a push."""

    methods: tuple[str, ...] = ("POST",)

    def __init__(
        self, shared: Shared, config: UniHttpStreamConfig | UniSseConfig, refusals: Refusals
    ) -> None:
        self._shared = shared
        self._limit = config.max_request_body_size
        self._refusals = refusals
        self._statuses = Statuses(config.connect_code_to_http_response)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        shared = self._shared
        check_version(request)
        data = await self._connect_data(request)
        name, encoding, head = self._form(request)
        wanted = connect_request_of(data)
        shared.admission.take_another()
        session = UniSession(shared.node, shared.session, session_request(request, name))
        connection = UniStreamConnection(
            shared.node, shared.connections, encoding, session, shared.write_timeout, head,
            self._refusals, self._statuses, cors(request))
        taken = take_over(request, connection)
        if taken is not None:
            connection.begin(taken[0], wanted)
        return web.Response()

    async def _connect_data(self, request: web.Request) -> bytes:
        return await read_body(request, self._limit)

    def _form(self, request: web.Request) -> tuple[str, Encoding, bytes]:
        """The transport's name, its encoding, and the response's head."""
        return (
            "uni_http_stream", self._shared.encodings.http_stream(UNI_JSON),
            stream_head("application/json", cors(request)))


class UniSseEndpoint(UniHttpStreamEndpoint):
    """The connect request may be missing, for what is known of the client otherwise."""

    methods = ("GET", "POST")

    async def _connect_data(self, request: web.Request) -> bytes:
        return await connect_request(request, self._limit)

    def _form(self, request: web.Request) -> tuple[str, Encoding, bytes]:
        return (
            "uni_sse", self._shared.encodings.sse(UNI_JSON),
            stream_head(EVENT_STREAM, cors(request), FIRST_EVENT_BYTES))


def connect_request_of(data: bytes) -> ConnectRequest:
    """The connect request that ``data`` is; a refusal with 400 when it is none."""
    try:
        return decode_connect(data)
    except (ValueError, RecursionError):
        raise web.HTTPBadRequest(text="not a connect request in JSON\n") from None
