"""Two-way streams, server-sent events and HTTP streaming: the response and its end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from centrifuge.protocol import client_pb2 as pb

from fanout.client import Client
from fanout.codes import Disconnect
from fanout.server.session import Session
from fanout.server.transports import bodies
from fanout.server.transports import connection as connection_module
from fanout.server.transports.emulated import EmulatedConnection
from tests.server.running import InProcess, serving
from tests.server.transports.conftest import EVERYTHING, with_client
from tests.server.transports.stream import (
    CONNECT,
    OCTETS,
    Stream,
    delimited,
    emulate,
    opened,
    raw,
    request,
)

KINDS = ["sse", "http_stream"]
NO_CACHE = {
    "x-accel-buffering": "no",
    "cache-control": "private, no-cache, no-store, must-revalidate, max-age=0",
    "pragma": "no-cache",
    "expire": "0",
    "connection": "keep-alive",
    "transfer-encoding": "chunked",
    "x-content-type-options": "nosniff",
}

pytestmark = pytest.mark.usefixtures("quiet")


def only_client(server: InProcess) -> Client:
    (client,) = server.node.clients.values()
    return client


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is cut for not closing: what ends, ends by itself."""
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 3600.0)


async def subscribed(server: InProcess, stream: Stream, channel: str) -> None:
    assert await emulate(server, stream, {"id": 2, "subscribe": {"channel": channel}}) == 204
    assert await stream.next() == {"id": 2, "subscribe": {}}


async def all_gone(server: InProcess) -> None:
    await server.settled(lambda: len(server.connections) == 0)
    assert server.node.stats().num_clients == 0


# The response


@pytest.mark.parametrize(("kind", "content_type"), [
    ("sse", "text/event-stream; charset=utf-8"), ("http_stream", "application/json")])
async def test_the_head(server: InProcess, kind: str, content_type: str) -> None:
    async with opened(server, kind) as stream:
        assert stream.headers == {**NO_CACHE, "content-type": content_type}
        assert stream.node == server.node.uid
        assert len(stream.session) >= 32


async def test_events_of_a_get(server: InProcess) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/sse?cf_connect={quote(CONNECT)}", "GET"))
        assert await stream.head() == 200
        assert await stream.chunk() == b"\r\n"
        reply = await stream.event()
        assert (reply["id"], reply["connect"]["ping"], reply["connect"]["pong"]) == (1, 25, True)


@pytest.mark.parametrize(("more", "status"), [
    ({"id": 2, "subscribe": {"channel": "a"}}, 200),
    ({"id": 2, "publish": {"channel": "a", "data": 1}}, 400),
    ({"id": 2, "rpc": {"method": "pay"}}, 400),
    ({"send": {"data": 1}}, 400),
])
async def test_a_link_connects_and_does_no_more(
    server: InProcess, more: dict[str, Any], status: int
) -> None:
    commands = quote(CONNECT + b"\n" + json.dumps(more).encode())
    async with raw(server) as stream:
        await stream.send(request(f"/connection/sse?cf_connect={commands}", "GET"))
        assert await stream.head() == status


async def test_a_connect_command_as_long_as_a_url_may_be(server: InProcess) -> None:
    command = {"id": 1, "connect": {"name": "x" * 60_000}}
    async with raw(server) as stream:
        await stream.send(
            request(f"/connection/sse?cf_connect={quote(json.dumps(command))}", "GET"))
        assert await stream.head() == 200


async def test_protobuf(server: InProcess) -> None:
    connect = pb.Command(id=1, connect=pb.ConnectRequest())
    subscribe = pb.Command(id=2, subscribe=pb.SubscribeRequest(channel="a"))
    async with raw(server) as stream:
        await stream.send(request(
            "/connection/http_stream", body=delimited(connect, subscribe), Content_Type=OCTETS))
        assert await stream.head() == 200
        assert stream.headers["content-type"] == OCTETS
        reply = await stream.reply()
        assert (reply.id, reply.connect.node) == (1, server.node.uid)
        assert (await stream.reply()).id == 2
        server.node.publish("a", b"\x00\xff no JSON")
        push = (await stream.reply()).push
        assert (push.channel, push.pub.data) == ("a", b"\x00\xff no JSON")
        only_client(server).disconnect()
        assert (await stream.reply()).push.disconnect.code == 3503
        await stream.ended()


