"""fanout's own server under the wire suite: told to publish as the peers are.

It is what ``fanout serve`` runs, from the configuration's permissions to the
WebSocket endpoint, with a reader of ticks in place of the signal that ends it.
``--engine`` is that of ``fanout serve``. With ``--recovery`` the channel keeps a
history and every subscriber recovers; ``--missed`` publications are in it at
the start. ``--secret`` is the key of connection tokens, without which nobody
connects then. ``--reads`` names a file for the number of times that a history
was read, written at the end.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

import uvloop

import fanout
from benches.peers import control
from fanout.server.app import Server
from fanout.server.config import (
    ChannelConfig,
    ClientConfig,
    Config,
    EngineConfig,
    HttpServerConfig,
    NamespaceOptions,
    with_addresses,
)
from fanout.server.config.tokens import TokenConfig


def configuration(engine: str, recovery: bool, secret: str) -> Config:
    options = NamespaceOptions(
        allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True)
    if recovery:
        options = dataclasses.replace(
            options, history_size=100, history_ttl=300.0, force_recovery=True)
    return Config(
        client=ClientConfig(
            allow_anonymous_connect_without_token=not secret,
            token=TokenConfig(hmac_secret_key=secret),
            ping_interval=0,
        ),
        channel=ChannelConfig(without_namespace=options),
        http_server=HttpServerConfig(port=0),
        engine=with_addresses(EngineConfig(), [engine]),
    )


def count_reads(server: Server) -> list[str]:
    """The channels whose history was read since a place, one for each time.

    Looks at its oldest message alone, whether what was read is still kept, are not among them.
    """
    read: list[str] = []
    history = server.node.engine.history_stream

    def counted(channel: str, since: Any = None, *rest: Any, **more: Any) -> Any:
        if since is not None:
            read.append(channel)
        return history(channel, since, *rest, **more)

    server.node.engine.history_stream = counted  # type: ignore[method-assign]
    return read


async def main(asked: argparse.Namespace) -> None:
    server = Server(configuration(asked.engine, asked.recovery, asked.secret))
    await server.start()
    for _ in range(asked.missed):
        await server.node.publish(control.CHANNEL, b'{"missed":"while it was away"}')
    reads = count_reads(server)

    def on_tick(per_tick: int, size: int) -> None:
        for _ in range(per_tick):
            server.node.publish(control.CHANNEL, control.payload(size).encode())

    control.announce(server.port, fanout.__version__)
    await control.obey(on_tick)
    if asked.reads is not None:
        asked.reads.write_text(str(len(reads)))
    await server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benches.wire.serve_fanout")
    parser.add_argument("--engine", default="memory", metavar="URL")
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--missed", type=int, default=0, metavar="N")
    parser.add_argument("--secret", default="", metavar="TEXT")
    parser.add_argument("--reads", type=Path, default=None, metavar="FILE")
    control.prepare()
    uvloop.run(main(parser.parse_args()))
