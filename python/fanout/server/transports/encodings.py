"""The encodings of a server's transports, each known to the hub once.

All connections that speak the same protocol in the same framing share one, and
with it the bytes of what is published.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fanout._framing import (
    BlockFraming,
    DeflateFraming,
    EventFraming,
    Framing,
    LinesFraming,
    WebSocketFraming,
)
from fanout.node import Node
from fanout.server.protocol.base import Protocol

__all__ = ["BINARY", "TEXT", "Compression", "Encoding", "Encodings"]

TEXT, BINARY = 1, 2     # opcodes of WebSocket


@dataclass(frozen=True, slots=True)
class Compression:
    """How messages are compressed; those below ``min_size`` bytes are not."""

    level: int = 1
    min_size: int = 0


@dataclass(frozen=True, slots=True)
class Encoding:
    """The hub's number of an encoding, and how a payload lies on its transport."""

    number: int
    framing: Framing


class Encodings:
    """Registers encodings with the node's hub when the first connection needs them."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._known: dict[object, Encoding] = {}

    def websocket(self, protocol: Protocol, compression: Compression | None = None) -> Encoding:
        opcode = BINARY if protocol.name == "protobuf" else TEXT

        def framing() -> Framing:
            if compression is None:
                return WebSocketFraming(opcode)
            return DeflateFraming(opcode, compression.level, compression.min_size)

        return self._encoding(protocol, ("websocket", compression), framing)

    def http_stream(self, protocol: Protocol) -> Encoding:
        return self._encoding(
            protocol, "http_stream",
            BlockFraming if protocol.name == "protobuf" else LinesFraming)

    def sse(self, protocol: Protocol) -> Encoding:
        return self._encoding(protocol, "sse", EventFraming)

    def _encoding(
        self, protocol: Protocol, form: object, make_framing: Callable[[], Framing]
    ) -> Encoding:
        known = self._known.get((protocol, form))
        if known is None:
            framing = make_framing()
            known = Encoding(self._node.hub.add_encoder(protocol.encoder(framing)), framing)
            self._known[protocol, form] = known
        return known
