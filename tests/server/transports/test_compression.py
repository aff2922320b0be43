"""permessage-deflate: agreeing on it, messages in both directions, and their limits."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect as open_websocket
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from fanout import Client, RPCEvent, RPCReply
from fanout._websocket import WebSocketError, WebSocketReader
from fanout.server.transports.deflate import negotiate
from tests.server.peer import Peer
from tests.server.running import InProcess, serving
from tests.server.test_websocket import BINARY, CLOSE, TEXT, Raw, handshake, raw

COMPRESSED = {"client": {"insecure": True}, "websocket": {"compression": True}}
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
RSV1 = 0x40

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(COMPRESSED) as running:
        yield running


# The agreement


@pytest.mark.parametrize(("offer", "answer"), [
    ("permessage-deflate", AGREED),
    ("permessage-deflate; client_max_window_bits", AGREED),
    ("permessage-deflate; client_max_window_bits=8", AGREED),
    ('permessage-deflate; client_max_window_bits="15"', AGREED),
    ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", AGREED),
    ("permessage-deflate;server_max_window_bits=15", f"{AGREED}; server_max_window_bits=15"),
    ("x-other, permessage-deflate", AGREED),
    # A smaller window of ours is not what shared frames were made with: the next offer.
    ("permessage-deflate; server_max_window_bits=14, permessage-deflate", AGREED),
    ("permessage-deflate; server_max_window_bits=8", ""),
    # What is invalid is declined, not guessed at (RFC 7692 section 7.1).
    ("permessage-deflate; server_max_window_bits", ""),
    ("permessage-deflate; server_max_window_bits=16", ""),
    ("permessage-deflate; server_max_window_bits=015", ""),
    ("permessage-deflate; client_max_window_bits=7", ""),
    ("permessage-deflate; client_max_window_bits=", ""),
    ("permessage-deflate; client_max_window_bits=9; client_max_window_bits=9", ""),
    ("permessage-deflate; server_no_context_takeover=1", ""),
    ("permessage-deflate; client_no_context_takeover=", ""),
    ("permessage-deflate; unknown", ""),
    ("permessage-deflate;", ""),
    ("permessage-bzip2", ""), ("", ""), (",;,=", ""),
])
def test_what_is_agreed_on(offer: str, answer: str) -> None:
    assert negotiate([offer]) == answer


def test_offers_in_several_headers() -> None:
    assert negotiate(["permessage-deflate; x", "permessage-deflate"]) == AGREED
    assert negotiate([]) == ""


async def test_it_is_off_unless_configured() -> None:
    async with serving({"client": {"insecure": True}}) as server, raw(server) as connection:
        await connection.send(handshake(Sec_WebSocket_Extensions="permessage-deflate"))
        status, headers = await connection.head()
        assert (status, headers.get("sec-websocket-extensions")) == (101, None)


async def test_who_does_not_offer_it_gets_plain_frames(server: InProcess) -> None:
    async with await server.client("a") as peer:
        server.node.publish("a", b'"' + b"x" * 1000 + b'"')
        assert (await peer.next())["push"]["pub"]["data"] == "x" * 1000
        assert peer.websocket.protocol.extensions == []


# Messages, read and written byte by byte


def masked(payload: bytes, first: int = 0x80 | RSV1 | TEXT) -> bytes:
    mask = b"\x01\x02\x03\x04"
    clear = bytes(byte ^ mask[at & 3] for at, byte in enumerate(payload))
    size = len(payload)
    head = bytes([first, 0x80 | size]) if size < 126 else struct.pack("!BBH", first, 0xFE, size)
    return head + mask + clear


def deflated(data: bytes, window: int = 15) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -window)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(payload: bytes) -> bytes:
    """One message alone: whoever wrote it may have used nothing that came before."""
    return zlib.decompressobj(-15).decompress(payload + b"\x00\x00\xff\xff")


async def frame_of(connection: Raw) -> tuple[int, bytes]:
    """First byte and payload of the server's next frame."""
    first, length = await asyncio.wait_for(connection.reader.readexactly(2), 10)
    if length == 126:
        (length,) = struct.unpack("!H", await connection.reader.readexactly(2))
    assert length < 65536
    return first, await connection.reader.readexactly(length)


async def agreed(connection: Raw) -> None:
    await connection.send(handshake(Sec_WebSocket_Extensions="permessage-deflate"))
    status, headers = await connection.head()
    assert (status, headers["sec-websocket-extensions"]) == (101, AGREED)


async def test_both_directions(server: InProcess) -> None:
    async with raw(server) as connection:
        await agreed(connection)
        await connection.send(masked(deflated(b'{"id":1,"connect":{}}')))
        first, payload = await frame_of(connection)
        assert first == 0x80 | RSV1 | TEXT
        assert json.loads(inflated(payload))["id"] == 1
        # Plain messages may come in between, and a smaller window may be used.
        await connection.send(masked(b'{"id":2,"subscribe":{"channel":"a"}}', 0x80 | TEXT))
        first, payload = await frame_of(connection)
        # It would have become longer.
        assert (first, payload) == (0x80 | TEXT, b'{"id":2,"subscribe":{}}')
        data = json.dumps("x" * 3000)
        await connection.send(masked(deflated(
            b'{"id":3,"publish":{"channel":"a","data":%b}}' % data.encode(), window=9)))
        got = [await frame_of(connection) for _ in range(2)]
        (push,) = [payload for first, payload in got if first & RSV1]
        assert json.loads(inflated(push))["push"]["pub"]["data"] == "x" * 3000
        assert len(push) < 200


