"""aiohttp: accepts WebSockets and says nothing on them, on uvloop."""

from importlib.metadata import version

import uvloop
from aiohttp import web

from benches.peers import control


async def handler(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


async def main() -> None:
    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=control.BACKLOG)
    await site.start()
    control.announce(runner.addresses[0][1], version("aiohttp"))
    await control.obey(lambda per_tick, size: None)


if __name__ == "__main__":
    control.prepare()
    uvloop.run(main())
