"""A publication whose version is not above the last one is not published."""

from __future__ import annotations

from typing import Any

import pytest

from fanout import ChannelOptions, Engine, Message
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder

pytestmark = pytest.mark.requires(Capability.HISTORY)

KEPT = ChannelOptions(history_size=10, history_lifetime=60)


def message(number: object) -> Message:
    return Message("ch", str(number).encode())


def data(events: Recorder) -> list[bytes]:
    return [each.data for each in events.messages]


async def test_what_comes_too_late_is_published_to_nobody(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    published = []
    for version in (5, 5, 4, 1, 6, 6, 2**63, 2**63 - 1, 2**64 - 2, 2**64 - 1, 2**64 - 1, 7):
        position = await engine.publish_message("ch", message(version), KEPT, version=version)
        if not published or version > published[-1]:
            published.append(version)
        # Of what is not published: the top.
        assert position == (await engine.history_stream("ch", limit=0)).position
        assert position.offset == len(published)
    await events.settle(engine)
    assert published == [5, 6, 2**63, 2**64 - 2, 2**64 - 1]
    assert data(events) == [b"%d" % version for version in published]
    assert [each.data for each in await engine.history("ch")] == data(events)[::-1]
    assert engine_factory.num_stored(engine) == len(published)


async def test_versions_are_compared_as_numbers(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("ch")
    for version in (9, 10, 99, 100, 2, 1000):
        await engine.publish_message("ch", message(version), KEPT, version=version)
    await events.settle(engine)
    assert data(events) == [b"9", b"10", b"99", b"100", b"1000"]


async def test_versions_of_different_epochs_are_not_compared(
    engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    calls = [
        (7, "a", True), (7, "a", False), (3, "b", True), (3, "b", False), (7, "b", True),
        (1, "", True), (1, "", False), (1, "B", True), (8, "a", True), (1, "\N{SNOWMAN}", True),
        (1, "\N{SNOWMAN}", False), (1, "x" * 255, True), (1, "x" * 254, True), (1, " ", True),
    ]
    for number, (version, epoch, _) in enumerate(calls):
        await engine.publish_message(
            "ch", message(number), KEPT, version=version, version_epoch=epoch)
    await events.settle(engine)
    assert data(events) == [
        b"%d" % number for number, (_, _, published) in enumerate(calls) if published]


async def test_what_has_no_version_is_published_and_changes_none(
    engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("ch")
    await engine.publish_message("ch", message(1), KEPT)
    await engine.publish_message("ch", message(2), KEPT, version=5, version_epoch="e")
    await engine.publish_message("ch", message(3), KEPT)
    await engine.publish_message("ch", message(4), KEPT, version=0, version_epoch="other")
    await engine.publish_message("ch", message(5), KEPT, version=5, version_epoch="e")
    await engine.publish_message("ch", message(6), KEPT, version=6, version_epoch="e")
    await events.settle(engine)
    assert data(events) == [b"1", b"2", b"3", b"4", b"6"]


async def test_without_history_there_are_no_versions(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("ch")
    await engine.publish_message("ch", message(1), KEPT, version=5)
    await engine.publish_message("ch", message(2), None, version=5)
    await engine.publish_message("ch", message(3), ChannelOptions(), version=9)
    await engine.publish_message("ch", message(4), KEPT, version=6)
    await events.settle(engine)
    assert data(events) == [b"1", b"2", b"3", b"4"]


async def test_the_version_goes_the_way_of_the_offset(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    """It outlives the messages, and ends with the stream."""
    second = engine_factory.seconds(1)
    brief = ChannelOptions(
        history_size=10, history_lifetime=2 * second, history_meta_lifetime=6 * second)
    await engine.subscribe("ch")
    await engine.publish_message("ch", message(1), brief, version=5)
    await engine.remove_history("ch")
    await engine.publish_message("ch", message(2), brief, version=5)
    first = await engine.publish_message("ch", message(3), brief, version=6)
    await engine_factory.elapse(3 * second)
    assert await engine.history("ch") == []
    assert await engine.publish_message("ch", message(4), brief, version=6) == first
    # Behind the end of messages and stream; that of a suppressed publish is no later.
    await engine_factory.elapse(6 * second)
    again = await engine.publish_message("ch", message(5), brief, version=1)
    assert again.offset == 1
    assert again.epoch != first.epoch
    await events.settle(engine)
    assert data(events) == [b"1", b"3", b"5"]


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_versions_of_several_nodes(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    other = await engine_factory.create()
    await other.run(others := Recorder(in_order=engine_factory.in_order))
    await engine.subscribe("ch")
    await other.subscribe("ch")
    for version in range(1, 11):
        publishes = [
            node.publish_message("ch", message(version), KEPT, version=version)
            for node in (engine, other)
        ]
        positions = [await publish for publish in publishes]
        assert [position.offset for position in positions] == [version, version]
    # What a node knows of the stream is not what the other has made of it since.
    await engine.publish_message("ch", message("a"), KEPT, version=1, version_epoch="a")
    await other.publish_message("ch", message("b"), KEPT, version=11)
    await engine.publish_message("ch", message("c"), KEPT, version=1, version_epoch="a")
    await events.wait(13)
    await others.wait(13)
    expected = [b"%d" % version for version in range(1, 11)] + [b"a", b"b", b"c"]
    assert data(events) == data(others) == expected


async def test_a_key_goes_before_a_version(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("ch")
    first = await engine.publish_message(
        "ch", message(1), KEPT, idempotency_key="a", version=3)
    top = await engine.publish_message("ch", message(2), KEPT, idempotency_key="b", version=4)
    again = await engine.publish_message(
        "ch", message(3), KEPT, idempotency_key="a", version=9)
    assert again == first
    # It was a repeat, so its version is not the stream's.
    late = await engine.publish_message("ch", message(4), KEPT, idempotency_key="c", version=4)
    assert late == top
    await engine.publish_message("ch", message(5), KEPT, version=5)
    await events.settle(engine)
    assert data(events) == [b"1", b"2", b"5"]


async def test_many_at_once(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("ch")
    publishes = [
        engine.publish_message("ch", message(number), KEPT, version=1 + number // 2)
        for number in range(40)
    ]
    for publish in publishes:
        await publish
    await events.settle(engine)
    assert data(events) == [b"%d" % number for number in range(0, 40, 2)]


BAD_VERSIONS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "negative": ({"version": -1}, ValueError),
    "more-than-64-bits": ({"version": 2**64}, ValueError),
    "text": ({"version": "1"}, TypeError),
    "fraction": ({"version": 1.5}, TypeError),
    "true": ({"version": True}, TypeError),
    "none": ({"version": None}, TypeError),
    "epoch-none": ({"version": 1, "version_epoch": None}, TypeError),
    "epoch-bytes": ({"version": 1, "version_epoch": b"e"}, TypeError),
    "epoch-alone": ({"version_epoch": b"e"}, TypeError),
    "epoch-long": ({"version": 1, "version_epoch": "x" * 256}, ValueError),
    "epoch-surrogate": ({"version": 1, "version_epoch": "\ud800"}, ValueError),
}


@pytest.mark.parametrize("bad", BAD_VERSIONS)
async def test_bad_versions(
    engine_factory: EngineFactory, engine: Engine, events: Recorder, bad: str
) -> None:
    arguments, error = BAD_VERSIONS[bad]
    await engine.subscribe("ch")
    for options in (None, KEPT):
        with pytest.raises(error):
            engine.publish_message("ch", message(1), options, **arguments)
    await events.settle(engine)
    assert events.arrived == []
    assert engine_factory.num_stored(engine) == 0
