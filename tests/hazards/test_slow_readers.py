"""A reader that does not keep up: its queue is bounded, and nobody else waits for it."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest

from fanout._hub import Hub
from fanout.types import ClientInfo
from tests.hazards.connections import (
    Connection,
    connect,
    frame,
    frames_in,
    publish,
    turn,
)

DISCONNECT, DROP_OLDEST, KEEP_LATEST = 0, 1, 2
LIMIT = 50_000          # bytes
SIZE = 1_000            # bytes of a message
WITHIN_A_TICK = 65_536  # bytes broadcast after which outboxes are settled in mid-tick


def message(number: int, size: int = SIZE) -> bytes:
    return struct.pack("!I", number).ljust(size, b".")


def numbers(payloads: list[bytes]) -> list[int]:
    return [struct.unpack_from("!I", payload)[0] for payload in payloads]


async def block(hub: Hub, connection: Connection, channel: str) -> None:
    """Fill the connection's socket, until its transport says that it buffers."""
    number = 1_000_000
    while not connection.outbox.blocked:
        publish(hub, channel, message(number, 60_000))
        await turn(1)
        number += 1


@pytest.mark.parametrize("per_tick", [1, 10, 200])
@pytest.mark.parametrize("policy", [DISCONNECT, DROP_OLDEST, KEEP_LATEST])
async def test_the_bound_holds_and_others_get_everything(
    hub: Hub, policy: int, per_tick: int
) -> None:
    slow = await connect(hub, "ch", limit=LIMIT, send_buffer=4096, slow=policy)
    fast = [await connect(hub, "ch", slow=policy) for _ in range(3)]
    got = {id(each): bytearray() for each in fast}
    count = 1000
    for number in range(count):
        publish(hub, "ch", message(number))
        # Bytes of the tick that were not offered to the sockets yet, and what
        # is really waiting.
        assert slow.outbox.queued_bytes <= LIMIT + WITHIN_A_TICK + SIZE + 4
        if number % per_tick == 0:
            await turn(1)
            assert slow.outbox.queued_bytes <= LIMIT
            # One piece, the largest of which is a tick's run.
            assert slow.transport.get_write_buffer_size() <= WITHIN_A_TICK + 2 * SIZE
            for each in fast:
                got[id(each)] += each.received_now()
    for each in fast:
        stream = bytes(got[id(each)]) + await each.close()
        assert numbers(frames_in(stream)) == list(range(count))
        assert (each.slow, each.outbox.num_dropped) == (0, 0)
    assert slow.outbox.num_dropped > 0
    assert hub.stats().num_dropped == slow.outbox.num_dropped
    if policy == DISCONNECT:
        assert slow.slow == 1
        assert slow.outbox.queued_bytes == 0
        await slow.abort()
        return
    assert slow.slow == 0
    seen = numbers(frames_in(await slow.close()))
    assert seen == sorted(set(seen))
    assert seen[-1] == count - 1            # the newest is never what is dropped
    assert len(seen) + slow.outbox.num_dropped == count


async def test_drop_oldest_drops_of_its_own_channel_only(hub: Hub) -> None:
    slow = await connect(hub, limit=LIMIT, send_buffer=4096)
    hub.subscribe(slow.outbox, "drops", 0, DROP_OLDEST)
    hub.subscribe(slow.outbox, "stays", 0, DISCONNECT)
    await block(hub, slow, "drops")
    before = slow.outbox.num_dropped
    for number in range(10):
        publish(hub, "stays", b"stays" + message(number))
    for number in range(100):
        publish(hub, "drops", b"drops" + message(number))
    slow.outbox.write(frame(b"reply"))
    dropped = slow.outbox.num_dropped - before
    payloads = frames_in(await slow.close())
    stays = [payload[5:] for payload in payloads if payload.startswith(b"stays")]
    drops = [payload[5:] for payload in payloads if payload.startswith(b"drops")]
    assert numbers(stays) == list(range(10))
    assert numbers(drops) == list(range(100))[-len(drops):]
    assert 0 < len(drops) == 100 - dropped
    assert payloads[-1] == b"reply"


