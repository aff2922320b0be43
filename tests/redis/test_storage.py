"""History and presence as the server has them, and what is made of it when part is gone."""

from __future__ import annotations

import asyncio
import random

import pytest

from fanout import ChannelOptions, ClientInfo, EngineError, Message, PresenceStats, RedisEngine
from tests.brokers.valkey import ValkeyServer
from tests.conformance.engines import PATIENCE
from tests.redis.conftest import MakeEngine

LISTS = pytest.mark.parametrize("lists", [False, True], ids=["streams", "lists"])


def kept(size: int = 10, lifetime: float = 600, **options: object) -> ChannelOptions:
    return ChannelOptions(history_size=size, history_lifetime=lifetime, **options)


def key(engine: RedisEngine, kind: str, channel: str = "ch") -> bytes:
    return engine._names.key(kind.encode(), channel.encode())


async def publish(engine: RedisEngine, data: bytes, options: ChannelOptions | None = None) -> int:
    position = await engine.publish_message("ch", Message("ch", data), options or kept())
    return position.offset


async def test_the_keys_of_a_stream(
    make_engine: MakeEngine, server: ValkeyServer, prefix: str
) -> None:
    engine, _ = await make_engine(server.url)
    for number in range(7):
        await publish(engine, b"%d" % number, kept(5, 100, history_meta_lifetime=50))
    client = server.client()
    assert set(client.keys()) == {
        f"{prefix}.meta.{{ch}}".encode(), f"{prefix}.stream.{{ch}}".encode()}
    position = (await engine.history_stream("ch")).position
    assert client.hgetall(key(engine, "meta")) == {
        b"s": b"7", b"e": position.epoch.encode(), b"l": b"50000"}
    assert [name for name, _ in client.xrange(key(engine, "stream"))] == [
        b"%d-0" % offset for offset in range(3, 8)]
    assert 90_000 < client.pttl(key(engine, "stream")) <= 100_000
    assert 140_000 < client.pttl(key(engine, "meta")) <= 150_000


async def test_the_keys_of_a_list(
    make_engine: MakeEngine, server: ValkeyServer, prefix: str
) -> None:
    engine, _ = await make_engine(server.url, history_lists=True)
    for number in range(7):
        await publish(engine, b"%d" % number, kept(5, 100))
    client = server.client()
    assert set(client.keys()) == {
        f"{prefix}.meta.{{ch}}".encode(), f"{prefix}.list.{{ch}}".encode()}
    assert client.llen(key(engine, "list")) == 5
    assert [message.offset for message in await engine.history("ch")] == [7, 6, 5, 4, 3]


@LISTS
async def test_meta_data_that_is_gone_makes_a_new_stream(
    make_engine: MakeEngine, server: ValkeyServer, lists: bool
) -> None:
    """What a server that ran out of memory may drop: old messages never get new offsets."""
    for reads_first in (False, True):
        engine, _ = await make_engine(server.url, history_lists=lists)
        await publish(engine, b"old")
        before = (await engine.history_stream("ch")).position
        server.client().delete(key(engine, "meta"))
        if reads_first:
            page = await engine.history_stream("ch", before)
            assert (page.messages, page.recoverable) == ([], False)
        else:
            assert await engine.history("ch") == []
        assert await publish(engine, b"new") == 1
        page = await engine.history_stream("ch", before)
        assert not page.recoverable
        assert page.position.epoch != before.epoch
        assert [message.data for message in await engine.history("ch")] == [b"new"]
        server.client().flushall()


@LISTS
async def test_messages_that_are_gone_are_missed(
    make_engine: MakeEngine, server: ValkeyServer, lists: bool
) -> None:
    engine, _ = await make_engine(server.url, history_lists=lists)
    await publish(engine, b"1")
    seen = (await engine.history_stream("ch")).position
    await publish(engine, b"2")
    server.client().delete(key(engine, "list" if lists else "stream"))
    page = await engine.history_stream("ch", seen)
    assert (page.messages, page.recoverable, page.position.offset) == ([], False, 2)
    assert await publish(engine, b"3") == 3
    assert not (await engine.history_stream("ch", seen)).recoverable


