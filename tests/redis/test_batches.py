"""What travels together, how much may wait, and what is restored at once."""

from __future__ import annotations

import asyncio

import pytest

from fanout import (
    BackpressureError,
    ChannelOptions,
    ClientInfo,
    EngineUnavailableError,
    Message,
    StreamPosition,
)
from tests.brokers.proxy import CuttingProxy
from tests.brokers.valkey import ValkeyServer
from tests.conformance.engines import PATIENCE
from tests.redis.conftest import MakeEngine

KEPT = ChannelOptions(history_size=10, history_lifetime=600)


def calls(server: ValkeyServer, command: str) -> int:
    """How often the server was given a command."""
    stats = server.client().info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@pytest.mark.parametrize("options", [None, KEPT], ids=["plain", "with-history"])
async def test_the_publishes_of_a_tick_leave_in_one_write(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, options: ChannelOptions | None
) -> None:
    engine, _ = await make_engine(proxy_url)
    await engine.publish_message("ch", Message("ch", b"0"), options)
    segments, reads = proxy.num_segments_to_server, proxy.num_reads_to_server
    results = [
        engine.publish_message(f"ch{number}", Message(f"ch{number}", b"1"), options)
        for number in range(100)
    ]
    await asyncio.gather(*results)
    assert proxy.num_segments_to_server - segments == 1
    assert proxy.num_reads_to_server - reads == 1


