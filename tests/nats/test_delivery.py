"""Delivery over core NATS: wildcards, order, bounds, and what it does not do."""

from __future__ import annotations

import asyncio
from typing import Any

import nats
import pytest

from fanout import (
    AdminMessage,
    BackpressureError,
    ChannelOptions,
    ClientInfo,
    ClosedError,
    JoinMessage,
    LeaveMessage,
    Message,
    MessageTooLargeError,
    StreamPosition,
    UnsupportedError,
)
from tests.brokers.nats import NatsServer
from tests.nats.conftest import MakeEngine

WILD = ChannelOptions(wildcards=True)
KEPT = ChannelOptions(history_size=10, history_lifetime=60)
INFO = ClientInfo("u", "c")


def message(channel: str, data: object = "1") -> Message:
    return Message(channel, str(data).encode())


# ---- wildcards ---------------------------------------------------------------


async def test_a_wildcard_gets_what_matches_under_its_own_name(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("news.*", WILD)
    for channel in ("news.sport", "news.a b", "news.50%", "news.*", "news."):
        await engine.publish_message(channel, message(channel))
    for channel in ("news", "news.sport.tennis", "other.sport"):
        await engine.publish_message(channel, message(channel))
    await told.settle(engine)
    assert [(channel, each.channel) for _, channel, each in told.arrived] == [
        ("news.*", "news.sport"), ("news.*", "news.a b"), ("news.*", "news.50%"),
        ("news.*", "news.*"), ("news.*", "news."),
    ]


async def test_the_rest_of_a_name(make_engine: MakeEngine, server: NatsServer) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("news.>", WILD)
    for channel in ("news", "news.a", "news.a.b..c"):
        await engine.publish_message(channel, message(channel))
    await told.settle(engine)
    assert [each.channel for each in told.messages] == ["news.a", "news.a.b..c"]


async def test_without_the_option_a_wildcard_is_a_name_like_any_other(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("news.*")
    await engine.publish_message("news.sport", message("news.sport"))
    await engine.publish_message("news.*", message("news.*"))
    await told.settle(engine)
    assert [each.channel for each in told.messages] == ["news.*"]


async def test_a_wildcard_beside_a_channel_that_matches(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("news.*", WILD)
    await engine.subscribe("news.a", WILD)
    await engine.publish_message("news.a", message("news.a"))
    await told.settle(engine)
    assert sorted(channel for _, channel, _ in told.arrived) == ["news.*", "news.a"]
    assert sorted(await engine.channels()) == ["news.*", "news.a"]
    assert await engine.channels("news.[a]") == ["news.a"]
    await engine.unsubscribe("news.*")
    assert await engine.channels() == ["news.a"]


async def test_joins_and_leaves_are_not_for_wildcards(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("news.*", WILD)
    await engine.publish_join("news.a", JoinMessage("news.a", INFO))
    await engine.publish_leave("news.a", LeaveMessage("news.a", INFO))
    await told.settle(engine)
    assert told.arrived == []


async def test_stored_messages_reach_wildcards_with_their_place(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, jetstream=True)
    await engine.subscribe("*.a b", WILD)
    position = await engine.publish_message("news.a b", message("news.a b"), KEPT)
    await told.wait(1)
    assert told.arrived == [("message", "*.a b", message("news.a b").at(1))] or (
        told.messages[0].offset, told.messages[0].channel) == (1, "news.a b")
    assert told.epochs == [position.epoch]


@pytest.mark.parametrize("channel", ["a>b", "a.*b", ">.a"])
async def test_a_misplaced_wildcard_is_refused(
    make_engine: MakeEngine, server: NatsServer, channel: str
) -> None:
    engine, _ = await make_engine(server.url)
    with pytest.raises(ValueError, match="wildcard"):
        engine.subscribe(channel, WILD)
    assert await engine.channels() == []


@pytest.mark.parametrize("channel", ["a.*", ">"])
async def test_nothing_is_published_to_a_wildcard(
    make_engine: MakeEngine, server: NatsServer, channel: str
) -> None:
    engine, _ = await make_engine(server.url)
    with pytest.raises(ValueError, match="wildcard"):
        engine.publish_message(channel, message(channel), WILD)


# ---- without JetStream -------------------------------------------------------


STORES: dict[str, Any] = {
    "publish": lambda engine: engine.publish_message("ch", message("ch"), KEPT),
    "history": lambda engine: engine.history("ch"),
    "history-stream": lambda engine: engine.history_stream("ch"),
    "remove-history": lambda engine: engine.remove_history("ch"),
    "add-presence": lambda engine: engine.add_presence("ch", "c", INFO),
    "remove-presence": lambda engine: engine.remove_presence("ch", "c"),
    "presence": lambda engine: engine.presence("ch"),
    "presence-stats": lambda engine: engine.presence_stats("ch"),
}


@pytest.mark.parametrize("case", STORES)
async def test_what_needs_jetstream_says_so(
    make_engine: MakeEngine, server: NatsServer, case: str
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("ch")
    with pytest.raises(UnsupportedError, match="jetstream=True"):
        await STORES[case](engine)
    await told.settle(engine)
    assert told.arrived == []


# ---- order and bounds --------------------------------------------------------


async def test_everything_takes_effect_in_the_order_of_the_calls(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url)
    results: list[Any] = [engine.publish_message("ch", message("ch", "before"))]
    results.append(engine.subscribe("ch"))
    results += [engine.publish_message("ch", message("ch", number)) for number in range(1000)]
    results.append(engine.publish_join("ch", JoinMessage("ch", INFO)))
    results.append(engine.unsubscribe("ch"))
    for result in results:
        await result
    # What was on its way when it was unsubscribed from is not delivered.
    assert told.arrived == []
    await engine.subscribe("ch")
    for number in range(1000):
        engine.publish_message("ch", message("ch", number))
        if number % 100 == 0:
            engine.publish_leave("ch", LeaveMessage("ch", INFO))
            await asyncio.sleep(0)
    await told.settle(engine)
    assert told.data == [b"%d" % number for number in range(1000)]


async def test_what_is_acknowledged_has_reached_the_server(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    """A whole tick at once, and more than the transport takes in one write."""
    engine, _ = await make_engine(server.url)
    client = await nats.connect(server.url)
    got: list[bytes] = []

    async def on_message(received: Any) -> None:
        got.append(received.data[-6:])

    await client.subscribe(f"{engine._subjects.prefix}.client.ch", cb=on_message)
    await client.flush()
    results = [
        engine.publish_message("ch", Message("ch", bytes(50_000) + b"%06d" % number))
        for number in range(100)
    ]
    for result in results:
        assert await result == StreamPosition(0, "")
    # The server has them all: what it sends this client before its next answer is all of them.
    await client.flush()
    while len(got) < 100:  # noqa: ASYNC110 - nats-py hands them over in a task of its own
        await asyncio.sleep(0)
    assert got == [b"%06d" % number for number in range(100)]
    await client.close()


async def test_more_operations_than_the_bound_are_refused(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, max_pending=10)
    await engine.subscribe("ch")
    results = [engine.publish_message("ch", message("ch", number)) for number in range(10)]
    with pytest.raises(BackpressureError, match="10 operations"):
        engine.publish_message("ch", message("ch", "too many"))
    with pytest.raises(BackpressureError):
        engine.publish_admin(AdminMessage("too many"))
    for result in results:
        await result
    await engine.publish_message("ch", message("ch", "later"))
    await told.settle(engine)
    assert told.data == [b"%d" % number for number in range(10)] + [b"later"]


async def test_more_bytes_than_the_bound_are_refused(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, max_pending_bytes=100_000, jetstream=True)
    result = engine.publish_message("ch", Message("ch", bytes(60_000)))
    with pytest.raises(BackpressureError, match="100000 bytes"):
        engine.publish_message("ch", Message("ch", bytes(60_000)))
    with pytest.raises(BackpressureError):
        engine.publish_message("ch", Message("ch", bytes(60_000)), KEPT)
    await result
    stored = engine.publish_message("ch", Message("ch", bytes(60_000)), KEPT)
    with pytest.raises(BackpressureError):
        engine.publish_message("other", Message("other", bytes(60_000)), KEPT)
    await stored
    await engine.publish_message("ch", Message("ch", bytes(60_000)), KEPT)
    assert (engine._pipe._num_pending, engine._pipe._num_bytes) == (0, 0)


async def test_a_message_larger_than_the_server_takes_is_refused(
    make_engine: MakeEngine
) -> None:
    with NatsServer(jetstream=True, config="max_payload: 10000") as server:
        engine, told = await make_engine(server.url, jetstream=True)
        await engine.subscribe("ch")
        for options in (None, KEPT):
            with pytest.raises(MessageTooLargeError, match="10000"):
                engine.publish_message("ch", Message("ch", bytes(10_001)), options)
            await engine.publish_message("ch", Message("ch", bytes(9_000)), options)
        await told.wait(2)
        assert [kind for kind, _, _ in told.arrived] == ["message", "message"]


async def test_a_name_too_long_for_nats_is_refused(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, jetstream=True)
    longest = "x" * 3000
    await engine.subscribe(longest)
    await engine.publish_message(longest, message(longest), KEPT)
    await told.wait(1)
    assert len(await engine.history(longest)) == 1
    for call in (engine.subscribe, lambda name: engine.publish_message(name, message(name))):
        with pytest.raises(ValueError, match="at most 3000 bytes"):
            call("x" * 3001)


async def test_close_sends_what_was_published(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, jetstream=True)
    other, told = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")
    results = [
        engine.publish_message("ch", message("ch", number), KEPT if number % 2 else None)
        for number in range(50)
    ]
    await engine.close()
    await told.wait(50)
    assert told.data == [b"%d" % number for number in range(50)]
    for result in results:
        await result


async def test_what_others_publish_there_is_no_harm(
    make_engine: MakeEngine, server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever may publish to NATS can publish anything."""
    engine, told = await make_engine(server.url, jetstream=True)
    await engine.subscribe("ch")
    await engine.subscribe("w.*", WILD)
    client = await nats.connect(server.url)
    prefix = engine._subjects.prefix
    for subject in ("client.ch", "client.w.%zz", "control", "admin", "nodes", "newcomers",
                    f"node.{engine._uid}.mark", f"node.{engine._uid}.peer",
                    f"node.{engine._uid}.survey.1", f"node.{engine._uid}.reply.1"):
        for data in (
            b"", b"\x00", b"\x11", b"\x03", b"{}", b"[]", b"\xff" * 200, b"a b", b'["a b"]',
            b'{"kind": "alive", "node": "a b"}', b'{"kind": "survey", "node": "a b"}',
            b'{"kind": "survey", "node": "0123456789abcdef", "survey": "1 2", "pattern": null}',
        ):
            await client.publish(f"{prefix}.{subject}", data)
    await client.flush()
    await client.close()
    await engine.publish_message("ch", message("ch"))
    await told.settle(engine)
    assert told.data == [b"1"]
    assert "makes no sense" in caplog.text
    assert await engine.channels("ch") == ["ch"]


async def test_it_is_run_once(make_engine: MakeEngine, server: NatsServer) -> None:
    engine, told = await make_engine(server.url)
    with pytest.raises(RuntimeError, match="runs already"):
        await engine.run(told)
    await engine.close()
    with pytest.raises(ClosedError):
        await engine.run(told)