async def test_a_key_of_somebody_else_fails_only_what_needs_it(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    """Also in one step with others, some before and some behind."""
    engine, told = await make_engine(server.url)
    server.client().set(key(engine, "meta", "bad"), "x")
    names = ["a", "b", "bad", "c", "d"]
    results = await asyncio.gather(
        *[engine.publish_message(name, Message(name, b"1"), kept()) for name in names],
        return_exceptions=True)
    assert isinstance(results[2], EngineError)
    assert "WRONGTYPE" in str(results[2])
    del results[2]
    assert [position.offset for position in results] == [1, 1, 1, 1]
    with pytest.raises(EngineError, match="WRONGTYPE"):
        await engine.history_stream("bad")
    await told.settle(engine)


async def test_entries_that_nobody_can_read_fail_only_the_reading(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    await publish(engine, b"1")
    server.client().delete(key(engine, "stream"))
    server.client().xadd(key(engine, "stream"), {"d": "rubbish"}, id="1-0")
    with pytest.raises(EngineError, match="no sense"):
        await engine.history("ch")
    server.client().hset(key(engine, "presence.data"), "c", "rubbish")
    with pytest.raises(EngineError):
        await engine.presence("ch")
    assert await publish(engine, b"2") == 2


@LISTS
async def test_offsets_above_what_a_double_prints_whole(
    make_engine: MakeEngine, server: ValkeyServer, lists: bool
) -> None:
    engine, told = await make_engine(server.url, history_lists=lists)
    await engine.subscribe("ch")
    await publish(engine, b"1")
    server.client().delete(key(engine, "list" if lists else "stream"))
    start = 123_456_789_012_345_678 % 2**53
    server.client().hset(key(engine, "meta"), "s", start)
    assert await publish(engine, b"2") == start + 1
    assert await publish(engine, b"3") == start + 2
    page = await engine.history_stream("ch")
    assert [message.offset for message in page.messages] == [start + 1, start + 2]
    page = await engine.history_stream("ch", page.position, reverse=True)
    assert [message.offset for message in page.messages] == [start + 1]
    await told.until(lambda: [m.offset for m in told.messages] == [1, start + 1, start + 2])


@pytest.mark.parametrize("lifetime", [0.0001, 1e15, 1e300])
async def test_lifetimes_of_any_length(
    make_engine: MakeEngine, server: ValkeyServer, lifetime: float
) -> None:
    engine, _ = await make_engine(
        server.url, presence_lifetime=lifetime, history_meta_lifetime=lifetime)
    assert await publish(engine, b"1", kept(10, lifetime)) == 1
    await engine.add_presence("ch", "c", ClientInfo("u", "c"))
    if lifetime > 1:
        assert len(await engine.history("ch")) == 1
        assert len(await engine.presence("ch")) == 1


async def test_epochs_are_never_offered_twice(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    positions = await asyncio.gather(*[
        engine.publish_message(f"ch{number}", Message(f"ch{number}", b"1"), kept())
        for number in range(2000)
    ])
    assert len({position.epoch for position in positions}) == 2000
    assert all(len(p.epoch) == 12 and p.epoch.isalpha() for p in positions)


async def test_two_nodes_publish_into_one_channel(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    nodes = [await make_engine(server.url) for _ in range(2)]
    for engine, _ in nodes:
        await engine.subscribe("ch")
    results = []
    for number in range(300):
        for at, (engine, _) in enumerate(nodes):
            data = b"%d:%d" % (at, number)
            results.append(engine.publish_message("ch", Message("ch", data), kept(1000)))
        if number % 10 == 9:
            await asyncio.sleep(0)
    positions = await asyncio.gather(*results)
    assert sorted(position.offset for position in positions) == list(range(1, 601))
    assert len({position.epoch for position in positions}) == 1
    for _, told in nodes:
        await told.until(lambda told=told: len(told.messages) == 600)
        assert [message.offset for message in told.messages] == list(range(1, 601))
        for at in range(2):
            assert [data for data in told.data if data.startswith(b"%d:" % at)] == [
                b"%d:%d" % (at, number) for number in range(300)]


# ---- presence ------------------------------------------------------------------


async def test_presence_of_a_node_that_died_ends_by_the_server_s_clock(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    survivor, _ = await make_engine(server.url, presence_lifetime=0.4)
    dead, _ = await make_engine(server.url, presence_lifetime=0.4)
    await dead.add_presence("ch", "gone", ClientInfo("u1", "gone"))
    await dead.close()
    async with asyncio.timeout(PATIENCE):
        while True:
            await survivor.add_presence("ch", "stays", ClientInfo("u2", "stays"))
            if await survivor.presence_stats("ch") == PresenceStats(1, 1):
                break
            await asyncio.sleep(0.02)
    assert list(await survivor.presence("ch")) == ["stays"]


async def test_more_than_one_step_s_worth_of_entries_end_at_once(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url, presence_lifetime=0.5)
    lasting, _ = await make_engine(server.url, presence_lifetime=600)
    await asyncio.gather(*[
        engine.add_presence("ch", f"c{number}", ClientInfo(f"u{number % 7}", "c"))
        for number in range(2500)
    ])
    await lasting.add_presence("ch", "stays", ClientInfo("u", "stays"))
    client = server.client()
    ends = key(engine, "presence.expire")
    assert client.zcard(ends) > 1500
    async with asyncio.timeout(PATIENCE):
        while client.zcount(ends, int(client.time()[0] * 1000), "+inf") > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    # Seconds were compared: the last ones end within this one.
    await asyncio.sleep(1)
    assert client.zcard(ends) > 1500
    assert await engine.presence_stats("ch") == PresenceStats(1, 1)
    assert list(await engine.presence("ch")) == ["stays"]
    for kind in ("presence.data", "presence.users"):
        assert client.hlen(key(engine, kind)) == 1
    assert client.zcard(key(engine, "presence.expire")) == 1


async def test_a_short_lifetime_does_not_cut_a_long_one(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    lasting, _ = await make_engine(server.url, presence_lifetime=600)
    brief, _ = await make_engine(server.url, presence_lifetime=0.05)
    await lasting.add_presence("ch", "stays", ClientInfo("u", "stays"))
    await brief.add_presence("ch", "goes", ClientInfo("u", "goes"))
    async with asyncio.timeout(PATIENCE):
        while len(await lasting.presence("ch")) > 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await lasting.presence_stats("ch") == PresenceStats(1, 1)


async def test_presence_keeps_count_of_users(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    """Against a model, with connections that change their user."""
    engine, _ = await make_engine(server.url)
    chance = random.Random(7)
    model: dict[str, ClientInfo] = {}
    for _ in range(400):
        conn = f"c{chance.randrange(12)}"
        if chance.random() < 0.6:
            user = chance.choice(["", "a", "b:c", "4:x", "\N{SNOWMAN}", "ü" * 20])
            info = ClientInfo(user, conn, b"\x00:\xff", b"1:2")
            await engine.add_presence("ch", conn, info)
            model[conn] = info
        else:
            await engine.remove_presence("ch", conn)
            model.pop(conn, None)
        assert await engine.presence_stats("ch") == PresenceStats(
            len(model), len({info.user for info in model.values()}))
    assert await engine.presence("ch") == model
    for conn in list(model):
        await engine.remove_presence("ch", conn)
    assert server.client().keys() == []
