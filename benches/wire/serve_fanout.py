"""fanout's own server under the wire suite: told to publish as the peers are.

It is what ``fanout serve`` runs, from the configuration's permissions to the
WebSocket endpoint, with a reader of ticks in place of the signal that ends it.
"""

import uvloop
from aiohttp import web

import fanout
from benches.peers import control
from fanout.node import Node
from fanout.server import policy
from fanout.server.config import ChannelConfig, ClientConfig, Config, NamespaceOptions
from fanout.server.permissions import Permissions
from fanout.server.session import SessionSettings
from fanout.server.websocket import WebSocketEndpoint, WebSocketSettings

CONFIG = Config(
    client=ClientConfig(allow_anonymous_connect_without_token=True, ping_interval=0),
    channel=ChannelConfig(
        without_namespace=NamespaceOptions(
            allow_subscribe_for_client=True, allow_subscribe_for_anonymous=True
        )
    ),
)


async def main() -> None:
    permissions = Permissions(CONFIG)
    async with Node(options=permissions.channel_options) as node:
        policy.install(node, permissions)
        endpoint = WebSocketEndpoint(
            node,
            SessionSettings(fanout.__version__, ping_interval=CONFIG.client.ping_interval),
            WebSocketSettings(),
            permissions.may_come_from,
        )
        app = web.Application()
        app.router.add_get("/connection/websocket", endpoint.handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=control.BACKLOG).start()

        def on_tick(per_tick: int, size: int) -> None:
            for _ in range(per_tick):
                node.publish(control.CHANNEL, control.payload(size).encode())

        control.announce(runner.addresses[0][1], fanout.__version__)
        await control.obey(on_tick)
        await runner.cleanup()


if __name__ == "__main__":
    control.prepare()
    uvloop.run(main())
