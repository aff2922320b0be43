"""The configuration of ``fanout serve``.

A JSON, YAML or TOML file with the key names of Centrifugo (v6), and
environment variables with its names. What is supported, with defaults, is in
:mod:`~fanout.server.config.model`; what is known but not supported in
:mod:`~fanout.server.config.unsupported`.
"""

from fanout.server.config.address import ENGINES, masked
from fanout.server.config.advice import closed
from fanout.server.config.channel import ChannelConfig, Namespace, NamespaceOptions
from fanout.server.config.checks import check
from fanout.server.config.client import (
    ClientConfig,
    PersonalChannelConfig,
    UniDisconnectConfig,
    UniDisconnectTransform,
)
from fanout.server.config.endpoints import serves_api
from fanout.server.config.engine import (
    EngineConfig,
    NatsConfig,
    RedisConfig,
    with_addresses,
)
from fanout.server.config.environment import is_variable
from fanout.server.config.errors import ConfigError, Mistake, UnknownKey
from fanout.server.config.load import (
    DEMO_NAMESPACE,
    demo_config,
    load,
    made,
    problems,
    with_demo,
)
from fanout.server.config.model import Config
from fanout.server.config.operation import (
    LOG_FORMATS,
    LOG_LEVELS,
    AdminConfig,
    HealthConfig,
    HttpApiConfig,
    HttpServerConfig,
    LogConfig,
    NodeConfig,
    PrometheusConfig,
    ShutdownConfig,
    SwaggerConfig,
)
from fanout.server.config.proxies import (
    ChannelProxies,
    ClientProxies,
    DisconnectTransform,
    ErrorTransform,
    EventProxyConfig,
    NamedProxy,
    ProxyConfig,
    ProxyHttpConfig,
    StatusTransform,
)
from fanout.server.config.rpc import RpcConfig, RpcNamespace, RpcOptions, RpcPingConfig
from fanout.server.config.tls import TLSConfig, client_context, server_context
from fanout.server.config.tokens import SubscriptionTokenConfig, TokenConfig
from fanout.server.config.transports import (
    ConnectResponse,
    ConnectResponseConfig,
    ConnectResponseTransform,
    EmulationConfig,
    HttpStreamConfig,
    InitConfig,
    SseConfig,
    UniHttpStreamConfig,
    UniSseConfig,
    UniWebSocketConfig,
    WebSocketConfig,
    WebSocketOptions,
)

__all__ = [
    "DEMO_NAMESPACE",
    "ENGINES",
    "LOG_FORMATS",
    "LOG_LEVELS",
    "AdminConfig",
    "ChannelConfig",
    "ChannelProxies",
    "ClientConfig",
    "ClientProxies",
    "Config",
    "ConfigError",
    "ConnectResponse",
    "ConnectResponseConfig",
    "ConnectResponseTransform",
    "DisconnectTransform",
    "EmulationConfig",
    "EngineConfig",
    "ErrorTransform",
    "EventProxyConfig",
    "HealthConfig",
    "HttpApiConfig",
    "HttpServerConfig",
    "HttpStreamConfig",
    "InitConfig",
    "LogConfig",
    "Mistake",
    "NamedProxy",
    "Namespace",
    "NamespaceOptions",
    "NatsConfig",
    "NodeConfig",
    "PersonalChannelConfig",
    "PrometheusConfig",
    "ProxyConfig",
    "ProxyHttpConfig",
    "RedisConfig",
    "RpcConfig",
    "RpcNamespace",
    "RpcOptions",
    "RpcPingConfig",
    "ShutdownConfig",
    "SseConfig",
    "StatusTransform",
    "SubscriptionTokenConfig",
    "SwaggerConfig",
    "TLSConfig",
    "TokenConfig",
    "UniDisconnectConfig",
    "UniDisconnectTransform",
    "UniHttpStreamConfig",
    "UniSseConfig",
    "UniWebSocketConfig",
    "UnknownKey",
    "WebSocketConfig",
    "WebSocketOptions",
    "check",
    "client_context",
    "closed",
    "demo_config",
    "is_variable",
    "load",
    "made",
    "masked",
    "problems",
    "server_context",
    "serves_api",
    "with_addresses",
    "with_demo",
]
