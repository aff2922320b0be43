"""Three servers on one broker, each of them and the broker a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import signal
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fanout import Node
from fanout.server.engines import make_engine
from fanout.server.permissions import Permissions
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.brokers.server import BrokerServer
from tests.brokers.valkey import ValkeyServer
from tests.server.running import Process, config_of
from tests.system.subscriber import Subscriber

# Timeouts are short, so that what takes them is over soon.
IO_TIMEOUT_S = 1.2
PING_S = 0.5
PRESENCE_TTL_S = 5.0

_OPEN = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_presence_for_client": True,
}
_ROOM = {
    "name": "room",
    **_OPEN,
    "presence": True,
    "join_leave": True,
    "force_push_join_leave": True,
    "history_size": 5000,
    "history_ttl": "300s",
    "force_recovery": True,
    "allow_history_for_client": True,
}


@dataclass(frozen=True, slots=True)
class Kind:
    """A broker to test on: ``valkey``, ``nats`` with JetStream, or ``core-nats`` without."""

    name: str

    @property
    def stores(self) -> bool:
        return self.name != "core-nats"

    def server(self) -> BrokerServer:
        """One whose data, if it keeps any, outlives it unless it is wiped."""
        if self.name == "valkey":
            return ValkeyServer(persist=True)
        return NatsServer(jetstream=self.stores)

    def engine(self, prefix: str, *ports: int) -> dict[str, Any]:
        """The ``engine`` table of a node's configuration; several ports are shards."""
        shared = {
            "prefix": prefix,
            "io_timeout": f"{IO_TIMEOUT_S}s",
            "presence_ttl": f"{PRESENCE_TTL_S:g}s",
        }
        if self.name == "valkey":
            addresses = [f"redis://127.0.0.1:{port}" for port in ports]
            return {
                "type": "redis",
                "redis": {"address": addresses, "ping_interval": f"{PING_S}s", **shared},
            }
        return {
            "type": "nats",
            "nats": {
                "url": [f"nats://127.0.0.1:{port}" for port in ports],
                "jetstream": self.stores,
                "allow_wildcards": True,
                **shared,
            },
        }

    def settings(self, name: str, prefix: str, *ports: int) -> dict[str, Any]:
        """The configuration of a node that reaches the broker at ``ports``."""
        return {
            "client": {
                "user_id_http_header": "X-User-Id",
                "presence_update_interval": "1s",
                "channel_position_check_delay": "2s",
                "recovery_max_publication_limit": 2000,
            },
            "channel": {
                "namespaces": [{"name": "plain", **_OPEN}, *([_ROOM] if self.stores else [])],
            },
            "engine": self.engine(prefix, *ports),
            "node": {"name": name},
            "shutdown": {"timeout": "5s"},
        }

    def node(self, name: str, prefix: str, *ports: int) -> Node:
        """A node in this process that belongs to those servers."""
        config = config_of(self.settings(name, prefix, *ports))
        return Node(
            make_engine(config),
            options=Permissions(config).channel_options,
            name=name,
            position_check_interval=config.client.channel_position_check_delay,
        )


class Cluster:
    """A broker and three servers, each of which has its own way to the broker.

    ``proxies`` are those ways; clients reach the servers by ``entrances``,
    which a test turns to another server as a load balancer would.
    ``start`` and ``close`` block. A test may break what it likes: ``heal``
    puts everything back to work.
    """

    def __init__(self, kind: Kind, directory: Path) -> None:
        self.kind = kind
        self.prefix = f"system-{secrets.token_hex(4)}"
        self.broker = kind.server()
        self.proxies: list[CuttingProxy] = []
        self.entrances: list[CuttingProxy] = []
        self.servers: list[Process] = []
        self._directory = directory

    def start(self) -> None:
        self.broker.start()
        for number in range(3):
            proxy = CuttingProxy(self.broker.port)
            self.proxies.append(proxy)
            place = self._directory / f"node-{number}"
            place.mkdir()
            settings = self.kind.settings(f"node-{number}", self.prefix, proxy.port)
            self.servers.append(Process(settings, place))
        self._start_servers()
        self.entrances += [CuttingProxy(server.port) for server in self.servers]

    def _start_servers(self) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Process.start, (each for each in self.servers if not each.is_running)))

    def heal(self) -> None:
        if self.broker.is_running:
            self.broker.resume()
        else:
            self.broker.kill()
            self.broker.start()
        for proxy in (*self.proxies, *self.entrances):
            proxy.unstall()
            proxy.accept()
        self._start_servers()
        for entrance, server in zip(self.entrances, self.servers, strict=True):
            entrance.retarget(server.port)

    def close(self) -> None:
        if self.broker.is_running:
            self.broker.resume()
        for server in self.servers:
            server.stop(signal.SIGKILL)
        for proxy in (*self.proxies, *self.entrances):
            proxy.close()
        self.broker.close()

    def node(self, name: str = "node-test") -> Node:
        """A further node, in this process and with its own way to the broker."""
        return self.kind.node(name, self.prefix, self.broker.port)

    @contextlib.asynccontextmanager
    async def subscribers(
        self, *channels: str, per_server: int = 2
    ) -> AsyncIterator[list[Subscriber]]:
        """Clients at every server, each subscribed to all ``channels``."""
        async with contextlib.AsyncExitStack() as stack:
            subscribers = [
                Subscriber(self.url(number), channels, user=f"user-{number}-{count}")
                for number in range(len(self.servers)) for count in range(per_server)
            ]
            await asyncio.gather(*(stack.enter_async_context(each) for each in subscribers))
            yield subscribers

    def url(self, number: int) -> str:
        """Where the clients of a server connect."""
        return f"ws://127.0.0.1:{self.entrances[number].port}/connection/websocket"

    def logged(self, number: int, text: str) -> int:
        """How many lines of a server's log have ``text``."""
        return sum(text in line for line in self.servers[number].log)

    def complaints(self) -> list[str]:
        """What the servers logged as errors."""
        return [
            line for server in self.servers for line in server.log
            if re.search(r" (ERROR|CRITICAL) ", line)
        ]
