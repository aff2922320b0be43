"""picows: `transport.send` to each connection, automatic pings off, on uvloop."""

from importlib.metadata import version

import picows
import uvloop

from benches.peers import control


async def main() -> None:
    connections: set[picows.WSTransport] = set()

    class Listener(picows.WSListener):
        def on_ws_connected(self, transport: picows.WSTransport) -> None:
            connections.add(transport)
            transport.send(picows.WSMsgType.TEXT, control.GREETING.encode())

        def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
            connections.discard(transport)

    def on_tick(per_tick: int, size: int) -> None:
        text = picows.WSMsgType.TEXT
        for _ in range(per_tick):
            message = control.push(control.payload(size)).encode()
            for transport in connections:
                transport.send(text, message)

    server = await picows.ws_create_server(
        lambda request: Listener(), "127.0.0.1", 0, backlog=control.BACKLOG
    )
    control.announce(server.sockets[0].getsockname()[1], version("picows"))
    await control.obey(on_tick)


if __name__ == "__main__":
    control.prepare()
    uvloop.run(main())
