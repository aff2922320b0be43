"""Outbox: what it is given, what it refuses, and every reference it holds.

Sockets, back-pressure and all that may go wrong between them: tests/hazards.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout.types import Message
from tests.core.objects import fresh_bytes, references
from tests.hazards.connections import MadeTransport, turn

LIMIT = 10_000


class Same:
    """An encoder that gives the message's own bytes."""

    def publication(self, channel: str, message: Message) -> bytes | None:
        return message.data

    def join(self, channel: str, info: object) -> bytes | None:
        return None

    leave = join


class Owner:
    def __init__(self) -> None:
        self.slow = 0

    def on_slow(self) -> None:
        self.slow += 1

    def on_unencodable(self, channel: str) -> None: ...


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(asyncio.get_running_loop())
    hub.add_encoder(Same())
    yield hub
    await turn()


def outbox_of(hub: Hub, *channels: str, slow: int = 0, limit: int = LIMIT) -> Outbox:
    outbox = Outbox(hub, MadeTransport(), Owner(), 0, limit)
    for channel in channels:
        hub.subscribe(outbox, channel, 0, slow)
    return outbox


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"hub": None}, TypeError),
        ({"hub": "hub"}, TypeError),
        ({"transport": None}, AttributeError),
        ({"encoding": 1}, ValueError),
        ({"encoding": -1}, ValueError),
        ({"encoding": "0"}, TypeError),
        ({"limit": 0}, ValueError),
        ({"limit": -5}, ValueError),
        ({"limit": "many"}, TypeError),
        ({"limit": 1 << 70}, OverflowError),
    ],
    ids=str,
)
async def test_bad_arguments(
    hub: Hub, arguments: dict[str, Any], error: type[Exception]
) -> None:
    given: dict[str, Any] = {
        "hub": hub, "transport": MadeTransport(), "owner": Owner(), "encoding": 0, "limit": 1}
    owner, before = given["owner"], references(given["owner"])
    with pytest.raises(error):
        Outbox(*{**given, **arguments}.values())
    assert references(owner) == before
    assert None.__class__ is type(None)     # a hub of None was written to once


@pytest.mark.parametrize("frame", [None, "frame", bytearray(b"frame"), memoryview(b"frame"), 5])
async def test_a_frame_is_bytes(hub: Hub, frame: Any) -> None:
    outbox = outbox_of(hub)
    for write in (outbox.write, outbox.write_last):
        with pytest.raises(TypeError):
            write(frame)
    assert outbox.queued_bytes == 0
    outbox.write(b"still takes this")
    assert outbox.queued_bytes == 16


@pytest.mark.parametrize("frame", ["text", bytearray(b"x"), 5, [b"x"]])
async def test_an_encoder_s_frame_is_bytes_or_none(hub: Hub, frame: object) -> None:
    class Wrong(Same):
        def publication(self, channel: str, message: Message) -> Any:
            return frame

    encoding = hub.add_encoder(Wrong())
    transport = MadeTransport()
    wrong = Outbox(hub, transport, Owner(), encoding, LIMIT)
    right = outbox_of(hub, "ch")
    hub.subscribe(wrong, "ch")
    with pytest.raises(TypeError, match="encoder"):
        hub.broadcast("ch", Message("ch", b"x"))
    assert (wrong.queued_bytes, right.queued_bytes) == (0, 0)


async def test_a_transport_s_write_limits_are_set(hub: Hub) -> None:
    """So that pause and resume come with the first and the last buffered byte."""
    limits = []

    class Transport(MadeTransport):
        def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
            limits.append(high)

    Outbox(hub, Transport(), Owner(), 0, LIMIT)
    assert limits == [0]


async def test_nothing_is_written_before_the_end_of_the_tick(hub: Hub) -> None:
    outbox, transport = outbox_of(hub, "ch"), MadeTransport()
    outbox = Outbox(hub, transport, Owner(), 0, LIMIT)
    outbox.write(b"a")
    outbox.write(b"b")
    assert transport.written == []
    assert outbox.queued_bytes == 2
    await turn()
    assert transport.written == [b"ab"]
    assert outbox.queued_bytes == 0


async def test_a_paused_outbox_waits_and_a_resumed_one_goes_on(hub: Hub) -> None:
    transport = MadeTransport()
    outbox = Outbox(hub, transport, Owner(), 0, LIMIT)
    outbox.pause()
    assert outbox.blocked
    outbox.write(b"a")
    hub.flush()
    assert transport.written == []
    outbox.resume()
    assert not outbox.blocked
    await turn()
    assert transport.written == [b"a"]
    outbox.pause()
    outbox.resume()
    await turn()
    assert transport.written == [b"a"]


