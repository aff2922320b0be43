"""Rules for proxies: what is asked must be there, and be reachable over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fanout.server.config.channel import NamespaceOptions
from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.names import check_names
from fanout.server.config.proxies import ProxyConfig
from fanout.server.config.rpc import RpcOptions

__all__ = ["check_proxies", "every_proxy"]

DEFAULT = "default"


def every_proxy(config: Config) -> Iterator[tuple[str, ProxyConfig]]:
    """Every table that describes a proxy, with its path."""
    yield "client.proxy.connect", config.client.proxy.connect
    yield "client.proxy.refresh", config.client.proxy.refresh
    yield "channel.proxy.subscribe", config.channel.proxy.subscribe
    yield "channel.proxy.publish", config.channel.proxy.publish
    yield "channel.proxy.sub_refresh", config.channel.proxy.sub_refresh
    yield "rpc.proxy", config.rpc.proxy
    for index, proxy in enumerate(config.proxies):
        yield f"proxies[{proxy.name or index}]", proxy


def check_proxies(
    config: Config, namespaces: Iterable[tuple[str, NamespaceOptions]]
) -> None:
    """Raise :exc:`ConfigError` for a proxy that is asked but cannot be."""
    check_names("proxies", config.proxies)
    check_names("rpc.namespaces", config.rpc.namespaces, config.rpc.namespace_boundary)
    for index, proxy in enumerate(config.proxies):
        if proxy.name == DEFAULT:
            raise ConfigError(
                f"proxies[{index}].name",
                "must be another: it means the proxy of channel.proxy or rpc.proxy",
                proxy.name,
            )
        _check_endpoint(f"proxies[{proxy.name}]", proxy)
    client = config.client.proxy
    for name, event in (("connect", client.connect), ("refresh", client.refresh)):
        if event.enabled:
            _check_endpoint(f"client.proxy.{name}", event)
    own = config.channel.proxy
    for path, options in namespaces:
        for kind, default in (
            ("subscribe", own.subscribe),
            ("publish", own.publish),
            ("sub_refresh", own.sub_refresh),
        ):
            _check_reference(
                config,
                f"{path}.{kind}_proxy_",
                getattr(options, f"{kind}_proxy_enabled"),
                getattr(options, f"{kind}_proxy_name"),
                (f"channel.proxy.{kind}", default),
            )
    for path, rpc in _rpc(config):
        _check_reference(
            config,
            f"{path}.proxy_",
            rpc.proxy_enabled,
            rpc.proxy_name,
            ("rpc.proxy", config.rpc.proxy),
        )
    for path, any_proxy in every_proxy(config):
        _check_transforms(f"{path}.http.status_to_code_transforms", any_proxy)


def _rpc(config: Config) -> Iterator[tuple[str, RpcOptions]]:
    yield "rpc.without_namespace", config.rpc.without_namespace
    for namespace in config.rpc.namespaces:
        yield f"rpc.namespaces[{namespace.name}]", namespace


def _check_reference(
    config: Config, path: str, enabled: bool, name: str, default: tuple[str, ProxyConfig]
) -> None:
    if name and name != DEFAULT and all(proxy.name != name for proxy in config.proxies):
        raise ConfigError(f"{path}name", 'must be one of proxies, or "default"', name)
    if enabled and not name:
        raise ConfigError(f"{path}name", 'must be one of proxies, or "default"', name)
    if enabled and name == DEFAULT:
        _check_endpoint(*default)


def _check_endpoint(path: str, proxy: ProxyConfig) -> None:
    if not proxy.endpoint:
        raise ConfigError(f"{path}.endpoint", "is needed: the proxy is in use")
    if proxy.endpoint.startswith("grpc:"):
        raise ConfigError(
            f"{path}.endpoint", "must begin with http:// or https://: gRPC is not supported"
        )


def _check_transforms(path: str, proxy: ProxyConfig) -> None:
    for index, item in enumerate(proxy.http.status_to_code_transforms):
        place = f"{path}[{index}]"
        if not item.status_code:
            raise ConfigError(f"{place}.status_code", "is needed")
        error, disconnect = item.to_error.code, item.to_disconnect.code
        if bool(error) == bool(disconnect):
            raise ConfigError(place, "needs a code in to_error or to_disconnect, and not in both")
