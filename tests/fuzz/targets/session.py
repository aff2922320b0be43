"""A whole session: any frames in any order.

The first byte is ``P`` for Protobuf, else JSON; behind it are the frames, each
behind its length in two bytes in Protobuf, or behind the byte 0x1E in JSON.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter

from centrifuge.protocol import client_pb2 as pb
from google.protobuf.internal.decoder import _DecodeVarint32

from fanout._framing import WebSocketFraming
from fanout.server.protocol import JSON, PROTOBUF
from fanout.server.protocol.base import Protocol
from fanout.server.session import Session
from tests.fuzz.harness import (
    Sink,
    Witness,
    in_loop,
    server_without_socket,
    session_settings,
    settled,
    visitor,
)

MAX_LEN = 4096
# Clients are told these; 3004 would be a mistake of ours, and 3008 cannot be: the sink takes all.
ENDS = {3000, 3005, 3010, 3500, 3501, 3503, 3505, 3506, 3507, 3508}


def run(data: bytes) -> None:
    protocol = PROTOBUF if data[:1] == b"P" else JSON
    frames = _blocks(data[1:]) if protocol is PROTOBUF else data[1:].split(b"\x1e")
    in_loop(lambda: _talk(protocol, frames))


def _blocks(data: bytes) -> list[bytes]:
    blocks, at = [], 0
    while at + 2 <= len(data):
        size = int.from_bytes(data[at:at + 2], "big")
        blocks.append(data[at + 2:at + 2 + size])
        at += 2 + size
    return blocks


async def _talk(protocol: Protocol, frames: list[bytes]) -> None:
    async with server_without_socket() as server:
        node = server.node
        other = await Witness.made(node, "a")
        for number in range(3):
            await node.publish("a", b'{"number":%d}' % number, tags={"a": str(number)})
        session = Session(node, session_settings(), visitor("websocket"), protocol)
        binary = protocol is PROTOBUF
        sink = Sink(server, session, WebSocketFraming(2 if binary else 1))
        session.open(sink)
        asked: Counter[int] = Counter()
        answered: Counter[int] = Counter()
        for frame in frames:
            asked.update(_ids(protocol, frame))
            session.on_frame(frame)
            await settled(session)
            # Deltas and filters have something to do.
            await node.publish("a", b'{"number":4}', tags={"a": "4"}, delta=True)
            answered.update(_replies(protocol, sink.payloads()))
            if session.client.closed:
                break
        answered.update(_replies(protocol, sink.payloads()))
        if sink.closed is None:
            assert answered == asked, (answered, asked)
        else:
            assert sink.closed[0] in ENDS, sink.closed
            assert answered <= asked
        session.on_lost()
        await settled(session)
        # Nothing of it is left, and the others go on.
        assert set(node.hub.channels()) <= {"a"}
        assert set(node.clients) <= {other.client.id}
        other.pushes()
        if other.ended is None:
            await node.publish("a", b"5")
            assert [push["pub"]["data"] for push in other.pushes()] == [5]


def _ids(protocol: Protocol, frame: bytes) -> list[int]:
    """The commands that must be answered unless the session ends."""
    ids = []
    with contextlib.suppress(ValueError, RecursionError):
        for command in protocol.read_commands(frame):
            if command.id:
                ids.append(command.id)
    return ids


def _replies(protocol: Protocol, payloads: list[bytes]) -> list[int]:
    """Whose answers these are; pushes have no id."""
    ids = []
    for payload in payloads:
        if protocol is PROTOBUF:
            reply = pb.Reply()
            size, at = _DecodeVarint32(payload, 0)
            assert size == len(payload) - at
            reply.ParseFromString(payload[at:])
            if reply.id:
                ids.append(reply.id)
        elif "id" in (said := json.loads(payload)):
            ids.append(said["id"])
    return ids
