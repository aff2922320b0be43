"""websockets: `broadcast`, compression and keepalive off, on uvloop."""

from importlib.metadata import version

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from benches.peers import control


async def main() -> None:
    connections: set[ServerConnection] = set()

    async def handler(connection: ServerConnection) -> None:
        connections.add(connection)
        try:
            await connection.send(control.GREETING)
            await connection.wait_closed()
        finally:
            connections.discard(connection)

    def on_tick(per_tick: int, size: int) -> None:
        for _ in range(per_tick):
            broadcast(connections, control.push(control.payload(size)))

    async with serve(
        handler,
        "127.0.0.1",
        0,
        compression=None,
        ping_interval=None,
        open_timeout=60,
        close_timeout=0,
        backlog=control.BACKLOG,
    ) as server:
        control.announce(server.sockets[0].getsockname()[1], version("websockets"))
        await control.obey(on_tick)


if __name__ == "__main__":
    control.prepare()
    uvloop.run(main())
