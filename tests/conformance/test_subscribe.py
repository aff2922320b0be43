"""Which channels the nodes want."""

from __future__ import annotations

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    Engine,
    JoinMessage,
    Message,
    UnsupportedError,
)
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder


async def test_no_channels_at_first(engine: Engine) -> None:
    assert await engine.channels() == []


async def test_channels_are_those_subscribed(engine: Engine) -> None:
    names = [f"ch{number}" for number in range(100)]
    for name in names:
        await engine.subscribe(name)
    assert sorted(await engine.channels()) == sorted(names)
    for name in names[::2]:
        await engine.unsubscribe(name)
    assert sorted(await engine.channels()) == sorted(names[1::2])


async def test_subscribing_again_changes_nothing(engine: Engine) -> None:
    await engine.subscribe("ch")
    await engine.subscribe("ch")
    assert await engine.channels() == ["ch"]
    await engine.unsubscribe("ch")
    assert await engine.channels() == []


async def test_unsubscribing_what_is_not_wanted_is_no_error(
    engine: Engine, events: Recorder
) -> None:
    await engine.unsubscribe("never")
    await engine.subscribe("ch")
    await engine.unsubscribe("ch")
    await engine.unsubscribe("ch")
    assert await engine.channels() == []
    await engine.subscribe("ch")
    message = Message("ch", b"1")
    await engine.publish_message("ch", message)
    await events.wait(1)
    assert events.messages == [message]


@pytest.mark.requires(Capability.HISTORY | Capability.PRESENCE)
async def test_only_subscribers_make_a_channel_count(engine: Engine) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    info = ClientInfo("u", "c")
    await engine.publish_message("stored", Message("stored", b"1"), kept)
    await engine.add_presence("present", "c", info)
    await engine.publish_join("joined", JoinMessage("joined", info))
    assert await engine.channels() == []


async def test_the_list_of_channels_is_the_caller_s_own(engine: Engine) -> None:
    await engine.subscribe("ch")
    (await engine.channels()).clear()
    assert await engine.channels() == ["ch"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (None, ["a.b", "a[1]", "ab", "abc", "b", "\N{SNOWMAN}x"]),
        ("*", ["a.b", "a[1]", "ab", "abc", "b", "\N{SNOWMAN}x"]),
        ("a*", ["a.b", "a[1]", "ab", "abc"]),
        ("*b", ["a.b", "ab", "b"]),
        ("a?", ["ab"]),
        ("a.b", ["a.b"]),
        ("a[ab]c", ["abc"]),
        ("[a-b]", ["b"]),
        ("a[^.]c", ["abc"]),
        (r"a\[1]", ["a[1]"]),
        ("", []),
        ("x*", []),
        ("\N{SNOWMAN}*", ["\N{SNOWMAN}x"]),
    ],
)
async def test_a_pattern_selects_channels(
    engine: Engine, pattern: str | None, expected: list[str]
) -> None:
    for name in ("ab", "abc", "a.b", "b", "a[1]", "\N{SNOWMAN}x"):
        await engine.subscribe(name)
    assert sorted(await engine.channels(pattern)) == expected


@pytest.mark.parametrize("pattern", [b"*", 1, ["*"]])
async def test_a_pattern_is_a_text(engine: Engine, pattern: object) -> None:
    with pytest.raises(TypeError):
        await engine.channels(pattern)


@pytest.mark.requires(Capability.NO_WILDCARDS)
@pytest.mark.parametrize("channel", ["news.*", ">", "a.*.b"])
async def test_an_engine_without_wildcards_refuses_them(engine: Engine, channel: str) -> None:
    with pytest.raises(UnsupportedError):
        engine.subscribe(channel, ChannelOptions(wildcards=True))
    await engine.subscribe("news", ChannelOptions(wildcards=True))
    assert await engine.channels() == ["news"]


async def test_wrong_options_are_refused(engine: Engine) -> None:
    with pytest.raises(TypeError):
        engine.subscribe("news", {"wildcards": True})
    assert await engine.channels() == []


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_channels_are_those_of_all_nodes(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    other = await engine_factory.create()
    await other.run(Recorder())
    await engine.subscribe("mine")
    await other.subscribe("theirs")
    await engine.subscribe("both")
    await other.subscribe("both")
    assert sorted(await engine.channels()) == ["both", "mine", "theirs"]
    await engine.unsubscribe("both")
    assert sorted(await other.channels()) == ["both", "mine", "theirs"]
    await other.unsubscribe("both")
    assert sorted(await other.channels()) == ["mine", "theirs"]
