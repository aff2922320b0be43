"""What a run is asked to do."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Plan", "Target", "parse_target"]

_WEBSOCKET_PATH = "/connection/websocket"
_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is. ``path`` is that of its WebSocket endpoint, with the query."""

    host: str
    port: int
    secure: bool
    path: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def api(self) -> str:
        """Where its HTTP API is, unless somebody says otherwise."""
        return urlunsplit(("https" if self.secure else "http", self.authority, "/api", "", ""))

    @property
    def is_this_machine(self) -> bool:
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_target(url: str) -> Target:
    """The target of an ``http``, ``https``, ``ws`` or ``wss`` URL.

    Without a path it is the WebSocket endpoint's usual one. Raises
    ``ValueError``, which repeats no password.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {error}") from None
    if parts.scheme not in _SECURE:
        raise ValueError(f"the URL must be http, https, ws or wss, not {parts.scheme}")
    if not parts.hostname:
        raise ValueError("the URL names no host")
    if parts.username is not None or parts.password is not None:
        raise ValueError("the URL must not hold a user or a password: clients use tokens")
    secure = _SECURE[parts.scheme]
    path = parts.path if parts.path not in ("", "/") else _WEBSOCKET_PATH
    return Target(
        host=parts.hostname,
        port=port if port is not None else 443 if secure else 80,
        secure=secure,
        path=f"{path}?{parts.query}" if parts.query else path,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run. Times are seconds, sizes bytes, rates per second.

    ``connections`` are those that subscribe; the publishers have their own.
    Each of the ``channels`` gets ``subscribers`` of them. ``rate`` is that of
    all publishers together. ``in_flight`` are the publications of one
    publisher that may wait for their answers. ``origin`` is that of a page;
    without one they connect as programs do, which send none.
    """

    target: Target
    connections: int = 100
    channels: int = 1
    subscribers: int = 0
    channel_prefix: str = "bench-"
    publishers: int = 1
    rate: float = 100.0
    size: int = 128
    duration: float = 10.0
    format: str = "json"
    connect_rate: float = 1000.0
    connect_concurrency: int = 100
    in_flight: int = 256
    timeout: float = 10.0
    settle: float = 5.0
    token: str = field(default="", repr=False)
    token_secret: str = field(default="", repr=False)
    origin: str = ""
    api_url: str = ""
    api_key: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        if not all("!" <= letter <= "~" for letter in self.origin):
            raise ValueError(
                f"origin {self.origin!r} must be as browsers send it: https://example.com")
        if self.subscribers > self.connections:
            raise ValueError(
                f"{self.subscribers} subscribers of a channel need as many connections, "
                f"not {self.connections}")

    @property
    def subscribers_per_channel(self) -> int:
        """As asked, or so many that each connection has one channel."""
        return self.subscribers or max(1, self.connections // self.channels)

    def channel(self, number: int) -> str:
        return f"{self.channel_prefix}{number}"

    def channels_of(self, connection: int) -> list[int]:
        """The channels of a connection: each channel takes the next connections in turn."""
        each = self.subscribers_per_channel
        return [
            channel for channel in range(self.channels)
            if (connection - channel * each) % self.connections < each
        ]