async def test_after_detach_nothing_is_kept_or_written(hub: Hub) -> None:
    transport = MadeTransport()
    outbox = Outbox(hub, transport, Owner(), 0, LIMIT)
    hub.subscribe(outbox, "ch")
    outbox.write(b"queued")
    outbox.detach()
    outbox.detach()
    assert (outbox.queued_bytes, outbox.num_dropped) == (0, 1)
    outbox.write(b"late")
    outbox.write_last(b"late")
    assert hub.broadcast("ch", Message("ch", b"late")) == 0
    assert outbox.num_dropped == 2
    outbox.resume()
    outbox.shrink()
    hub.flush()
    assert (transport.written, outbox.queued_bytes) == ([], 0)


async def test_shrink_gives_back_an_empty_queue_only(hub: Hub) -> None:
    outbox = outbox_of(hub)
    outbox.shrink()
    outbox.write(b"a")
    outbox.shrink()
    assert outbox.queued_bytes == 1
    hub.flush()
    outbox.shrink()
    outbox.write(b"b")
    hub.flush()
    assert outbox.queued_bytes == 0


@pytest.mark.parametrize("method", ["is_closing", "get_write_buffer_size", "write", "abort"])
async def test_a_transport_that_fails_is_reported_and_harms_nobody(
    hub: Hub, method: str
) -> None:
    reports: list[Any] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context["exception"]))

    def fail() -> None:
        raise LookupError("the test's transport")

    transports = [MadeTransport() for _ in range(3)]
    outboxes = [Outbox(hub, transport, Owner(), 0, LIMIT) for transport in transports]
    transports[1].hooks[method] = fail
    for outbox in outboxes:
        outbox.write(b"a")
    hub.flush()
    assert [transport.written for transport in (transports[0], transports[2])] == [[b"a"]] * 2
    assert [type(report) for report in reports] == (
        [LookupError] if method in ("is_closing", "write") else [])
    await turn()


# -- who owns what


async def test_exact_references_of_a_frame_that_is_written(hub: Hub) -> None:
    frame = fresh_bytes(b"a frame")
    outbox = outbox_of(hub)
    before = references(frame)
    outbox.pause()
    outbox.write(frame)
    assert references(frame) == before + 1
    outbox.write(frame)
    assert references(frame) == before + 2
    outbox.detach()
    assert references(frame) == before
    outbox.write(frame)
    assert references(frame) == before
    await turn()
    assert references(frame) == before


async def test_exact_references_of_a_frame_that_is_published(hub: Hub) -> None:
    """One buffer holds it for all; the hub too, while the next may go behind it."""
    data = fresh_bytes(b"a frame")
    message = Message("ch", data)
    outboxes = [outbox_of(hub, "ch") for _ in range(5)]
    before = references(data)
    hub.broadcast("ch", message)
    assert references(data) == before + 1
    hub.broadcast("ch", message)        # copied behind the first one, which is copied too
    assert references(data) == before
    hub.flush()
    hub.broadcast("ch", message)
    assert references(data) == before + 1
    for outbox in outboxes[1:]:
        hub.remove(outbox)
        outbox.detach()
    assert references(data) == before + 1
    outboxes[0].detach()
    hub.flush()
    assert references(data) == before


async def test_exact_references_of_a_frame_that_goes_through_the_transport(hub: Hub) -> None:
    frame = fresh_bytes(b"a frame")
    transport = MadeTransport()
    outbox = Outbox(hub, transport, Owner(), 0, LIMIT)
    before = references(frame)
    outbox.write(frame)
    hub.flush()
    assert references(frame) == before + 1      # the transport's
    assert transport.written[0] is frame
    transport.written.clear()
    assert references(frame) == before
    for _ in range(3):
        outbox.write(frame)
    hub.flush()
    assert references(frame) == before          # joined: a copy


