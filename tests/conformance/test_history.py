"""History: what is kept, for how long, and the newest-first view of it."""

from __future__ import annotations

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    Engine,
    Message,
    StreamPosition,
)
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder

pytestmark = pytest.mark.requires(Capability.HISTORY)


def kept(factory: EngineFactory, size: int, lifetime: float, **options: object) -> ChannelOptions:
    return ChannelOptions(
        history_size=size, history_lifetime=factory.seconds(lifetime), **options)


async def publish(
    engine: Engine, channel: str, data: list[bytes], options: ChannelOptions
) -> None:
    for each in data:
        await engine.publish_message(channel, Message(channel, each), options)


async def kept_data(engine: Engine, channel: str, limit: int = 0) -> list[bytes]:
    return [message.data for message in await engine.history(channel, limit)]


async def test_an_unknown_channel_has_none(engine: Engine) -> None:
    assert await engine.history("never") == []
    assert await engine.history("never", 5) == []


async def test_newest_first(engine_factory: EngineFactory, engine: Engine) -> None:
    await publish(engine, "ch", [b"1", b"2", b"3"], kept(engine_factory, 10, 600))
    assert await kept_data(engine, "ch") == [b"3", b"2", b"1"]


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, [b"3", b"2", b"1"]),
        (1, [b"3"]),
        (2, [b"3", b"2"]),
        (3, [b"3", b"2", b"1"]),
        (4, [b"3", b"2", b"1"]),
        (10**6, [b"3", b"2", b"1"]),
    ],
)
async def test_limit(
    engine_factory: EngineFactory, engine: Engine, limit: int, expected: list[bytes]
) -> None:
    await publish(engine, "ch", [b"1", b"2", b"3"], kept(engine_factory, 10, 600))
    assert await kept_data(engine, "ch", limit) == expected


async def test_messages_are_kept_whole(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    info = ClientInfo(user="u", client="c", default_info=b"{}", channel_info=b"\xff")
    messages = [
        Message("ch", b"", uid="one", timestamp=1.25),
        Message("ch", bytes(range(256)), client="c", info=info),
        Message("ch", b"x" * 100_000, tags={"a": "b"}),
    ]
    for message in messages:
        await engine.publish_message("ch", message, kept(engine_factory, 10, 600))
    assert await engine.history("ch") == [
        messages[2].at(3), messages[1].at(2), messages[0].at(1)]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 50])
async def test_exactly_the_size_is_kept(
    engine_factory: EngineFactory, engine: Engine, size: int
) -> None:
    sent = [b"%d" % number for number in range(60)]
    await publish(engine, "ch", sent, kept(engine_factory, size, 600))
    assert await kept_data(engine, "ch") == sent[-size:][::-1]
    assert engine_factory.num_stored(engine) == size


async def test_a_size_lowered_later_trims(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    sent = [b"%d" % number for number in range(40)]
    await publish(engine, "ch", sent, kept(engine_factory, 40, 600))
    await publish(engine, "ch", [b"last"], kept(engine_factory, 3, 600))
    assert await kept_data(engine, "ch") == [b"last", b"39", b"38"]
    assert engine_factory.num_stored(engine) == 3
    assert [message.offset for message in await engine.history("ch")] == [41, 40, 39]


async def test_a_size_raised_later_keeps_more(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1", b"2", b"3"], kept(engine_factory, 2, 600))
    await publish(engine, "ch", [b"4", b"5"], kept(engine_factory, 4, 600))
    assert await kept_data(engine, "ch") == [b"5", b"4", b"3", b"2"]


async def test_channels_do_not_mix(engine_factory: EngineFactory, engine: Engine) -> None:
    options = kept(engine_factory, 10, 600)
    for number in range(5):
        for channel in ("a", "b", "A", "a "):
            await publish(engine, channel, [f"{channel}{number}".encode()], options)
    for channel in ("a", "b", "A", "a "):
        assert await kept_data(engine, channel) == [
            f"{channel}{number}".encode() for number in range(4, -1, -1)]


async def test_the_list_is_the_caller_s_own(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 600))
    (await engine.history("ch")).clear()
    assert await kept_data(engine, "ch") == [b"1"]


async def test_no_subscriber_is_needed(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 600))
    await events.settle(engine)
    assert await kept_data(engine, "ch") == [b"1"]
    assert events.arrived == []


