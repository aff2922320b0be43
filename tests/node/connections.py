"""Clients of a node without a socket: what would be sent is kept."""

from __future__ import annotations

import asyncio
import json
import uuid
import weakref
from collections.abc import Mapping
from typing import Any

from fanout import Client, ConnectEvent, Disconnect, Node, StreamPosition, SubscribeEvent
from fanout._frame import JSONEncoder, websocket_frame
from fanout._outbox import Outbox
from fanout.client_subscription import SubscribeResult
from fanout.client_transport import ConnectResult
from fanout.codes import DisconnectCode

__all__ = ["Connection"]


class Wire(asyncio.Transport):
    """A transport that takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data


CONNECTED = b'{"connect":{}}'

_encodings: weakref.WeakKeyDictionary[Node, int] = weakref.WeakKeyDictionary()


class Connection:
    """A client's transport, and the application's view of what came over it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.wire = Wire()
        self.ended: Disconnect | DisconnectCode | None = None
        self.messages: list[bytes] = []
        self.subscribed: list[tuple[str, SubscribeResult]] = []
        self.unsubscribed: list[tuple[str, int, str]] = []
        self.refreshed: list[float] = []
        self.slow = False
        if node not in _encodings:
            _encodings[node] = node.hub.add_encoder(JSONEncoder())
        self._outbox = Outbox(
            node.hub, self.wire, self, _encodings[node], node.client_queue_size)
        self.client = Client(node, str(uuid.uuid4()), self)

    @classmethod
    async def made(cls, node: Node, *channels: str) -> Connection:
        """A connected one, subscribed to ``channels``."""
        connection = cls(node)
        await connection.connect()
        for channel in channels:
            await connection.subscribe(channel)
        return connection

    async def connect(
        self, token: str = "", subs: Mapping[str, SubscribeEvent] | None = None
    ) -> ConnectResult:
        result = await self.client.connect(
            ConnectEvent(self.client.id, token=token, subs=subs or {}))
        self._outbox.let_go(websocket_frame(1, CONNECTED))
        self.client.announce_connected(result.subs)
        return result

    async def subscribe(
        self, channel: str, *, join_leave: bool = False, since: StreamPosition | None = None
    ) -> SubscribeResult:
        result = await self.client.subscribe(
            SubscribeEvent(channel, join_leave=join_leave, since=since))
        self.client.announce(channel)
        return result

    def pushes(self) -> list[Any]:
        """The pushes sent since the last call."""
        self.node.hub.flush()
        data, self.wire.sent = self.wire.sent, b""
        found = []
        while data:
            size, at = data[1], 2
            if size == 126:
                size, at = int.from_bytes(data[2:4]), 4
            found.append(json.loads(data[at:at + size]))
            data = data[at + size:]
        return [each["push"] for each in found if "push" in each]

    # ClientTransport

    @property
    def outbox(self) -> Outbox:
        return self._outbox

    @property
    def busy(self) -> bool:
        return False

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        self.ended = disconnect

    def push_message(self, data: bytes) -> None:
        self.messages.append(data)

    def push_subscribe(self, channel: str, result: SubscribeResult) -> None:
        self.subscribed.append((channel, result))

    def push_refresh(self, expire_at: float) -> None:
        self.refreshed.append(expire_at)

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        self.unsubscribed.append((channel, code, reason))

    # OutboxOwner

    def on_slow(self) -> None:
        self.slow = True

    def on_insufficient(self, channel: str) -> None:
        self.client.lost_in(channel)

    def on_unencodable(self, channel: str) -> None:
        raise AssertionError("the tests publish JSON")
