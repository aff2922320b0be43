"""socketify: a topic of uWebSockets, compression and idle timeout off.

`App.run` is not used: after each publication it spins through ten thousand
turns of its loop before it sleeps, and that time would be counted as the price
of the deliveries. Its loop is turned here instead, at once after a tick and
otherwise every millisecond, which is what it does when left alone.
"""

import select
from importlib.metadata import version

import socketify  # type: ignore[import-untyped]

from benches.peers import control


def main() -> None:
    app = socketify.App()

    def on_open(connection: socketify.WebSocket) -> None:
        connection.subscribe(control.CHANNEL)
        connection.send(control.GREETING, socketify.OpCode.TEXT)

    app.ws(
        "/*",
        {
            "open": on_open,
            "compression": socketify.CompressOptions.DISABLED,
            "idle_timeout": 0,
            # Past this many bytes it drops what a slow connection should get.
            "max_backpressure": 16 * 1024 * 1024,
        },
    )
    ports: list[int] = []
    app.listen(
        socketify.AppListenOptions(host="127.0.0.1", port=0),
        lambda options: ports.append(options.port),
    )
    control.announce(ports[0], version("socketify"))

    turn = app.loop.uv_loop.run_nowait
    reader = control.TickReader()
    readable = select.poll()
    readable.register(0, select.POLLIN | select.POLLHUP)
    while True:
        if readable.poll(1):
            try:
                for per_tick, size in reader.read():
                    for _ in range(per_tick):
                        text = control.push(control.payload(size))
                        app.publish(control.CHANNEL, text, socketify.OpCode.TEXT)
            except EOFError:
                return
        turn()


if __name__ == "__main__":
    control.prepare()
    main()