async def test_the_publishes_with_history_of_a_tick_are_few_calls_of_a_script(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    before = calls(server, "eval")
    results = [
        engine.publish_message(f"ch{number}", Message(f"ch{number}", b"1"), KEPT)
        for number in range(128)
    ]
    assert {position.offset for position in await asyncio.gather(*results)} == {1}
    assert calls(server, "eval") - before == 2


async def test_the_subscriptions_of_a_tick_leave_in_one_command(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    before = calls(server, "subscribe"), calls(server, "unsubscribe")
    names = [f"ch{number}" for number in range(500)]
    await asyncio.gather(*[engine.subscribe(name) for name in names])
    await asyncio.gather(*[engine.unsubscribe(name) for name in names])
    assert calls(server, "subscribe") - before[0] == 1
    assert calls(server, "unsubscribe") - before[1] == 1
    assert await engine.channels() == []


async def test_what_a_tick_takes_back_is_not_sent(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("kept")
    before = calls(server, "subscribe"), calls(server, "unsubscribe")
    await asyncio.gather(
        engine.subscribe("brief"), engine.unsubscribe("brief"),
        engine.unsubscribe("kept"), engine.subscribe("kept"),
    )
    assert await engine.channels() == ["kept"]
    assert (calls(server, "subscribe"), calls(server, "unsubscribe")) == before
    await engine.publish_message("kept", Message("kept", b"1"))
    await engine.publish_message("brief", Message("brief", b"2"))
    await told.settle(engine)
    assert told.data == [b"1"]


async def test_subscribing_and_leaving_in_quick_succession_ends_as_it_was_asked(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, told = await make_engine(server.url)
    results = []
    for _ in range(50):
        results.append(engine.subscribe("ends-subscribed"))
        results.append(engine.subscribe("ends-left"))
        await asyncio.sleep(0)
        results.append(engine.unsubscribe("ends-left"))
        results.append(engine.unsubscribe("ends-subscribed"))
        await asyncio.sleep(0)
    await asyncio.gather(*results, engine.subscribe("ends-subscribed"))
    assert await engine.channels() == ["ends-subscribed"]
    for name in ("ends-subscribed", "ends-left"):
        await engine.publish_message(name, Message(name, name.encode()))
    await told.settle(engine)
    assert told.data == [b"ends-subscribed"]


async def test_a_hundred_thousand_channels_are_restored_in_batches(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: ValkeyServer
) -> None:
    engine, told = await make_engine(proxy_url, timeout=PATIENCE)
    names = [f"channel-{number}" for number in range(100_000)]
    await asyncio.gather(*[engine.subscribe(name) for name in names])
    tasks = len(asyncio.all_tasks())
    before = calls(server, "subscribe")
    proxy.cut()
    await told.lost()
    async with asyncio.timeout(3 * PATIENCE):
        (restored,) = await told.restored()
    assert restored == set(names)
    assert len(asyncio.all_tasks()) <= tasks
    assert calls(server, "subscribe") - before < 200
    assert len(await engine.channels()) == 100_000
    await engine.publish_message(names[-1], Message(names[-1], b"1"))
    await told.until(lambda: told.data == [b"1"])


async def test_a_long_message_holds_up_nobody_who_waits_for_the_transport(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    """More than the transport takes at once waits its turn, in order."""
    engine, told = await make_engine(proxy_url, timeout=3 * PATIENCE)
    await engine.subscribe("ch")
    proxy.stall()
    results = [
        engine.publish_message("ch", Message("ch", bytes([number]) * 1_000_000), KEPT)
        for number in range(1, 21)
    ]
    await asyncio.sleep(0.05)
    proxy.unstall()
    assert [(await result).offset for result in results] == list(range(1, 21))
    await told.until(lambda: len(told.messages) == 20)
    assert [data[0] for data in told.data] == list(range(1, 21))


async def test_operations_above_the_bound_are_refused_from_the_call(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(proxy_url, max_pending=10)
    proxy.stall()
    results = [engine.publish_message("ch", Message("ch", b"1"), KEPT) for _ in range(10)]
    with pytest.raises(BackpressureError, match="10"):
        engine.publish_message("ch", Message("ch", b"1"), KEPT)
    with pytest.raises(BackpressureError):
        await engine.history("ch")
    proxy.unstall()
    assert [(await result).offset for result in results] == list(range(1, 11))
    assert (await engine.publish_message("ch", Message("ch", b"1"), KEPT)).offset == 11


async def test_bytes_above_the_bound_are_refused_from_the_call(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(proxy_url, max_pending_bytes=10_000)
    proxy.stall()
    message = Message("ch", b"x" * 3_000)
    results = [engine.publish_message("ch", message) for _ in range(3)]
    with pytest.raises(BackpressureError, match="10000 bytes"):
        engine.publish_message("ch", message)
    proxy.unstall()
    assert await asyncio.gather(*results) == [StreamPosition()] * 3
    await engine.publish_message("ch", message)
    with pytest.raises(BackpressureError):
        engine.publish_message("ch", Message("ch", b"x" * 10_001))


async def test_what_fails_makes_room_again(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(
        proxy_url, max_pending=10, max_pending_bytes=100_000, timeout=0.2)
    for _ in range(3):
        proxy.refuse()
        proxy.cut()
        results = [engine.publish_message("ch", Message("ch", b"1"), KEPT) for _ in range(10)]
        for result in results:
            with pytest.raises(EngineUnavailableError):
                await result
    proxy.accept()
    link = engine._servers.commands[0]
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await engine.publish_message("ch", Message("ch", b"1"), KEPT)
                break
            except EngineUnavailableError:
                continue
    assert (link._num_pending, link._num_bytes) == (0, 0)


async def test_a_caller_who_gives_up_leaves_nothing_behind(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(proxy_url)
    proxy.stall()
    waiting = [
        asyncio.ensure_future(engine.publish_message("ch", Message("ch", b"1"), KEPT)),
        asyncio.ensure_future(engine.subscribe("ch")),
        asyncio.create_task(engine.presence("ch")),
    ]
    await asyncio.sleep(0.01)
    for each in waiting:
        each.cancel()
    proxy.unstall()
    assert (await engine.publish_message("ch", Message("ch", b"2"), KEPT)).offset == 2
    assert await engine.channels() == ["ch"]
    link = engine._servers.commands[0]
    assert (link._num_pending, link._num_bytes) == (0, 0)


async def test_presence_changes_of_a_tick_are_one_call(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    before = calls(server, "eval")
    await asyncio.gather(*[
        engine.add_presence("ch", f"c{number}", ClientInfo("u", f"c{number}"))
        for number in range(50)
    ])
    assert calls(server, "eval") - before == 1
    assert (await engine.presence_stats("ch")).num_clients == 50
