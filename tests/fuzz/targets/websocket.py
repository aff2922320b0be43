"""The reader of WebSocket frames, and the ``websockets`` package beside it.

First byte: bit 0 for permessage-deflate, the others cut the stream into pieces.
"""

from __future__ import annotations

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Opcode
from websockets.protocol import OPEN, SERVER, Protocol

from fanout._websocket import WebSocketError, WebSocketReader

MAX_LEN = 4096
LIMIT = 1024            # bytes of a message
INFLATED_LIMIT = 65536  # so that a few bytes come to more than is inflated at once
MOST_AT_ONCE = (1 << 20) + INFLATED_LIMIT + MAX_LEN
CLOSE = 8

Message = tuple[int, bytes]


def run(data: bytes) -> None:
    head, stream = data[0] if data else 0, data[1:]
    step = (head >> 1) + 1
    pieces = [stream[at:at + step] for at in range(0, len(stream), step)] if step < 128 else [
        stream]
    deflates = bool(head & 1)
    ours, code = _ours(pieces, deflates)
    for opcode, payload in ours:
        assert len(payload) <= (125 if opcode >= CLOSE else INFLATED_LIMIT if deflates else LIMIT)
    if deflates:
        return      # they have no bound on what an inflated message's blocks are
    theirs, refused = _theirs(stream)
    ends = [number for number, (opcode, _) in enumerate(ours) if opcode == CLOSE]
    if ends:
        # They read nothing behind it, and refuse one whose code is none: ours is passed on.
        assert ours[:ends[0]] == theirs[:ends[0]]
    elif code == 1007:
        assert ours == theirs[:len(ours)]
    else:
        assert ours == theirs
        # They look at a frame when it is whole, ours is refused as soon as it can be.
        assert code is not None or not refused


def _ours(pieces: list[bytes], deflates: bool) -> tuple[list[Message], int | None]:
    reader = WebSocketReader(LIMIT, INFLATED_LIMIT if deflates else 0)
    messages: list[Message] = []
    try:
        for piece in pieces:
            messages += _fed(reader, piece)
            while reader.has_more:
                messages += _fed(reader, b"")
    except WebSocketError as error:
        assert error.code in (1002, 1007, 1009)
        assert 0 < len(error.reason.encode()) <= 123
        return messages + error.messages, error.code
    return messages, None


def _fed(reader: WebSocketReader, piece: bytes) -> list[Message]:
    messages = reader.feed(piece)
    assert sum(len(payload) for _, payload in messages) <= MOST_AT_ONCE
    return messages


def _theirs(stream: bytes) -> tuple[list[Message], bool]:
    protocol = Protocol(SERVER, state=OPEN, max_size=LIMIT)
    protocol.receive_data(stream)
    messages: list[Message] = []
    fragments: list[bytes] = []
    kind = Opcode.TEXT
    for frame in protocol.events_received():
        if frame.opcode >= CLOSE:
            messages.append((int(frame.opcode), bytes(frame.data)))
            continue
        if frame.opcode is not Opcode.CONT:
            kind = frame.opcode
        fragments.append(bytes(frame.data))
        if frame.fin:
            messages.append((int(kind), b"".join(fragments)))
            fragments.clear()
    return messages, isinstance(protocol.parser_exc, ProtocolError | PayloadTooBig)
