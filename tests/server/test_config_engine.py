"""From a configuration to its engine."""

from __future__ import annotations

import sys
from typing import Any

import pytest

import fanout.nats
import fanout.redis
from fanout import MemoryEngine
from fanout.server.config import Config, ConfigError, check
from fanout.server.config.reader import read
from fanout.server.engines import MissingExtraError, make_engine


class Recorder:
    """Stands in for an engine's class, and keeps what it was called with."""

    def __init__(self) -> None:
        self.arguments: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}

    def __call__(self, *arguments: Any, **keywords: Any) -> Recorder:
        self.arguments, self.keywords = arguments, keywords
        return self


@pytest.fixture
def redis_engine(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(fanout.redis, "RedisEngine", recorder := Recorder())
    return recorder


@pytest.fixture
def nats_engine(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(fanout.nats, "NatsEngine", recorder := Recorder())
    return recorder


def configured(engine: dict[str, Any], **tables: Any) -> Config:
    config, warnings = read({"engine": engine, **tables})
    assert warnings == []
    check(config)
    return config


def test_memory_is_the_default() -> None:
    assert isinstance(make_engine(Config.default()), MemoryEngine)


def test_what_redis_is_given(redis_engine: Recorder) -> None:
    keys = {
        "address": ["redis://a:1", "b:2"], "prefix": "p", "io_timeout": "2s", "ping_interval": "1s",
        "presence_ttl": "30s", "history_use_lists": True,
    }
    config = configured({"type": "redis", "redis": keys}, channel={"history_meta_ttl": "1h"})
    assert make_engine(config) is redis_engine  # type: ignore[comparison-overlap]
    assert redis_engine.arguments == ("redis://a:1", "redis://b:2")
    assert redis_engine.keywords == {
        "prefix": "p", "timeout": 2.0, "ping_interval": 1.0, "presence_lifetime": 30.0,
        "history_lists": True, "history_meta_lifetime": 3600.0,
    }


def test_what_nats_is_given(nats_engine: Recorder) -> None:
    keys = {
        "url": ["nats://u:p@a:1", "nats://b:2"], "prefix": "p", "io_timeout": "2s",
        "presence_ttl": "30s", "jetstream": True, "replicas": 3,
    }
    config = configured({"type": "nats", "nats": keys}, channel={"history_meta_ttl": "1h"})
    assert make_engine(config) is nats_engine  # type: ignore[comparison-overlap]
    assert nats_engine.arguments == (["nats://u:p@a:1", "nats://b:2"],)
    assert nats_engine.keywords == {
        "prefix": "p", "timeout": 2.0, "presence_lifetime": 30.0, "jetstream": True, "replicas": 3,
        "history_meta_lifetime": 3600.0,
    }


@pytest.mark.parametrize(
    ("url", "jetstream"),
    [("nats://a", False), ("nats://a?jetstream=true", True), ("nats://a?jetstream=false", False)],
)
def test_jetstream_behind_an_address(url: str, jetstream: bool, nats_engine: Recorder) -> None:
    make_engine(configured({"type": "nats", "nats": {"url": url}}))
    assert nats_engine.arguments == (["nats://a"],)
    assert nats_engine.keywords["jetstream"] is jetstream


@pytest.mark.parametrize(
    ("keys", "addresses"),
    [
        ({}, ["redis://127.0.0.1:6379"]),
        ({"address": "a", "password": "p/w@"}, ["redis://:p%2Fw%40@a"]),
        ({"address": "a", "user": "u:u", "password": "pw"}, ["redis://u%3Au:pw@a"]),
        ({"address": "redis://:own@a", "user": "u", "password": "pw"}, ["redis://:own@a"]),
        ({"address": "a", "db": 3}, ["redis://a?db=3"]),
        ({"address": "redis://a/1", "db": 3}, ["redis://a/1"]),
        ({"address": "redis://a?db=1", "db": 3}, ["redis://a?db=1"]),
        ({"address": "a", "client_name": "me"}, ["redis://a?client_name=me"]),
        ({"address": "rediss://a?ssl_cert_reqs=none", "db": 3},
         ["rediss://a?ssl_cert_reqs=none&db=3"]),
        ({"address": "unix:///x.sock", "db": 3, "password": "pw"}, ["unix://:pw@/x.sock?db=3"]),
        ({"address": "unix:///x?password=own", "password": "pw"}, ["unix:///x?password=own"]),
        ({"address": "redis+sentinel://a,b/m/2", "db": 3}, ["redis+sentinel://a,b/m/2"]),
        ({"cluster_address": ["a:1,b:2", "c:3"], "password": "pw"},
         ["redis+cluster://:pw@a:1,b:2", "redis+cluster://:pw@c:3"]),
        ({"sentinel_address": "a:1,b:2", "sentinel_master_name": "m/x", "password": "pw",
          "sentinel_user": "s", "sentinel_password": "spw", "db": 3},
         ["redis+sentinel://:pw@a:1,b:2/m%2Fx?db=3&sentinel_username=s&sentinel_password=spw"]),
        ({"address": "redis+sentinel://a/m?sentinel_password=own", "sentinel_password": "spw"},
         ["redis+sentinel://a/m?sentinel_password=own"]),
    ],
)  # fmt: skip
def test_what_stands_beside_the_addresses(
    keys: dict[str, Any], addresses: list[str], redis_engine: Recorder
) -> None:
    make_engine(configured({"type": "redis", "redis": keys}))
    assert list(redis_engine.arguments) == addresses


@pytest.mark.parametrize(
    ("engine", "rule"),
    [
        ({"type": "redis", "redis": {"address": "redis://:s3cret@a/x"}},
         "engine.redis: redis://a/x: the database must be a number"),
        ({"type": "redis", "redis": {"address": "a", "user": "s3cret"}},
         "engine.redis: redis://a: a user name needs a password"),
        ({"type": "redis", "redis": {"prefix": "{p}"}}, "engine.redis: prefix must"),
        ({"type": "nats", "nats": {"prefix": "p.>"}}, "engine.nats: prefix must"),
        ({"type": "nats", "nats": {"url": "nats://u:s3cret@a:x"}}, "engine.nats: "),
    ],
)  # fmt: skip
def test_what_an_engine_does_not_take_is_a_bad_configuration(
    engine: dict[str, Any], rule: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_engine(configured(engine))
    assert str(caught.value).startswith(rule)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "package"), [("redis", "redis"), ("redis", "hiredis"), ("nats", "nats")]
)
def test_a_missing_extra_is_named(
    kind: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    with pytest.raises(MissingExtraError) as caught:
        make_engine(configured({"type": kind}))
    assert str(caught.value) == f"{package} not installed: pip install 'fanout[{kind}]'"


def test_presence_in_memory_lives_longer_than_its_updates_are_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder()
    monkeypatch.setattr("fanout.server.engines.MemoryEngine", recorder)
    for interval, lifetime in (("27s", 67.5), ("1s", 60.0), ("10m", 1500.0)):
        make_engine(configured({}, client={"presence_update_interval": interval}))
        assert recorder.keywords["presence_lifetime"] == lifetime