@pytest.mark.parametrize("slow", [0, 1, 2], ids=["disconnect", "drop-oldest", "keep-latest"])
async def test_exact_references_of_frames_that_are_dropped(hub: Hub, slow: int) -> None:
    frames = [fresh_bytes(b"%04d" % number * 100) for number in range(60)]
    before = [references(frame) for frame in frames]
    outbox = outbox_of(hub, "ch", slow=slow)
    outbox.pause()
    for frame in frames:
        hub.broadcast("ch", Message("ch", frame))
    del frame
    hub.flush()
    kept = {0: 0, 1: LIMIT // 400, 2: 1}[slow]
    assert outbox.num_dropped == 60 - kept
    assert outbox.queued_bytes == kept * 400
    after = [references(frame) for frame in frames]
    assert after == [
        count + (number >= 60 - kept) for number, count in enumerate(before)]
    hub.remove(outbox)
    del outbox
    hub.flush()
    assert [references(frame) for frame in frames] == before


async def test_exact_references_of_an_outbox_and_its_parts(hub: Hub) -> None:
    transport, owner = MadeTransport(), Owner()
    before = references(hub), references(transport), references(owner)
    outbox = Outbox(hub, transport, owner, 0, LIMIT)
    held = before[0] + 1, before[1] + 1, before[2] + 1
    assert (references(hub), references(transport), references(owner)) == held
    alone = references(outbox)
    hub.subscribe(outbox, "ch")
    hub.subscribe(outbox, "other")
    assert references(outbox) == alone          # channels borrow it
    outbox.write(b"a")
    outbox.write(b"b")
    assert references(outbox) == alone + 1      # the backlog's
    hub.flush()
    assert references(outbox) == alone
    await turn()
    assert (references(hub), references(transport), references(owner)) == held
    outbox.detach()
    assert (references(transport), references(owner)) == before[1:]
    assert references(hub) == before[0] + 1
    del outbox
    await turn()
    assert references(hub) == before[0]
    assert hub.channels() == []


async def test_a_marked_outbox_lives_until_it_is_settled(hub: Hub) -> None:
    transport = MadeTransport()
    outbox = Outbox(hub, transport, Owner(), 0, LIMIT)
    outbox.write(b"last words")
    del outbox
    await turn()
    assert transport.written == [b"last words"]


async def test_an_outbox_in_a_cycle_is_collected(hub: Hub) -> None:
    frame = fresh_bytes(b"a frame")
    before = references(frame)

    class Session(Owner):
        def __init__(self) -> None:
            super().__init__()
            self.transport = MadeTransport()
            self.transport.session = self       # type: ignore[attr-defined]
            self.outbox = Outbox(hub, self.transport, self, 0, LIMIT)
            hub.subscribe(self.outbox, "ch")
            self.outbox.pause()
            self.outbox.write(frame)

    session = Session()
    await turn()
    assert references(frame) == before + 1
    del session
    gc.collect()
    assert hub.channels() == []
    assert references(frame) == before


async def test_a_frame_above_the_bound_does_not_count_against_what_follows(hub: Hub) -> None:
    """As a reply with all that a client missed."""
    outbox = outbox_of(hub, "ch")
    outbox.pause()
    outbox.write(b"r" * (5 * LIMIT))
    for _ in range(10):
        hub.broadcast("ch", Message("ch", b"x" * (LIMIT // 10)))
    await turn()
    assert outbox.owner.slow == 0       # type: ignore[union-attr]
    assert outbox.queued_bytes == 6 * LIMIT
    hub.broadcast("ch", Message("ch", b"x"))
    await turn()
    assert outbox.owner.slow == 1       # type: ignore[union-attr]
    assert outbox.queued_bytes == 0


@pytest.mark.parametrize("slow", [1, 2])
async def test_behind_a_frame_above_the_bound_a_policy_drops_as_ever(hub: Hub, slow: int) -> None:
    outbox = outbox_of(hub, "ch", slow=slow)
    outbox.pause()
    outbox.write(b"r" * (5 * LIMIT))
    for _ in range(30):
        hub.broadcast("ch", Message("ch", b"x" * (LIMIT // 10)))
    await turn()
    assert outbox.owner.slow == 0       # type: ignore[union-attr]
    kept = 10 if slow == 1 else 1
    assert outbox.queued_bytes == 5 * LIMIT + kept * (LIMIT // 10)
    assert outbox.num_dropped == 30 - kept


async def test_only_the_first_frame_may_be_above_the_bound(hub: Hub) -> None:
    outbox = outbox_of(hub)
    outbox.pause()
    outbox.write(b"r" * (5 * LIMIT))
    outbox.write(b"r" * (5 * LIMIT))
    await turn()
    assert outbox.owner.slow == 1       # type: ignore[union-attr]


async def test_when_the_large_frame_is_gone_the_bound_is_the_old_one(hub: Hub) -> None:
    outbox = outbox_of(hub, "ch")
    outbox.write(b"r" * (5 * LIMIT))
    hub.flush()
    assert outbox.queued_bytes == 0
    outbox.pause()
    for _ in range(11):
        hub.broadcast("ch", Message("ch", b"x" * (LIMIT // 10)))
    await turn()
    assert outbox.owner.slow == 1       # type: ignore[union-attr]
