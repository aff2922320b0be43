"""Payloads on transports, read back by somebody else's parsers."""

from __future__ import annotations

import zlib
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpPayloadParser
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader as FrameStream

from fanout._framing import (
    BlockFraming,
    DeflateFraming,
    EventFraming,
    Framing,
    LinesFraming,
    WebSocketFraming,
    websocket_frame,
)

SIZES = [0, 1, 125, 126, 127, 65535, 65536, 70000]
payloads = st.binary(max_size=300) | st.sampled_from([b"x" * size for size in SIZES])
compressible = payloads | st.text("ab", max_size=400).map(str.encode)


def read_frames(stream: bytes, deflated: bool = False) -> list[tuple[int, bytes]]:
    """What the ``websockets`` library reads as a client."""
    extensions = [PerMessageDeflate(True, True, 15, 15)] if deflated else []
    reader = FrameStream()
    reader.feed_data(stream)
    reader.feed_eof()
    frames = []
    while True:
        done = reader.at_eof()
        try:
            next(done)
        except StopIteration as at_end:
            if at_end.value:
                return frames
        parser = Frame.parse(reader.read_exact, mask=False, extensions=extensions)
        try:
            next(parser)
            raise AssertionError("the stream ends in a frame")
        except StopIteration as whole:
            assert whole.value.fin
            frames.append((int(whole.value.opcode), bytes(whole.value.data)))


def chunks_in(stream: bytes) -> list[bytes]:
    """The chunks of a chunked body (RFC 9112 section 7.1)."""
    chunks = []
    while stream:
        size, _, stream = stream.partition(b"\r\n")
        assert size == size.strip()
        length = int(size, 16)
        assert stream[length:length + 2] == b"\r\n"
        chunks.append(stream[:length])
        stream = stream[length + 2:]
    return chunks


@given(payloads, st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
def test_websocket_frames(payload: bytes, opcode: Opcode) -> None:
    frame = WebSocketFraming(opcode).frame(payload)
    assert frame == Frame(opcode, payload).serialize(mask=False)
    assert websocket_frame(opcode, payload) == frame


@pytest.mark.parametrize("opcode", range(16))
def test_frames_of_any_opcode(opcode: int) -> None:
    assert websocket_frame(opcode, b"abc") == bytes([0x80 | opcode, 3]) + b"abc"


@given(st.lists(compressible, max_size=4), st.sampled_from([1, 2]), st.integers(1, 9),
       st.integers(0, 200))
def test_deflated_frames(messages: list[bytes], opcode: int, level: int, min_size: int) -> None:
    framing = DeflateFraming(opcode, level, min_size)
    stream = b"".join(framing.frame(message) for message in messages)
    assert read_frames(stream, deflated=True) == [(opcode, message) for message in messages]


def test_each_deflated_frame_stands_alone() -> None:
    """They are shared by connections that have got other messages before."""
    framing = DeflateFraming(1)
    message = b"the same text again, " * 20
    frames = [framing.frame(message) for _ in range(3)]
    assert frames == [frames[0]] * 3
    assert zlib.decompressobj(-15).decompress(frames[0][2:] + b"\0\0\xff\xff") == message


def test_what_is_deflated() -> None:
    long = b"a" * 200
    assert DeflateFraming(1).frame(long)[0] == 0xC1
    assert DeflateFraming(2).frame(long)[0] == 0xC2
    assert len(DeflateFraming(1).frame(long)) < 20
    assert DeflateFraming(1, min_size=201).frame(long) == WebSocketFraming(1).frame(long)
    assert DeflateFraming(1, min_size=200).frame(long)[0] == 0xC1
    for incompressible in (b"", b"a", b"ab", bytes(range(256))):
        assert DeflateFraming(2).frame(incompressible) == WebSocketFraming(2).frame(incompressible)


def texts(without: str) -> st.SearchStrategy[list[bytes]]:
    characters = st.characters(codec="utf-8", exclude_characters=without)
    return st.lists(st.text(characters).map(str.encode), max_size=4)


@given(texts(without="\r\n"))
def test_lines(messages: list[bytes]) -> None:
    stream = b"".join(map(LinesFraming().frame, messages))
    assert chunks_in(stream) == [message + b"\n" for message in messages]


@given(texts(without="\n"))
def test_events(messages: list[bytes]) -> None:
    stream = b"".join(map(EventFraming().frame, messages))
    assert chunks_in(stream) == [
        b"data: " + message.replace(b"\r", b" ") + b"\n\n" for message in messages]


@given(st.lists(payloads.filter(bool), max_size=4))
def test_blocks(messages: list[bytes]) -> None:
    assert chunks_in(b"".join(map(BlockFraming().frame, messages))) == messages


async def test_chunks_are_read_by_an_http_client() -> None:
    import asyncio

    loop = asyncio.get_running_loop()
    body = StreamReader(BaseProtocol(loop), 1 << 20, loop=loop)
    parser = HttpPayloadParser(body, chunked=True, headers_parser=None)  # type: ignore[arg-type]
    stream = b"".join(
        framing.frame(b'{"a":"' + b"x" * size + b'"}')
        for framing in (LinesFraming(), EventFraming(), BlockFraming()) for size in SIZES)
    parser.feed_data(stream)
    texts = [b'{"a":"' + b"x" * size + b'"}' for size in SIZES]
    assert body.read_nowait(-1) == b"".join(
        [text + b"\n" for text in texts] + [b"data: " + text + b"\n\n" for text in texts] + texts)


def test_an_empty_block_is_refused() -> None:
    with pytest.raises(ValueError, match="end of the response"):
        BlockFraming().frame(b"")


@pytest.mark.parametrize("framing", [
    WebSocketFraming(1), DeflateFraming(1), LinesFraming(), EventFraming(), BlockFraming()])
@pytest.mark.parametrize("wrong", [None, "text", bytearray(b"x"), 1])
def test_a_payload_is_bytes(framing: Framing, wrong: Any) -> None:
    with pytest.raises(TypeError):
        framing.frame(wrong)


@pytest.mark.parametrize(
    ("make", "arguments"),
    [(WebSocketFraming, (0,)), (WebSocketFraming, (8,)), (WebSocketFraming, (16,)),
     (DeflateFraming, (0,)), (DeflateFraming, (1, 0)), (DeflateFraming, (1, 10)),
     (DeflateFraming, (1, 1, -1)), (websocket_frame, (16, b"")), (websocket_frame, (-1, b""))],
)
def test_bad_arguments(make: Any, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="not"):
        make(*arguments)


def test_the_base_frames_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Framing().frame(b"x")
