"""What each node tells of itself when an admin page asks."""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import msgspec

import fanout
from fanout._outbox import Outbox
from fanout.client import Client
from fanout.node import Node
from fanout.server.admin.sampler import KEPT, Sampler, resident_bytes
from fanout.server.session import BaseSession

__all__ = ["CHANNELS", "CONNECTIONS", "NODES", "NodeAnswers"]

T = TypeVar("T")

NODES, CHANNELS, CONNECTIONS = "admin.nodes", "admin.channels", "admin.connections"

MOST_CHANNELS = 500
MOST_CONNECTIONS = 200
SHORTEST_ID = 4         # characters of the beginning of an id; fewer say nothing
LONGEST_USER = 200      # characters
MOST_NAMES = 5          # channels of a connection in a list of many
MOST_OF_ONE = 1_000     # of one that was asked for
BATCH = 2_000           # looked at before others in the loop have a turn


class NodesRequest(msgspec.Struct):
    """``last``: how many seconds of samples."""

    last: int = 0


class ChannelsRequest(msgspec.Struct):
    """``match``: a part of the names."""

    match: str = ""


class ConnectionsRequest(msgspec.Struct):
    """``match``: a part of the user, or the beginning of the id; ``client``: this one alone."""

    match: str = ""
    channel: str = ""
    client: str = ""


class NodeAnswers:
    """Registers with a node what it answers to the admin pages of all nodes."""

    def __init__(self, node: Node, sampler: Sampler, draining: Callable[[], bool]) -> None:
        self._node = node
        self._sampler = sampler
        self._draining = draining
        node.on_survey(NODES, self._tell_node)
        node.on_survey(CHANNELS, self._tell_channels)
        node.on_survey(CONNECTIONS, self._tell_connections)

    def _tell_node(self, params: bytes) -> bytes:
        request = msgspec.json.decode(params, type=NodesRequest)
        stats = self._node.stats()
        return _encoded({
            "uid": stats.uid,
            "name": stats.name,
            "version": fanout.__version__,
            "engine": stats.engine,
            "uptime": round(stats.uptime),
            "draining": self._draining(),
            "clients": stats.num_clients,
            "users": stats.num_users,
            "channels": stats.num_channels,
            "subscriptions": stats.num_subscriptions,
            "dropped": stats.num_dropped,
            "failed": stats.num_failed,
            "memory": resident_bytes(),
            "samples": self._sampler.latest(min(request.last, KEPT)),
        })

    async def _tell_channels(self, params: bytes) -> bytes:
        match = msgspec.json.decode(params, type=ChannelsRequest).match.casefold()
        hub = self._node.hub
        found: list[tuple[int, str]] = []
        total = 0
        for batch in _batches(hub.channels()):
            matching = [name for name in batch if match in name.casefold()] if match else batch
            total += len(matching)
            least = found[-1][0] if len(found) == MOST_CHANNELS else 0
            larger = [
                (count, name) for name in matching
                if (count := hub.num_subscribers(name)) > least]
            if larger:
                found = heapq.nlargest(MOST_CHANNELS, found + larger)
            await asyncio.sleep(0)
        return _encoded({
            "total": total,
            "channels": {name: count for count, name in found},
        })

    async def _tell_connections(self, params: bytes) -> bytes:
        request = msgspec.json.decode(params, type=ConnectionsRequest)
        if request.client:
            client = self._node.clients.get(request.client)
            found = [] if client is None else [self._connection(client, MOST_OF_ONE)]
            return _encoded({"total": len(found), "connections": found})
        match = request.match.casefold()
        by_id = len(match) >= SHORTEST_ID
        rows: list[dict[str, Any]] = []
        total = 0
        for batch in _batches(list(self._clients(request.channel))):
            for client in batch:
                if client.closed or not (
                    match in client.user.casefold()
                    or (by_id and client.id.startswith(match))
                ):
                    continue
                total += 1
                if len(rows) < MOST_CONNECTIONS:
                    rows.append(self._connection(client, MOST_NAMES))
            await asyncio.sleep(0)
        return _encoded({"total": total, "connections": rows})

    def _clients(self, channel: str) -> Iterable[Client]:
        """The newest first, where that is known."""
        if not channel:
            return reversed(list(self._node.clients.values()))
        outboxes = self._node.hub.subscribers(channel)
        owners = (one.owner for one in outboxes if isinstance(one, Outbox))
        return (owner.client for owner in owners if isinstance(owner, BaseSession))

    def _connection(self, client: Client, most: int) -> dict[str, Any]:
        channels = client.channels
        return {
            "client": client.id,
            "user": client.user[:LONGEST_USER],
            "node": self._node.name,
            "transport": client.transport,
            "encoding": client.encoding,
            "since": client.connected_at,
            "num_channels": len(channels),
            "channels": channels[:most],
        }


def _encoded(answer: object) -> bytes:
    # In ASCII: half of a surrogate pair in a name, which a client may send, stays an escape.
    return json.dumps(answer).encode()


def _batches(items: list[T]) -> Iterator[list[T]]:
    for start in range(0, len(items), BATCH):
        yield items[start:start + BATCH]
