"""aiohttp: `send_str` to each connection in turn, compression off, on uvloop."""

import asyncio
from importlib.metadata import version

import uvloop
from aiohttp import web

from benches.peers import control


async def main() -> None:
    connections: set[web.WebSocketResponse] = set()

    async def handler(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        connections.add(socket)
        try:
            await socket.send_str(control.GREETING)
            async for _ in socket:
                pass
        finally:
            connections.discard(socket)
        return socket

    async def tick(per_tick: int, size: int) -> None:
        for _ in range(per_tick):
            text = control.push(control.payload(size))
            for socket in tuple(connections):
                await socket.send_str(text)

    ticks: set[asyncio.Task[None]] = set()

    def on_tick(per_tick: int, size: int) -> None:
        task = asyncio.get_running_loop().create_task(tick(per_tick, size))
        ticks.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(ticks.discard)

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=control.BACKLOG)
    await site.start()
    control.announce(runner.addresses[0][1], version("aiohttp"))
    await control.obey(on_tick)


if __name__ == "__main__":
    control.prepare()
    uvloop.run(main())
