"""A publish with an idempotency key is done once, however often it is asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fanout import ChannelOptions, Engine, Message, StreamPosition
from tests.conformance.engines import PATIENCE, Capability, EngineFactory
from tests.conformance.events import Recorder

KEPT = ChannelOptions(history_size=10, history_lifetime=60)
IF_HEARD = ChannelOptions(history_size=10, history_lifetime=60, history_drop_inactive=True)


def options_of(engine_factory: EngineFactory) -> list[ChannelOptions | None]:
    """Without history, and with it where the engine has it."""
    has_history = Capability.HISTORY in engine_factory.capabilities
    return [None, KEPT, IF_HEARD] if has_history else [None]


def message(number: object, channel: str = "ch") -> Message:
    return Message(channel, str(number).encode())


def data(events: Recorder) -> list[bytes]:
    return [each.data for each in events.messages]


async def test_a_repeat_publishes_nothing_and_gives_the_same_position(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    for number, options in enumerate(options_of(engine_factory)):
        channel = f"ch{number}"
        await engine.subscribe(channel)
        await engine.publish_message(channel, message("before", channel), options)
        first = await engine.publish_message(
            channel, message(1, channel), options, idempotency_key="key")
        await engine.publish_message(channel, message("after", channel), options)
        again = await engine.publish_message(
            channel, message(2, channel), options, idempotency_key="key")
        assert again == first
        assert first.offset == (2 if options else 0)
        await events.settle(engine)
        assert data(events) == [b"before", b"1", b"after"]
        events.arrived.clear()
        if options:
            kept = await engine.history(channel)
            assert [each.data for each in kept] == [b"after", b"1", b"before"]


async def test_repeats_at_the_same_time(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    for number, options in enumerate(options_of(engine_factory)):
        channel = f"ch{number}"
        await engine.subscribe(channel)
        positions = await asyncio.gather(*[
            _awaited(engine.publish_message(
                channel, message(at, channel), options, idempotency_key="key"))
            for at in range(20)
        ])
        assert len(set(positions)) == 1
        await events.settle(engine)
        assert data(events) == [b"0"]
        events.arrived.clear()


@pytest.mark.requires(Capability.HISTORY)
async def test_a_key_counts_whether_history_is_kept_or_not(
    engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    stored = await engine.publish_message("ch", message(1), KEPT, idempotency_key="a")
    assert stored.offset == 1
    assert await engine.publish_message("ch", message(2), None, idempotency_key="a") == stored
    plain = await engine.publish_message("ch", message(3), None, idempotency_key="b")
    assert plain == StreamPosition()
    assert await engine.publish_message("ch", message(4), KEPT, idempotency_key="b") == plain
    await events.settle(engine)
    assert data(events) == [b"1", b"3"]
    assert [each.data for each in await engine.history("ch")] == [b"1"]


@pytest.mark.requires(Capability.HISTORY)
async def test_what_nobody_heard_is_not_published_later(
    engine: Engine, events: Recorder
) -> None:
    """It was dropped, for nobody was there; now there is somebody."""
    first = await engine.publish_message("ch", message(1), IF_HEARD, idempotency_key="key")
    assert first == StreamPosition()
    await engine.subscribe("ch")
    assert await engine.publish_message("ch", message(1), IF_HEARD, idempotency_key="key") == first
    await events.settle(engine)
    assert events.arrived == []
    assert await engine.history("ch") == []


@pytest.mark.requires(Capability.HISTORY)
async def test_the_position_outlives_the_message(engine: Engine) -> None:
    """It is what the first publish came to, whatever has become of the stream."""
    one = ChannelOptions(history_size=1, history_lifetime=60)
    first = await engine.publish_message("ch", message(1), one, idempotency_key="key")
    for number in range(3):
        await engine.publish_message("ch", message(number), one)
    assert await engine.publish_message("ch", message(1), one, idempotency_key="key") == first
    await engine.remove_history("ch")
    assert await engine.publish_message("ch", message(1), one, idempotency_key="key") == first
    assert (await engine.history_stream("ch")).position.offset == 4
    assert await engine.history("ch") == []


@pytest.mark.requires(Capability.MULTI_NODE | Capability.HISTORY)
async def test_all_nodes_know_a_key(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    other = await engine_factory.create()
    await other.run(others := Recorder(in_order=engine_factory.in_order))
    for number, options in enumerate(options_of(engine_factory)):
        channel = f"ch{number}"
        for node in (engine, other):
            await node.subscribe(channel)
        positions = await asyncio.gather(*[
            _awaited(node.publish_message(
                channel, message(1, channel), options, idempotency_key="key"))
            for node in (engine, other) * 5
        ])
        assert len(set(positions)) == 1
        for node, arrived in ((engine, events), (other, others)):
            again = await node.publish_message(
                channel, message(2, channel), options, idempotency_key="key")
            assert again == positions[0]
            await arrived.wait(1)
            await arrived.settle(node)
        for arrived in (events, others):
            assert data(arrived) == [b"1"]
            arrived.arrived.clear()


@pytest.mark.parametrize("keys", [
    ("key", "KEY"),
    ("a:b", "a", "b", ":"),
    (" ", "  ", "\n", "\0", "\t"),
    ("*", ">", "a.b", "a|b", "a%2Eb", "{x}", "}", "{"),
    ("\N{SNOWMAN}", "\N{GREEK SMALL LETTER PI}\U0001f600", "\x7f", "\xff"),
    ("x" * 255, "x" * 254, "\U0001f600" * 255),
], ids=["case", "colons", "white-space", "special", "unicode", "long"])
async def test_any_text_will_do_for_a_key(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, keys: tuple[str, ...]
) -> None:
    for options in options_of(engine_factory)[:2]:
        channel = "kept" if options else "plain"
        await engine.subscribe(channel)
        for _ in range(2):
            for key in keys:
                await engine.publish_message(
                    channel, Message(channel, key.encode()), options, idempotency_key=key)
        await events.settle(engine)
        assert data(events) == [key.encode() for key in keys]
        events.arrived.clear()


@pytest.mark.parametrize("pairs", [
    [("a", "k"), ("b", "k")],
    [("a", "b.c"), ("a.b", "c"), ("a.b.c", ".")],
    [("a", "bc"), ("ab", "c")],
    [("x", "k}.z"), ("x}.k", "z"), ("x}.k}", ".z")],
    [("}x", "k"), ("{x", "k"), ("x}", "k"), ("-{-}x}", "k")],
    [("a|b", "k"), ("a.b", "k"), ("a%2Eb", "k"), ("a:1", "k"), ("a", "1:k")],
], ids=["channels", "dots", "text", "braces", "brace-names", "escapes"])
async def test_keys_of_different_channels_have_nothing_to_do_with_each_other(
    engine_factory: EngineFactory, engine: Engine, events: Recorder,
    pairs: list[tuple[str, str]],
) -> None:
    for channel in dict.fromkeys(channel for channel, _ in pairs):
        await engine.subscribe(channel)
    for options in options_of(engine_factory)[:2]:
        for channel, key in pairs:
            # A key of its own for each kind of options.
            await engine.publish_message(
                channel, Message(channel, key.encode()), options,
                idempotency_key=f"{key}{'+' if options else ''}")
    await events.settle(engine)
    assert sorted((each.channel, each.data) for each in events.messages) == sorted(
        (channel, key.encode()) for channel, key in pairs * len(options_of(engine_factory)[:2]))


async def test_a_key_ends(engine_factory: EngineFactory, events: Recorder) -> None:
    lifetime = engine_factory.seconds(4)
    engine = await engine_factory.create(idempotency_lifetime=lifetime)
    await engine.run(events)
    for options in options_of(engine_factory)[:2]:
        channel = "kept" if options else "plain"
        await engine.subscribe(channel)
        first = engine_factory.now()
        await engine.publish_message(channel, message(1, channel), options, idempotency_key="key")
        done = engine_factory.now()
        while len(events.messages) < 2:
            asked = engine_factory.now()
            position = await engine.publish_message(
                channel, message(2, channel), options, idempotency_key="key")
            await events.settle(engine)
            if len(events.messages) == 1:
                assert asked < done + lifetime + engine_factory.resolution, "known too long"
                await engine_factory.elapse(lifetime / 8)
        assert engine_factory.now() >= first + lifetime - engine_factory.resolution, "too early"
        assert position.offset == (2 if options else 0)
        # The second one is known in its turn.
        assert await engine.publish_message(
            channel, message(3, channel), options, idempotency_key="key") == position
        await events.settle(engine)
        assert data(events) == [b"1", b"2"]
        events.arrived.clear()


async def test_results_are_given_back_without_anybody_asking(
    engine_factory: EngineFactory, events: Recorder
) -> None:
    engine = await engine_factory.create(idempotency_lifetime=engine_factory.seconds(8))
    await engine.run(events)
    await asyncio.gather(*[
        _awaited(engine.publish_message(
            f"ch{number}", message(1, f"ch{number}"), idempotency_key="key"))
        for number in range(20)
    ])
    assert engine_factory.num_results(engine) == 20
    await engine_factory.elapse(engine_factory.seconds(8))
    await engine_factory.give_back(engine, lambda: engine_factory.num_results(engine) == 0)


async def test_a_publish_without_a_key_is_never_a_repeat(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    for _ in range(3):
        await engine.publish_message("ch", message(1), idempotency_key="")
    await events.settle(engine)
    assert data(events) == [b"1"] * 3
    assert engine_factory.num_results(engine) == 0


BAD_KEYS = [
    (None, TypeError), (7, TypeError), (b"key", TypeError), (b"", TypeError),
    ("x" * 256, ValueError), ("\ud800", ValueError),
]


@pytest.mark.parametrize(("key", "error"), BAD_KEYS)
async def test_bad_keys(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, key: Any,
    error: type[Exception],
) -> None:
    await engine.subscribe("ch")
    for options in options_of(engine_factory):
        with pytest.raises(error):
            engine.publish_message("ch", message(1), options, idempotency_key=key)
    await events.settle(engine)
    assert events.arrived == []
    assert engine_factory.num_stored(engine) == engine_factory.num_results(engine) == 0


async def _awaited(publish: Any) -> StreamPosition:
    """Of a publish that was called; ``gather`` wants coroutines."""
    async with asyncio.timeout(PATIENCE):
        return await publish
