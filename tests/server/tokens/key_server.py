"""A real HTTP server that publishes key sets, well or badly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class KeyServer:
    """Counts requests, and answers with ``keys`` unless ``answer`` or ``status`` say otherwise."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.status = 200
        self.text: str | bytes | None = None
        self.answer: Answer | None = None
        self.requests: list[str] = []
        self.asked = asyncio.Event()
        self.base = ""

    @property
    def url(self) -> str:
        return f"{self.base}/keys"

    def hold(self) -> asyncio.Event:
        """No answer from now on, until the event that is returned is set."""
        let_go = asyncio.Event()

        async def answer(request: web.Request) -> web.StreamResponse:
            await let_go.wait()
            return self._plain()

        self.answer = answer
        return let_go

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        self.asked.set()
        return self._plain() if self.answer is None else await self.answer(request)

    def _plain(self) -> web.Response:
        text = json.dumps({"keys": self.keys}) if self.text is None else self.text
        body = text.encode() if isinstance(text, str) else text
        return web.Response(status=self.status, body=body, content_type="application/json")


@contextlib.asynccontextmanager
async def key_server(tls: ssl.SSLContext | None = None) -> AsyncIterator[KeyServer]:
    """One on a free port."""
    server = KeyServer()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        port = runner.addresses[0][1]
        server.base = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
        yield server
    finally:
        await runner.cleanup()
