"""``engine``: where messages travel, and how its servers are reached.

Names are Centrifugo's (v6). It has NATS as a broker beside an engine, here it
is an engine; its keys are those of Centrifugo's ``broker.nats``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fanout.server.config.address import (
    ENGINES,
    engine_addresses,
    jetstream_url,
    nats_urls,
    redis_addresses,
)
from fanout.server.config.keys import key, secret, section
from fanout.server.config.values import boolean, duration, integer, list_of, one_of, text

__all__ = ["EngineConfig", "NatsConfig", "RedisConfig", "with_addresses"]


def _hosts(value: object) -> tuple[str, ...]:
    """Centrifugo's lists of hosts: one item per shard, its hosts with commas between them."""
    return list_of(text, _check_hosts)([value] if isinstance(value, str) else value)


def _check_hosts(hosts: str) -> None:
    for host in hosts.split(","):
        name, _, port = host.rpartition(":")
        # Nothing that would change its meaning inside a URL, where it will stand.
        if not name or not port.isdecimal() or any(char in host for char in "/?#@ "):
            raise ValueError("must be host:port, or several with commas between them")


def _replicas(value: object) -> int:
    if value not in (1, 3, 5) or isinstance(value, (bool, float)):
        raise ValueError("must be 1, 3 or 5")
    return integer(1, 5)(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisConfig:
    """Redis or Valkey."""

    address: tuple[str, ...] = secret(("redis://127.0.0.1:6379",), redis_addresses)
    """URLs, or ``host:port``; several are shards."""
    cluster_address: tuple[str, ...] = secret((), _hosts)
    """In place of ``address``: nodes of a cluster, ``"host:port,host:port"``."""
    sentinel_address: tuple[str, ...] = secret((), _hosts)
    """In place of ``address``: sentinels, ``"host:port,host:port"``."""
    sentinel_master_name: str = key("", text)
    """What the sentinels call the server; needed with ``sentinel_address``."""
    sentinel_user: str = secret("", text)
    """For sentinels; they know nothing of ``user``."""
    sentinel_password: str = secret("", text)
    """For sentinels."""
    user: str = secret("", text)
    """For addresses that name none."""
    password: str = secret("", text)
    """For addresses that have none."""
    db: int = key(0, integer(0))
    """For addresses that name none."""
    client_name: str = key("", text)
    """What CLIENT LIST shows."""
    prefix: str = key("fanout", text)
    """Of all keys and pub/sub channels. Not Centrifugo's own: what stands there
    is written in another way."""
    io_timeout: float = key(4.0, duration(0.01))
    """An operation that has no answer after so long has failed."""
    ping_interval: float = key(5.0, duration(0.05))
    """After so long a silence a server is asked whether it is there. Not a key
    of Centrifugo."""
    history_use_lists: bool = key(False, boolean)
    """History in lists, not in streams."""
    presence_ttl: float = key(60.0, duration(1))
    """A presence entry that is not refreshed ends after so long; longer than
    ``client.presence_update_interval``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsConfig:
    """NATS, with or without JetStream."""

    url: tuple[str, ...] = secret(("nats://localhost:4222",), nats_urls)
    """URLs of one or more servers of one system; ``?jetstream=true`` behind one
    is ``jetstream`` below."""
    jetstream: bool = key(False, boolean)
    """Without it there is no history and no presence. Not a key of Centrifugo."""
    replicas: int = key(1, _replicas)
    """On how many of the servers each message is kept. Not a key of Centrifugo."""
    prefix: str = key("fanout", text)
    """Of all subjects, streams and buckets."""
    io_timeout: float = key(4.0, duration(0.01))
    """As ``engine.redis.io_timeout``. Not a key of Centrifugo."""
    presence_ttl: float = key(60.0, duration(1, whole=True))
    """As ``engine.redis.presence_ttl``. Not a key of Centrifugo."""
    allow_wildcards: bool = key(False, boolean)
    """Clients may subscribe to `news.*` and `news.>`, where they may subscribe to
    every channel that this stands for."""

    @property
    def uses_jetstream(self) -> bool:
        return self.jetstream or any(jetstream_url(url)[1] for url in self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Where messages travel."""

    type: str = key("memory", one_of(*ENGINES))
    """``nats`` is not a type of Centrifugo's."""
    redis: RedisConfig = section(RedisConfig)
    nats: NatsConfig = section(NatsConfig)


def with_addresses(config: EngineConfig, values: Sequence[str]) -> EngineConfig:
    """``config`` with the engine and the addresses that ``--engine`` names, if any.

    What a file says beside them stays. Raises ``ValueError`` with the rule.
    """
    if not values:
        return config
    kind, addresses = engine_addresses(tuple(values))
    if kind == "redis":
        redis = replace(config.redis, address=addresses, cluster_address=(), sentinel_address=())
        return replace(config, type=kind, redis=redis)
    if kind == "nats":
        return replace(config, type=kind, nats=replace(config.nats, url=addresses))
    return replace(config, type=kind)
