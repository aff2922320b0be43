"""Rules between keys."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fanout.server.config.channel import NAMESPACE_NAME, NamespaceOptions
from fanout.server.config.duration import format_duration
from fanout.server.config.engine import NatsConfig, RedisConfig
from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config

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
    _check_engine(config)


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
    if options.force_recovery and not size:
        raise ConfigError(
            f"{path}.force_recovery", "needs history_size and history_ttl", options.force_recovery
        )
    own = options.history_meta_ttl
    if ttl > (own or meta_ttl):
        name = f"{path}.history_meta_ttl" if own else "channel.history_meta_ttl"
        raise ConfigError(
            f"{path}.history_ttl",
            f"must not be longer than {name} ({format_duration(own or meta_ttl)})",
            format_duration(ttl),
        )


def _check_engine(config: Config) -> None:
    engine = config.engine
    if engine.type == "redis":
        _check_servers(engine.redis)
        _check_presence("engine.redis.presence_ttl", engine.redis.presence_ttl, config)
    elif engine.type == "nats":
        for path, options in namespaces(config):
            if engine.nats.allow_wildcards:
                _check_wildcards(path, options)
            if not engine.nats.uses_jetstream:
                _check_no_storage(path, options)
        if engine.nats.uses_jetstream:
            _check_presence("engine.nats.presence_ttl", engine.nats.presence_ttl, config)


def _check_servers(redis: RedisConfig) -> None:
    given = [name for name in ("cluster_address", "sentinel_address") if getattr(redis, name)]
    if len(given) > 1:
        raise ConfigError("engine.redis.cluster_address", "must not stand beside sentinel_address")
    if redis.sentinel_address and not redis.sentinel_master_name:
        raise ConfigError("engine.redis.sentinel_master_name", "is needed with sentinel_address")


def _check_presence(path: str, ttl: float, config: Config) -> None:
    interval = config.client.presence_update_interval
    if ttl <= interval:
        raise ConfigError(
            path,
            "must be longer than client.presence_update_interval "
            f"({format_duration(interval)}): entries would end between two updates",
            format_duration(ttl),
        )


def _check_no_storage(path: str, options: NamespaceOptions) -> None:
    """Core NATS stores nothing, and every subscribe or publish would fail."""
    if options.history_size:
        raise ConfigError(f"{path}.history_size", _NEEDS_JETSTREAM, options.history_size)
    if options.presence:
        raise ConfigError(f"{path}.presence", _NEEDS_JETSTREAM, options.presence)


def _check_wildcards(path: str, options: NamespaceOptions) -> None:
    if options.allow_user_limited_channels:
        raise ConfigError(
            f"{path}.allow_user_limited_channels",
            "must be off with engine.nats.allow_wildcards: a wildcard would hear such channels",
            options.allow_user_limited_channels,
        )


_NEEDS_JETSTREAM = (
    'needs JetStream with engine.type "nats": '
    'set engine.nats.jetstream, or put "?jetstream=true" behind the address'
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
    engine = config.engine
    for name, given in (
        ("redis", engine.redis != RedisConfig()), ("nats", engine.nats != NatsConfig())
    ):
        if given and engine.type != name:
            warnings.append(f'engine.{name}: has no effect with engine.type "{engine.type}"')
    for path, options in namespaces(config):
        if options.force_push_join_leave and not options.join_leave:
            warnings.append(f"{path}.force_push_join_leave: has no effect without join_leave")
        if not options.history_size:
            warnings.extend(
                f"{path}.{name}: has no effect without history_size and history_ttl"
                for name in ("allow_recovery", "force_positioning", "allow_positioning")
                if getattr(options, name)
            )
    return warnings
