"""One encoding for all who speak the same protocol in the same framing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from fanout import Message
from fanout._fossil import Base
from fanout._framing import DeflateFraming, Framing, LinesFraming
from fanout.server.protocol import JSON, PROTOBUF, UNI_JSON
from fanout.server.protocol.json import JSONProtocol
from fanout.server.transports.encodings import Compression, Encodings
from fanout.types import ClientInfo
from tests.server.running import InProcess, serving
from tests.server.test_websocket import TEXT, Raw, frame, handshake
from tests.server.transports.conftest import EVERYTHING
from tests.server.transports.stream import CONNECT, Stream, request

if TYPE_CHECKING:
    from fanout._hub import Encoder

SUBSCRIBE = b'{"id":2,"subscribe":{"channel":"a"}}'

pytestmark = pytest.mark.usefixtures("quiet")


class Counting:
    """An encoder that counts what it is asked for."""

    def __init__(self, encoder: Encoder, framing: Framing, made: Counter[str]) -> None:
        self._encoder = encoder
        self._name = type(framing).__name__
        self._made = made

    def publication(self, channel: str, message: Message) -> bytes | None:
        self._made[self._name] += 1
        return self._encoder.publication(channel, message)

    def publication_delta(
        self, channel: str, message: Message, base: Base | None
    ) -> bytes | None:
        raise AssertionError("nobody asked for deltas")

    def join(self, channel: str, info: ClientInfo) -> bytes | None:
        return self._encoder.join(channel, info)

    def leave(self, channel: str, info: ClientInfo) -> bytes | None:
        return self._encoder.leave(channel, info)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a publication was encoded in JSON, by framing."""
    counts: Counter[str] = Counter()
    make = JSONProtocol.encoder
    monkeypatch.setattr(
        JSONProtocol, "encoder",
        lambda protocol, framing: Counting(make(protocol, framing), framing, counts))
    return counts


@contextlib.asynccontextmanager
async def many(server: InProcess, kind: str, count: int) -> AsyncIterator[list[Any]]:
    """Subscribers of ``a``, over WebSocket or a two-way stream."""
    opened: list[Raw | Stream] = []
    make = Raw if kind == "websocket" else Stream
    try:
        for _ in range(count):
            connection = make(*await asyncio.open_connection("127.0.0.1", server.port))
            opened.append(connection)
            if isinstance(connection, Raw):
                await connection.send(
                    handshake() + frame(TEXT, CONNECT) + frame(TEXT, SUBSCRIBE))
            else:
                await connection.send(
                    request(f"/connection/{kind}", body=CONNECT + b"\n" + SUBSCRIBE))
        for connection in opened:
            await connection.head()
            if kind == "sse":
                await connection.chunk()  # type: ignore[union-attr]
            for _ in range(2):
                await (connection.frame() if isinstance(connection, Raw)
                       else connection.next())
        yield opened
    finally:
        for connection in opened:
            connection.writer.transport.abort()


@pytest.mark.parametrize(("kind", "framing"), [
    ("websocket", "WebSocketFraming"), ("http_stream", "LinesFraming"), ("sse", "EventFraming")])
async def test_a_publish_to_a_thousand_connections_is_encoded_once(
    made: Counter[str], kind: str, framing: str
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        async with serving(EVERYTHING) as server, many(server, kind, 1000) as connections:
            before = server.node.hub.stats()
            server.node.publish("a", b'{"n":1}')
            after = server.node.hub.stats()
            assert made == {framing: 1}
            assert after.num_published - before.num_published == 1
            assert after.num_delivered - before.num_delivered == 1000
            for connection in connections:
                if isinstance(connection, Raw):
                    got = json.loads((await connection.frame())[1])
                else:
                    got = await connection.next()
                assert got == {"push": {"channel": "a", "pub": {"data": {"n": 1}}}}
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_each_transport_has_an_encoding_of_its_own(made: Counter[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(EVERYTHING))
        for kind in ("websocket", "http_stream", "sse"):
            await stack.enter_async_context(many(server, kind, 3))
        server.node.publish("a", b"1")
        assert made == {"WebSocketFraming": 1, "LinesFraming": 1, "EventFraming": 1}


async def test_encodings_are_registered_once(made: Counter[str]) -> None:
    async with serving(EVERYTHING) as server:
        encodings = Encodings(server.node)
        fast, small = Compression(1, 0), Compression(9, 100)
        numbers = [
            encodings.websocket(JSON), encodings.websocket(JSON, fast),
            encodings.websocket(JSON, small), encodings.websocket(PROTOBUF),
            encodings.websocket(PROTOBUF, fast), encodings.websocket(UNI_JSON),
            encodings.http_stream(JSON), encodings.http_stream(PROTOBUF),
            encodings.http_stream(UNI_JSON), encodings.sse(JSON), encodings.sse(UNI_JSON),
        ]
        assert len({encoding.number for encoding in numbers}) == len(numbers)
        assert encodings.websocket(JSON, Compression(1, 0)) is numbers[1]
        assert encodings.sse(UNI_JSON) is numbers[-1]
        assert isinstance(numbers[1].framing, DeflateFraming)
        assert isinstance(numbers[8].framing, LinesFraming)
