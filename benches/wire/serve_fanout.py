"""fanout's own server under the wire suite: told to publish as the peers are.

It is what ``fanout serve`` runs, from the configuration's permissions to the
WebSocket endpoint, with a reader of ticks in place of the signal that ends it.
``--engine`` is that of ``fanout serve``.
"""

import argparse
import dataclasses

import uvloop

import fanout
from benches.peers import control
from fanout.server.app import Server
from fanout.server.config import (
    ChannelConfig,
    ClientConfig,
    Config,
    HttpServerConfig,
    NamespaceOptions,
    with_addresses,
)

CONFIG = Config(
    client=ClientConfig(allow_anonymous_connect_without_token=True, ping_interval=0),
    channel=ChannelConfig(
        without_namespace=NamespaceOptions(
            allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True
        )
    ),
    http_server=HttpServerConfig(port=0),
)


async def main(engine: str) -> None:
    config = dataclasses.replace(CONFIG, engine=with_addresses(CONFIG.engine, [engine]))
    server = Server(config)
    await server.start()

    def on_tick(per_tick: int, size: int) -> None:
        for _ in range(per_tick):
            server.node.publish(control.CHANNEL, control.payload(size).encode())

    control.announce(server.port, fanout.__version__)
    await control.obey(on_tick)
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benches.wire.serve_fanout")
    parser.add_argument("--engine", default="memory", metavar="URL")
    control.prepare()
    uvloop.run(main(parser.parse_args().engine))
