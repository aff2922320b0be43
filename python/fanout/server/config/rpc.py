"""``rpc``: what happens to a client's RPC command."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.keys import key, section, tables
from fanout.server.config.proxies import PROXY, ProxyConfig
from fanout.server.config.values import boolean, name_mark, text

__all__ = ["RpcConfig", "RpcNamespace", "RpcOptions", "RpcPingConfig"]

_RPC = "rpc.*"


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcOptions:
    """Who answers the methods of a namespace."""

    proxy_enabled: bool = key(False, boolean)
    """A proxy answers."""
    proxy_name: str = key("default", text)
    """One of `proxies`; `default`: `rpc.proxy`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcNamespace(RpcOptions):
    """One of `rpc.namespaces`: the methods `name:...`."""

    name: str = key("", text)
    """`[-a-zA-Z0-9_.]{2,}`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcPingConfig:
    """A method that answers `{}`, for clients that measure."""

    enabled: bool = key(False, boolean)
    """Answer it."""
    method: str = key("ping", text)
    """The method's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcConfig:
    """A client's RPC commands."""

    proxy: ProxyConfig = section(ProxyConfig, PROXY)
    """The proxy that namespaces call `default`."""
    without_namespace: RpcOptions = section(RpcOptions, _RPC)
    """Methods without a namespace."""
    namespaces: tuple[RpcNamespace, ...] = tables(RpcNamespace, _RPC)
    """The namespaces of methods."""
    namespace_boundary: str = key(":", name_mark)
    """What ends the namespace in a method's name; `""`: no method has one."""
    ping: RpcPingConfig = section(RpcPingConfig)
