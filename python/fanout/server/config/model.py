"""The whole configuration, with its defaults and rules.

Every attribute is the key of the same name in the configuration file; names,
meanings and defaults are Centrifugo's (v6) unless the text beside one says
otherwise. Durations are seconds. With the defaults nobody connects, and in no
channel anybody may subscribe, publish, or read presence or history.

What a file says goes through :func:`fanout.server.config.load`, which checks
it; an object made in code is checked by :func:`fanout.server.config.check`.
The texts beside the keys are also those of ``docs/configuration.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.channel import ChannelConfig
from fanout.server.config.client import ClientConfig
from fanout.server.config.engine import EngineConfig
from fanout.server.config.keys import section, tables
from fanout.server.config.operation import (
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
from fanout.server.config.proxies import PROXY, NamedProxy
from fanout.server.config.rpc import RpcConfig
from fanout.server.config.transports import (
    EmulationConfig,
    HttpStreamConfig,
    InitConfig,
    SseConfig,
    UniHttpStreamConfig,
    UniSseConfig,
    UniWebSocketConfig,
    WebSocketConfig,
)

__all__ = ["Config"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration."""

    http_server: HttpServerConfig = section(HttpServerConfig)
    log: LogConfig = section(LogConfig)
    engine: EngineConfig = section(EngineConfig)
    client: ClientConfig = section(ClientConfig)
    channel: ChannelConfig = section(ChannelConfig)
    rpc: RpcConfig = section(RpcConfig)
    proxies: tuple[NamedProxy, ...] = tables(NamedProxy, PROXY)
    """Proxies that namespaces name."""
    http_api: HttpApiConfig = section(HttpApiConfig)
    websocket: WebSocketConfig = section(WebSocketConfig)
    sse: SseConfig = section(SseConfig)
    http_stream: HttpStreamConfig = section(HttpStreamConfig)
    emulation: EmulationConfig = section(EmulationConfig)
    uni_websocket: UniWebSocketConfig = section(UniWebSocketConfig)
    uni_sse: UniSseConfig = section(UniSseConfig)
    uni_http_stream: UniHttpStreamConfig = section(UniHttpStreamConfig)
    init: InitConfig = section(InitConfig)
    admin: AdminConfig = section(AdminConfig)
    prometheus: PrometheusConfig = section(PrometheusConfig)
    health: HealthConfig = section(HealthConfig)
    swagger: SwaggerConfig = section(SwaggerConfig)
    node: NodeConfig = section(NodeConfig)
    shutdown: ShutdownConfig = section(ShutdownConfig)

    @classmethod
    def default(cls) -> Config:
        """What holds without a configuration file: everything closed."""
        return cls()
