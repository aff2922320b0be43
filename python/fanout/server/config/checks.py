"""Rules between keys."""

from __future__ import annotations

from collections.abc import Iterator

from fanout.server.config.channel import NamespaceOptions
from fanout.server.config.codes import check_codes
from fanout.server.config.duration import format_duration
from fanout.server.config.endpoints import check_endpoints
from fanout.server.config.engine import RedisConfig
from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.names import check_names
from fanout.server.config.references import check_proxies
from fanout.server.config.tokens import TokenConfig

__all__ = ["check", "namespaces"]


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
    check_names(
        "channel.namespaces", config.channel.namespaces, config.channel.namespace_boundary
    )
    for path, options in namespaces(config):
        _check_history(path, options, config.channel.history_meta_ttl)
    _check_personal_channel(config)
    _check_token("client.token", client.token)
    _check_token("client.subscription_token", client.subscription_token)
    check_proxies(config, namespaces(config))
    check_codes(config)
    check_endpoints(config)
    _check_engine(config)


def _check_personal_channel(config: Config) -> None:
    personal = config.client.subscribe_to_user_personal_channel
    path = "client.subscribe_to_user_personal_channel"
    if not personal.enabled:
        return
    name = personal.personal_channel_namespace
    options: NamespaceOptions | None = config.channel.without_namespace
    if name:
        options = next((n for n in config.channel.namespaces if n.name == name), None)
    if options is None:
        raise ConfigError(
            f"{path}.personal_channel_namespace", "must be one of channel.namespaces", name
        )
    if not config.channel.user_boundary:
        raise ConfigError(f"{path}.enabled", "needs channel.user_boundary", True)
    if personal.single_connection and not options.presence:
        raise ConfigError(f"{path}.single_connection", "needs presence in the namespace", True)


def _check_token(path: str, token: TokenConfig) -> None:
    for name in ("audience", "issuer"):
        if getattr(token, name) and getattr(token, f"{name}_regex"):
            raise ConfigError(f"{path}.{name}_regex", f"must not stand beside {name}")


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
    if options.auto_cache_recover and not (
        options.force_recovery and options.force_recovery_mode == "cache"
    ):
        raise ConfigError(
            f"{path}.auto_cache_recover",
            'needs force_recovery, and the force_recovery_mode "cache"',
            options.auto_cache_recover,
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
