"""Rules for what is served over HTTP: paths, and who is let in."""

from __future__ import annotations

from collections.abc import Iterator

from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.tls import TLSConfig

__all__ = ["check_endpoints", "serves_api"]


def serves_api(config: Config) -> bool:
    """Whether there is a server API: it needs a key, or to be open on purpose."""
    api = config.http_api
    return not api.disabled and bool(api.key or api.insecure)


def check_endpoints(config: Config) -> None:
    """Raise :exc:`ConfigError` for a rule between the keys of endpoints that is broken."""
    taken: dict[str, str] = {}
    for key, path in _paths(config):
        if not path and key != "admin":
            raise ConfigError(f"{key}.handler_prefix", 'must not be ""', path)
        if path in taken:
            raise ConfigError(
                f"{key}.handler_prefix", f"must not be that of {taken[path]} too", path
            )
        taken[path] = key
    admin = config.admin
    if admin.enabled and not admin.insecure:
        for name in ("password", "secret"):
            if not getattr(admin, name):
                raise ConfigError(f"admin.{name}", "is needed with admin.enabled")
    _check_tls("http_server.tls", config.http_server.tls)
    _check_tls("http_server.internal_tls", config.http_server.internal_tls)


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    if not config.websocket.disabled:
        yield "websocket", config.websocket.handler_prefix
    if serves_api(config):
        yield "http_api", config.http_api.handler_prefix
    if config.sse.enabled or config.http_stream.enabled:
        yield "emulation", config.emulation.handler_prefix
    for name in (
        "sse", "http_stream", "uni_websocket", "uni_sse", "uni_http_stream", "init",
        "admin", "prometheus", "health", "swagger",
    ):
        if getattr(config, name).enabled:
            yield name, getattr(config, name).handler_prefix


def _check_tls(path: str, tls: TLSConfig) -> None:
    if tls.enabled:
        for name in ("cert_pem", "key_pem"):
            if not getattr(tls, name):
                raise ConfigError(f"{path}.{name}", f"is needed with {path}.enabled")
