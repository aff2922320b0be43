"""The keys of those who run the server: where it listens, and what it tells and takes."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.keys import key, secret, section
from fanout.server.config.tls import TLSConfig
from fanout.server.config.values import address as host
from fanout.server.config.values import (
    boolean,
    duration,
    http_path,
    one_of,
    optional_port,
    text,
)
from fanout.server.config.values import port as port_number

__all__ = [
    "LOG_FORMATS",
    "LOG_LEVELS",
    "AdminConfig",
    "HealthConfig",
    "HttpApiConfig",
    "HttpServerConfig",
    "LogConfig",
    "NodeConfig",
    "PrometheusConfig",
    "ShutdownConfig",
    "SwaggerConfig",
]

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "none")
LOG_FORMATS = ("text", "json")


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServerConfig:
    """Where the server listens."""

    address: str = key("127.0.0.1", host)
    """The address to listen on. Loopback, unlike Centrifugo, which listens on all
    interfaces: `""` or `"0.0.0.0"` does that here."""
    port: int = key(8000, port_number)
    """The port; 0: any free one."""
    internal_address: str = key("", host)
    """The address of `internal_port`; `""`: that of `address`."""
    internal_port: int | None = key(None, optional_port)
    """A second port, on which the server API, the admin page, metrics, health and
    the API's description are served, and not on the first; `""`: all on one."""
    tls: TLSConfig = section(TLSConfig)
    """TLS on `port`, and on `internal_port` too unless `tls_external` or
    `internal_tls` say otherwise."""
    tls_external: bool = key(False, boolean)
    """`tls` is for the first port alone."""
    internal_tls: TLSConfig = section(TLSConfig)
    """TLS on `internal_port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpApiConfig:
    """The server API. It is off without a key."""

    disabled: bool = key(False, boolean)
    """Off even with a key."""
    handler_prefix: str = key("/api", http_path)
    """The path in front of each method's name."""
    error_mode: str = key("", one_of("", "transport"))
    """`transport`: an error is an HTTP status as well; `""`: it is in the body of a 200."""
    external: bool = key(False, boolean)
    """Serve it on `http_server.port` although there is an `internal_port`."""
    insecure: bool = key(False, boolean)
    """Serve it without a key. For development only."""
    key: str = secret("", text)
    """What a request must show in its `X-API-Key` header."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminConfig:
    """The admin page."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("", http_path)
    """Its path; `""`: the root."""
    password: str = secret("", text)
    """What lets somebody in; needed unless `insecure`."""
    secret: str = secret("", text)
    """Signs who has logged in; needed unless `insecure`. The same on every node."""
    insecure: bool = key(False, boolean)
    """No password. For development only."""
    external: bool = key(False, boolean)
    """Serve it on `http_server.port` although there is an `internal_port`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusConfig:
    """Metrics for Prometheus."""

    enabled: bool = key(False, boolean)
    """Serve them."""
    handler_prefix: str = key("/metrics", http_path)
    """The endpoint's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """The health check."""

    enabled: bool = key(True, boolean)
    """Answer it. On, unlike in Centrifugo: it says nothing but that the server runs."""
    handler_prefix: str = key("/health", http_path)
    """The endpoint's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwaggerConfig:
    """The OpenAPI description of the server API."""

    enabled: bool = key(False, boolean)
    """Serve it."""
    handler_prefix: str = key("/swagger", http_path)
    """The endpoint's path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownConfig:
    """The end of the process."""

    timeout: float = key(30.0, duration())
    """How long clients have to leave before their connections are cut."""
    termination_delay: float = key(0.0, duration())
    """After SIGTERM the server goes on for so long as if nothing were, so that a
    load balancer can take it out. Not a key of Centrifugo v6."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """This process among the others of its system."""

    name: str = key("", text)
    """What other nodes know this one by; `""`: its uid."""
    info_metrics_aggregate_interval: float = key(60.0, duration(1))
    """Over how long the metrics are averaged that nodes tell one another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The log."""

    level: str = key("info", one_of(*LOG_LEVELS))
    """The least that is logged."""
    file: str = key("", text)
    """A file that the log is appended to; `""`: standard error."""
    format: str = key("text", one_of(*LOG_FORMATS))
    """`json`: an object a line. Not a key of Centrifugo, which always logs so to a file."""
