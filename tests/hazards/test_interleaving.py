"""Frames and a transport's own bytes share a socket: neither may tear the other."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout._hub import Hub
from fanout._outbox import Outbox
from tests.hazards.connections import (
    Connection,
    Frames,
    connect,
    frame,
    frames_in,
    publish,
    socket_pair,
    turn,
)

BIG = 300_000       # bytes: more than a small socket buffer and than one join


def numbered(source: bytes, number: int, size: int) -> bytes:
    """A payload that says where it is from, which it is, and whether it is whole."""
    head = source + struct.pack("!I", number)
    return head + head[-1:] * size


def check_order(payloads: list[bytes], sent: dict[bytes, list[bytes]]) -> None:
    """Each source's payloads are there, whole, once and in its order."""
    for source, wanted in sent.items():
        assert [payload for payload in payloads if payload[:1] == source] == wanted
    assert len(payloads) == sum(map(len, sent.values()))


step = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([0, 1, 100, 5_000, 70_000, BIG])),
    st.tuples(st.just("reply"), st.sampled_from([0, 1, 100, 5_000, 70_000])),
    # The transport's own: a handshake's rest, a close frame.
    st.tuples(st.just("transport"), st.sampled_from([1, 100, 70_000, BIG])),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("read"), st.sampled_from([1, 100, 10_000, 200_000])),
)


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(step, min_size=1, max_size=30))
def test_any_mixture_arrives_whole_and_in_order(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        hub = Hub(asyncio.get_running_loop())
        hub.add_encoder(Frames())
        connection = await connect(hub, "ch", send_buffer=4096)
        beside = await connect(hub, "ch")       # shares the buffers of "ch"
        received = bytearray()
        sent: dict[bytes, list[bytes]] = {b"p": [], b"r": [], b"t": []}
        for number, (what, size) in enumerate(steps):
            if what == "publish":
                sent[b"p"].append(numbered(b"p", number, size))
                publish(hub, "ch", sent[b"p"][-1])
            elif what == "reply":
                sent[b"r"].append(numbered(b"r", number, size))
                connection.outbox.write(frame(sent[b"r"][-1]))
            elif what == "transport":
                sent[b"t"].append(numbered(b"t", number, size))
                connection.transport.write(frame(sent[b"t"][-1]))
            elif what == "flush":
                hub.flush()
            elif what == "turn":
                await turn(1)
            else:
                try:
                    received += connection.peer.recv(size)
                except BlockingIOError:
                    await turn(1)
        received += await connection.close()
        check_order(frames_in(bytes(received)), sent)
        check_order(frames_in(await beside.close()), {b"p": sent[b"p"]})

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


async def test_publishes_and_replies_keep_their_order_to_each_other(hub: Hub) -> None:
    connection = await connect(hub, "ch", "other", send_buffer=4096)
    sent = []
    for number in range(200):
        payload = numbered(b"x", number, 1000)
        sent.append(payload)
        if number % 3 == 0:
            connection.outbox.write(frame(payload))
        else:
            publish(hub, "ch" if number % 3 == 1 else "other", payload)
        if number % 17 == 0:
            await turn(1)
    assert frames_in(await connection.close()) == sent


async def test_a_transport_that_buffers_already_goes_first(hub: Hub) -> None:
    """As after a handshake that the socket did not take whole.

    Its protocol was paused before there was an outbox to tell.
    """
    ours, theirs = socket_pair(4096)

    class Handshaking(Connection):
        def pause_writing(self) -> None: ...

        def resume_writing(self) -> None: ...

    connection = Handshaking(theirs)
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    handshake = frame(b"h" * BIG)
    connection.transport.write(handshake)
    assert connection.transport.get_write_buffer_size() > 0
    connection.outbox = Outbox(hub, connection.transport, connection, 0, 1 << 20)
    hub.subscribe(connection.outbox, "ch")
    publish(hub, "ch", b"first")
    hub.flush()
    half = await connection.receive(len(handshake) // 2)     # the socket has room now
    publish(hub, "ch", b"second")
    hub.flush()
    stream = half + await connection.close()
    assert frames_in(stream) == [b"h" * BIG, b"first", b"second"]


class Meddling:
    """Has the real transport's ``write`` do something else first."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.before_write: Any = lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.before_write()
        self._transport.write(data)


@pytest.mark.parametrize("write_first", [True, False])
async def test_a_flush_while_rests_are_handed_to_transports(
    hub: Hub, write_first: bool
) -> None:
    """The rest of a frame is on its way to a transport: nothing may be sent before it.

    While the first connection's rest is handed over, Python publishes and
    flushes; the second connection's rest is still to be handed over, and its
    socket has room again.
    """
    made: list[Meddling] = []

    def through(transport: Any) -> Meddling:
        made.append(Meddling(transport))
        return made[-1]

    connections = [
        await connect(hub, "ch", send_buffer=4096, through=through) for _ in range(3)]
    arrived = {id(connection): bytearray() for connection in connections}
    meddled = 0

    def meddle() -> None:
        nonlocal meddled
        meddled += 1
        for transport in made:
            transport.before_write = lambda: None
        for connection in connections:      # make room in the sockets
            arrived[id(connection)] += connection.received_now()
        publish(hub, "ch", b"in between")
        if write_first:
            connections[1].outbox.write(frame(b"reply"))
        hub.flush()

    for transport in made:
        transport.before_write = meddle
    publish(hub, "ch", b"x" * BIG)
    hub.flush()
    assert meddled == 1
    publish(hub, "ch", b"last")
    for at, connection in enumerate(connections):
        stream = bytes(arrived[id(connection)]) + await connection.close()
        reply = [b"reply"] if write_first and at == 1 else []
        assert frames_in(stream) == [b"x" * BIG, b"in between", *reply, b"last"]


async def test_write_last_is_the_last(hub: Hub) -> None:
    connection = await connect(hub, "ch", send_buffer=4096)
    publish(hub, "ch", b"x" * BIG)
    hub.flush()
    publish(hub, "ch", b"queued")
    connection.outbox.write_last(frame(b"goodbye"))
    connection.outbox.write(frame(b"too late"))
    connection.outbox.write_last(frame(b"too late"))
    assert publish(hub, "ch", b"too late") == 0
    assert connection.outbox.num_dropped == 1
    assert frames_in(await connection.close()) == [b"x" * BIG, b"queued", b"goodbye"]
