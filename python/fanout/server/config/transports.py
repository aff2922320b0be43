"""Ways in for clients: each one's switch, path and limits."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.keys import key, section, tables
from fanout.server.config.values import boolean, duration, http_path, integer, text

__all__ = [
    "ConnectResponse",
    "ConnectResponseConfig",
    "ConnectResponseTransform",
    "EmulationConfig",
    "HttpStreamConfig",
    "InitConfig",
    "SseConfig",
    "UniHttpStreamConfig",
    "UniSseConfig",
    "UniWebSocketConfig",
    "WebSocketConfig",
    "WebSocketOptions",
]

_MOST = 0x7FFFFFFF


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketOptions:
    """What both WebSocket endpoints have."""

    compression: bool = key(False, boolean)
    """Negotiate permessage-deflate, without context takeover."""
    compression_level: int = key(1, integer(1, 9))
    """1 is fastest, 9 smallest."""
    compression_min_size: int = key(0, integer(0, zero="all"))
    """Bytes; smaller messages are sent as they are."""
    message_size_limit: int = key(65536, integer(1, _MOST))
    """Bytes of one incoming message."""
    decompressed_message_size_limit: int = key(
        0, integer(0, _MOST, zero="10 times message_size_limit")
    )
    """Bytes of one incoming message that was compressed."""
    write_timeout: float = key(1.0, duration(0.001))
    """A connection that took nothing of what was written to it for so long is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketConfig(WebSocketOptions):
    """WebSocket."""

    disabled: bool = key(False, boolean)
    """There is no such endpoint."""
    handler_prefix: str = key("/connection/websocket", http_path)
    """The endpoint's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniWebSocketConfig(WebSocketOptions):
    """One-way WebSocket: the server pushes, the client only connects."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/uni_websocket", http_path)
    """The endpoint's path."""
    disable_closing_handshake: bool = key(False, boolean)
    """Close without a close frame."""
    disable_disconnect_push: bool = key(False, boolean)
    """The close frame alone tells of a disconnect, no push before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectResponse:
    """An HTTP response."""

    status_code: int = key(0, integer(0, 599))
    """The status, 400 to 599."""
    body: str = key("", text)
    """The body, plain text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectResponseTransform:
    """An HTTP response in place of a refusal to connect."""

    code: int = key(0, integer(0, 65535))
    """The error or disconnect code."""
    to: ConnectResponse = section(ConnectResponse)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectResponseConfig:
    """HTTP statuses for clients that are refused, in place of a disconnect push."""

    enabled: bool = key(False, boolean)
    """Use `transforms`."""
    transforms: tuple[ConnectResponseTransform, ...] = tables(
        ConnectResponseTransform, "uni.*.connect_code_to_http_response.transforms"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SseConfig:
    """Server-sent events, two-way with the emulation endpoint."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/sse", http_path)
    """The endpoint's path."""
    max_request_body_size: int = key(65536, integer(1, _MOST))
    """Bytes of the connect request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpStreamConfig:
    """HTTP streaming, two-way with the emulation endpoint."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/http_stream", http_path)
    """The endpoint's path."""
    max_request_body_size: int = key(65536, integer(1, _MOST))
    """Bytes of the connect request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniSseConfig:
    """One-way server-sent events."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/uni_sse", http_path)
    """The endpoint's path."""
    max_request_body_size: int = key(65536, integer(1, _MOST))
    """Bytes of the connect request."""
    connect_code_to_http_response: ConnectResponseConfig = section(ConnectResponseConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniHttpStreamConfig:
    """One-way HTTP streaming."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/uni_http_stream", http_path)
    """The endpoint's path."""
    max_request_body_size: int = key(65536, integer(1, _MOST))
    """Bytes of the connect request."""
    connect_code_to_http_response: ConnectResponseConfig = section(ConnectResponseConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulationConfig:
    """Where clients of `sse` and `http_stream` send their commands; served with either."""

    handler_prefix: str = key("/emulation", http_path)
    """The endpoint's path."""
    max_request_body_size: int = key(65536, integer(1, _MOST))
    """Bytes of one request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InitConfig:
    """An endpoint that answers `{}`, for a client that warms up its connection."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/connection/init", http_path)
    """The endpoint's path."""
