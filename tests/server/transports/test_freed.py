"""A connection that ended is freed at once: the garbage collector is off in every test.

A storm of disconnects would else leave all of them to it, and it stops the loop
while it looks for them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import logging
import socket
import ssl
import struct
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web

from fanout.events import ConnectEvent, ConnectReply, RPCEvent, RPCReply
from fanout.server.session import BaseSession
from fanout.server.transports import connection as connection_module
from fanout.server.transports import (
    http_stream,
    sse,
    uni_http_stream,
    uni_websocket,
    websocket,
)
from fanout.server.transports.connection import Connection
from tests.brokers.tls import Certificates
from tests.server.running import InProcess, serving
from tests.server.transports.conftest import ON
from tests.server.transports.stream import request

SECRET = "a secret that is long enough for HS256"
TWO_WAY = ["websocket", "websocket?cf_ws_frame_ping_pong=true", "sse", "http_stream"]
ONE_WAY = ["uni_websocket", "uni_sse", "uni_http_stream"]
KINDS = [*TWO_WAY, *ONE_WAY]
STREAMS = [kind for kind in KINDS if "websocket" not in kind]
SOCKETS = [kind for kind in KINDS if "websocket" in kind]
TEXT, CLOSE = 1, 8

pytestmark = pytest.mark.usefixtures("quiet", "no_collector")


def token(**claims: Any) -> str:
    return jwt.encode({"sub": "42", "exp": int(time.time()) + 3600, **claims}, SECRET, "HS256")


def settings(**client: Any) -> dict[str, Any]:
    """Tokens, and presence, so that all that ends by time is there."""
    return {
        "client": {"token": {"hmac_secret_key": SECRET}, **client},
        "sse": ON, "http_stream": ON, "uni_sse": ON, "uni_http_stream": ON, "uni_websocket": ON,
        "channel": {"without_namespace": {
            "presence": True, "join_leave": True, "force_push_join_leave": True,
            "history_size": 5, "history_ttl": "60s", "force_recovery": True}},
        "rpc": {"without_namespace": {}},
    }


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(settings()) as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who does not answer the end is cut at once."""
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 0.0)


# Visitors