async def test_keep_latest_keeps_one_per_channel(hub: Hub) -> None:
    slow = await connect(hub, limit=LIMIT, send_buffer=4096)
    for name in ("a", "b"):
        hub.subscribe(slow.outbox, name, 0, KEEP_LATEST)
    await block(hub, slow, "a")
    for number in range(500):
        publish(hub, "a", b"a" + message(number))
        publish(hub, "b", b"b" + message(number))
        assert slow.outbox.queued_bytes <= 62_000
    payloads = frames_in(await slow.close())
    assert numbers([payload[1:] for payload in payloads[-2:]]) == [499, 499]
    assert [payload[:1] for payload in payloads[-2:]] == [b"a", b"b"]


@pytest.mark.parametrize("policy", [DROP_OLDEST, KEEP_LATEST])
async def test_joins_disconnect_nobody_from_a_channel_that_drops(hub: Hub, policy: int) -> None:
    slow = await connect(hub, limit=2_000, send_buffer=4096)
    hub.subscribe(slow.outbox, "ch", 1, policy)
    await block(hub, slow, "ch")
    for number in range(200):
        hub.broadcast_join("ch", ClientInfo(f"user-{number:04}"))
        assert slow.outbox.queued_bytes <= max(2_000, 60_004)
    await turn()
    assert slow.slow == 0
    assert frames_in(await slow.close())[-1] == b"join user-0199"


async def test_an_overflow_is_told_once_and_frees_what_was_queued(
    hub: Hub, reports: list[Any]
) -> None:
    slow = await connect(hub, "ch", limit=LIMIT, send_buffer=4096)
    await block(hub, slow, "ch")
    for number in range(55):        # above the bound, below what settles in mid-tick
        publish(hub, "ch", message(number))
    assert slow.slow == 0           # not in the middle of a publish
    await turn()
    assert slow.slow == 1
    assert slow.outbox.queued_bytes == 0
    slow.outbox.write(frame(b"nothing comes after"))
    publish(hub, "ch", b"nothing comes after")
    await turn()
    assert slow.slow == 1
    assert slow.outbox.queued_bytes == 0
    slow.outbox.write_last(frame(b"but the reason"))
    stream = await slow.close()
    assert frames_in(stream)[-1] == b"but the reason"


async def test_a_frame_above_the_bound_waits_alone(hub: Hub) -> None:
    slow = await connect(hub, "ch", limit=LIMIT, send_buffer=4096)
    publish(hub, "ch", message(0, 10 * LIMIT))
    await turn()
    assert slow.slow == 0
    assert numbers(frames_in(await slow.close())) == [0]


async def test_what_is_full_but_not_slow_is_sent_not_dropped(hub: Hub) -> None:
    connection = await connect(hub, "ch", limit=LIMIT)
    reading = asyncio.ensure_future(connection.receive(400 * (SIZE + 4)))
    for number in range(200):
        connection.outbox.write(frame(message(number)))
    for number in range(200, 400):
        publish(hub, "ch", message(number))
    assert numbers(frames_in(await reading)) == list(range(400))
    assert (connection.slow, connection.outbox.num_dropped) == (0, 0)
    await connection.close()


async def test_a_peer_that_resets_is_aborted_and_holds_nothing(hub: Hub) -> None:
    """The socket says that it is broken before the loop does."""
    broken = await connect(hub, "ch")
    broken.transport.pause_reading()        # so that the loop does not see the reset first
    broken.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    broken.peer.close()
    for number in range(20):
        publish(hub, "ch", message(number))
        await turn(1)
        if broken.lost.is_set():
            break
    async with asyncio.timeout(10):
        await broken.lost.wait()
    assert broken.outbox.queued_bytes == 0
    assert publish(hub, "ch", b"after") == 0
    broken.outbox.detach()


async def test_replies_wait_in_the_queue_that_is_bounded_not_in_the_transport(hub: Hub) -> None:
    slow = await connect(hub, "ch", limit=LIMIT, send_buffer=4096)
    await block(hub, slow, "ch")
    buffered = slow.transport.get_write_buffer_size()
    for number in range(40):
        slow.outbox.write(frame(message(number)))
        await turn(1)
        assert slow.transport.get_write_buffer_size() <= buffered
    assert slow.outbox.queued_bytes == 40 * (SIZE + 4)
    for number in range(40, 60):
        slow.outbox.write(frame(message(number)))
        await turn(1)
    assert slow.slow == 1
    assert slow.transport.get_write_buffer_size() <= buffered
    await slow.abort()
