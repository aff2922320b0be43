"""What nodes know of each other: the channels of all of them."""

from __future__ import annotations

import asyncio

import pytest

from fanout import EngineUnavailableError
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.nats.conftest import MakeEngine
from tests.nats.test_faults import QUICK, until

SLOW_ENOUGH = 60.0      # seconds, longer than a test may take


async def test_a_node_that_is_alone_waits_for_nobody(
    make_engine: MakeEngine, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    engine, _ = await make_engine(server.url)
    assert await engine.channels() == []
    assert caplog.text == ""


async def test_a_new_node_knows_the_others_and_they_know_it(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engines = []
    for number in range(5):
        engine, _ = await make_engine(server.url)
        await engine.subscribe(f"own-{number}")
        await engine.subscribe("shared")
        engines.append(engine)
        expected = sorted([f"own-{each}" for each in range(number + 1)] + ["shared"])
        assert sorted(await engine.channels()) == expected
        assert sorted(await engines[0].channels()) == expected
    assert await engines[2].channels("own-[24]") in (["own-2", "own-4"], ["own-4", "own-2"])


async def test_nodes_that_start_at_the_same_time_find_each_other(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.nats.peers.HEARTBEAT", SLOW_ENOUGH)
    made = await asyncio.gather(*[make_engine(server.url) for _ in range(8)])
    engines = [engine for engine, _ in made]
    # Of two that do not know each other yet one has been told of the other.
    await until(lambda: all(len(engine._peers._known) == 7 for engine in engines))
    await asyncio.gather(*[
        engine.subscribe(f"own-{number}") for number, engine in enumerate(engines)])
    for channels in await asyncio.gather(*[engine.channels() for engine in engines]):
        assert sorted(channels) == [f"own-{number}" for number in range(8)]


async def test_long_lists_come_in_parts(make_engine: MakeEngine, server: NatsServer) -> None:
    engine, _ = await make_engine(server.url, timeout=SLOW_ENOUGH)
    other, _ = await make_engine(server.url, timeout=SLOW_ENOUGH)
    names = {f"room {number:05} {'x' * 60}." for number in range(10_000)}
    await asyncio.gather(*[other.subscribe(name) for name in names])
    assert set(await engine.channels()) == names
    assert set(await engine.channels("*0042*")) == {name for name in names if "0042" in name}


async def test_a_node_that_is_closed_is_not_waited_for(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.nats.peers.EXPIRY", SLOW_ENOUGH)
    engine, _ = await make_engine(server.url, timeout=SLOW_ENOUGH)
    other, _ = await make_engine(server.url)
    await engine.subscribe("mine")
    await other.subscribe("theirs")
    assert sorted(await engine.channels()) == ["mine", "theirs"]
    await other.close()
    async with asyncio.timeout(SLOW_ENOUGH / 2):
        assert await engine.channels() == ["mine"]


async def test_a_node_that_does_not_answer_is_left_out_and_comes_back(
    make_engine: MakeEngine, server: NatsServer, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(server.url, **QUICK)
    other, heard = await make_engine(proxy_url, **QUICK)
    await engine.subscribe("mine")
    await other.subscribe("theirs")
    assert sorted(await engine.channels()) == ["mine", "theirs"]
    proxy.stall()
    assert await engine.channels() == ["mine"]
    assert engine._peers._known == {}, "it would be waited for again"
    await heard.lost()
    with pytest.raises(EngineUnavailableError):
        await other.channels()
    other._peers._known.clear()     # as after a longer outage
    proxy.unstall()
    await heard.restored()
    assert sorted(await other.channels()) == ["mine", "theirs"]
    await until(lambda: bool(engine._peers._known))
    assert sorted(await engine.channels()) == ["mine", "theirs"]


async def test_a_question_that_a_cut_interrupts_is_asked_again(
    make_engine: MakeEngine, server: NatsServer, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    other, _ = await make_engine(server.url)
    await other.subscribe("theirs")
    cut = asyncio.wrap_future(proxy.cut_after(0))
    channels = await engine.channels()
    await cut
    assert channels == ["theirs"]
    await told.restored()


async def test_who_comes_during_a_question_does_not_hold_it_up(
    make_engine: MakeEngine, server: NatsServer, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(server.url, timeout=SLOW_ENOUGH)
    other, _ = await make_engine(proxy_url, timeout=SLOW_ENOUGH)
    await other.subscribe("theirs")
    proxy.stall()
    asked = asyncio.ensure_future(engine.channels())
    await until(lambda: any(survey.heard for survey in engine._peers._surveys.values()))
    late, _ = await make_engine(server.url)
    await late.subscribe("late")
    proxy.unstall()
    async with asyncio.timeout(SLOW_ENOUGH / 2):
        assert await asked == ["theirs"]
    assert sorted(await engine.channels()) == ["late", "theirs"]


async def test_a_node_that_is_not_heard_of_is_forgotten(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.nats.peers.HEARTBEAT", 0.05)
    monkeypatch.setattr("fanout.nats.peers.EXPIRY", 0.2)
    engine, _ = await make_engine(server.url)
    other, _ = await make_engine(server.url)
    assert other._uid in engine._peers._known
    # As if it was killed: it says nothing any more, not even good-bye.
    other._peers._beat.cancel()
    await until(lambda: other._uid not in engine._peers._known)
