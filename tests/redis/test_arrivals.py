"""What arrives that should not, and events that raise."""

from __future__ import annotations

import asyncio
import logging

import pytest

from fanout import ChannelOptions, ClientInfo, JoinMessage, Message
from fanout._codec import encode_message
from fanout.redis.envelope import read
from tests.brokers.valkey import ValkeyServer
from tests.redis.conftest import MakeEngine

KEPT = ChannelOptions(history_size=10, history_lifetime=600)
MESSAGE = encode_message(Message("ch", b"data"))
RUBBISH = [
    b"", b"x", b"\xff\xfe", b"s", b"s1", b"s1:e", b"s1:e:", b"sx:e:" + MESSAGE,
    b"s-1:e:" + MESSAGE, b"s99999999999999999999999:e:" + MESSAGE, b"s1:\xff:" + MESSAGE,
    b"j", b"jx", b"l\x21", MESSAGE[:5], b"\x12" + MESSAGE[1:],
]


@pytest.mark.parametrize("payload", RUBBISH)
def test_rubbish_is_a_value_error(payload: bytes) -> None:
    with pytest.raises(ValueError):
        read("ch", payload)


async def test_rubbish_stops_nothing_and_is_told_once(
    make_engine: MakeEngine, server: ValkeyServer, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, told = await make_engine(server.url)
    await engine.subscribe("ch")
    client = server.client()
    for topic in ("client.ch", "control", "admin"):
        for payload in RUBBISH:
            client.publish(f"{prefix}.{topic}", payload)
    await engine.publish_message("ch", Message("ch", b"good"))
    await told.settle(engine)
    assert told.data == [b"good"]
    assert len(told.arrived) == 1
    (record,) = caplog.records
    assert record.name == "fanout.redis"
    assert record.levelno == logging.WARNING


async def test_an_event_that_raises_is_reported_and_stops_nothing(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, told = await make_engine(server.url)
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    for channel in ("a", "b"):
        await engine.subscribe(channel)
    told.error = ValueError("the application's")
    await engine.publish_message("a", Message("a", b"1"))
    await engine.publish_join("a", JoinMessage("a", ClientInfo("u", "c")))
    await told.wait(2)
    server.client().client_kill_filter(_type="pubsub")
    await told.restored()
    await engine.publish_message("b", Message("b", b"2"))
    await told.until(lambda: told.data == [b"1", b"2"])
    await told.settle(engine)
    assert {str(each["exception"]) for each in reported} == {"the application's"}
    # A message, a join, lost, restored, a message, and the mark of settle.
    assert len(reported) == 6


async def test_an_event_may_call_the_engine(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    """Leaving the channel from inside it: what lies behind in the same read is not delivered."""
    engine, told = await make_engine(server.url)
    await engine.subscribe("ch")
    left = []

    def leave() -> None:
        if not left:
            left.append(engine.unsubscribe("ch"))
            engine.publish_message("other", Message("other", b"1"))

    told.on_arrival = leave
    await asyncio.gather(*[
        engine.publish_message("ch", Message("ch", b"%d" % number)) for number in range(50)])
    await left[0]
    await told.settle(engine)
    assert told.data == [b"0"]


async def test_after_unsubscribe_returned_nothing_is_delivered(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, told = await make_engine(server.url)
    other, _ = await make_engine(server.url)
    for _ in range(20):
        await engine.subscribe("ch")
        publishes = [other.publish_message("ch", Message("ch", b"1")) for _ in range(20)]
        await publishes[0]
        done = engine.unsubscribe("ch")
        count = len(told.messages)
        await done
        await asyncio.gather(*publishes)
        await told.settle(engine)
        assert len(told.messages) == count
