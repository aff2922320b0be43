"""The engine that a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.util import find_spec
from urllib.parse import quote, urlencode

from fanout.engine import Engine
from fanout.errors import FanoutError
from fanout.memory import MemoryEngine
from fanout.server.config import Config, ConfigError, NatsConfig, RedisConfig
from fanout.server.config.address import jetstream_url

__all__ = ["EngineStartError", "MissingExtraError", "make_engine"]


class EngineStartError(FanoutError):
    """The engine could not be started; the text names its servers, and no secret."""


class MissingExtraError(FanoutError):
    """The engine needs packages that are not installed; the text names the extra."""


def make_engine(config: Config) -> Engine:
    """The engine of ``config``, not started.

    Raises :exc:`fanout.server.config.ConfigError` for what the engine does not
    take, and :exc:`MissingExtraError`.
    """
    engine = config.engine
    meta_lifetime = config.channel.history_meta_ttl
    if engine.type == "redis":
        _need("redis", "redis", "hiredis")
        return _made("engine.redis", lambda: _redis(engine.redis, meta_lifetime))
    if engine.type == "nats":
        _need("nats", "nats")
        return _made("engine.nats", lambda: _nats(engine.nats, meta_lifetime))
    # Nobody else keeps its entries, so they may live as long as it takes.
    lifetime = max(60.0, 2.5 * config.client.presence_update_interval)
    return MemoryEngine(presence_lifetime=lifetime, history_meta_lifetime=meta_lifetime)


def _need(extra: str, *packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{', '.join(missing)} not installed: pip install 'fanout[{extra}]'")


def _made(path: str, make: Callable[[], Engine]) -> Engine:
    try:
        return make()
    except ValueError as error:
        raise ConfigError(path, str(error)) from None


def _redis(config: RedisConfig, meta_lifetime: float) -> Engine:
    from fanout.redis import RedisEngine

    return RedisEngine(
        *_redis_urls(config),
        prefix=config.prefix,
        timeout=config.io_timeout,
        presence_lifetime=config.presence_ttl,
        history_meta_lifetime=meta_lifetime,
        history_lists=config.history_use_lists,
        ping_interval=config.ping_interval,
    )


def _redis_urls(config: RedisConfig) -> list[str]:
    """The addresses, with what stands beside them where they do not say it themselves."""
    from fanout.redis.address import parse_address

    urls: Iterable[str] = config.address
    if config.cluster_address:
        urls = [f"redis+cluster://{hosts}" for hosts in config.cluster_address]
    elif config.sentinel_address:
        name = _quoted(config.sentinel_master_name)
        urls = [f"redis+sentinel://{hosts}/{name}" for hosts in config.sentinel_address]
    completed = []
    for url in urls:
        address = parse_address(url)
        options = {"db": str(config.db or ""), "client_name": config.client_name}
        if address.kind == "sentinel":
            options["sentinel_username"] = config.sentinel_user
            options["sentinel_password"] = config.sentinel_password
        said = address.options.keys() | {
            f"sentinel_{name}" for name in address.sentinel_options if name in _LOGIN}
        added = {name: value for name, value in options.items() if value and name not in said}
        if not said & _LOGIN and (config.user or config.password):
            scheme, _, rest = url.partition("://")
            url = f"{scheme}://{_quoted(config.user)}:{_quoted(config.password)}@{rest}"
        if added:
            url += ("&" if "?" in url else "?") + urlencode(added)
        completed.append(url)
    return completed


_LOGIN = {"username", "password"}


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _nats(config: NatsConfig, meta_lifetime: float) -> Engine:
    from fanout.nats import NatsEngine

    return NatsEngine(
        [jetstream_url(url)[0] for url in config.url],
        prefix=config.prefix,
        timeout=config.io_timeout,
        jetstream=config.uses_jetstream,
        replicas=config.replicas,
        presence_lifetime=config.presence_ttl,
        history_meta_lifetime=meta_lifetime,
    )
