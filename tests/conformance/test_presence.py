"""Who is on a channel."""

from __future__ import annotations

import pytest

from fanout import ClientInfo, Engine, PresenceStats
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder

pytestmark = pytest.mark.requires(Capability.PRESENCE)

ANN = ClientInfo("ann", "c1", b'{"a":1}', b"\x00\xff")
BOB = ClientInfo("bob", "c2")

LIFETIME = 8    # of the test's seconds, as the engine fixture sets it


async def test_an_unknown_channel_is_empty(engine: Engine) -> None:
    assert await engine.presence("never") == {}
    assert await engine.presence_stats("never") == PresenceStats(0, 0)


async def test_who_was_added_is_present(engine: Engine) -> None:
    await engine.add_presence("ch", "c1", ANN)
    await engine.add_presence("ch", "c2", BOB)
    assert await engine.presence("ch") == {"c1": ANN, "c2": BOB}
    assert await engine.presence("other") == {}


async def test_adding_again_updates(engine: Engine) -> None:
    await engine.add_presence("ch", "c1", ANN)
    await engine.add_presence("ch", "c1", BOB)
    assert await engine.presence("ch") == {"c1": BOB}
    assert await engine.presence_stats("ch") == PresenceStats(1, 1)


async def test_removed_is_gone(engine_factory: EngineFactory, engine: Engine) -> None:
    await engine.add_presence("ch", "c1", ANN)
    await engine.add_presence("ch", "c2", BOB)
    await engine.add_presence("other", "c1", ANN)
    await engine.remove_presence("ch", "c1")
    assert await engine.presence("ch") == {"c2": BOB}
    assert await engine.presence("other") == {"c1": ANN}
    assert engine_factory.num_stored(engine) == 2


async def test_removing_what_is_not_there_is_no_error(engine: Engine) -> None:
    await engine.remove_presence("never", "c1")
    await engine.add_presence("ch", "c1", ANN)
    await engine.remove_presence("ch", "c2")
    await engine.remove_presence("ch", "c1")
    await engine.remove_presence("ch", "c1")
    assert await engine.presence("ch") == {}


async def test_the_map_is_the_caller_s_own(engine: Engine) -> None:
    await engine.add_presence("ch", "c1", ANN)
    (await engine.presence("ch")).clear()
    assert await engine.presence("ch") == {"c1": ANN}


async def test_stats_count_connections_and_different_users(engine: Engine) -> None:
    for number in range(10):
        user = f"user{number % 3}"
        await engine.add_presence("ch", f"c{number}", ClientInfo(user, f"c{number}"))
    assert await engine.presence_stats("ch") == PresenceStats(10, 3)
    await engine.remove_presence("ch", "c0")
    assert await engine.presence_stats("ch") == PresenceStats(9, 3)
    for number in (3, 6, 9):
        await engine.remove_presence("ch", f"c{number}")
    assert await engine.presence_stats("ch") == PresenceStats(6, 2)


async def test_presence_needs_no_subscription(engine: Engine) -> None:
    await engine.add_presence("ch", "c1", ANN)
    assert await engine.channels() == []
    assert await engine.presence("ch") == {"c1": ANN}


async def test_an_entry_expires(engine_factory: EngineFactory, engine: Engine) -> None:
    factory = engine_factory
    started = factory.now()
    await engine.add_presence("ch", "c1", ANN)
    await factory.assert_ends(
        lambda: engine.presence("ch"), started, factory.now(), factory.seconds(LIFETIME))
    assert await engine.presence("ch") == {}


async def test_stats_do_not_count_what_expired(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory

    async def clients() -> int:
        return (await engine.presence_stats("ch")).num_clients

    started = factory.now()
    await engine.add_presence("ch", "c1", ANN)
    await factory.assert_ends(clients, started, factory.now(), factory.seconds(LIFETIME))
    assert await engine.presence_stats("ch") == PresenceStats(0, 0)


async def test_refreshing_renews(engine_factory: EngineFactory, engine: Engine) -> None:
    factory = engine_factory
    await engine.add_presence("ch", "c1", ANN)
    await factory.elapse(factory.seconds(6))
    started = factory.now()
    await engine.add_presence("ch", "c1", ANN)
    await factory.assert_ends(
        lambda: engine.presence("ch"), started, factory.now(), factory.seconds(LIFETIME))


async def test_reading_does_not_refresh(engine_factory: EngineFactory, engine: Engine) -> None:
    # assert_ends reads all the time until the end.
    factory = engine_factory

    async def read() -> object:
        await engine.presence_stats("ch")
        return await engine.presence("ch")

    started = factory.now()
    await engine.add_presence("ch", "c1", ANN)
    await factory.assert_ends(read, started, factory.now(), factory.seconds(LIFETIME))


async def test_entries_expire_each_for_itself(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    await engine.add_presence("ch", "c1", ANN)
    await factory.elapse(factory.seconds(6))
    started = factory.now()
    await engine.add_presence("ch", "c2", BOB)
    finished = factory.now()
    await factory.elapse(factory.seconds(2) + factory.resolution)
    present = await engine.presence("ch")
    assert "c1" not in present

    async def bob() -> bool:
        return "c2" in await engine.presence("ch")

    await factory.assert_ends(bob, started, finished, factory.seconds(LIFETIME))


async def test_an_expired_entry_can_come_back(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await engine.add_presence("ch", "c1", ANN)
    await engine_factory.elapse(engine_factory.seconds(LIFETIME) + engine_factory.resolution)
    await engine.add_presence("ch", "c1", BOB)
    assert await engine.presence("ch") == {"c1": BOB}
    assert engine_factory.num_stored(engine) == 1


async def test_memory_is_given_back_without_anybody_asking(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    for channel in ("a", "b"):
        for number in range(20):
            await engine.add_presence(channel, f"c{number}", ANN)
    assert factory.num_stored(engine) == 40
    await factory.elapse(factory.seconds(LIFETIME))
    await factory.give_back(engine, lambda: factory.num_stored(engine) == 0)


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_presence_is_that_of_all_nodes(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    other = await engine_factory.create()
    await other.run(Recorder())
    await engine.add_presence("ch", "c1", ANN)
    await other.add_presence("ch", "c2", BOB)
    assert await engine.presence("ch") == await other.presence("ch") == {"c1": ANN, "c2": BOB}
    assert await engine.presence_stats("ch") == PresenceStats(2, 2)
    await other.remove_presence("ch", "c1")
    assert await engine.presence("ch") == {"c2": BOB}
