"""The reader of WebSocket frames against frames that somebody else's library makes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from fanout._websocket import WebSocketError, WebSocketReader

LIMIT = 65536
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

Message = tuple[int, bytes]


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=mask)


def header(first: int, length: int, width: int = 0) -> bytes:
    """A masked frame's beginning, with the length in 7, 16 or 64 bits."""
    code = {0: length, 2: 126, 8: 127}[width]
    return bytes([first, 0x80 | code]) + length.to_bytes(width, "big") + bytes(4)


def read(data: bytes, *cuts: int, limit: int = LIMIT) -> list[Message]:
    """Everything in ``data``, which arrives cut at these places."""
    reader = WebSocketReader(limit)
    messages = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        messages += reader.feed(data[start:end])
    return messages


def refused(data: bytes, *cuts: int, limit: int = LIMIT) -> int:
    with pytest.raises(WebSocketError) as caught:
        read(data, *cuts, limit=limit)
    assert caught.value.reason
    assert len(caught.value.reason.encode()) <= 123
    return int(caught.value.code)


# Any stream, however it is cut

payloads = st.binary(max_size=300) | st.sampled_from([
    b"x" * size for size in (125, 126, 127, 65535, 65536)])
texts = st.text(max_size=200).map(str.encode) | st.sampled_from([
    b"x" * size for size in (125, 126, 65535, 65536)])
controls = st.tuples(st.sampled_from([CLOSE, PING, PONG]), st.binary(max_size=125))


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[Message]]:
    """Bytes of a well-behaved peer, and what they say."""
    data = bytearray()
    messages: list[Message] = []

    def add_controls() -> None:
        for opcode, payload in draw(st.lists(controls, max_size=2)):
            data.extend(frame(opcode, payload))
            messages.append((opcode, payload))

    for _ in range(draw(st.integers(0, 4))):
        opcode = draw(st.sampled_from([TEXT, BINARY]))
        payload = draw(texts if opcode == TEXT else payloads)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=4)))
        pieces = [payload[start:end]
                  for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, piece in enumerate(pieces):
            data.extend(frame(
                opcode if number == 0 else 0, piece, fin=number == len(pieces) - 1))
            if number < len(pieces) - 1:
                add_controls()
        messages.append((opcode, payload))
        add_controls()
    return bytes(data), messages


@given(stream=streams(), data=st.data())
def test_any_stream_however_it_is_cut(
    stream: tuple[bytes, list[Message]], data: st.DataObject
) -> None:
    sent, messages = stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=12)))
    assert read(sent, *cuts) == messages


@given(stream=streams().filter(lambda stream: len(stream[0]) < 3000))
def test_a_stream_byte_by_byte(stream: tuple[bytes, list[Message]]) -> None:
    sent, messages = stream
    assert read(sent, *range(1, len(sent))) == messages


@given(junk=st.binary(max_size=400), cuts=st.lists(st.integers(0, 400), max_size=8))
def test_junk_is_read_or_refused(junk: bytes, cuts: list[int]) -> None:
    """With one code for the same bytes, however they are cut."""
    def outcome(*places: int) -> int:
        try:
            read(junk, *places, limit=100)
        except WebSocketError as error:
            return int(error.code)
        return 0

    whole = outcome()
    assert whole in (0, 1002, 1007, 1009)
    assert outcome(*sorted(min(cut, len(junk)) for cut in cuts)) == whole


@given(payload=st.binary(max_size=300))
def test_text_is_utf_8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        assert refused(frame(TEXT, payload)) == 1007
    else:
        assert read(frame(TEXT, payload)) == [(TEXT, payload)]
    assert read(frame(BINARY, payload)) == [(BINARY, payload)]


def test_a_character_may_be_cut_by_fragments() -> None:
    euro = "€".encode()
    assert read(
        frame(TEXT, euro[:1], fin=False) + frame(0, euro[1:2], fin=False) + frame(0, euro[2:])
    ) == [(TEXT, euro)]


# What breaks the protocol