class Visitor:
    """Bytes to a server, and what must come back."""

    def __init__(
        self, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.kind = kind
        self.one_way = kind in ONE_WAY
        self.on_socket = kind in SOCKETS
        self._reader = reader
        self.writer = writer

    @property
    def transport(self) -> asyncio.WriteTransport:
        return self.writer.transport

    async def until(self, what: bytes) -> None:
        await asyncio.wait_for(self._reader.readuntil(what), 10)

    async def to_the_end(self) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(self._reader.read(), 10)

    def frame(self, opcode: int, payload: bytes) -> None:
        """With a mask of zeros, which changes nothing."""
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else (
            b"\xfe" + struct.pack("!H", len(payload)))
        self.writer.write(bytes([0x80 | opcode]) + size + bytes(4) + payload)

    def say(self, *commands: dict[str, Any]) -> None:
        """The first that is said: on a stream it is the request's."""
        said = "\n".join(json.dumps(command) for command in commands).encode()
        if self.on_socket:
            self.frame(TEXT, said)
        else:
            self.writer.write(request(f"/connection/{self.kind}", body=said))

    def connect(self, by: str) -> None:
        if self.one_way:
            self.say({"token": by})
        else:
            self.say({"id": 1, "connect": {"token": by}}, {"id": 2, "subscribe": {
                "channel": "a", "token": token(channel="a")}})

    async def connected(self) -> None:
        """With a subscription of the token's, and one of its own."""
        self.connect(token(subs={"b": {"info": {"n": 1}}}))
        await self.until(b'"connect":' if self.one_way else b'"id":2,"subscribe":')


async def arrived(
    server: InProcess, kind: str, tls: ssl.SSLContext | None = None
) -> Visitor:
    """Who has said nothing of the protocol yet."""
    visitor = Visitor(kind, *await asyncio.open_connection("127.0.0.1", server.port, ssl=tls))
    if visitor.on_socket:
        shake_hands(visitor)
        await visitor.until(b"\r\n\r\n")
    return visitor


def shake_hands(visitor: Visitor, query: str = "") -> None:
    visitor.writer.write(request(
        f"/connection/{visitor.kind}{query}", "GET", Upgrade="websocket", Connection="Upgrade",
        Sec_WebSocket_Version="13", Sec_WebSocket_Key=base64.b64encode(bytes(16)).decode()))


# What is left of them


def alive() -> Counter[str]:
    """How many there are of each class of this library."""
    return Counter(
        type(one).__qualname__ for one in gc.get_objects()
        if type(one).__module__.startswith("fanout."))


class Traces:
    """What is to be freed with one connection."""

    def __init__(self, server: InProcess) -> None:
        (connection,) = server.connections._connections
        assert isinstance(connection, Connection)
        self._server = server
        self.connection = weakref.ref(connection)
        self.session = weakref.ref(connection._owner)
        self.client = weakref.ref(connection._owner.client)
        self.transport: Callable[[], object] = lambda: None
        assert connection._transport is not None
        with contextlib.suppress(TypeError):        # uvloop's for TLS can have none
            self.transport = weakref.ref(connection._transport)

    async def gone(self) -> None:
        await ended(self._server)
        assert self.left() == []

    def left(self) -> list[object]:
        refs = (self.connection, self.transport, self.session, self.client)
        return [each for ref in refs if (each := ref()) is not None]


async def ended(server: InProcess) -> None:
    """The connections are gone, and their leaves told; the loop has let go of both."""
    await server.settled(lambda: not server.connections and not server.node._background)
    for _ in range(10):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def nothing_left(server: InProcess, kind: str) -> AsyncIterator[None]:
    """As many objects of this library as before."""
    async with visiting(server, kind):      # what the first of a kind makes stays
        pass
    await ended(server)
    before = alive()
    yield
    await ended(server)
    assert alive() - before == {}


@contextlib.asynccontextmanager
async def visiting(server: InProcess, kind: str) -> AsyncIterator[Visitor]:
    visitor = await arrived(server, kind)
    try:
        await visitor.connected()
        yield visitor
    finally:
        visitor.writer.close()


# Ends


async def says_goodbye(server: InProcess, visitor: Visitor) -> None:
    if visitor.on_socket:
        visitor.frame(CLOSE, struct.pack("!H", 1000))
        await visitor.to_the_end()
    visitor.writer.close()


async def hangs_up(server: InProcess, visitor: Visitor) -> None:
    visitor.writer.close()


async def resets(server: InProcess, visitor: Visitor) -> None:
    plain = visitor.writer.get_extra_info("socket")
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    visitor.transport.abort()


async def is_disconnected(server: InProcess, visitor: Visitor) -> None:
    (client,) = server.node.clients.values()
    client.disconnect()
    del client
    await visitor.until(b"force disconnect")
    visitor.writer.close()


async def never_answers(server: InProcess, visitor: Visitor) -> None:
    """It is cut when its time to answer is over."""
    (client,) = server.node.clients.values()
    client.disconnect()
    del client
    await server.settled(lambda: not server.connections)
    visitor.writer.close()


async def breaks_the_protocol(server: InProcess, visitor: Visitor) -> None:
    if visitor.on_socket:
        visitor.writer.write(b"\xff\xff")       # no such opcode
    else:
        visitor.writer.write(bytes(100_000))
    await visitor.to_the_end()
    visitor.writer.close()


End = Callable[[InProcess, Visitor], Awaitable[None]]
ENDS: list[End] = [
    says_goodbye, hangs_up, resets, is_disconnected, never_answers, breaks_the_protocol]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_of_a_connection(
    server: InProcess, kind: str, end: End, request: pytest.FixtureRequest
) -> None:
    if end is never_answers:
        request.getfixturevalue("impatient")
    async with nothing_left(server, kind), visiting(server, kind) as visitor:
        traces = Traces(server)
        await end(server, visitor)
        await traces.gone()


@pytest.mark.parametrize("kind", TWO_WAY)
async def test_no_pong(kind: str) -> None:
    """Time passes when the test says so."""
    async with serving(settings()) as server, visiting(server, kind) as visitor:
        traces = Traces(server)
        for _ in range(2):
            traces.session()._on_timer()        # type: ignore[union-attr]
        await visitor.until(b"no pong")
        visitor.writer.close()
        await traces.gone()


@pytest.mark.parametrize("kind", SOCKETS)
async def test_nothing_is_said(kind: str) -> None:
    async with serving(settings(stale_close_delay="50ms")) as server:
        visitor = await arrived(server, kind)
        traces = Traces(server)
        await visitor.until(b"stale")
        visitor.writer.close()
        await traces.gone()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_connect(server: InProcess, kind: str) -> None:
    async with nothing_left(server, kind):
        visitor = await arrived(server, kind)
        visitor.connect("not a token")
        await visitor.until(b"invalid token")
        visitor.writer.close()


@pytest.mark.parametrize("kind", ONE_WAY)
async def test_a_request_that_is_refused(server: InProcess, kind: str) -> None:
    """What refuses it has a traceback, and aiohttp keeps it for a while."""
    async with nothing_left(server, kind):
        visitor = Visitor(kind, *await asyncio.open_connection("127.0.0.1", server.port))
        if visitor.on_socket:
            shake_hands(visitor, "?cf_connect=1")
        else:
            visitor.writer.write(request(f"/connection/{kind}", body=b"1"))
        await visitor.until(b"not a connect request in JSON")
        visitor.writer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_gone_when_the_request_is_read(server: InProcess, kind: str) -> None:
    async with nothing_left(server, kind):
        for _ in range(5):
            visitor = Visitor(kind, *await asyncio.open_connection("127.0.0.1", server.port))
            if visitor.on_socket:
                shake_hands(visitor)
            else:
                visitor.connect(token())
            visitor.writer.write_eof()
            await visitor.to_the_end()
            visitor.writer.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_is_gone_before_the_session_is_opened(
    server: InProcess, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def take_over(request: web.Request, protocol: asyncio.Protocol) -> None:
        assert request.transport is not None
        request.transport.abort()
        protocol.connection_lost(None)

    async with nothing_left(server, kind):
        for module in (websocket, sse, http_stream, uni_http_stream, uni_websocket):
            monkeypatch.setattr(module, "take_over", take_over)
        visitor = Visitor(kind, *await asyncio.open_connection("127.0.0.1", server.port))
        if visitor.on_socket:
            shake_hands(visitor)
        else:
            visitor.connect(token())
        await visitor.to_the_end()
        visitor.writer.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("impatient")
async def test_a_reader_that_takes_nothing(kind: str) -> None:
    timeout = {"write_timeout": "50ms"}
    slow = {**settings(queue_max_size=10_000_000), "websocket": timeout, "uni_websocket": {
        **ON, **timeout}}
    async with serving(slow) as server, visiting(server, kind) as visitor:
        traces = Traces(server)
        visitor.transport.pause_reading()       # type: ignore[attr-defined]
        data = json.dumps("x" * 100_000).encode()
        while (connection := traces.connection()) is not None and not connection._stall:
            server.node.publish("b", data)
            await asyncio.sleep(0)
        del connection
        await traces.gone()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_stops(kind: str) -> None:
    async with serving(settings()) as server, visiting(server, kind) as visitor:
        traces = Traces(server)
        server.stop()
        await visitor.until(b"shutdown")
        visitor.writer.close()
        await server.stopped()
        assert traces.left() == []


# While a command is under way


class Slow:
    """A handler that is asked, and answers when it may."""

    def __init__(self, reply: object) -> None:
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self._reply = reply

    async def __call__(self) -> Any:
        self.asked.set()
        await self.may_answer.wait()
        return self._reply


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("concurrency", [1, 4])
@pytest.mark.parametrize("end", [says_goodbye, resets, is_disconnected])
@pytest.mark.parametrize("kind", TWO_WAY)
async def test_a_call_that_ends_later(
    caplog: pytest.LogCaptureFixture, kind: str, end: End, concurrency: int
) -> None:
    """It keeps the session, which is answered to, but not the connection."""
    slow = Slow(RPCReply(b"1"))

    async def rpc(client: object, event: RPCEvent) -> Any:
        return await slow()

    async with serving(settings(concurrency=concurrency)) as server:
        server.node.handlers.rpc = rpc
        visitor = await arrived(server, kind)
        visitor.say(
            {"id": 1, "connect": {"token": token()}},
            {"id": 2, "rpc": {"method": "m"}}, {"id": 3, "rpc": {"method": "m"}})
        await asyncio.wait_for(slow.asked.wait(), 10)
        traces = Traces(server)
        await end(server, visitor)
        await ended(server)
        assert {type(one).__name__ for one in traces.left()} == {"Session", "Client"}
        slow.may_answer.set()
        await traces.gone()
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("end", [hangs_up, resets])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_connect_that_is_answered_later(
    server: InProcess, caplog: pytest.LogCaptureFixture, kind: str, end: End
) -> None:
    slow = Slow(ConnectReply(user="42", expire_at=time.time() + 3600))

    async def connecting(event: ConnectEvent) -> Any:
        return await slow()

    async with nothing_left(server, kind):
        server.node.handlers.connect = connecting
        visitor = await arrived(server, kind)
        visitor.connect(token())
        await asyncio.wait_for(slow.asked.wait(), 10)
        traces = Traces(server)
        await end(server, visitor)
        await ended(server)
        assert traces.transport() is None
        slow.may_answer.set()
        await traces.gone()
    assert warnings_in(caplog) == []


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_late_finds_a_session_that_ended(server: InProcess, kind: str) -> None:
    async with visiting(server, kind) as visitor:
        traces = Traces(server)
        session, connection = traces.session(), traces.connection()
        assert isinstance(session, BaseSession) and isinstance(connection, Connection)
        await is_disconnected(server, visitor)
        await ended(server)
        before = len(server.node.expiry)
        session._on_timer()
        session.on_pong()
        session.on_lost()
        session.on_slow()
        session.on_insufficient("a")
        session.push_message(b"1")
        connection.pause_writing()
        connection.resume_writing()
        connection.connection_lost(None)
        connection.close(3000, "")
        connection.abort()
        assert len(server.node.expiry) == before
        del session, connection
        await traces.gone()


# Elsewhere


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("end", [says_goodbye, resets, is_disconnected])
@pytest.mark.parametrize("kind", ["websocket", "http_stream", "uni_sse"])
async def test_over_tls(certificates: Certificates, kind: str, end: End) -> None:
    tls = {
        "enabled": True, "cert_pem": str(certificates.certificate),
        "key_pem": str(certificates.key)}

    def num_transports() -> int:
        return sum(type(one).__name__ == "_SSLProtocolTransport" for one in gc.get_objects())

    async with serving({**settings(), "http_server": {"tls": tls}}) as server:
        before = num_transports()
        visitor = await arrived(
            server, kind, ssl.create_default_context(cafile=str(certificates.ca)))
        await visitor.connected()
        traces = Traces(server)
        await end(server, visitor)
        await traces.gone()
        del visitor
        await server.settled(lambda: num_transports() == before)


@pytest.mark.parametrize("end", [says_goodbye, resets, is_disconnected, never_answers])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("impatient")
def test_in_asyncio_s_own_loop(kind: str, end: End) -> None:
    """Its transports may refer to themselves; they keep nothing of ours."""

    async def come_and_go() -> None:
        async with serving(settings()) as server, nothing_left(server, kind):
            async with visiting(server, kind) as visitor:
                traces = Traces(server)
                await end(server, visitor)
                await ended(server)
            left = {type(one).__name__ for one in traces.left()}
            assert left <= {"_SelectorSocketTransport"}

    asyncio.run(come_and_go())
