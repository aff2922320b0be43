"""A node whose clients recover, and what they were given."""

from __future__ import annotations

from typing import Any

from fanout import ChannelOptions, ConnectReply, Node, StreamPosition
from tests.node.connections import Connection
from tests.node.engines import LossyEngine

__all__ = ["OPTIONS", "fill", "offsets", "recovering_node"]

OPTIONS = ChannelOptions(recover=True, history_size=50, history_lifetime=600)


def recovering_node(engine: LossyEngine, **arguments: Any) -> Node:
    """A node that lets everybody in and reads at most 20 messages for a client."""
    node = Node(engine, options=OPTIONS, recovery_limit=20, **arguments)
    node.on_connect(lambda event: ConnectReply(user="u"))
    node.on_subscribe(lambda client, event: None)
    return node


async def fill(node: Node, count: int) -> StreamPosition:
    """Publish so many messages; the place of the last."""
    for _ in range(count):
        position = await node.publish("ch", b"1")
    return position


def offsets(connection: Connection) -> list[int]:
    """Those of the publications that came since the last look."""
    return [push["pub"]["offset"] for push in connection.pushes() if "pub" in push]
