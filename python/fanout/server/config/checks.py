"""Rules between keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fanout.server.config.duration import format_duration
from fanout.server.config.errors import ConfigError
from fanout.server.config.model import NAMESPACE_NAME, Config, NamespaceOptions

__all__ = ["advice", "check", "namespaces"]


def namespaces(config: Config) -> Iterator[tuple[str, NamespaceOptions]]:
    """Every set of channel options, with the path of its table."""
    yield "channel.without_namespace", config.channel.without_namespace
    for index, namespace in enumerate(config.channel.namespaces):
        yield f"channel.namespaces[{namespace.name or index}]", namespace


def check(config: Config) -> None:
    """Raise :exc:`ConfigError` for the first rule between keys that is broken."""
    client = config.client
    if client.ping_interval and client.pong_timeout >= client.ping_interval:
        raise ConfigError(
            "client.pong_timeout",
            f"must be shorter than client.ping_interval ({format_duration(client.ping_interval)})",
            format_duration(client.pong_timeout),
        )
    _check_names(config)
    for path, options in namespaces(config):
        _check_history(path, options, config.channel.history_meta_ttl)


def _check_names(config: Config) -> None:
    boundary = config.channel.namespace_boundary
    seen = set()
    for index, namespace in enumerate(config.channel.namespaces):
        name = namespace.name
        path = f"channel.namespaces[{index}].name"
        if not re.fullmatch(NAMESPACE_NAME, name):
            raise ConfigError(path, f"must match ^{NAMESPACE_NAME}$", name)
        if name in seen:
            raise ConfigError(path, "must be unique", name)
        # Only a name in front of the first boundary is ever looked up.
        if boundary and boundary in name:
            raise ConfigError(
                path, f"must not contain channel.namespace_boundary ({boundary})", name
            )
        seen.add(name)


def _check_history(path: str, options: NamespaceOptions, meta_ttl: float) -> None:
    size, ttl = options.history_size, options.history_ttl
    if bool(size) != bool(ttl):
        key, value = ("history_size", size) if size else ("history_ttl", format_duration(ttl))
        other = "history_ttl" if size else "history_size"
        raise ConfigError(f"{path}.{key}", f"needs {other} too: history has both or neither", value)
    own = options.history_meta_ttl
    if ttl > (own or meta_ttl):
        name = f"{path}.history_meta_ttl" if own else "channel.history_meta_ttl"
        raise ConfigError(
            f"{path}.history_ttl",
            f"must not be longer than {name} ({format_duration(own or meta_ttl)})",
            format_duration(ttl),
        )


def advice(config: Config) -> list[str]:
    """Warnings about what is allowed, but seldom meant: one line each."""
    warnings = []
    if config.client.insecure:
        warnings.append(
            "client.insecure: anybody may connect, and do in any channel "
            "whatever its options do not allow; for development only"
        )
    if "*" in config.client.allowed_origins:
        warnings.append('client.allowed_origins: "*" lets pages of any site connect')
    for path, options in namespaces(config):
        if options.force_push_join_leave and not options.join_leave:
            warnings.append(f"{path}.force_push_join_leave: has no effect without join_leave")
    return warnings
