"""The emulation endpoint: commands of clients whose connection goes one way.

A request names the node and the session that its commands are for. A session's
id is a secret of its client; nothing else lets anybody speak for it.
"""

from __future__ import annotations

import msgspec
from aiohttp import web
from google.protobuf.message import DecodeError

from fanout.errors import BackpressureError, FanoutError, SurveyError
from fanout.server.config import EmulationConfig
from fanout.server.log import logger
from fanout.server.protocol.messages import EmulationRequest
from fanout.server.protocol.schema import from_protobuf, make
from fanout.server.transports.bodies import read_body, too_large
from fanout.server.transports.emulated import BusyError
from fanout.server.transports.http_stream import speaks_protobuf
from fanout.server.transports.shared import Shared

__all__ = ["PREFLIGHT", "EmulationEndpoint"]

SURVEY = "emulation"
MOST_FORWARDED = 256        # requests on their way to other nodes, whose surveys others need too
SURVEY_TIMEOUT = 10.0       # seconds for another node to take the commands
PREFLIGHT = {"Access-Control-Max-Age": "300", "Access-Control-Allow-Methods": "POST, OPTIONS"}

TAKEN, UNKNOWN, BUSY = b"taken", b"unknown", b"busy"    # a node's answers


class _JSONRequest(msgspec.Struct):
    node: str = ""
    session: str = ""
    data: str = ""


_decode_json = msgspec.json.Decoder(_JSONRequest).decode


class EmulationEndpoint:
    methods = ("POST",)

    def __init__(self, shared: Shared, config: EmulationConfig) -> None:
        self._shared = shared
        self._config = config
        self._forwarded = 0
        shared.node.on_survey(SURVEY, self._on_survey)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        limit = self._config.max_request_body_size
        body = await read_body(request, limit)
        try:
            emulated = _read_protobuf(body) if speaks_protobuf(request) else _read_json(body)
        except (ValueError, RecursionError, DecodeError):
            raise web.HTTPBadRequest(text="not an emulation request\n") from None
        commands = bytes(emulated.data)
        if not emulated.session or not commands:
            raise web.HTTPBadRequest(text="session and data must not be empty\n")
        answer = await self._take(emulated.node, emulated.session, commands)
        if answer == BUSY:
            raise web.HTTPServiceUnavailable(text="the session has enough to do\n")
        if answer != TAKEN:
            raise web.HTTPNotFound(text="there is no such session\n")
        return web.Response(status=204)

    async def _take(self, node: str, session: str, commands: bytes) -> bytes:
        """Give commands to a session, wherever it is; what became of it."""
        here = self._shared.node
        if node in ("", here.uid):
            return await self._take_here(session, commands)
        if self._forwarded >= MOST_FORWARDED:
            return BUSY
        self._forwarded += 1
        try:
            return await self._forward(node, session, commands)
        finally:
            self._forwarded -= 1

    async def _forward(self, node: str, session: str, commands: bytes) -> bytes:
        here = self._shared.node
        try:
            answers = await here.survey(
                SURVEY, msgspec.msgpack.encode((session, commands)), to=node,
                timeout=SURVEY_TIMEOUT)
        except SurveyError as error:
            if error.missing.get(node) in ("it is not known", "it left"):
                return UNKNOWN
            logger.warning("commands for a session at node %s: %s", node, error)
            raise web.HTTPInternalServerError(text="the session's node does not answer\n") from None
        except BackpressureError:
            return BUSY
        except ValueError:
            raise too_large(self._config.max_request_body_size, len(commands)) from None
        except FanoutError as error:
            logger.warning("commands for a session at node %s: %s", node, error)
            raise web.HTTPInternalServerError(text="the session's node is not reached\n") from None
        return answers[node]

    async def _take_here(self, session: str, commands: bytes) -> bytes:
        connection = self._shared.emulated.get(session)
        try:
            taken = connection is not None and await connection.take_commands(commands)
        except BusyError:
            return BUSY
        return TAKEN if taken else UNKNOWN

    async def _on_survey(self, params: bytes) -> bytes:
        session, commands = msgspec.msgpack.decode(params, type=tuple[str, bytes])
        return await self._take_here(session, commands)


def _read_json(body: bytes) -> EmulationRequest:
    read = _decode_json(body)
    return EmulationRequest(read.node, read.session, msgspec.Raw(read.data.encode()))


def _read_protobuf(body: bytes) -> EmulationRequest:
    message = make(EmulationRequest)
    message.ParseFromString(body)
    request: EmulationRequest = from_protobuf(message)
    return request
