"""Commands and replies in both formats; Protobuf beside what its field numbers say."""

from __future__ import annotations

import pytest
from msgspec import Raw

from fanout.bench.dialects import Dialect, JSONDialect, ProtobufDialect, dialect
from fanout.bench.marks import Mark, mark_of, marked_data, smallest_size
from fanout.bench.replies import Connect, Disconnect, Error, Publication, Push, Reply


def test_commands_in_json() -> None:
    json = JSONDialect()
    assert json.connect(1, "") == b'{"id":1,"connect":{"name":"fanout-bench"}}'
    assert json.connect(1, "t") == b'{"id":1,"connect":{"name":"fanout-bench","token":"t"}}'
    assert json.subscribe(2, "a") == b'{"id":2,"subscribe":{"channel":"a"}}'
    assert json.publish(3, "a", b'[1]') == b'{"id":3,"publish":{"channel":"a","data":[1]}}'


def test_commands_in_protobuf() -> None:
    protobuf = ProtobufDialect()
    assert protobuf.connect(1, "t") == (
        b"\x15\x08\x01\x22\x11\x0a\x01t\x22\x0cfanout-bench")
    assert protobuf.subscribe(300, "a") == b"\x08\x08\xac\x02\x2a\x03\x0a\x01a"
    assert protobuf.publish(3, "a", b"xy") == b"\x0b\x08\x03\x3a\x07\x0a\x01a\x12\x02xy"


JSON = (
    b'{"id":1,"connect":{"client":"c","pong":true,"ping":25}}\n'
    b'{"id":2,"error":{"code":103,"message":"permission denied"}}\n'
    b'{}\n'
    b'{"push":{"channel":"a","pub":{"data":{"x":1},"offset":4}}}\n'
    b'{"push":{"disconnect":{"code":3001,"reason":"shutdown"}}}'
)
PROTOBUF = (
    b"\x09\x08\x01\x2a\x05\x0a\x01c\x40\x01"
    b"\x17\x08\x02\x12\x13\x08\x67\x12\x0fpermission deni"
    b"\x00"
    b"\x12\x22\x10\x12\x01a\x22\x0b\x22\x07{\"x\":1}\x30\x04"
    b"\x11\x22\x0f\x5a\x0d\x08\xb9\x17\x12\x08shutdown"
)


@pytest.mark.parametrize(("format", "frame", "refusal"), [
    ("json", JSON, "permission denied"), ("protobuf", PROTOBUF, "permission deni")])
def test_replies(format: str, frame: bytes, refusal: str) -> None:
    speaks: Dialect = dialect(format)
    replies = speaks.decode(frame)
    assert replies == [
        Reply(id=1, connect=Connect("c", True)),
        Reply(id=2, error=Error(103, refusal)),
        Reply(),
        Reply(push=Push("a", Publication(Raw(b'{"x":1}')))),
        Reply(push=Push(disconnect=Disconnect(3001, "shutdown"))),
    ]
    assert [reply.is_ping for reply in replies] == [False, False, True, False, False]


@pytest.mark.parametrize("frame", [
    b"\x05\x08", b"\x01\x08", b"\x80", b"\x02\x0f\x00", b"\x03\x22\x05a", b"\x02\x20\x01",
    b"\xff" * 12,
])
def test_what_is_no_protobuf(frame: bytes) -> None:
    with pytest.raises(ValueError):
        ProtobufDialect().decode(frame)


@pytest.mark.parametrize("size", [smallest_size(), 500, 1])
def test_a_mark_is_found_again(size: int) -> None:
    mark = Mark("0badcafe", 3, 12345, 99_999_999_999)
    data = marked_data(mark, size)
    assert mark_of(data) == mark
    assert len(data) == size or size == 1


@pytest.mark.parametrize("data", [b"", b"1", b'{"run":"x"}', b'{"run":1,"publisher":1}', b"\xff"])
def test_what_others_write_is_no_mark(data: bytes) -> None:
    assert mark_of(data) is None
