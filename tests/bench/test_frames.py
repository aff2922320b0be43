"""The client's framing, against the server's own reader and the frames that servers send."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fanout._frame import websocket_frame
from fanout._websocket import WebSocketReader
from fanout.bench.frames import FrameError, FrameReader, masked_frame

SIZES = [0, 1, 125, 126, 65535, 65536, 70000]


@pytest.mark.parametrize("size", SIZES)
def test_a_server_reads_what_is_written(size: int) -> None:
    payload = b"ab\x00"[: size % 3] + b"x" * (size - size % 3)
    reader = WebSocketReader(1 << 20)
    assert reader.feed(masked_frame(1, payload)) == [(1, payload)]


def test_each_frame_has_a_mask_of_its_own() -> None:
    assert len({masked_frame(1, b"hello")[2:6] for _ in range(8)}) > 1


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(SIZES), max_size=4), st.integers(500, 9000))
def test_what_a_server_sends_is_read(sizes: list[int], piece: int) -> None:
    payloads = [bytes([65 + at]) * size for at, size in enumerate(sizes)]
    stream = b"".join(websocket_frame(2, payload) for payload in payloads)
    reader = FrameReader()
    got = []
    for at in range(0, len(stream), piece):
        got += reader.feed(stream[at : at + piece])
    assert got == [(2, payload) for payload in payloads]


def test_a_head_that_comes_in_pieces_is_read() -> None:
    reader = FrameReader()
    stream = websocket_frame(2, b"a" * 70000)
    assert [reader.feed(stream[at : at + 1]) for at in range(12)] == [[]] * 12
    assert reader.feed(stream[12:]) == [(2, b"a" * 70000)]


def test_fragments_with_a_ping_between_them() -> None:
    reader = FrameReader()
    assert reader.feed(b"\x01\x02ab\x89\x00\x00\x01c\x80\x01d") == [(9, b""), (1, b"abcd")]


@pytest.mark.parametrize("data", [
    b"\x81\x80\x00\x00\x00\x00",                    # masked
    b"\xc1\x01a",                                   # compressed, and nobody asked
    b"\x80\x01a",                                   # a continuation of nothing
    b"\x01\x01a\x01\x01b",                          # a new message inside of one
    b"\x82\x7f" + struct.pack("!Q", 1 << 40),       # a terabyte
])
def test_what_breaks_the_framing(data: bytes) -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(data)
