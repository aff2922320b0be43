"""A page with the published JavaScript client, on an origin of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

from aiohttp import web
from selenium.webdriver import Chrome

from tests.clients.agent import DIRECTORY, Agent

__all__ = ["PATIENCE_S", "PageServer", "serving_pages"]

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

PATIENCE_S = 20.0
_BUNDLES = DIRECTORY / "node_modules" / "centrifuge" / "dist"
_FILES: Mapping[str, Path] = {
    "/": DIRECTORY / "page.html",
    "/agent.mjs": DIRECTORY / "agent.mjs",
    "/centrifuge.js": _BUNDLES / "centrifuge.js",
    "/centrifuge.protobuf.js": _BUNDLES / "centrifuge.protobuf.js",
}


class PageServer:
    """What an application serves to browsers. The page at ``/`` does what an agent is told."""

    def __init__(self) -> None:
        self.port = 0
        self.application = web.Application()
        self._controls = asyncio.Queue[tuple[Agent, asyncio.Event]]()
        for path, file in _FILES.items():
            self.application.router.add_get(path, self._file(file))
        self.application.router.add_get("/control", self._control)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def other_origin(self) -> str:
        """The same pages, but browsers take it for somebody else's."""
        return f"http://localhost:{self.port}"

    @staticmethod
    def _file(path: Path) -> Answer:
        async def answer(request: web.Request) -> web.FileResponse:
            kind = {".html": "text/html"}.get(path.suffix, "text/javascript")
            return web.FileResponse(path, headers={"Content-Type": f"{kind}; charset=utf-8"})

        return answer

    async def _control(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        lines = asyncio.Queue[str]()
        agent = Agent(lines.put_nowait)
        left = asyncio.Event()

        async def write() -> None:
            while True:
                await socket.send_str(await lines.get())

        writing = asyncio.create_task(write())
        self._controls.put_nowait((agent, left))
        async for message in socket:
            agent.receive(message.data)
        agent.lost("the page is gone")
        writing.cancel()
        left.set()
        return socket

    @contextlib.asynccontextmanager
    async def page(self, browser: Chrome, origin: str = "") -> AsyncIterator[Agent]:
        """The agent's page in a window of its own."""
        blank = browser.current_window_handle

        def open_window() -> str:
            browser.switch_to.new_window("window")
            browser.get(f"{origin or self.origin}/")
            return browser.current_window_handle

        def close_window() -> None:
            browser.switch_to.window(window)
            browser.close()
            browser.switch_to.window(blank)

        # Not in the loop: that is what serves the page.
        window = await asyncio.to_thread(open_window)
        async with asyncio.timeout(PATIENCE_S):
            agent, left = await self._controls.get()
        try:
            yield agent
        finally:
            await asyncio.to_thread(close_window)
            async with asyncio.timeout(PATIENCE_S):
                await left.wait()


@contextlib.asynccontextmanager
async def serving_pages(
    more: Mapping[str, Answer] | None = None,
) -> AsyncIterator[PageServer]:
    """The page server on a free port, with more paths."""
    pages = PageServer()
    for path, answer in (more or {}).items():
        pages.application.router.add_get(path, answer)
    runner = web.AppRunner(pages.application, access_log=None, shutdown_timeout=0.05)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        pages.port = runner.addresses[0][1]
        yield pages
    finally:
        await runner.cleanup()
