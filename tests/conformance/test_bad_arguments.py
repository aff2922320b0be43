"""A wrong argument raises TypeError or ValueError, from the call itself, and changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
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

KEPT = ChannelOptions(history_size=10, history_lifetime=60)
INFO = ClientInfo("u", "c")
MESSAGE = Message("ch", b"1")

BAD_CHANNELS = [
    (None, TypeError), (b"ch", TypeError), (7, TypeError), (["ch"], TypeError), ("", ValueError),
]

Call = Callable[[Engine, Any], Awaitable[Any]]

WITH_CHANNEL: dict[str, Call] = {
    "publish_message": lambda engine, channel: engine.publish_message(channel, MESSAGE, KEPT),
    "publish_join": lambda engine, channel: engine.publish_join(channel, JoinMessage("ch", INFO)),
    "publish_leave":
        lambda engine, channel: engine.publish_leave(channel, LeaveMessage("ch", INFO)),
    "subscribe": lambda engine, channel: engine.subscribe(channel),
    "unsubscribe": lambda engine, channel: engine.unsubscribe(channel),
}
COROUTINES_WITH_CHANNEL: dict[str, Call] = {
    "add_presence": lambda engine, channel: engine.add_presence(channel, "c", INFO),
    "remove_presence": lambda engine, channel: engine.remove_presence(channel, "c"),
    "presence": lambda engine, channel: engine.presence(channel),
    "presence_stats": lambda engine, channel: engine.presence_stats(channel),
    "history": lambda engine, channel: engine.history(channel),
    "history_stream": lambda engine, channel: engine.history_stream(channel),
    "remove_history": lambda engine, channel: engine.remove_history(channel),
}


@pytest.fixture(autouse=True)
async def nothing_changed(
    engine_factory: EngineFactory, engine: Engine, events: Recorder
) -> Any:
    yield
    await events.settle(engine)
    assert events.arrived == []
    assert await engine.channels() == []
    assert engine_factory.num_stored(engine) == 0


@pytest.mark.parametrize(("channel", "error"), BAD_CHANNELS)
@pytest.mark.parametrize("method", WITH_CHANNEL)
async def test_channel(
    engine: Engine, method: str, channel: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        WITH_CHANNEL[method](engine, channel)


@pytest.mark.requires(Capability.HISTORY | Capability.PRESENCE)
@pytest.mark.parametrize(("channel", "error"), BAD_CHANNELS)
@pytest.mark.parametrize("method", COROUTINES_WITH_CHANNEL)
async def test_channel_of_a_coroutine(
    engine: Engine, method: str, channel: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await COROUTINES_WITH_CHANNEL[method](engine, channel)


BAD_MESSAGES: dict[str, Callable[[Any], Any]] = {
    "message-none": lambda engine: engine.publish_message("ch", None),
    "message-bytes": lambda engine: engine.publish_message("ch", b"1"),
    "message-dict": lambda engine: engine.publish_message("ch", {"data": b"1"}, KEPT),
    "message-join": lambda engine: engine.publish_message("ch", JoinMessage("ch", INFO)),
    "options-dict": lambda engine: engine.publish_message("ch", MESSAGE, {"history_size": 1}),
    "options-int": lambda engine: engine.publish_message("ch", MESSAGE, 10),
    "join-none": lambda engine: engine.publish_join("ch", None),
    "join-leave": lambda engine: engine.publish_join("ch", LeaveMessage("ch", INFO)),
    "join-info": lambda engine: engine.publish_join("ch", INFO),
    "leave-join": lambda engine: engine.publish_leave("ch", JoinMessage("ch", INFO)),
    "control-admin": lambda engine: engine.publish_control(AdminMessage("note")),
    "control-bytes": lambda engine: engine.publish_control(b"ping"),
    "admin-control": lambda engine: engine.publish_admin(ControlMessage("n", "ping")),
    "admin-str": lambda engine: engine.publish_admin("note"),
}


@pytest.mark.parametrize("bad", BAD_MESSAGES)
async def test_message_and_options(engine: Engine, bad: str) -> None:
    with pytest.raises(TypeError):
        BAD_MESSAGES[bad](engine)


BAD_PRESENCE: dict[str, tuple[Callable[[Any], Awaitable[Any]], type[Exception]]] = {
    "add-none": (lambda engine: engine.add_presence("ch", None, INFO), TypeError),
    "add-int": (lambda engine: engine.add_presence("ch", 7, INFO), TypeError),
    "add-bytes": (lambda engine: engine.add_presence("ch", b"c", INFO), TypeError),
    "info-none": (lambda engine: engine.add_presence("ch", "c", None), TypeError),
    "info-dict": (lambda engine: engine.add_presence("ch", "c", {"user": "u"}), TypeError),
    "info-join": (
        lambda engine: engine.add_presence("ch", "c", JoinMessage("ch", INFO)), TypeError),
    "remove-none": (lambda engine: engine.remove_presence("ch", None), TypeError),
    "remove-bytes": (lambda engine: engine.remove_presence("ch", b"c"), TypeError),
    "remove-unknown": (lambda engine: engine.remove_presence("never", 7), TypeError),
}


@pytest.mark.requires(Capability.PRESENCE)
@pytest.mark.parametrize("bad", BAD_PRESENCE)
async def test_presence(engine: Engine, bad: str) -> None:
    call, error = BAD_PRESENCE[bad]
    with pytest.raises(error):
        await call(engine)


BAD_READS: dict[str, tuple[Callable[[Any], Awaitable[Any]], type[Exception]]] = {
    "limit-negative": (lambda engine: engine.history("ch", -1), ValueError),
    "limit-str": (lambda engine: engine.history("ch", "1"), TypeError),
    "limit-float": (lambda engine: engine.history("ch", 1.5), TypeError),
    "limit-none": (lambda engine: engine.history("ch", None), TypeError),
    "limit-bool": (lambda engine: engine.history("ch", True), TypeError),
    "stream-limit-negative": (
        lambda engine: engine.history_stream("ch", limit=-1), ValueError),
    "stream-limit-str": (lambda engine: engine.history_stream("ch", limit="1"), TypeError),
    "stream-limit-float": (lambda engine: engine.history_stream("ch", limit=1.5), TypeError),
    "since-int": (lambda engine: engine.history_stream("ch", 3), TypeError),
    "since-tuple": (lambda engine: engine.history_stream("ch", (3, "epoch")), TypeError),
    "offset-negative": (
        lambda engine: engine.history_stream("ch", StreamPosition(-1, "")), ValueError),
    "offset-str": (
        lambda engine: engine.history_stream("ch", StreamPosition("3", "")), TypeError),
    "offset-none": (
        lambda engine: engine.history_stream("ch", StreamPosition(None, "")), TypeError),
    "epoch-none": (
        lambda engine: engine.history_stream("ch", StreamPosition(3, None)), TypeError),
    "epoch-bytes": (
        lambda engine: engine.history_stream("ch", StreamPosition(3, b"epoch")), TypeError),
}


@pytest.mark.requires(Capability.HISTORY)
@pytest.mark.parametrize("bad", BAD_READS)
async def test_history(engine: Engine, bad: str) -> None:
    call, error = BAD_READS[bad]
    with pytest.raises(error):
        await call(engine)


@pytest.mark.requires(Capability.HISTORY)
@pytest.mark.parametrize("limit", [10**30, 2**63, 2**64])
async def test_a_limit_above_every_machine_number_is_still_a_limit(
    engine: Engine, limit: int
) -> None:
    assert await engine.history("ch", limit) == []
    assert (await engine.history_stream("ch", limit=limit)).messages == []
