"""The admin page's own HTTP: the page, the login, and what the page asks."""

from __future__ import annotations

import importlib.resources
import json
import math
import pathlib
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

from fanout.errors import FanoutError
from fanout.server.admin.sampler import KEPT
from fanout.server.admin.sessions import LIFETIME, Sessions
from fanout.server.admin.system import System
from fanout.server.admin.throttle import Throttle
from fanout.server.api.errors import APIError
from fanout.server.api.methods import METHODS, ServerAPI
from fanout.server.log import fields, logger
from fanout.server.transports.bodies import read_body

__all__ = ["COOKIE", "HEADER", "AdminEndpoints"]

COOKIE = "fanout_admin"
HEADER = "X-Fanout-Admin"       # only our own page can have it on a request to us
LOGIN_LIMIT = 4_096             # bytes of a body
BODY_LIMIT = 4 * 1024 * 1024
MOST_PRESENT = 500              # of who is in a channel
MOST_HISTORY = 200              # of what a channel keeps

_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css",
          ".svg": "image/svg+xml"}
_HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# What the page may do with the server API, and what is written into the log of it.
_ACTIONS = {"publish", "unsubscribe", "disconnect", "history_remove"}
_METHODS = {*_ACTIONS, "presence", "history"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Login(msgspec.Struct):
    password: str


class NodesRequest(msgspec.Struct):
    last: int = KEPT


class ChannelsRequest(msgspec.Struct):
    match: str = ""


class ConnectionsRequest(msgspec.Struct):
    match: str = ""
    channel: str = ""
    client: str = ""


class AdminEndpoints:
    """The routes below one prefix.

    ``sessions`` is None when nobody is asked for a password.
    """

    def __init__(
        self, system: System, api: ServerAPI, sessions: Sessions | None, prefix: str,
        throttle: Throttle | None = None,
    ) -> None:
        self._system = system
        self._api = api
        self._sessions = sessions
        self._throttle = throttle if throttle is not None else Throttle()
        self._prefix = prefix.rstrip("/")

    def add_routes(self, router: web.UrlDispatcher) -> None:
        prefix = self._prefix
        web_files = importlib.resources.files("fanout.server") / "admin" / "web"
        for file in web_files.iterdir():
            kind = _TYPES.get(pathlib.PurePath(file.name).suffix)
            if kind is not None:
                page = _file(file.read_bytes(), kind)
                name = "" if file.name == "index.html" else f"admin/web/{file.name}"
                router.add_get(f"{prefix}/{name}", page)
        if prefix:
            # The page's links are relative to the slash.
            router.add_get(prefix, self._with_slash)
        router.add_post(f"{prefix}/admin/auth", _from_our_page(self._log_in))
        router.add_post(f"{prefix}/admin/leave", _from_our_page(self._log_out))
        for name, handler in (
            ("nodes", self._nodes), ("channels", self._channels),
            ("connections", self._connections),
            *((method, self._method(method)) for method in sorted(_METHODS)),
        ):
            router.add_post(f"{prefix}/admin/api/{name}", _from_our_page(self._known(handler)))

    # ---- who may -------------------------------------------------------

    async def _log_in(self, request: web.Request) -> web.Response:
        if self._sessions is None:
            return _json({})
        login = await _decoded(request, Login, LOGIN_LIMIT)
        address = request.remote or ""
        # Nothing is awaited from here on: tries at the same time are counted one by one.
        wait = self._throttle.wait(address)
        if wait:
            seconds = math.ceil(wait)
            raise web.HTTPTooManyRequests(
                text=f"too many wrong passwords: wait {seconds} s\n",
                headers={"Retry-After": str(seconds)})
        if not self._sessions.is_password(login.password):
            self._throttle.failed(address)
            logger.warning("a wrong admin password", extra=fields(address=address))
            raise web.HTTPUnauthorized(text="wrong password\n")
        logger.info("an admin logged in", extra=fields(address=address))
        response = _json({})
        response.set_cookie(
            COOKIE, self._sessions.begin(), max_age=LIFETIME, path=self._prefix or "/",
            httponly=True, samesite="Strict", secure=_is_secure(request))
        return response

    async def _log_out(self, request: web.Request) -> web.Response:
        response = _json({})
        response.del_cookie(
            COOKIE, path=self._prefix or "/", httponly=True, samesite="Strict",
            secure=_is_secure(request))
        return response

    def _known(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            sessions = self._sessions
            if sessions is not None and not sessions.end_of(request.cookies.get(COOKIE, "")):
                raise web.HTTPUnauthorized(text="log in first\n")
            return await handler(request)

        return handle

    # ---- what the page asks --------------------------------------------

    async def _nodes(self, request: web.Request) -> web.Response:
        asked = await _decoded(request, NodesRequest)
        view = await _view(self._system.nodes(max(0, min(KEPT, asked.last))))
        return _json({**view, "open": self._sessions is None})

    async def _channels(self, request: web.Request) -> web.Response:
        asked = await _decoded(request, ChannelsRequest)
        return _json(await _view(self._system.channels(asked.match)))

    async def _connections(self, request: web.Request) -> web.Response:
        asked = await _decoded(request, ConnectionsRequest)
        return _json(await _view(
            self._system.connections(asked.match, asked.channel, asked.client)))

    def _method(self, name: str) -> Handler:
        """One of the server API's, with its requests and results."""

        async def handle(request: web.Request) -> web.Response:
            params = await _decoded(request, METHODS[name].request)
            if name == "history":
                params.limit = min(MOST_HISTORY, max(0, params.limit or 0))
            try:
                result: Any = await self._api.call(name, params)
            except APIError as error:
                return _json({"error": {"code": error.code, "message": error.message}})
            if name in _ACTIONS:
                logger.info("an admin asked for %s", name, extra=fields(**{
                    what: getattr(params, what, None) or ""
                    for what in ("channel", "user", "client")}))
            answer: dict[str, Any] = {"result": result}
            if name == "presence":
                answer["total"] = len(result.presence)
                result.presence = dict(islice(result.presence.items(), MOST_PRESENT))
            return web.Response(
                body=msgspec.json.encode(answer), content_type="application/json",
                headers=_NOT_KEPT)

        return handle

    async def _with_slash(self, request: web.Request) -> web.Response:
        raise web.HTTPFound(f"{self._prefix}/")


_NOT_KEPT = {**_HEADERS, "Cache-Control": "no-store"}


def _file(body: bytes, kind: str) -> Handler:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(
            body=body, content_type=kind, charset="utf-8",
            headers={**_HEADERS, "Cache-Control": "no-cache"})

    return handle


def _from_our_page(handler: Handler) -> Handler:
    """``handler``, for requests that no page of another site can have made.

    A form cannot set the header, and a script of another origin may not: it
    would have to ask first, and nobody answers.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        site = request.headers.get("Sec-Fetch-Site", "same-origin")
        origin = request.headers.get("Origin")
        if (
            HEADER not in request.headers
            or site != "same-origin"
            or (origin is not None
                and urlsplit(origin).netloc.lower() != request.headers.get("Host", "").lower())
        ):
            raise web.HTTPForbidden(text="the admin page alone may ask this\n")
        return await handler(request)

    return handle


def _is_secure(request: web.Request) -> bool:
    """Over TLS, to us or to the proxy in front; who claims it wrongly harms only himself."""
    return request.secure or request.headers.get("X-Forwarded-Proto", "") == "https"


async def _decoded(request: web.Request, kind: type[Any], limit: int = BODY_LIMIT) -> Any:
    body = await read_body(request, limit)
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text=f"the request cannot be read: {error}\n") from None


async def _view(asked: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await asked
    except FanoutError as error:
        raise web.HTTPServiceUnavailable(text=f"{error}\n") from None


def _json(content: object) -> web.Response:
    # In ASCII: half of a surrogate pair in a name stays an escape.
    return web.Response(
        body=json.dumps(content).encode(), content_type="application/json", headers=_NOT_KEPT)
