"""Delivery: messages, joins and leaves, control and admin messages."""

from __future__ import annotations

from typing import Any

import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    Engine,
    JoinMessage,
    LeaveMessage,
    Message,
    StreamPosition,
)
from tests.conformance.engines import Capability, EngineFactory
from tests.conformance.events import Recorder

INFO = ClientInfo(user="u", client="c", default_info=b'{"a":1}', channel_info=b"\x00\xff")


async def test_a_message_reaches_a_subscribed_channel(engine: Engine, events: Recorder) -> None:
    message = Message("news", b"hello")
    await engine.subscribe("news")
    await engine.publish_message("news", message)
    await events.wait(1)
    assert events.arrived == [("message", "news", message)]


@pytest.mark.parametrize(
    "message",
    [
        Message("news", b""),
        Message("news", bytes(range(256))),
        Message("news", b"x" * 1_000_000),
        Message("news", b"1", uid="my-uid", timestamp=1234.5),
        Message("news", b"1", client="c", info=INFO),
        Message("news", b"1", tags={"lang": "el", "\N{GREEK SMALL LETTER PI}": "\U0001f600"}),
        Message("news", b"1", delta=True),
        Message("news", b"1", uid="my-uid", client="c", info=INFO, tags={"a": "b"}, delta=True),
    ],
    ids=["empty", "binary", "long", "uid-and-timestamp", "client", "tags", "delta", "all"],
)
async def test_a_message_arrives_whole(
    engine: Engine, events: Recorder, message: Message
) -> None:
    await engine.subscribe("news")
    await engine.publish_message("news", message)
    await events.wait(1)
    assert events.messages == [message]


@pytest.mark.parametrize(
    "channel",
    ["a", "news:sport", "$private#42,43", "a b", "\N{SNOWMAN}\U0001f600", "*", ">", "x" * 255],
)
async def test_any_name_will_do_for_a_channel(
    engine: Engine, events: Recorder, channel: str
) -> None:
    await engine.subscribe(channel)
    assert await engine.channels() == [channel]
    message = Message(channel, b"1")
    await engine.publish_message(channel, message)
    await events.wait(1)
    assert events.arrived == [("message", channel, message)]
    await engine.unsubscribe(channel)
    assert await engine.channels() == []


async def test_messages_of_a_channel_come_in_publish_order(
    engine: Engine, events: Recorder
) -> None:
    await engine.subscribe("news")
    sent = [Message("news", b"%d" % number) for number in range(200)]
    for message in sent:
        engine.publish_message("news", message)
    await events.wait(200)
    assert events.messages == sent


@pytest.mark.requires(Capability.HISTORY)
async def test_order_is_kept_between_stored_and_other_messages(
    engine: Engine, events: Recorder
) -> None:
    kept = ChannelOptions(history_size=3, history_lifetime=60)
    await engine.subscribe("news")
    sent = [Message("news", b"%d" % number) for number in range(50)]
    for number, message in enumerate(sent):
        engine.publish_message("news", message, kept if number % 3 else None)
    await events.wait(50)
    assert [message.data for message in events.messages] == [message.data for message in sent]