async def test_fragments_and_controls(server: InProcess) -> None:
    async with raw(server) as connection:
        await agreed(connection)
        command = deflated(b'{"id":1,"connect":{"name":"' + b"y" * 500 + b'"}}')
        await connection.send(
            masked(command[:5], RSV1 | TEXT) + masked(b"hello", 0x80 | 9)
            + masked(command[5:9], 0) + masked(command[9:], 0x80))
        assert await frame_of(connection) == (0x80 | 10, b"hello")
        assert json.loads(inflated((await frame_of(connection))[1]))["id"] == 1


async def test_messages_below_the_smallest_size() -> None:
    settings = {**COMPRESSED, "websocket": {
        "compression": True, "compression_min_size": 500, "compression_level": 9}}
    async with serving(settings) as server, raw(server) as connection:
        await agreed(connection)
        await connection.send(masked(b'{"id":1,"connect":{}}', 0x80 | TEXT))
        await frame_of(connection)
        await connection.send(
            masked(b'{"id":2,"subscribe":{"channel":"a"}}', 0x80 | TEXT))
        await frame_of(connection)
        server.node.publish("a", b'"' + b"z" * 300 + b'"')
        assert (await frame_of(connection))[0] == 0x80 | TEXT
        server.node.publish("a", b'"' + b"z" * 600 + b'"')
        assert (await frame_of(connection))[0] == 0x80 | RSV1 | TEXT


@pytest.mark.parametrize(("sent", "code"), [
    pytest.param(masked(b"\xff\xff\xff"), 1007, id="no deflate"),
    pytest.param(masked(deflated(b"\xff")), 1007, id="no text"),
    pytest.param(masked(b"\x03\x00" * 40), 1007, id="final blocks without end"),
    pytest.param(masked(b"x", 0x80 | RSV1 | 9), 1002, id="a compressed ping"),
    pytest.param(masked(b"x", 0xA0 | TEXT), 1002, id="another reserved bit"),
    pytest.param(
        masked(b"{", TEXT) + masked(b"}", 0x80 | RSV1), 1002, id="compressed from the middle"),
    pytest.param(masked(deflated(bytes(655_361))), 1009, id="more than ten times the limit"),
    pytest.param(masked(b"", 0x80 | RSV1 | TEXT)[:1] + b"\xff" + bytes(5) + b"\x01\x00\x01",
                 1009, id="too long on the wire"),
])
async def test_what_breaks_the_protocol(server: InProcess, sent: bytes, code: int) -> None:
    async with raw(server) as connection:
        await agreed(connection)
        await connection.send(sent)
        opcode, payload = await connection.frame()
        assert (opcode, *struct.unpack("!H", payload[:2])) == (CLOSE, code)
        assert await connection.rest() == b""


async def test_the_limit_of_inflated_messages() -> None:
    settings = {**COMPRESSED, "websocket": {
        "compression": True, "message_size_limit": 1000, "decompressed_message_size_limit": 2000}}
    command = b'{"id":1,"connect":{"name":"%s"}}'
    async with serving(settings) as server:
        for size, opcode in ((2000, TEXT), (2001, CLOSE)):
            async with raw(server) as connection:
                await agreed(connection)
                name = b"x" * (size - len(command % b""))
                await connection.send(masked(deflated(command % name)))
                assert (await frame_of(connection))[0] & 0x0F == opcode


async def test_little_that_is_inflated_to_much_is_read_bit_by_bit(server: InProcess) -> None:
    """Else one read could make hundreds of megabytes, and keep everybody else waiting."""
    largest = 0
    released = asyncio.Event()

    async def rpc(client: Client, event: RPCEvent) -> RPCReply:
        nonlocal largest
        largest = max(largest, session._inbox_size)
        await released.wait()
        return RPCReply()

    server.node.handlers.rpc = rpc
    async with raw(server) as connection:
        await agreed(connection)
        await connection.send(masked(deflated(b'{"id":1,"connect":{}}')))
        await frame_of(connection)
        session: Any = next(iter(server.connections._connections))._session   # type: ignore[attr-defined]
        command = b'{"id":2,"rpc":{"data":"%s"}}' % (b"a" * 600_000)
        sent = masked(deflated(command)) * 100
        assert len(sent) < 100_000
        await connection.send(sent)
        await server.settled(lambda: session._inbox_size > 0)
        assert session._inbox_size < 4_000_000
        released.set()
        for _ in range(100):
            assert b'"id":2' in (await frame_of(connection))[1]
        assert largest < 4_000_000
        # Reading goes on.
        await connection.send(masked(deflated(b'{"id":3,"rpc":{}}')))
        assert b'"id":3' in (await frame_of(connection))[1]


