"""Several servers that share the channels between them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    EngineUnavailableError,
    Message,
)
from fanout.redis.shards import shard_of
from tests.brokers.valkey import ValkeyServer
from tests.redis.conftest import MakeEngine

KEPT = ChannelOptions(history_size=10, history_lifetime=600)


@pytest.fixture
def servers() -> Iterator[list[ValkeyServer]]:
    servers = [ValkeyServer() for _ in range(3)]
    try:
        for server in servers:
            server.start()
        yield servers
    finally:
        for server in servers:
            server.close()


def names_on(shard: int, count: int) -> list[str]:
    """So many channels of one of three shards."""
    names = (f"ch{number}" for number in range(10_000))
    return [name for name in names if shard_of(name.encode(), 3) == shard][:count]


def test_the_hash_is_centrifugo_s() -> None:
    """FNV-1a and the jump hash have published values."""
    assert shard_of(b"", 1) == 0
    # Jump hash of FNV-1a 64 ("", "a", "foobar" are in its list of test vectors).
    expected = {b"": 0xCBF29CE484222325, b"a": 0xAF63DC4C8601EC8C, b"foobar": 0x85944171F73967E8}
    for text, key in expected.items():
        for count in (2, 3, 10, 1000):
            assert shard_of(text, count) == jump(key, count)


def jump(key: int, count: int) -> int:
    """As in the paper of Lamping and Veach."""
    bucket, following = -1, 0
    while following < count:
        bucket = following
        key = (key * 2862933555777941757 + 1) % 2**64
        following = int((bucket + 1) * (2**31 / ((key >> 33) + 1)))
    return bucket


def test_a_further_shard_takes_channels_only_for_itself() -> None:
    names = [b"channel-%d" % number for number in range(3000)]
    for count in range(1, 8):
        before = [shard_of(name, count) for name in names]
        after = [shard_of(name, count + 1) for name in names]
        moved = [new for old, new in zip(before, after, strict=True) if new != old]
        assert set(moved) == {count}
        assert len(moved) == pytest.approx(len(names) / (count + 1), rel=0.2)
        for shard in range(count + 1):
            assert after.count(shard) == pytest.approx(len(names) / (count + 1), rel=0.2)


async def test_each_channel_is_on_its_own_server(
    make_engine: MakeEngine, servers: list[ValkeyServer], prefix: str
) -> None:
    urls = [server.url for server in servers]
    engine, told = await make_engine(*urls)
    other, _ = await make_engine(*urls)
    assert engine.name == "Redis, 3 shards"
    channels = [name for shard in range(3) for name in names_on(shard, 4)]
    for channel in channels:
        await engine.subscribe(channel)
    for channel in channels:
        await other.publish_message(channel, Message(channel, b"1"), KEPT)
        await other.add_presence(channel, "c", ClientInfo("u", "c"))
    await told.until(lambda: len(told.messages) == 12)
    assert sorted(await other.channels()) == sorted(channels)
    for shard, server in enumerate(servers):
        client = server.client()
        topics = {f"{prefix}.client.{name}".encode() for name in names_on(shard, 4)}
        assert set(client.pubsub_channels(f"{prefix}.client.*")) == topics
        assert len(client.keys(f"{prefix}.stream.*")) == 4
    for channel in channels:
        assert len(await engine.history(channel)) == 1
        assert (await engine.presence_stats(channel)).num_clients == 1


async def test_one_shard_that_fails_takes_only_its_channels_along(
    make_engine: MakeEngine, servers: list[ValkeyServer]
) -> None:
    """Control and admin messages go another way meanwhile, and each arrives once."""
    engine, told = await make_engine(
        *[server.url for server in servers], timeout=0.5, ping_interval=0.1)
    channels = [names_on(shard, 1)[0] for shard in range(3)]
    for channel in channels:
        await engine.subscribe(channel)
    servers[0].kill()
    assert await told.lost() == [{channels[0]}]
    with pytest.raises(EngineUnavailableError):
        await engine.publish_message(channels[0], Message(channels[0], b"1"), KEPT)
    with pytest.raises(EngineUnavailableError):
        await engine.channels()
    for channel in channels[1:]:
        await engine.publish_message(channel, Message(channel, b"1"), KEPT)
    await engine.publish_control(ControlMessage("n", "ping"))
    await engine.publish_admin(AdminMessage("note"))
    await told.until(lambda: len(told.arrived) == 5)
    await asyncio.to_thread(servers[0].start)
    assert await told.restored() == [{channels[0]}]
    await engine.publish_control(ControlMessage("n", "again"))
    await told.settle(engine)
    kinds = [kind for kind, _, _ in told.arrived]
    assert kinds.count("control") == 2
    assert kinds.count("admin") == 1
    assert sorted(await engine.channels()) == sorted(channels)


async def test_every_shard_must_be_there_at_first(
    make_engine: MakeEngine, servers: list[ValkeyServer]
) -> None:
    servers[1].stop()
    with pytest.raises(EngineUnavailableError, match=str(servers[1].port)):
        await make_engine(*[server.url for server in servers], timeout=0.3)