async def test_without_a_subscription_nothing_arrives(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("news")
    await engine.publish_message("other", Message("other", b"1"))
    await engine.publish_join("other", JoinMessage("other", INFO))
    await engine.publish_leave("other", LeaveMessage("other", INFO))
    await events.settle(engine)
    assert events.arrived == []


async def test_after_unsubscribe_nothing_arrives(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("news")
    await engine.unsubscribe("news")
    await engine.publish_message("news", Message("news", b"1"))
    await engine.publish_join("news", JoinMessage("news", INFO))
    await engine.publish_leave("news", LeaveMessage("news", INFO))
    await events.settle(engine)
    assert events.arrived == []


async def test_one_delivery_however_often_subscribed(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("news")
    await engine.subscribe("news")
    message = Message("news", b"1")
    await engine.publish_message("news", message)
    await events.settle(engine)
    assert events.messages == [message]


@pytest.mark.parametrize(
    "options",
    [
        None,
        ChannelOptions(),
        ChannelOptions(history_size=5),
        ChannelOptions(history_lifetime=5),
        ChannelOptions(history_drop_inactive=True, join_leave=True, presence=True),
    ],
    ids=["no-options", "defaults", "size-alone", "lifetime-alone", "others"],
)
async def test_without_history_a_message_has_no_position(
    engine: Engine, events: Recorder, options: ChannelOptions | None
) -> None:
    await engine.subscribe("news")
    position = await engine.publish_message("news", Message("news", b"1"), options)
    assert position == StreamPosition(0, "")
    await events.wait(1)
    assert events.messages[0].offset == 0


@pytest.mark.requires(Capability.HISTORY)
@pytest.mark.parametrize(
    "options",
    [None, ChannelOptions(), ChannelOptions(history_size=5), ChannelOptions(history_lifetime=5)],
    ids=["no-options", "defaults", "size-alone", "lifetime-alone"],
)
async def test_history_is_kept_only_for_size_and_lifetime_above_0(
    engine_factory: EngineFactory, engine: Engine, options: ChannelOptions | None
) -> None:
    await engine.subscribe("news")
    await engine.publish_message("news", Message("news", b"1"), options)
    assert engine_factory.num_stored(engine) == 0
    assert await engine.history("news") == []


async def test_joins_and_leaves_reach_the_channel(engine: Engine, events: Recorder) -> None:
    await engine.subscribe("news")
    join, leave = JoinMessage("news", INFO), LeaveMessage("news", INFO)
    await engine.publish_join("news", join)
    await engine.publish_leave("news", leave)
    await events.wait(2)
    assert sorted(events.arrived, key=lambda arrival: arrival[0]) == [
        ("join", "news", join), ("leave", "news", leave),
    ]


@pytest.mark.requires(Capability.HISTORY)
async def test_joins_and_leaves_are_never_stored(
    engine_factory: EngineFactory, engine: Engine
) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    await engine.subscribe("news")
    await engine.publish_message("news", Message("news", b"1"), kept)
    await engine.publish_join("news", JoinMessage("news", INFO))
    await engine.publish_leave("news", LeaveMessage("news", INFO))
    assert len(await engine.history("news")) == 1
    assert engine_factory.num_stored(engine) == 1
    assert (await engine.history_stream("news")).position.offset == 1


async def test_a_control_message_needs_no_subscription(
    engine: Engine, events: Recorder
) -> None:
    message = ControlMessage("node-1", "disconnect", b"\x00params")
    await engine.publish_control(message)
    await events.wait(1)
    assert events.arrived == [("control", None, message)]


async def test_an_admin_message_needs_no_subscription(engine: Engine, events: Recorder) -> None:
    message = AdminMessage("note", b"\x00params")
    await engine.publish_admin(message)
    await events.wait(1)
    assert events.arrived == [("admin", None, message)]


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_other_nodes_get_it_in_the_same_way(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    others = Recorder(in_order=engine_factory.in_order)
    other = await engine_factory.create()
    await other.run(others)
    await engine.subscribe("news")
    await other.subscribe("news")
    message = Message("news", b"1", client="c", info=INFO, tags={"a": "b"})
    await engine.publish_message("news", message)
    await engine.publish_join("news", JoinMessage("news", INFO))
    await engine.publish_leave("news", LeaveMessage("news", INFO))
    await engine.publish_control(ControlMessage("node-1", "ping"))
    await engine.publish_admin(AdminMessage("note"))
    await events.wait(5)
    await others.wait(5)
    assert len(others.arrived) == 5
    assert all(arrival in others.arrived for arrival in events.arrived)


@pytest.mark.requires(Capability.MULTI_NODE)
async def test_only_nodes_that_want_the_channel_get_it(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> None:
    others = Recorder(in_order=engine_factory.in_order)
    other = await engine_factory.create()
    await other.run(others)
    await other.subscribe("news")
    message = Message("news", b"1")
    await engine.publish_message("news", message)
    await others.wait(1)
    await events.settle(engine)
    assert others.messages == [message]
    assert events.arrived == []


@pytest.mark.requires(Capability.HISTORY)
async def test_a_stored_message_is_delivered_with_its_offset(
    engine: Engine, events: Recorder
) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    await engine.subscribe("news")
    message = Message("news", b"1", client="c", info=INFO, tags={"a": "b"})
    for offset in (1, 2):
        position = await engine.publish_message("news", message, kept)
        assert position.offset == offset
        assert position.epoch
    await events.wait(2)
    assert events.messages == [message.at(1), message.at(2)]


@pytest.mark.requires(Capability.HISTORY)
@pytest.mark.parametrize("guards", [{}, {"idempotency_key": "key", "version": 1}], ids=str)
async def test_that_its_publisher_asked_for_deltas_is_kept(
    engine: Engine, events: Recorder, guards: dict[str, Any]
) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    await engine.subscribe("news")
    await engine.publish_message("news", Message("news", b"1"), kept)
    await engine.publish_message("news", Message("news", b"2", delta=True), kept, **guards)
    await engine.publish_message("news", Message("news", b"3", delta=True))
    await events.wait(3)
    assert [message.delta for message in events.messages] == [False, True, True]
    assert [message.delta for message in await engine.history("news")] == [True, False]
    page = await engine.history_stream("news")
    assert [message.delta for message in page.messages] == [False, True]


@pytest.mark.requires(Capability.HISTORY)
async def test_a_message_comes_with_its_stream_s_epoch(engine: Engine, events: Recorder) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    await engine.subscribe("news")
    position = await engine.publish_message("news", Message("news", b"1"), kept)
    await engine.publish_message("news", Message("news", b"2"))
    await events.wait(2)
    assert events.epochs == [position.epoch, ""]


@pytest.mark.requires(Capability.HISTORY)
async def test_the_published_message_is_not_changed(engine: Engine) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    message = Message("news", b"1", uid="u", timestamp=5.0, offset=77, tags={"a": "b"})
    position = await engine.publish_message("news", message, kept)
    assert position.offset == 1     # the stream's count, whatever the message said
    assert message == Message("news", b"1", uid="u", timestamp=5.0, offset=77, tags={"a": "b"})


@pytest.mark.requires(Capability.HISTORY)
async def test_a_message_is_stored_before_it_is_delivered(
    engine: Engine, events: Recorder
) -> None:
    kept = ChannelOptions(history_size=10, history_lifetime=60)
    reads = []
    events.on_arrival = lambda: reads.append(engine.history("news"))
    await engine.subscribe("news")
    message = Message("news", b"1")
    engine.publish_message("news", message, kept)
    await events.wait(1)
    events.on_arrival = None
    assert await reads[0] == [message.at(1)]
