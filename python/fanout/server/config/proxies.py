"""Proxies: backends that are asked over HTTP what a client may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fanout.server.config.keys import key, mapping, secret, section, tables
from fanout.server.config.tls import TLSConfig
from fanout.server.config.values import (
    boolean,
    duration,
    header_name,
    header_values,
    integer,
    list_of,
    reason,
    text,
    url,
)

__all__ = [
    "PROXY",
    "ChannelProxies",
    "ClientProxies",
    "DisconnectTransform",
    "ErrorTransform",
    "EventProxyConfig",
    "NamedProxy",
    "ProxyConfig",
    "ProxyHttpConfig",
    "StatusTransform",
]

PROXY = "proxy.*"
"""What the lists of keys call any table of a proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTransform:
    """An error reply."""

    code: int = key(0, integer(0))
    """The protocol's error code; 0: none."""
    message: str = key("", reason)
    """What the client is told."""
    temporary: bool = key(False, boolean)
    """The client may try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectTransform:
    """A disconnect."""

    code: int = key(0, integer(0, 65535))
    """The protocol's disconnect code; 0: none."""
    reason: str = key("", reason)
    """What the client is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTransform:
    """What a client is told for an HTTP status of the backend: an error, or a disconnect."""

    status_code: int = key(0, integer(0, 599))
    """The status that the backend answered with."""
    to_error: ErrorTransform = section(ErrorTransform)
    """The error reply."""
    to_disconnect: DisconnectTransform = section(DisconnectTransform)
    """Or the disconnect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyHttpConfig:
    """The HTTP side of a proxy."""

    tls: TLSConfig = section(TLSConfig)
    """TLS to the backend; without it `https://` is checked as browsers do."""
    static_headers: Mapping[str, str] = mapping(header_values)
    """Headers of every request; those that come from the client's request win.
    A value may hold `${CENTRIFUGO_VAR_NAME}` or `${FANOUT_VAR_NAME}`, an
    environment variable."""
    status_to_code_transforms: tuple[StatusTransform, ...] = tables(
        StatusTransform, "proxy.*.http.status_to_code_transforms"
    )
    """What clients are told for statuses other than 200; else an internal error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyConfig:
    """A proxy."""

    endpoint: str = secret("", url("http", "https", "grpc"), from_file=False)
    """The URL that is asked with POST; only `http://` and `https://` work."""
    timeout: float = key(1.0, duration(0.001))
    """How long an answer may take."""
    http_headers: tuple[str, ...] = key((), list_of(header_name))
    """Headers of the connection's own request that are passed on."""
    emulated_headers: tuple[str, ...] = key((), list_of(header_name))
    """Headers that are passed on from the `headers` of the client's connect
    command. The client writes them itself: the backend must check them."""
    binary_encoding: bool = key(False, boolean)
    """Payloads are base64 in both directions (`b64data`), not JSON."""
    include_connection_meta: bool = key(False, boolean)
    """Requests hold the connection's `meta`."""
    http: ProxyHttpConfig = section(ProxyHttpConfig, "proxy.*.http")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProxyConfig(ProxyConfig):
    """A proxy with a switch of its own."""

    enabled: bool = key(False, boolean)
    """Ask this proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedProxy(ProxyConfig):
    """One of `proxies`, which namespaces name."""

    name: str = key("", text)
    """`[-a-zA-Z0-9_.]{2,}`, but not `default`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientProxies:
    """Proxies of a connection's events."""

    connect: EventProxyConfig = section(EventProxyConfig, PROXY)
    """Asked who connects, when a client shows no token."""
    refresh: EventProxyConfig = section(EventProxyConfig, PROXY)
    """Asked when a connection expires."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelProxies:
    """Proxies of channels' events: those that a namespace calls `default`."""

    subscribe: ProxyConfig = section(ProxyConfig, PROXY)
    """Where a namespace has `subscribe_proxy_enabled`."""
    publish: ProxyConfig = section(ProxyConfig, PROXY)
    """Where a namespace has `publish_proxy_enabled`."""
    sub_refresh: ProxyConfig = section(ProxyConfig, PROXY)
    """Where a namespace has `sub_refresh_proxy_enabled`."""