@pytest.mark.parametrize("content_type", [None, "application/json", "text/plain", ";", "x"])
async def test_any_other_content_type_is_json(
    server: InProcess, content_type: str | None
) -> None:
    async with opened(server, "http_stream", Content_Type=content_type):
        pass


@pytest.mark.parametrize("kind", KINDS)
async def test_several_commands_in_the_request(server: InProcess, kind: str) -> None:
    body = CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}\n{"id":3,"rpc":{}}'
    async with opened(server, kind, body) as stream:
        assert await stream.next() == {"id": 2, "subscribe": {}}
        assert (await stream.next())["error"]["code"] == 108
        server.node.publish("a", b'{ "spaces" : [1,\n2]}')
        assert (await stream.next())["push"]["pub"]["data"] == {"spaces": [1, 2]}


async def test_a_carriage_return_does_not_end_an_event(server: InProcess) -> None:
    async with opened(server, "sse") as stream:
        await subscribed(server, stream, "a")
        server.node.publish("a", b'{"a":\r\n1,\r"b":2}')
        chunk = await stream.chunk()
        assert b"\r" not in chunk
        assert json.loads(chunk[6:])["push"]["pub"]["data"] == {"a": 1, "b": 2}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_in_chunks(server: InProcess, kind: str) -> None:
    head = request(f"/connection/{kind}", Content_Length=None, Transfer_Encoding="chunked")
    async with raw(server) as stream:
        await stream.send(head)
        for byte in CONNECT:
            await stream.send(b"1\r\n%c\r\n" % byte)
        await stream.send(b"0\r\n\r\n")
        assert await stream.head() == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_behind_other_requests(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await stream.send(request("/health", "GET") + request("/health", "GET"))
        for _ in range(2):
            assert await stream.head() == 200
            await stream.body()
        await stream.send(request(f"/connection/{kind}", body=CONNECT))
        assert await stream.head() == 200


@pytest.mark.parametrize("kind", KINDS)
async def test_an_upgrade_that_nobody_takes(server: InProcess, kind: str) -> None:
    """As HTTP libraries ask for HTTP/2 on the side; the answer is HTTP/1.1."""
    async with opened(
        server, kind, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c",
        HTTP2_Settings="AAMAAABkAAQAoAAAAAIAAAAA",
    ) as stream:
        await subscribed(server, stream, "a")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_that_is_waited_for(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await stream.send(request(
            f"/connection/{kind}", Content_Length=str(len(CONNECT)), Expect="100-continue"))
        assert await asyncio.wait_for(
            stream.reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        await stream.send(CONNECT)
        assert await stream.head() == 200


# Refusals, which leave plain HTTP behind


@pytest.mark.parametrize(("target", "method", "status"), [
    ("sse", "GET", 400), ("sse?cf_connect=", "GET", 400), ("sse", "POST", 400),
    ("sse", "PUT", 405), ("sse", "HEAD", 405), ("sse", "DELETE", 405),
    ("http_stream", "GET", 405), ("http_stream", "HEAD", 405), ("http_stream", "PUT", 405),
    ("http_stream/", "POST", 404), ("nothing", "POST", 404),
])
async def test_requests_that_are_refused(
    server: InProcess, target: str, method: str, status: int
) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{target}", method))
        assert await stream.head() == status
        if status == 405:
            assert set(stream.headers["allow"].split(", ")[0].split(",")) <= {"GET", "POST"}
        if method != "HEAD":
            await stream.body()
        await stream.send(request("/health", "GET"))
        assert await stream.head() == 200
    await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_http_1_0_is_refused(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await stream.send(
            request(f"/connection/{kind}", body=CONNECT).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        assert await stream.head() == 505
        assert b"proxy_http_version 1.1" in await stream.body()
    await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_limit_of_a_body(kind: str) -> None:
    settings = {**EVERYTHING, kind: {"enabled": True, "max_request_body_size": 100}}
    async with serving(settings) as server:
        async with raw(server) as stream:
            await stream.send(request(f"/connection/{kind}", body=CONNECT + b" " * 80))
            assert await stream.head() == 413
        # Refused by its length alone, before it is sent.
        async with raw(server) as stream:
            await stream.send(request(f"/connection/{kind}", Content_Length="1000000000"))
            assert await stream.head() == 413
        # Its length is not told.
        async with raw(server) as stream:
            await stream.send(request(
                f"/connection/{kind}", Content_Length=None, Transfer_Encoding="chunked"))
            await stream.send(b"64\r\n" + b" " * 100 + b"\r\n1\r\n \r\n")
            assert await stream.head() == 413
        async with opened(server, kind, CONNECT + b" " * (100 - len(CONNECT))):
            pass
        await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_that_never_ends(
    server: InProcess, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.05)
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=CONNECT)[:-1])
        assert await stream.head() == 408


@pytest.mark.parametrize("kind", KINDS)
async def test_a_peer_that_leaves_within_its_body(server: InProcess, kind: str) -> None:
    for _ in range(5):
        async with raw(server) as stream:
            await stream.send(request(f"/connection/{kind}", body=CONNECT)[:-1])
            stream.writer.transport.abort()
    async with opened(server, kind):
        await server.settled(lambda: len(server.connections) == 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("body", "code"), [
    (b"no json", 3501), (b"{}", 3501), (b'{"id":1,"subscribe":{"channel":"a"}}', 3501),
    (b'{"id":1,"connect":{"token":"a"}}', 3500), (b"\xff", 3501),
])
async def test_a_connect_command_that_is_refused(
    server: InProcess, kind: str, body: bytes, code: int
) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=body))
        assert await stream.head() == 200
        if kind == "sse":
            assert await stream.chunk() == b"\r\n"
        assert (await stream.disconnected())[0] == code
    await all_gone(server)


# CORS and the origin


@pytest.mark.parametrize("kind", [*KINDS, "uni_sse", "uni_http_stream"])
async def test_a_preflight(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await stream.send(request(
            f"/connection/{kind}", "OPTIONS", Origin="http://localhost",
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type,x-custom"))
        assert await stream.head() == 204
        assert stream.headers["access-control-allow-origin"] == "http://localhost"
        assert stream.headers["access-control-allow-credentials"] == "true"
        assert stream.headers["access-control-allow-headers"] == "content-type,x-custom"
    await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_page_of_an_allowed_origin_may_read(kind: str) -> None:
    settings = with_client(allowed_origins=["https://*.example.com"])
    async with serving(settings) as server:
        origin = "https://a.example.com"
        async with opened(server, kind, Origin=origin) as stream:
            assert stream.headers["access-control-allow-origin"] == origin
            assert stream.headers["access-control-allow-credentials"] == "true"
            assert stream.headers["vary"] == "Origin"
        # A refusal as well.
        async with raw(server) as stream:
            await stream.send(request(
                f"/connection/{kind}", body=b"x" * 70_000, Origin=origin))
            assert await stream.head() == 413
            assert stream.headers["access-control-allow-origin"] == origin


@pytest.mark.parametrize("target", [
    "connection/sse", "connection/http_stream", "connection/uni_sse",
    "connection/uni_http_stream", "emulation"])
@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
async def test_another_origin_is_refused(
    server: InProcess, target: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with raw(server) as stream:
        await stream.send(request(
            f"/{target}", method, CONNECT if method == "POST" else b"",
            Origin="http://evil.example"))
        assert await stream.head() == 403
        assert "access-control-allow-origin" not in stream.headers
        assert stream.headers["server"] == "fanout"
    assert "'http://evil.example' is not in client.allowed_origins" in caplog.text
    await all_gone(server)


@pytest.mark.parametrize("target", [
    "connection/sse?cf_connect={}", "connection/uni_sse", "connection/init"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_what_another_page_embeds_is_refused(target: str, site: str) -> None:
    """A browser sends cookies for it, and no Origin: the commands would be its user's."""
    settings = {**with_client(allowed_origins=["*"]), "init": {"enabled": True}}
    async with serving(settings) as server:
        for headers in ({"Sec_Fetch_Site": site}, {"Sec_Fetch_Site": site, "Origin": ""}):
            async with raw(server) as stream:
                await stream.send(request(
                    f"/{target.format(quote(CONNECT))}", "GET", b"",
                    Sec_Fetch_Mode="no-cors", Sec_Fetch_Dest="image", **headers))
                assert await stream.head() == 403
        await all_gone(server)


@pytest.mark.parametrize("headers", [
    {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"},
    {"Sec_Fetch_Site": "same-site", "Origin": "http://localhost"},
])
async def test_what_a_page_of_ours_opens_is_taken(
    server: InProcess, headers: dict[str, str]
) -> None:
    async with raw(server) as stream:
        await stream.send(request(
            f"/connection/sse?cf_connect={quote(CONNECT)}", "GET", b"", **headers))
        assert await stream.head() == 200


# The limits that all transports share


async def test_the_connection_limit_is_one_for_all() -> None:
    async with serving(with_client(connection_limit=2)) as server:
        async with opened(server, "sse"), await server.client():
            for kind in KINDS:
                async with raw(server) as stream:
                    await stream.send(request(f"/connection/{kind}", body=CONNECT))
                    assert await stream.head() == 503
        await all_gone(server)
        async with opened(server, "sse"):
            pass


async def test_a_slow_body_does_not_get_past_the_limit() -> None:
    async with (
        serving(with_client(connection_limit=1)) as server, raw(server) as first,
        raw(server) as second,
    ):
        whole = request("/connection/http_stream", body=CONNECT)
        for stream in (first, second):
            await stream.send(whole[:-1])
        await first.send(whole[-1:])
        assert await first.head() == 200
        await second.send(whole[-1:])
        assert await second.head() == 503


async def test_the_rate_of_connections() -> None:
    async with serving(with_client(connection_rate_limit=3)) as server:
        statuses = []
        for _ in range(5):
            async with raw(server) as stream:
                await stream.send(request("/connection/http_stream", body=CONNECT))
                statuses.append(await stream.head())
        # How many more pass depends on how long that took.
        assert statuses[:3] == [200] * 3
        assert set(statuses) <= {200, 503}


# Pings


@pytest.mark.parametrize("kind", KINDS)
async def test_pings_and_pongs(kind: str) -> None:
    settings = with_client(ping_interval="1s", pong_timeout="500ms")
    async with serving(settings) as server, opened(server, kind) as stream:
        assert await stream.next() == {}
        assert await emulate(server, stream, {}) == 204
        assert await stream.next() == {}
        assert await stream.disconnected() == (3012, "no pong")


# The end


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_ends_it(server: InProcess, kind: str) -> None:
    async with opened(server, kind) as stream:
        await subscribed(server, stream, "a")
        server.node.publish("a", b"1")
        only_client(server).disconnect(Disconnect(4242, 'go "now"'))
        server.node.publish("a", b"2")
        assert (await stream.next())["push"]["pub"]["data"] == 1
        assert await stream.disconnected() == (4242, 'go "now"')
        # Its own end is all that is left to wait for.
        await stream.close()
        await all_gone(server)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", KINDS)
async def test_more_than_leaves_in_one_turn_comes_before_the_end(
    server: InProcess, kind: str
) -> None:
    async with opened(server, kind) as stream:
        client = only_client(server)
        for number in range(5):
            client.send(b'"%d%s"' % (number, b"x" * 150_000))
        client.disconnect()
        for number in range(5):
            data = (await stream.next())["push"]["message"]["data"]
            assert (data[0], len(data)) == (str(number), 150_001)
        assert await stream.disconnected() == (3503, "force disconnect")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_drain(kind: str) -> None:
    async with serving(EVERYTHING) as server, opened(server, kind) as stream:
        server.stop()
        assert await stream.disconnected() == (3001, "shutdown")
        await stream.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_who_never_connects_is_stale(kind: str) -> None:
    async with serving(with_client(stale_close_delay="50ms")) as server:
        began = asyncio.Event()

        async def never(event: object) -> None:
            began.set()
            await asyncio.Event().wait()

        server.node.handlers.connect = never  # type: ignore[assignment]
        async with raw(server) as stream:
            await stream.send(request(f"/connection/{kind}", body=CONNECT))
            await asyncio.wait_for(began.wait(), 10)
            assert await stream.head() == 200
            if kind == "sse":
                assert await stream.chunk() == b"\r\n"
            assert await stream.disconnected() == (3502, "stale")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_peer_that_keeps_its_end_open_is_cut(
    server: InProcess, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 0.05)
    async with opened(server, kind) as stream:
        only_client(server).disconnect()
        assert await stream.disconnected() == (3503, "force disconnect")
        await all_gone(server)


async def end_of_stream(stream: Stream) -> None:
    stream.writer.write_eof()


async def reset(stream: Stream) -> None:
    sock: socket.socket = stream.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.writer.transport.abort()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", [end_of_stream, reset])
async def test_the_peers_end_is_noticed_at_once(
    server: InProcess, kind: str, leave: Any
) -> None:
    reasons: list[Disconnect] = []
    server.node.on_disconnect(lambda client, disconnect: reasons.append(disconnect))
    async with opened(server, kind) as stream:
        await subscribed(server, stream, "a")
        await leave(stream)
        # Nothing is published: nobody finds out by writing.
        await all_gone(server)
        assert server.node.stats().num_subscriptions == 0
    await server.settled(lambda: len(reasons) == 1)
    assert reasons[0].code == 3000


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reset_as_soon_as_it_is_sent(server: InProcess, kind: str) -> None:
    for _ in range(30):
        sock = socket.create_connection(("127.0.0.1", server.port))
        sock.sendall(request(f"/connection/{kind}", body=CONNECT))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    async with opened(server, kind):
        await server.settled(lambda: len(server.connections) == 1)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_said_behind_the_request_is_ignored(server: InProcess, kind: str) -> None:
    behind = request("/health", "GET") * 3
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=CONNECT) + behind)
        assert await stream.head() == 200
        if kind == "sse":
            await stream.chunk()
        await stream.next()
        await stream.send(behind + b'{"id":7,"rpc":{}}\n' * 10)
        only_client(server).disconnect()
        assert await stream.disconnected() == (3503, "force disconnect")


@pytest.mark.parametrize("kind", KINDS)
async def test_so_many_requests_behind_that_reading_stopped(
    server: InProcess, kind: str
) -> None:
    async with raw(server) as stream:
        await stream.send(
            request(f"/connection/{kind}", body=CONNECT) + request("/health", "GET") * 1000)
        assert await stream.head() == 200
        if kind == "sse":
            await stream.chunk()
        await stream.next()
        stream.writer.write_eof()
        await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_who_says_too_much_is_disconnected(server: InProcess, kind: str) -> None:
    async with opened(server, kind) as stream:
        await stream.send(b"x" * 65536)
        await subscribed(server, stream, "a")
        await stream.send(b"x")
        assert await stream.disconnected() == (3501, "bad request")


# Slow readers


@contextlib.asynccontextmanager
async def stuck(server: InProcess, kind: str) -> AsyncIterator[Stream]:
    """A subscriber of ``a`` that reads nothing more, behind the smallest buffers there are."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.port))
    stream = Stream(*await asyncio.open_connection(sock=sock, limit=1 << 10))
    try:
        await stream.send(request(
            f"/connection/{kind}", body=CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}'))
        assert await stream.head() == 200
        if kind == "sse":
            await stream.chunk()
        await stream.next()
        await stream.next()
        stream.writer.transport.pause_reading()  # type: ignore[attr-defined]
        yield stream
    finally:
        await stream.close()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_reader_gets_whole_messages_then_the_reason(kind: str) -> None:
    settings = {
        **with_client(queue_max_size=100_000), "websocket": {"write_timeout": "60s"}}
    async with serving(settings) as server, stuck(server, kind) as slow:
        outbox = only_client(server)._transport.outbox
        sent = 0
        while server.node.clients:
            server.node.publish("a", b'"%05d%s"' % (sent, b"x" * 5000))
            sent += 1
            assert outbox.queued_bytes <= 100_000
            assert sent < 5000, "the kernel's buffers have no end"
            await asyncio.sleep(0)
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        got = []
        while "pub" in (push := (await slow.next())["push"]):
            got.append(int(push["pub"]["data"][:5]))
        assert push["disconnect"] == {"code": 3008, "reason": "slow"}
        assert got == list(range(len(got)))
        assert 0 < len(got) < sent
        await slow.ended()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_reader_that_takes_nothing_any_more(kind: str) -> None:
    settings = {**EVERYTHING, "websocket": {"write_timeout": "100ms"}}
    async with serving(settings) as server, stuck(server, kind) as slow:
        reasons: list[Disconnect] = []
        server.node.on_disconnect(lambda client, disconnect: reasons.append(disconnect))
        (connection,) = server.connections._connections
        assert isinstance(connection, EmulatedConnection)
        while not connection.outbox.blocked:
            server.node.publish("a", b'"' + b"x" * 5000 + b'"')
            await asyncio.sleep(0)
        await server.settled(lambda: bool(reasons))
        assert (reasons[0].code, reasons[0].reason) == (3009, "write error")
        # It may still hear of it.
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while "pub" in (push := (await slow.next())["push"]):
            pass
        assert push["disconnect"]["code"] == 3009


async def test_a_reader_that_is_slow_but_reads_on() -> None:
    """What was taken since the last look is progress; the test says when is looked."""
    settings = {
        **with_client(queue_max_size=10_000_000), "websocket": {"write_timeout": "60s"}}
    async with serving(settings) as server, stuck(server, "http_stream") as slow:
        (connection,) = server.connections._connections
        assert isinstance(connection, EmulatedConnection)
        while not connection.outbox.blocked:
            server.node.publish("a", b'"' + b"x" * 1_000_000 + b'"')
            await asyncio.sleep(0)
        assert connection._transport is not None
        before = connection._transport.get_write_buffer_size()
        slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(10):
            while connection._transport.get_write_buffer_size() == before:
                await slow.reader.read(1 << 16)
        slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
        connection._on_stall()
        assert server.node.clients
        # It may go on a little, but not for ever.
        async with asyncio.timeout(10):
            while server.node.clients:
                connection._on_stall()
                await asyncio.sleep(0.01)


# What a stream leaves behind


def alive(*kinds: type) -> dict[str, int]:
    gc.collect()
    gc.collect()
    return {
        kind.__name__: sum(type(one) is kind for one in gc.get_objects()) for kind in kinds}


@pytest.mark.parametrize("kind", KINDS)
async def test_many_come_and_go(server: InProcess, kind: str) -> None:
    kinds = (EmulatedConnection, Session)
    async with opened(server, kind):
        pass
    await all_gone(server)
    before = alive(*kinds)
    tasks = len(asyncio.all_tasks())
    for _ in range(5):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                await stack.enter_async_context(opened(
                    server, kind, CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}'))
            await server.settled(lambda: server.node.stats().num_subscriptions == 20)
            # An idle stream has no task.
            await server.settled(lambda: len(asyncio.all_tasks()) <= tasks)
        await all_gone(server)
    assert alive(*kinds) == before
    assert server.node.stats().num_channels == 0
