"""Addresses of engines: what is taken, and what an error may show of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.server.config import EngineConfig, NatsConfig, RedisConfig, masked, with_addresses
from fanout.server.config.address import jetstream_url, nats_urls, redis_addresses, split

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("redis://a:1", ["redis://a:1"]),
        ("redis://a:1,redis://b:2", ["redis://a:1", "redis://b:2"]),
        ("redis://a:1, unix:///b", ["redis://a:1", "unix:///b"]),
        # A comma between hosts, or in a password, is not one between addresses.
        ("redis+sentinel://a:1,b:2/m,redis://c", ["redis+sentinel://a:1,b:2/m", "redis://c"]),
        ("redis://:p,w@a:1", ["redis://:p,w@a:1"]),
        ("a:1,b:2", ["a:1", "b:2"]),
    ],
)
def test_splitting(text: str, pieces: list[str]) -> None:
    assert list(split(text)) == pieces


@pytest.mark.parametrize(
    ("read", "value", "urls"),
    [
        (redis_addresses, "127.0.0.1:6379", ["redis://127.0.0.1:6379"]),
        (redis_addresses, ["a:1", "rediss://b:2/1"], ["redis://a:1", "rediss://b:2/1"]),
        (redis_addresses, ["a:1,b:2"], ["redis://a:1", "redis://b:2"]),
        (redis_addresses, "unix:///run/redis.sock", ["unix:///run/redis.sock"]),
        (redis_addresses, "REDIS://a", ["REDIS://a"]),
        (nats_urls, "localhost:4222", ["nats://localhost:4222"]),
        (nats_urls, ["nats://a", "tls://b?jetstream=true"], ["nats://a", "tls://b?jetstream=true"]),
    ],
)
def test_addresses_of_a_file(read: Any, value: object, urls: list[str]) -> None:
    assert list(read(value)) == urls


@pytest.mark.parametrize(
    ("read", "value", "rule"),
    [
        (redis_addresses, 6379, "must be an address or a list of addresses"),
        (redis_addresses, ["a:1", 5], "must be an address or a list of addresses"),
        (redis_addresses, [], "must name at least one address"),
        (redis_addresses, "", "must name at least one address"),
        (redis_addresses, ["a:1", ""], "must name at least one address, and none that is empty"),
        (redis_addresses, "nats://a", "must begin with one of redis://, rediss://, unix://"),
        (redis_addresses, "redis://a b", "must have no spaces"),
        (redis_addresses, "redis://a\0", "must have no spaces and no control characters"),
        (nats_urls, "redis://a", "must begin with one of nats://, tls://, not 'redis://a'"),
        (nats_urls, "nats://a?jetstream=yes", 'may only have "jetstream=true"'),
        (nats_urls, "nats://a?js=true", 'may only have "jetstream=true"'),
    ],
)
def test_bad_addresses_of_a_file(read: Any, value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=r"must|may") as caught:
        read(value)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://user:{SECRET}@a:1/0", "redis://***@a:1/0"),
        (f"redis://:{SECRET}@a:1,b:2/m?client_name=x", "redis://***@a:1,b:2/m?***"),
        (f"unix:///run/x.sock?password={SECRET}", "unix:///run/x.sock?***"),
        (f"redis://:{SECRET}?/#@{SECRET}@a", "redis://***@a"),
        (f"user:{SECRET}@a", "***@a"),
        (f"redis:/user:{SECRET}@a", "***@a"),
        ("redis://a:1", "redis://a:1"),
        ("", ""),
    ],
)
def test_secrets_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(st.text(), st.text(), st.text())
def test_nothing_before_a_host_is_ever_shown(user: str, password: str, host: str) -> None:
    assert masked(f"redis://{user}:{SECRET}{password}@{host}").count(SECRET) == host.count(SECRET)


def test_jetstream_is_asked_for_behind_the_address() -> None:
    assert jetstream_url("nats://a:4222?jetstream=true") == ("nats://a:4222", True)
    assert jetstream_url("nats://a:4222?jetstream=false") == ("nats://a:4222", False)
    assert jetstream_url("nats://a:4222") == ("nats://a:4222", False)


# --engine


@pytest.mark.parametrize(
    ("values", "kind", "addresses"),
    [
        (["memory"], "memory", ()),
        (["redis://a"], "redis", ("redis://a",)),
        (["redis://a", "rediss://b"], "redis", ("redis://a", "rediss://b")),
        (["redis://a,redis://b"], "redis", ("redis://a", "redis://b")),
        (["unix:///x"], "redis", ("unix:///x",)),
        (["redis+sentinel://a,b/m"], "redis", ("redis+sentinel://a,b/m",)),
        (["redis+cluster://a:1,b:2"], "redis", ("redis+cluster://a:1,b:2",)),
        (["nats://a", "nats://b"], "nats", ("nats://a", "nats://b")),
        (["tls://a"], "nats", ("tls://a",)),
    ],
)
def test_an_option_names_the_engine(
    values: list[str], kind: str, addresses: tuple[str, ...]
) -> None:
    config = with_addresses(EngineConfig(), values)
    assert config.type == kind
    assert config.redis.address == (addresses if kind == "redis" else RedisConfig().address)
    assert config.nats.url == (addresses if kind == "nats" else NatsConfig().url)


def test_an_option_wins_over_the_addresses_of_a_file_alone() -> None:
    file = EngineConfig(
        type="nats",
        redis=RedisConfig(
            cluster_address=("c:1",), sentinel_address=("s:1",), prefix="p", password=SECRET
        ),
    )
    assert with_addresses(file, []) is file
    assert with_addresses(file, ["redis://a"]) == EngineConfig(
        type="redis", redis=RedisConfig(address=("redis://a",), prefix="p", password=SECRET)
    )


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (["a:1"], "must be memory, or begin with one of redis://"),
        ([""], "must be memory, or begin with one of redis://"),
        ([f"http://u:{SECRET}@a"], "not 'http://***@a'"),
        (["redis://a", "nats://b"], "must be addresses of one engine, not of nats and redis"),
        (["memory", "redis://b"], "must be addresses of one engine, not of memory and redis"),
        ([f"redis://:{SECRET} @a"], "must have no spaces"),
        (["nats://a?jetstream"], 'may only have "jetstream=true"'),
    ],
)
def test_bad_options(values: list[str], rule: str) -> None:
    with pytest.raises(ValueError, match=r"must|may") as caught:
        with_addresses(EngineConfig(), values)
    assert rule in str(caught.value)
    assert SECRET not in str(caught.value)


def test_no_repr_shows_a_secret() -> None:
    config = EngineConfig(
        redis=RedisConfig(
            address=(f"redis://:{SECRET}@a",), password=SECRET, sentinel_password=SECRET
        ),
        nats=NatsConfig(url=(f"nats://u:{SECRET}@a",)),
    )
    assert SECRET not in repr(config)