@pytest.mark.parametrize("bits", [0x40, 0x20, 0x10, 0x70])
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
def test_reserved_bits(bits: int, opcode: int) -> None:
    assert refused(header(0x80 | bits | opcode, 0)) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcodes(opcode: int) -> None:
    assert refused(header(0x80 | opcode, 0)) == 1002


@pytest.mark.parametrize("opcode", [0, TEXT, BINARY, CLOSE, PING, PONG])
def test_a_client_masks(opcode: int) -> None:
    assert refused(frame(opcode, b"x" if opcode < CLOSE else b"", mask=False)) == 1002


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_control_frames_are_short_and_whole(opcode: int) -> None:
    assert refused(header(0x80 | opcode, 126, 2)) == 1002
    assert refused(header(0x80 | opcode, 1, 8)) == 1002
    assert refused(header(opcode, 0)) == 1002
    assert read(frame(opcode, b"x" * 125)) == [(opcode, b"x" * 125)]


def test_a_continuation_of_nothing() -> None:
    assert refused(frame(0, b"x")) == 1002
    assert refused(frame(TEXT, b"x") + frame(0, b"x")) == 1002
    assert refused(
        frame(TEXT, b"x", fin=False) + frame(0, b"x") + frame(0, b"x")) == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_a_new_message_before_the_last_one_is_whole(opcode: int) -> None:
    assert refused(frame(TEXT, b"x", fin=False) + frame(opcode, b"x")) == 1002
    # Also after a first fragment that was empty.
    assert refused(frame(TEXT, fin=False) + frame(opcode, b"x")) == 1002


# Limits


def test_the_limit_of_a_message() -> None:
    assert read(frame(TEXT, b"x" * 100), limit=100) == [(TEXT, b"x" * 100)]
    assert refused(frame(TEXT, b"x" * 101), limit=100) == 1009
    assert refused(frame(BINARY, b"x" * 101), limit=100) == 1009


def test_the_limit_counts_all_fragments() -> None:
    start = frame(TEXT, b"x" * 60, fin=False)
    assert read(start + frame(0, b"y" * 40), limit=100) == [(TEXT, b"x" * 60 + b"y" * 40)]
    assert refused(start + frame(0, b"y" * 41), limit=100) == 1009
    assert refused(start + frame(0, b"y" * 30, fin=False) + frame(0, b"z" * 11), limit=100) == 1009
    # Each message has the whole limit.
    assert len(read((start + frame(0, b"y" * 40)) * 3, limit=100)) == 3


def test_control_frames_do_not_count() -> None:
    assert read(
        frame(TEXT, b"x" * 60, fin=False) + frame(PING, b"p" * 125) + frame(0, b"y" * 40),
        limit=100,
    ) == [(PING, b"p" * 125), (TEXT, b"x" * 60 + b"y" * 40)]


@pytest.mark.parametrize("length", [
    101, 65536, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_a_length_beyond_the_limit_is_refused_before_its_payload_comes(length: int) -> None:
    assert refused(struct.pack("!BBQ", 0x82, 0xFF, length), limit=100) == 1009
    assert refused(
        frame(TEXT, b"x", fin=False) + struct.pack("!BBQ", 0x80, 0xFF, length), limit=100) == 1009


def test_empty_fragments_are_not_kept() -> None:
    reader = WebSocketReader(100)
    reader.feed(frame(TEXT, b"x", fin=False))
    for _ in range(1000):
        assert reader.feed(frame(0, fin=False) * 1000) == []
    assert reader.feed(frame(0, b"y")) == [(TEXT, b"xy")]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_is_above_zero(limit: int) -> None:
    with pytest.raises(ValueError, match="limit must be above 0"):
        WebSocketReader(limit)


@pytest.mark.parametrize("data", ["text", None, 1, bytearray(b"x"), memoryview(b"x")])
def test_only_bytes_are_fed(data: object) -> None:
    with pytest.raises(TypeError):
        WebSocketReader(100).feed(data)  # type: ignore[arg-type]
