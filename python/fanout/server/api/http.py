"""The server API over HTTP: keys, envelopes, batches, and the older form of a command."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from fanout.server.api import errors, types
from fanout.server.api.errors import APIError
from fanout.server.api.methods import METHODS, TURN, ServerAPI
from fanout.server.transports.bodies import read_body

__all__ = ["BODY_LIMIT", "ServerAPIEndpoint"]

log = logging.getLogger("fanout.server")

BODY_LIMIT = 16 * 1024 * 1024       # bytes of one request
MOST_COMMANDS = 100_000             # of one batch, or of one request of the older form
ERROR_MODE_HEADER = "X-Centrifugo-Error-Mode"

# The numbers that the older form of a command knows its methods by.
_NUMBERS = (
    "publish", "broadcast", "unsubscribe", "disconnect", "presence", "presence_stats", "history",
    "history_remove", "channels", "info", "rpc", "subscribe", "refresh",
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Success(msgspec.Struct):
    """What was asked for is done."""

    result: msgspec.Raw


class Failure(msgspec.Struct):
    """It is not done."""

    error: types.Error


class LegacyCommand(msgspec.Struct):
    """One command of the older form; a command without a method publishes."""

    method: str | int = 0
    params: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    id: int = 0


class LegacyReply(msgspec.Struct, omit_defaults=True):
    """The answer to one command of the older form."""

    id: int = 0
    error: types.Error | None = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


# One command of a batch: the parameters of each method, under its name.
BatchCommand = msgspec.defstruct(
    "BatchCommand",
    [(name, method.request | None, None) for name, method in METHODS.items()],
    module=__name__)
BatchCommand.__doc__ = "One call: a method's name, with its parameters."


class BatchRequest(msgspec.Struct):
    """Do several things with one request."""

    commands: list[BatchCommand] | None = None      # type: ignore[valid-type]
    parallel: bool | None = None


class ServerAPIEndpoint:
    """The routes of the server API.

    ``key`` is what a request must show; with ``insecure`` none is asked for,
    and without either every request is refused. ``transport_errors`` makes
    every error an HTTP status, as a request's own header can do.
    """

    def __init__(
        self, api: ServerAPI, *, key: str, insecure: bool = False, transport_errors: bool = False
    ) -> None:
        self._api = api
        self._key = key.encode()
        self._insecure = insecure
        self._transport_errors = transport_errors
        self._decoders = {
            name: msgspec.json.Decoder(method.request) for name, method in METHODS.items()}
        self._batch_decoder = msgspec.json.Decoder(BatchRequest)
        self._command_decoder = msgspec.json.Decoder(LegacyCommand)

    def add_routes(self, router: web.UrlDispatcher, prefix: str) -> None:
        """Serve the methods below ``prefix``, and the older form at it."""
        prefix = prefix.rstrip("/")
        router.add_post(prefix or "/", self._guarded(self._commands))
        for name in METHODS:
            router.add_post(f"{prefix}/{name}", self._guarded(self._method(name)))
        router.add_post(f"{prefix}/batch", self._guarded(self._batch))

    # ---- who may -------------------------------------------------------

    def _guarded(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            if not self._may(request):
                raise web.HTTPUnauthorized(text="no valid API key\n")
            return await handler(request)

        return handle

    def _may(self, request: web.Request) -> bool:
        if self._insecure:
            return True
        if not self._key:
            return False
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        shown = (
            request.headers.get("X-API-Key", ""),
            credentials.strip() if scheme.lower() == "apikey" else "",
            request.query.get("api_key", ""),
        )
        # All are compared, so that the time tells nothing of which was given.
        return sum(
            hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._key)
            for key in shown) > 0

    # ---- one method ----------------------------------------------------

    def _method(self, name: str) -> Handler:
        decoder = self._decoders[name]

        async def handle(request: web.Request) -> web.StreamResponse:
            params = _decoded(decoder, await read_body(request, BODY_LIMIT))
            try:
                result = await self._api.call(name, params)
            except APIError as error:
                return self._failure(request, error)
            return _json_response(Success(_raw(result)))

        return handle

    def _failure(self, request: web.Request, error: APIError) -> web.Response:
        told = types.Error(code=error.code, message=error.message)
        if self._transport_errors or request.headers.get(ERROR_MODE_HEADER) == "transport":
            return _json_response(told, error.http_status)
        return _json_response(Failure(told))

    # ---- several -------------------------------------------------------

    async def _batch(self, request: web.Request) -> web.StreamResponse:
        batch = _decoded(self._batch_decoder, await read_body(request, BODY_LIMIT))
        if len(batch.commands or ()) > MOST_COMMANDS:
            raise _too_many("a batch")
        calls: list[tuple[str, types.Request] | None] = []
        for command in batch.commands or ():
            name = next((name for name in METHODS if getattr(command, name) is not None), None)
            calls.append(None if name is None else (name, getattr(command, name)))
        results = await self._api.batch(calls, bool(batch.parallel))
        replies: list[dict[str, Any]] = []
        for call, result in zip(calls, results, strict=True):
            if isinstance(result, APIError):
                replies.append(
                    {"error": types.Error(code=result.code, message=result.message)})
            else:
                assert call is not None
                replies.append({call[0]: result})
        return _json_response({"replies": replies})

    async def _commands(self, request: web.Request) -> web.StreamResponse:
        """The older form: commands that name their method, one after the other."""
        body = await read_body(request, BODY_LIMIT)
        try:
            commands = [
                self._command_decoder.decode(text) for text in _values(_text(body))]
        except (ValueError, RecursionError) as error:
            raise _bad_body(error) from None
        if not commands:
            raise web.HTTPBadRequest(text="the request has no command\n")
        replies = []
        for number, command in enumerate(commands):
            replies.append(_one_line(await self._command(command)))
            if number % TURN == TURN - 1:
                await asyncio.sleep(0)
        return web.Response(
            body=b"\n".join(replies),
            content_type="application/json")

    async def _command(self, command: LegacyCommand) -> LegacyReply:
        name = command.method
        if isinstance(name, int):
            name = _NUMBERS[name] if 0 <= name < len(_NUMBERS) else ""
        name = name.lower()
        try:
            if name not in _NUMBERS:
                raise APIError(errors.METHOD_NOT_FOUND)
            try:
                said = command.params
                params = self._decoders[name].decode(
                    b"{}" if said is msgspec.UNSET else bytes(said))
            except (ValueError, RecursionError) as error:
                raise errors.bad_request(str(error)) from None
            result = await self._api.call(name, params)
        except APIError as error:
            return LegacyReply(
                id=command.id, error=types.Error(code=error.code, message=error.message))
        return LegacyReply(id=command.id, result=_raw(result))


def _raw(result: types.Result) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(result))


def _one_line(reply: LegacyReply) -> bytes:
    """A line break outside of strings, where data that goes through may have one, is space."""
    return msgspec.json.encode(reply).replace(b"\n", b" ").replace(b"\r", b" ")


def _json_response(content: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise web.HTTPBadRequest(
            text=f"the request is no UTF-8 (byte {error.start})\n") from None


def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    _text(body)     # what is passed over, or through, is not looked into by the decoder
    try:
        return decoder.decode(body)
    except (ValueError, RecursionError) as error:
        raise _bad_body(error) from None


def _bad_body(error: Exception) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=f"the request cannot be read: {error}\n")


def _too_many(what: str) -> web.HTTPRequestEntityTooLarge:
    return web.HTTPRequestEntityTooLarge(
        max_size=MOST_COMMANDS, actual_size=MOST_COMMANDS + 1,
        text=f"{what} may have at most {MOST_COMMANDS} commands\n")


def _values(text: str) -> list[str]:
    """The JSON values of a text, one after the other, with or without space between."""
    scan = json.JSONDecoder().raw_decode
    values: list[str] = []
    at = 0
    while (at := _skip_space(text, at)) < len(text):
        if len(values) == MOST_COMMANDS:
            raise _too_many("a request")
        start = at
        _, at = scan(text, start)
        values.append(text[start:at])
    return values


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