async def test_who_is_closed_while_much_is_not_read_yet(server: InProcess) -> None:
    async with raw(server) as connection:
        await agreed(connection)
        await connection.send(masked(deflated(b'{"id":1,"connect":{}}')))
        await frame_of(connection)
        command = b'{"id":2,"rpc":{"data":"%s"}}' % (b"a" * 600_000)
        bad = masked(deflated(b'{"id":3}'))
        closing = masked(struct.pack("!H", 1000), first=0x88)
        await connection.send(bad + masked(deflated(command)) * 20 + closing)
        opcode, payload = await connection.frame()
        assert (opcode, *struct.unpack("!H", payload[:2])) == (CLOSE, 3501)
        assert await connection.rest() == b""


# RFC 7692's own examples (section 7.2.3), and a reader by itself


@pytest.mark.parametrize("payload", [
    pytest.param("f248cdc9c90700", id="one block"),
    pytest.param("000500faff48656c6c6f00", id="a block that is not compressed"),
    pytest.param("f348cdc9c9070000", id="a final block"),
    pytest.param("f248050000 00ffffcac9c90700".replace(" ", ""), id="two blocks"),
])
def test_the_examples_of_the_rfc(payload: str) -> None:
    reader = WebSocketReader(100, 100)
    assert reader.feed(masked(bytes.fromhex(payload))) == [(TEXT, b"Hello")]
    # Nothing of it is left for the next.
    assert reader.feed(masked(bytes.fromhex(payload))) == [(TEXT, b"Hello")]


def test_an_example_that_needs_its_predecessor_is_none() -> None:
    """Context takeover was not agreed on."""
    reader = WebSocketReader(100, 100)
    reader.feed(masked(bytes.fromhex("f248cdc9c90700")))
    with pytest.raises(WebSocketError) as error:
        reader.feed(masked(bytes.fromhex("f200110000")))
    assert error.value.code == 1007


def test_a_block_behind_a_final_one_may_look_back() -> None:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = compressor.compress(b"Hello, hello!") + compressor.flush(zlib.Z_FINISH)
    behind = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=b"Hello, hello!")
    second = behind.compress(b"Hello, hello!") + behind.flush(zlib.Z_SYNC_FLUSH)
    assert WebSocketReader(100, 100).feed(masked(first + second[:-4])) == [
        (TEXT, b"Hello, hello!" * 2)]


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 100_000])
def test_a_reader_never_makes_more_than_its_limit(size: int) -> None:
    reader = WebSocketReader(1000, 1000)
    message = masked(deflated(b"x" * size))
    if size <= 1000:
        assert reader.feed(message) == [(TEXT, b"x" * size)]
    else:
        with pytest.raises(WebSocketError) as error:
            reader.feed(message)
        assert error.value.code == 1009


@pytest.mark.parametrize("limit", [-1])
def test_a_limit_that_is_none(limit: int) -> None:
    with pytest.raises(ValueError, match="-1"):
        WebSocketReader(1, limit)


@given(
    data=st.binary(max_size=2000), level=st.integers(0, 9), cuts=st.lists(st.integers(0, 2100)))
def test_messages_that_come_in_pieces(data: bytes, level: int, cuts: list[int]) -> None:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15)
    payload = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    sent = masked(payload, 0x80 | RSV1 | BINARY)
    reader = WebSocketReader(4000, 2000)
    messages = []
    at = 0
    for cut in sorted(cut for cut in cuts if cut <= len(sent)):
        messages += reader.feed(sent[at:cut])
        at = cut
    assert messages + reader.feed(sent[at:]) == [(BINARY, data)]


@given(st.binary(max_size=300))
def test_bytes_that_nobody_compressed(payload: bytes) -> None:
    """Either a message within the limit or the protocol's error, whatever comes."""
    try:
        ((opcode, message),) = WebSocketReader(300, 1000).feed(
            masked(payload, 0x80 | RSV1 | BINARY))
    except WebSocketError as error:
        assert error.code in (1007, 1009)
    else:
        assert opcode == BINARY
        assert len(message) <= 1000


# The library that everybody uses


@pytest.mark.parametrize("offer", [
    {},
    {"client_max_window_bits": 9},
    {"server_max_window_bits": 15},
    {"server_no_context_takeover": True, "client_no_context_takeover": True},
])
async def test_a_client_library(server: InProcess, offer: dict[str, Any]) -> None:
    async with open_websocket(
        server.url, compression=None, extensions=[ClientPerMessageDeflateFactory(**offer)]
    ) as websocket:
        assert [extension.name for extension in websocket.protocol.extensions] == [
            "permessage-deflate"]
        peer = Peer(websocket)
        await peer.call(connect={})
        await peer.call(subscribe={"channel": "a"})
        for number in range(20):
            data = {"n": number, "text": "wörd " * number}
            await peer.send({"id": 100 + number, "publish": {"channel": "a", "data": data}})
            got = [await peer.next(), await peer.next()]
            assert {"id": 100 + number, "publish": {}} in got
            assert any(one.get("push", {}).get("pub", {}).get("data") == data for one in got)
