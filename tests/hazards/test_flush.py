"""One flush per tick, one system call per connection, and order kept by it."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from fanout._hub import Hub
from tests.hazards.connections import (
    Connection,
    Frames,
    connect,
    frame,
    frames_in,
    publish,
    turn,
)


async def closed(connections: list[Connection]) -> list[list[bytes]]:
    return [frames_in(await each.close()) for each in connections]


async def test_one_system_call_per_connection_and_tick(hub: Hub) -> None:
    connections = [await connect(hub, "one", "two", "three") for _ in range(20)]
    sent = []
    for number in range(30):
        sent.append(struct.pack("!I", number))
        publish(hub, ("one", "two", "three")[number % 3], sent[-1])
    for connection in connections:
        connection.outbox.write(frame(b"reply"))
    assert hub.stats().num_sends == 0
    await turn(1)
    assert hub.stats().num_sends == 20
    assert hub.stats().num_ticks == 1
    assert hub.stats().bytes_sent == 20 * (30 * 8 + 9)
    await turn()
    assert hub.stats().num_sends == 20
    assert await closed(connections) == [[*sent, b"reply"]] * 20


async def test_connections_with_different_channels_get_their_own(hub: Hub) -> None:
    """What was joined for one connection is used for the next only when it is the same."""
    names = ["a", "b", "c", "d"]
    wanted: list[list[bytes]] = []
    connections = []
    for number in range(32):
        mine = [name for bit, name in enumerate(names) if number >> bit & 1]
        connections.append(await connect(hub, *mine))
        wanted.append([name.encode() for _ in range(3) for name in names if name in mine])
    for _ in range(3):
        for name in names:
            publish(hub, name, name.encode())
    connections[5].outbox.write(frame(b"for 5 alone"))
    wanted[5].append(b"for 5 alone")
    await turn(1)
    assert hub.stats().num_sends == 30      # two have no channel
    assert await closed(connections) == wanted


async def test_more_connections_than_a_batch(hub: Hub) -> None:
    connections = [await connect(hub, "ch", f"own{number}") for number in range(300)]
    publish(hub, "ch", b"to all")
    for number in range(300):
        publish(hub, f"own{number}", b"to %d" % number)
    await turn(1)
    assert hub.stats().num_sends == 300
    assert await closed(connections) == [[b"to all", b"to %d" % at] for at in range(300)]


async def test_more_than_one_join(hub: Hub) -> None:
    """A tick's frames above the limit of one join go in several, in order."""
    connections = [await connect(hub, "a", "b") for _ in range(2)]
    reading = [asyncio.ensure_future(each.receive(40 * 20_004)) for each in connections]
    sent = []
    for number in range(40):
        sent.append(struct.pack("!I", number).ljust(20_000, b"."))
        publish(hub, "ab"[number % 2], sent[-1])
    for each in reading:
        assert frames_in(await each) == sent
    for connection in connections:
        await connection.abort()


async def test_empty_frames(hub: Hub) -> None:
    """An encoder may have nothing to say; there is no send of nothing that fails."""

    class Empty(Frames):
        def publication(self, channel: str, message: Any) -> bytes | None:
            return message.data

    encoding = hub.add_encoder(Empty())
    connection = await connect(hub, "ch", encoding=encoding)
    for data in (b"", b"", b""):
        publish(hub, "ch", data)        # a run of nothing
    hub.flush()
    connection.outbox.write(b"")
    publish(hub, "ch", b"")
    connection.outbox.write(b"")
    hub.flush()
    publish(hub, "ch", b"")
    publish(hub, "ch", frame(b"it"))
    assert frames_in(await connection.close()) == [b"it"]


async def test_order_over_ticks_partial_sends_and_back_pressure(hub: Hub) -> None:
    """Every subscriber of a channel sees its publish order, however it reads."""
    sizes = [0, 100_000, 10, 3_000, 500_000, 1, 70_000]
    quick = [await connect(hub, "ch") for _ in range(2)]
    slow = [await connect(hub, "ch", "other", send_buffer=4096) for _ in range(2)]
    streams = [bytearray() for _ in quick + slow]
    sent = []
    was_blocked = False
    for number in range(60):
        sent.append(struct.pack("!I", number).ljust(4 + sizes[number % len(sizes)], b"."))
        publish(hub, "ch", sent[-1])
        publish(hub, "other", b"other")
        if number % 4 == 0:
            await turn(1)
        was_blocked = was_blocked or slow[0].outbox.blocked
        for at, each in enumerate(quick):
            streams[at] += each.received_now()
        if number % 7 == 0:
            for at, each in enumerate(slow):
                streams[2 + at] += each.received_now()
    assert was_blocked
    for at, each in enumerate(quick + slow):
        streams[at] += await each.close()
        payloads = frames_in(bytes(streams[at]))
        assert [payload for payload in payloads if payload != b"other"] == sent
        assert payloads.count(b"other") == (60 if at >= 2 else 0)


