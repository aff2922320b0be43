"""A backend of an application, over real HTTP on the loopback interface.

    async with running_backend() as backend:
        backend.on("/connect", {"result": {"user": "42"}})
        ...                                 # a server with proxies at backend.url("/connect")
        assert backend.only("/connect").json["client"]

What a path answers is an object (sent as JSON with status 200), bytes (as they
are, with status 200), a number (that status), a ``web.Response``, or a
function of the :class:`Call` that returns one of them, a coroutine function
too. A path without an answer has status 404.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

__all__ = ["Backend", "Call", "running_backend", "running_script"]


@dataclass(frozen=True)
class Call:
    """A request as it came; header names in lower case, ``peer`` the other end's port."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    peer: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Plain = dict[str, Any] | bytes | int | web.StreamResponse
Answer = Plain | Callable[[Call], Plain | Awaitable[Plain]]


class Backend:
    """Answers requests and keeps them, in ``calls``."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.port = 0
        self._scheme = "http"
        self._answers: dict[str, Answer] = {}
        self._changed = asyncio.Event()

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    def on(self, path: str, answer: Answer) -> None:
        self._answers[path] = answer

    def to(self, path: str) -> list[Call]:
        """The calls to one path, in order."""
        return [call for call in self.calls if call.path == path]

    def only(self, path: str) -> Call:
        """The one call to a path."""
        call, = self.to(path)
        return call

    async def called(self, path: str, times: int = 1) -> Call:
        """Wait until a path was called so often; the last of these calls."""
        while len(self.to(path)) < times:
            self._changed.clear()
            await self._changed.wait()
        return self.to(path)[times - 1]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        assert len(headers) == len(request.headers), "a header came twice"
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")[1]
        call = Call(request.method, request.path_qs, headers, await request.read(), peer)
        self.calls.append(call)
        self._changed.set()
        answer = self._answers.get(request.path_qs, 404)
        if callable(answer):
            answer = answer(call)
        if inspect.isawaitable(answer):
            answer = await answer
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, dict):
            return web.json_response(answer)
        if isinstance(answer, bytes):
            return web.Response(body=answer, content_type="application/json")
        assert isinstance(answer, web.StreamResponse)
        return answer


@contextlib.asynccontextmanager
async def running_backend(tls: ssl.SSLContext | None = None) -> AsyncIterator[Backend]:
    """A backend on a free port."""
    backend = Backend()
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", backend.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        backend.port = runner.addresses[0][1]
        if tls is not None:
            backend._scheme = "https"
        yield backend
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def running_script(
    script: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[str]:
    """A server that does what HTTP servers do not; the URL of it.

    ``script`` is run for each connection, which is cut when it returns.
    """
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError):
            await script(reader, writer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
