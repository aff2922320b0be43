"""The client protocol v2 from the client's side: JSON and Protobuf."""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Raw

from fanout.bench import frames
from fanout.bench.replies import Connect, Disconnect, Error, Publication, Push, Reply

__all__ = ["Dialect", "JSONDialect", "ProtobufDialect", "dialect"]

_NAME = "fanout-bench"


class Dialect(Protocol):
    """How commands are written and replies are read.

    ``answers`` are the subprotocols that a server which speaks it may answer
    with. ``decode`` takes one message and raises ``ValueError`` for what is
    not of the format.
    """

    opcode: int
    subprotocol: str
    answers: tuple[str, ...]
    pong: bytes

    def connect(self, id: int, token: str) -> bytes: ...
    def subscribe(self, id: int, channel: str) -> bytes: ...
    def publish(self, id: int, channel: str, data: bytes) -> bytes: ...
    def decode(self, payload: bytes) -> list[Reply]: ...


class JSONDialect:
    opcode = frames.TEXT
    subprotocol = "centrifuge-json"
    answers: tuple[str, ...] = ("centrifuge-json", "")       # without an answer it is JSON
    pong = b"{}"

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder().encode
        self._decoder = msgspec.json.Decoder(Reply)

    def connect(self, id: int, token: str) -> bytes:
        request = {"name": _NAME, "token": token} if token else {"name": _NAME}
        return self._encode({"id": id, "connect": request})

    def subscribe(self, id: int, channel: str) -> bytes:
        return self._encode({"id": id, "subscribe": {"channel": channel}})

    def publish(self, id: int, channel: str, data: bytes) -> bytes:
        return self._encode({"id": id, "publish": {"channel": channel, "data": Raw(data)}})

    def decode(self, payload: bytes) -> list[Reply]:
        return self._decoder.decode_lines(payload)


class ProtobufDialect:
    """Messages with a varint for their length in front, several in one frame."""

    opcode = frames.BINARY
    subprotocol = "centrifuge-protobuf"
    answers: tuple[str, ...] = ("centrifuge-protobuf",)
    pong = b"\x00"

    def connect(self, id: int, token: str) -> bytes:
        return _command(id, 4, _text(1, token) + _text(4, _NAME))

    def subscribe(self, id: int, channel: str) -> bytes:
        return _command(id, 5, _text(1, channel))

    def publish(self, id: int, channel: str, data: bytes) -> bytes:
        return _command(id, 7, _text(1, channel) + _bytes(2, data))

    def decode(self, payload: bytes) -> list[Reply]:
        replies = []
        at = 0
        while at < len(payload):
            size, at = _read_varint(payload, at)
            end = at + size
            if end > len(payload):
                raise ValueError("a message is cut short")
            replies.append(_reply(payload[at:end]))
            at = end
        return replies


def dialect(format: str) -> Dialect:
    """The dialect of ``json`` or ``protobuf``."""
    return JSONDialect() if format == "json" else ProtobufDialect()


# Protobuf's wire format: field number and wire type, then a varint or bytes.

_Value = int | bytes


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value if value else b""


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _command(id: int, method: int, request: bytes) -> bytes:
    body = b"\x08" + _varint(id) + _varint(method << 3 | 2) + _varint(len(request)) + request
    return _varint(len(body)) + body


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(data: bytes) -> dict[int, _Value]:
    """The last value of each field."""
    fields: dict[int, _Value] = {}
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        kind = key & 7
        if kind == 0:
            fields[key >> 3], at = _read_varint(data, at)
            continue
        if kind == 2:
            size, at = _read_varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + size > len(data):
            raise ValueError("a field is cut short")
        fields[key >> 3] = data[at : at + size]
        at += size
    return fields


def _number(fields: dict[int, _Value], field: int) -> int:
    value = fields.get(field, 0)
    if not isinstance(value, int):
        raise ValueError(f"field {field} is no number")
    return value


def _message(fields: dict[int, _Value], field: int) -> dict[int, _Value] | None:
    value = fields.get(field)
    if value is None:
        return None
    if isinstance(value, int):
        raise ValueError(f"field {field} is no message")
    return _fields(value)


def _blob(fields: dict[int, _Value], field: int) -> bytes:
    value = fields.get(field, b"")
    if isinstance(value, int):
        raise ValueError(f"field {field} is no bytes")
    return value


def _reply(data: bytes) -> Reply:
    fields = _fields(data)
    reply = Reply(id=_number(fields, 1))
    if (error := _message(fields, 2)) is not None:
        reply.error = Error(_number(error, 1), _blob(error, 2).decode())
    if (connect := _message(fields, 5)) is not None:
        reply.connect = Connect(_blob(connect, 1).decode(), bool(_number(connect, 8)))
    if (push := _message(fields, 4)) is not None:
        reply.push = _push(push)
    return reply


def _push(fields: dict[int, _Value]) -> Push:
    push = Push(channel=_blob(fields, 2).decode())
    if (publication := _message(fields, 4)) is not None:
        push.pub = Publication(Raw(_blob(publication, 4)))
    for field, name in ((7, "unsubscribe"), (11, "disconnect")):
        if (end := _message(fields, field)) is not None:
            code, reason = (2, 3) if name == "unsubscribe" else (1, 2)
            setattr(push, name, Disconnect(_number(end, code), _blob(end, reason).decode()))
    return push