async def test_it_ends_after_its_lifetime(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    started = factory.now()
    await publish(engine, "ch", [b"1"], kept(factory, 10, 4))
    await factory.assert_ends(
        lambda: engine.history("ch"), started, factory.now(), factory.seconds(4))


async def test_the_stream_view_ends_after_its_lifetime(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory

    async def read() -> list[Message]:
        return (await engine.history_stream("ch")).messages

    started = factory.now()
    await publish(engine, "ch", [b"1"], kept(factory, 10, 4))
    await factory.assert_ends(read, started, factory.now(), factory.seconds(4))


async def test_publishing_renews_the_lifetime_of_all(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    await publish(engine, "ch", [b"1"], kept(factory, 10, 4))
    await factory.elapse(factory.seconds(3))
    started = factory.now()
    await publish(engine, "ch", [b"2"], kept(factory, 10, 4))
    finished = factory.now()
    await factory.assert_ends(
        lambda: engine.history("ch"), started, finished, factory.seconds(4))


async def test_the_whole_channel_lives_as_long_as_the_newest_message(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 1))
    await publish(engine, "ch", [b"2"], kept(engine_factory, 10, 600))
    first_two = await kept_data(engine, "ch")
    await engine_factory.elapse(engine_factory.seconds(2))
    # The first may have expired before the second came, on a busy machine;
    # what was still there then is there for the second's lifetime.
    assert await kept_data(engine, "ch") == first_two
    assert first_two[0] == b"2"


async def test_the_newest_lifetime_counts_when_it_is_shorter(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    await publish(engine, "ch", [b"1"], kept(factory, 10, 6000))
    started = factory.now()
    await publish(engine, "ch", [b"2"], kept(factory, 10, 4))
    await factory.assert_ends(
        lambda: engine.history("ch"), started, factory.now(), factory.seconds(4))


async def test_a_publish_without_history_renews_nothing(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    started = factory.now()
    await publish(engine, "ch", [b"1"], kept(factory, 10, 4))
    finished = factory.now()
    await factory.elapse(factory.seconds(2))
    await publish(engine, "ch", [b"2"], ChannelOptions())
    assert b"2" not in await kept_data(engine, "ch")
    await factory.assert_ends(
        lambda: engine.history("ch"), started, finished, factory.seconds(4))


async def test_reading_does_not_renew(engine_factory: EngineFactory, engine: Engine) -> None:
    # assert_ends reads all the time until the end.
    factory = engine_factory

    async def read() -> list[Message]:
        await engine.history_stream("ch", StreamPosition(0, ""), reverse=True)
        return await engine.history("ch")

    started = factory.now()
    await publish(engine, "ch", [b"1"], kept(factory, 10, 4))
    await factory.assert_ends(read, started, factory.now(), factory.seconds(4))


async def test_memory_is_given_back_without_anybody_asking(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    for channel in ("a", "b", "c"):
        await publish(engine, channel, [b"1"] * 10, kept(factory, 10, 10))
    await publish(engine, "long", [b"1"], kept(factory, 10, 6000))
    assert factory.num_stored(engine) == 31
    await factory.elapse(factory.seconds(10))
    await factory.give_back(engine, lambda: factory.num_stored(engine) == 1)
    assert await kept_data(engine, "long") == [b"1"]


async def test_history_begins_again_after_it_expired(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1", b"2"], kept(engine_factory, 10, 2))
    await engine_factory.elapse(engine_factory.seconds(2) + engine_factory.resolution)
    await publish(engine, "ch", [b"3"], kept(engine_factory, 10, 600))
    assert await kept_data(engine, "ch") == [b"3"]
    assert engine_factory.num_stored(engine) == 1


async def test_drop_inactive_without_subscriber_and_history_stores_nothing(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    options = kept(engine_factory, 10, 600, history_drop_inactive=True)
    position = await engine.publish_message("ch", Message("ch", b"1"), options)
    assert position == StreamPosition(0, "")
    assert await engine.history("ch") == []
    assert engine_factory.num_stored(engine) == 0


async def test_drop_inactive_with_a_subscriber_stores(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    options = kept(engine_factory, 10, 600, history_drop_inactive=True)
    await engine.subscribe("ch")
    position = await engine.publish_message("ch", Message("ch", b"1"), options)
    assert position.offset == 1
    assert await kept_data(engine, "ch") == [b"1"]
    await events.wait(1)
    assert events.messages[0].offset == 1


async def test_drop_inactive_stores_while_unexpired_history_exists(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    options = kept(engine_factory, 10, 600, history_drop_inactive=True)
    await engine.subscribe("ch")
    await publish(engine, "ch", [b"1"], options)
    await engine.unsubscribe("ch")
    await publish(engine, "ch", [b"2", b"3"], options)
    assert await kept_data(engine, "ch") == [b"3", b"2", b"1"]


async def test_drop_inactive_counts_history_that_was_kept_without_it(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 600))
    await publish(engine, "ch", [b"2"],
                  kept(engine_factory, 10, 600, history_drop_inactive=True))
    assert await kept_data(engine, "ch") == [b"2", b"1"]


async def test_drop_inactive_renews_the_lifetime_of_what_exists(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 600))
    started = engine_factory.now()
    await publish(engine, "ch", [b"2"],
                  kept(engine_factory, 10, 4, history_drop_inactive=True))
    await engine_factory.assert_ends(
        lambda: engine.history("ch"), started, engine_factory.now(), engine_factory.seconds(4))


async def test_drop_inactive_stores_nothing_once_the_history_expired(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    factory = engine_factory
    options = kept(factory, 10, 2, history_drop_inactive=True)
    await engine.subscribe("ch")
    await publish(engine, "ch", [b"1"], options)
    await engine.unsubscribe("ch")
    await factory.elapse(factory.seconds(2) + factory.resolution)
    assert await engine.publish_message("ch", Message("ch", b"2"), options) == StreamPosition()
    assert await engine.history("ch") == []


async def test_drop_inactive_stores_nothing_once_the_history_was_removed(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    options = kept(engine_factory, 10, 600, history_drop_inactive=True)
    await publish(engine, "ch", [b"1"], kept(engine_factory, 10, 600))
    await engine.remove_history("ch")
    assert await engine.publish_message("ch", Message("ch", b"2"), options) == StreamPosition()
    assert await engine.history("ch") == []


async def test_what_drop_inactive_left_out_takes_no_offset(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    options = kept(engine_factory, 10, 600, history_drop_inactive=True)
    await publish(engine, "ch", [b"lost", b"lost"], options)
    await engine.subscribe("ch")
    await publish(engine, "ch", [b"1"], options)
    assert [(m.offset, m.data) for m in await engine.history("ch")] == [(1, b"1")]


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_drop_inactive_asks_for_subscribers_on_all_nodes(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    other = await engine_factory.create()
    await other.run(Recorder())
    await other.subscribe("ch")
    await publish(engine, "ch", [b"1"],
                  kept(engine_factory, 10, 600, history_drop_inactive=True))
    assert await kept_data(engine, "ch") == [b"1"]


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_all_nodes_read_the_same_history(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    other = await engine_factory.create()
    await other.run(Recorder())
    options = kept(engine_factory, 10, 600)
    for number in range(6):
        await publish((engine, other)[number % 2], "ch", [b"%d" % number], options)
    assert await engine.history("ch") == await other.history("ch")
    assert [message.offset for message in await other.history("ch")] == [6, 5, 4, 3, 2, 1]
    assert await engine.history_stream("ch") == await other.history_stream("ch")


async def test_remove_history(engine_factory: EngineFactory, engine: Engine) -> None:
    for channel in ("ch", "other"):
        await publish(engine, channel, [b"1", b"2"], kept(engine_factory, 10, 600))
    await engine.remove_history("ch")
    assert await engine.history("ch") == []
    assert await kept_data(engine, "other") == [b"2", b"1"]
    assert engine_factory.num_stored(engine) == 2


async def test_removing_history_that_is_not_there_is_no_error(engine: Engine) -> None:
    await engine.remove_history("never")
    assert await engine.history("never") == []
