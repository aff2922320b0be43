"""Which channels the nodes want."""

from __future__ import annotations

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    Engine,
    JoinMessage,
    Message,
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