async def test_a_reply_leaves_before_the_first_push(hub: Hub) -> None:
    others = await connect(hub, "ch")
    connection = await connect(hub)
    publish(hub, "ch", b"before")
    publish(hub, "ch", b"before")       # the others' buffer of "ch" is open now
    connection.outbox.write(frame(b"reply"))
    hub.subscribe(connection.outbox, "ch")
    publish(hub, "ch", b"after")
    publish(hub, "ch", b"after")
    assert frames_in(await connection.close()) == [b"reply", b"after", b"after"]
    assert frames_in(await others.close()) == [b"before"] * 2 + [b"after"] * 2


async def test_what_a_buffer_is_shared_for_ends_with_whatever_comes_between(hub: Hub) -> None:
    """Publishes that follow each other share a buffer; all that could tell is tried."""
    connections = [await connect(hub, "ch", "other") for _ in range(3)]
    sent: list[list[bytes]] = [[], [], []]

    def to_all(channel: str, payload: bytes) -> None:
        publish(hub, channel, payload)
        for each in sent:
            each.append(payload)

    for number in range(3):
        to_all("ch", b"run %d" % number)
    connections[1].outbox.write(frame(b"reply"))
    sent[1].append(b"reply")
    to_all("ch", b"behind the reply")
    to_all("ch", b"and more")
    to_all("other", b"another channel")
    to_all("ch", b"back")
    hub.flush()
    to_all("ch", b"behind the flush")
    to_all("ch", b"behind the flush")
    hub.unsubscribe(connections[2].outbox, "ch")
    for payload in (b"two only", b"two only"):
        publish(hub, "ch", payload)
        sent[0].append(payload)
        sent[1].append(payload)
    connections[0].outbox.detach()
    sent[0] = sent[0][:sent[0].index(b"behind the flush")]
    before = connections[0].outbox.num_dropped
    assert publish(hub, "ch", b"one only") == 1
    assert connections[0].outbox.num_dropped == before + 1
    sent[1].append(b"one only")
    await turn()
    connections[0].transport.close()
    assert frames_in(await connections[0].receive_to_the_end()) == sent[0]
    for at in (1, 2):
        assert frames_in(await connections[at].close()) == sent[at]


async def test_a_message_that_one_encoding_cannot_say(hub: Hub) -> None:
    """The next one, which it can say, comes by even though its owner stayed."""

    class Picky(Frames):
        def publication(self, channel: str, message: Any) -> bytes | None:
            return None if message.data == b"odd" else frame(message.data)

    encoding = hub.add_encoder(Picky())
    picky = await connect(hub, "ch", encoding=encoding)
    other = await connect(hub, "ch")
    for data in (b"odd", b"even", b"even", b"odd", b"even"):
        publish(hub, "ch", data)
    assert picky.unencodable == ["ch", "ch"]
    assert frames_in(await picky.close()) == [b"even"] * 3
    assert frames_in(await other.close()) == [b"odd", b"even", b"even", b"odd", b"even"]


async def test_a_run_opened_while_a_transport_is_asked_ends_with_the_send(hub: Hub) -> None:
    """Else the next publish would go into a buffer that was sent already."""
    hooks: list[Any] = []

    class Asked:
        def __init__(self, transport: Any) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def is_closing(self) -> bool:
            if hooks:
                hooks.pop()()
            return self._transport.is_closing()

    connections = [await connect(hub, "ch", through=Asked) for _ in range(3)]
    hooks.append(lambda: publish(hub, "ch", b"while asked"))
    publish(hub, "ch", b"first")
    hub.flush()
    assert not hooks
    publish(hub, "ch", b"after the send")
    wanted = [b"first", b"while asked", b"after the send"]
    assert await closed(connections) == [wanted] * 3
