"""The configuration of ``fanout serve``.

A JSON or TOML file with the key names of Centrifugo (v6). What is supported,
with defaults, is in :mod:`~fanout.server.config.model`; what is known but not
supported yet in :mod:`~fanout.server.config.unsupported`.
"""

from fanout.server.config.address import ENGINES, masked
from fanout.server.config.checks import check
from fanout.server.config.engine import (
    EngineConfig,
    NatsConfig,
    RedisConfig,
    with_addresses,
)
from fanout.server.config.errors import ConfigError
from fanout.server.config.load import DEMO_NAMESPACE, demo_config, load, with_demo
from fanout.server.config.model import (
    LOG_LEVELS,
    ChannelConfig,
    ClientConfig,
    Config,
    HttpServerConfig,
    LogConfig,
    Namespace,
    NamespaceOptions,
    NodeConfig,
    ShutdownConfig,
    WebSocketConfig,
)

__all__ = [
    "DEMO_NAMESPACE",
    "ENGINES",
    "LOG_LEVELS",
    "ChannelConfig",
    "ClientConfig",
    "Config",
    "ConfigError",
    "EngineConfig",
    "HttpServerConfig",
    "LogConfig",
    "Namespace",
    "NamespaceOptions",
    "NatsConfig",
    "NodeConfig",
    "RedisConfig",
    "ShutdownConfig",
    "WebSocketConfig",
    "check",
    "demo_config",
    "load",
    "masked",
    "with_addresses",
    "with_demo",
]
