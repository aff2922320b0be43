"""A master that sentinels watch over, and its replacement."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from fanout import (
    ChannelOptions,
    EngineError,
    EngineUnavailableError,
    Message,
    RedisEngine,
)
from tests.brokers.recorder import Told
from tests.brokers.sentinel import MASTER_NAME, SentinelSetup
from tests.brokers.valkey import ValkeyServer
from tests.conformance.engines import PATIENCE
from tests.redis.conftest import MakeEngine, NewEngine

KEPT = ChannelOptions(history_size=10_000, history_lifetime=600)


@pytest.fixture
def setup() -> Iterator[SentinelSetup]:
    with SentinelSetup(3) as setup:
        yield setup


def url_of(setup: SentinelSetup, login: str = "", query: str = "") -> str:
    hosts = ",".join(f"{host}:{port}" for host, port in setup.addresses)
    return f"redis+sentinel://{login}{hosts}/{MASTER_NAME}{query}"


async def publish(engine: RedisEngine, data: bytes) -> int:
    """Publish, as often as it takes to find a server; the offset."""
    async with asyncio.timeout(4 * PATIENCE):
        while True:
            try:
                return (await engine.publish_message("ch", Message("ch", data), KEPT)).offset
            except EngineUnavailableError:
                continue


async def test_the_replacement_of_a_dead_master_is_found(
    make_engine: MakeEngine, setup: SentinelSetup
) -> None:
    engine, told = await make_engine(url_of(setup), timeout=1.0, ping_interval=0.2)
    assert engine.name == "Redis"
    await engine.subscribe("ch")
    await publish(engine, b"1")
    new = await asyncio.to_thread(setup.kill_master)
    assert (await told.lost())[0] == {"ch"}
    async with asyncio.timeout(4 * PATIENCE):
        assert (await told.restored())[0] == {"ch"}
    await publish(engine, b"2")
    await told.until(lambda: told.data[-1:] == [b"2"])
    assert new.client().exists(f"{engine._names.key(b'stream', b'ch').decode()}")


async def test_a_master_that_hangs_is_replaced(
    make_engine: MakeEngine, setup: SentinelSetup
) -> None:
    """Both links go to the new one, also when the old one comes back as a replica."""
    engine, told = await make_engine(url_of(setup), timeout=1.0, ping_interval=0.2)
    await engine.subscribe("ch")
    await publish(engine, b"1")
    old = setup.master
    old.pause()
    await told.lost()
    new = await asyncio.to_thread(setup.wait_replaced, old)
    await publish(engine, b"2")
    old.resume()
    await told.restored()
    await publish(engine, b"3")
    await told.until(lambda: told.data[-1:] == [b"3"])
    (shard,) = engine._servers._shards
    assert shard.commands.peer == shard.subscriptions.peer == ("127.0.0.1", new.port)


async def test_sentinels_that_are_down_or_hang_are_passed_over(
    make_engine: MakeEngine, setup: SentinelSetup
) -> None:
    setup.sentinels[0].kill()
    setup.sentinels[1].pause()
    engine, _ = await make_engine(url_of(setup), timeout=2.0)
    assert await publish(engine, b"1") == 1


async def test_a_master_that_no_sentinel_knows(setup: SentinelSetup, new_engine: NewEngine) -> None:
    url = url_of(setup).replace(f"/{MASTER_NAME}", "/another")
    engine = new_engine(url, timeout=0.5)
    with pytest.raises(EngineUnavailableError, match="know no master 'another'"):
        await engine.run(Told())


async def test_passwords_of_the_master_and_of_the_sentinels(make_engine: MakeEngine) -> None:
    with SentinelSetup(1, password="master", sentinel_password="guards") as setup:
        url = url_of(setup, ":master@", "?sentinel_password=guards")
        engine, _ = await make_engine(url)
        assert await publish(engine, b"1") == 1
        with pytest.raises((EngineError, EngineUnavailableError)) as caught:
            await make_engine(url_of(setup, ":master@", "?sentinel_password=wrong"), timeout=0.5)
        assert "wrong" not in str(caught.value)


async def test_both_links_follow_the_master(make_engine: MakeEngine) -> None:
    """One of them found another one, and the other had no reason to look."""
    with SentinelSetup(1) as setup, ValkeyServer() as another:
        engine, told = await make_engine(url_of(setup))
        await engine.subscribe("ch")
        client = setup.sentinels[0].client()
        client.execute_command("SENTINEL", "REMOVE", MASTER_NAME)
        client.execute_command(
            "SENTINEL", "MONITOR", MASTER_NAME, "127.0.0.1", another.port, 1)
        setup.servers[0].client().client_kill_filter(_type="pubsub")
        assert await told.restored() == [{"ch"}]
        await publish(engine, b"1")
        await told.until(lambda: told.data == [b"1"])
        assert len(another.client().keys()) == 2
