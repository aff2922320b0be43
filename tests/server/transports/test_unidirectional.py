"""One-way transports: the connect push, what follows, and refusals to connect."""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fanout import codes
from fanout.client import Client
from fanout.codes import ClientError, Disconnect
from fanout.events import ConnectEvent, ConnectReply
from fanout.server.transports import connection as connection_module
from tests.server.running import InProcess, serving
from tests.server.transports.conftest import EVERYTHING, ON, with_client
from tests.server.transports.stream import Stream, raw, request

KINDS = ["uni_sse", "uni_http_stream"]

pytestmark = pytest.mark.usefixtures("quiet")


async def begun(stream: Stream, kind: str, body: bytes = b"{}", **headers: str) -> None:
    """Send the request, and read up to the first push."""
    await stream.send(request(f"/connection/{kind}", body=body, **headers))
    assert await stream.head() == 200
    if kind == "uni_sse":
        assert await stream.chunk() == b"\r\n"


def only_client(server: InProcess) -> Client:
    (client,) = server.node.clients.values()
    return client


async def all_gone(server: InProcess) -> None:
    await server.settled(lambda: len(server.connections) == 0)
    assert server.node.stats().num_clients == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_the_first_push_is_the_connection(server: InProcess, kind: str) -> None:
    seen: list[ConnectEvent] = []

    def connecting(event: ConnectEvent) -> ConnectReply:
        seen.append(event)
        return ConnectReply(user="42", data=b'{"hello":1}')

    server.node.handlers.connect = connecting
    async with raw(server) as stream:
        await begun(stream, kind, json.dumps({
            "token": "t", "data": {"a": [1]}, "name": "n", "version": "v"}).encode())
        (push,) = (await stream.next()).values()
        client = only_client(server)
        assert push == {
            "client": client.id, "version": push["version"], "data": {"hello": 1}, "ping": 25,
            "session": client.session, "node": server.node.uid}
        assert push["version"].startswith("fanout ")
    (event,) = seen
    assert (event.token, event.name, event.version) == ("t", "n", "v")
    assert json.loads(event.data) == {"a": [1]}
    assert event.transport == kind


@pytest.mark.parametrize("kind", KINDS)
async def test_the_head(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await begun(stream, kind)
        assert stream.headers["content-type"] == {
            "uni_sse": "text/event-stream; charset=utf-8",
            "uni_http_stream": "application/json"}[kind]
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize("query", ["", f"?cf_connect={quote(json.dumps({'subs': {'a': {}}}))}"])
async def test_events_of_a_get(server: InProcess, query: str) -> None:
    """The connect request may be missing."""
    async with raw(server) as stream:
        await stream.send(request(f"/connection/uni_sse{query}", "GET"))
        assert await stream.head() == 200
        assert await stream.chunk() == b"\r\n"
        assert (await stream.event())["connect"].get("subs") == ({"a": {}} if query else None)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_empty_body(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await begun(stream, kind, b"")
        assert "connect" in await stream.next()


@pytest.mark.parametrize("kind", KINDS)
async def test_pushes_stand_alone(kind: str) -> None:
    settings = {
        **EVERYTHING,
        "channel": {"without_namespace": {"join_leave": True, "force_push_join_leave": True}}}
    async with serving(settings) as server, raw(server) as stream:
        await begun(stream, kind, b'{"subs":{"a":{},"b":{}}}')
        assert set((await stream.next())["connect"]["subs"]) == {"a", "b"}
        client = only_client(server)
        joins = [await stream.next(), await stream.next()]
        assert {push["channel"] for push in joins} == {"a", "b"}
        assert all(push["join"]["info"]["client"] == client.id for push in joins)
        server.node.publish("a", b'{"n":1}')
        assert await stream.next() == {"channel": "a", "pub": {"data": {"n": 1}}}
        client.send(b"2")
        assert await stream.next() == {"message": {"data": 2}}
        await client.unsubscribe_by_server("b")
        assert (await stream.next())["unsubscribe"]["code"] == 2000


@pytest.mark.parametrize("kind", KINDS)
async def test_what_comes_while_it_connects_comes_behind_the_connect_push(kind: str) -> None:
    settings = {
        **EVERYTHING,
        "channel": {"without_namespace": {
            "history_size": 10, "history_ttl": "60s", "force_recovery": True}}}
    async with serving(settings) as server:
        await server.node.publish("a", b"0")
        async with raw(server) as stream:
            await begun(stream, kind, b'{"subs":{"a":{"recover":true,"epoch":"","offset":0}}}')
            # As soon as somebody subscribes, for as long as it is not told.
            await server.node.publish("a", b"1")
            sub = (await stream.next())["connect"]["subs"]["a"]
            got = [pub["data"] for pub in sub.get("publications", [])]
            await server.node.publish("a", b"2")
            while got[-1:] != [2]:
                got.append((await stream.next())["pub"]["data"])
            assert sub["recovered"] is True
            assert got == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_ping_is_an_empty_push_and_needs_no_answer(kind: str) -> None:
    settings = with_client(ping_interval="1s", pong_timeout="100ms")
    async with serving(settings) as server, raw(server) as stream:
        await begun(stream, kind)
        connect = (await stream.next())["connect"]
        assert connect["ping"] == 1
        assert "pong" not in connect
        assert await stream.next() == {}
        assert await stream.next() == {}


@pytest.mark.parametrize("kind", KINDS)
async def test_the_server_ends_it(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await begun(stream, kind)
        await stream.next()
        only_client(server).disconnect()
        assert await stream.disconnected() == (3503, "force disconnect")
    await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_the_peers_end_is_noticed_at_once(server: InProcess, kind: str) -> None:
    async with raw(server) as stream:
        await begun(stream, kind, b'{"subs":{"a":{}}}')
        await stream.next()
        stream.writer.write_eof()
        await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [b"no json", b"[]", b'{"token":1}', b"\xff", b"[" * 10_000])
async def test_a_request_that_is_none(server: InProcess, kind: str, body: bytes) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=body))
        assert await stream.head() == 400
    await all_gone(server)


@pytest.mark.parametrize(("target", "method", "status"), [
    ("uni_http_stream", "GET", 405), ("uni_sse", "PUT", 405), ("uni_sse", "HEAD", 405),
    ("uni_websocket", "POST", 405), ("uni_websocket", "GET", 426),
    ("uni_sse?cf_connect=%ff", "GET", 400), ("uni_sse?cf_connect={", "GET", 400),
])
async def test_requests_that_are_refused(
    server: InProcess, target: str, method: str, status: int
) -> None:
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{target}", method))
        assert await stream.head() == status


@pytest.mark.parametrize("kind", KINDS)
async def test_the_limit_of_a_body(kind: str) -> None:
    settings = {**EVERYTHING, kind: {**ON, "max_request_body_size": 100}}
    async with serving(settings) as server:
        for size, status in ((101, 413), (100, 200)):
            async with raw(server) as stream:
                await stream.send(
                    request(f"/connection/{kind}", body=b"{" + b" " * (size - 2) + b"}"))
                assert await stream.head() == status


async def test_they_are_off_by_default() -> None:
    async with serving({"client": {"insecure": True}}) as server:
        for kind in (*KINDS, "uni_websocket", "sse", "http_stream", "init"):
            async with raw(server) as stream:
                await stream.send(request(f"/connection/{kind}"))
                assert await stream.head() == 404


# Refusals to connect


def refusing(server: InProcess, refusal: Exception) -> None:
    def connecting(event: ConnectEvent) -> ConnectReply:
        raise refusal

    server.node.handlers.connect = connecting


REFUSALS = [
    (codes.ERROR_EXPIRED(), (3005, "connection expired")),
    (codes.ERROR_TOKEN_EXPIRED(), (3005, "connection expired")),
    (codes.ERROR_TOO_MANY_REQUESTS(), (3013, "too many requests")),
    (codes.ERROR_PERMISSION_DENIED(), (3507, "permission denied")),
    (codes.ERROR_INTERNAL(), (3004, "internal server error")),
    (ClientError(1000, "mine"), (3004, "internal server error")),
    (codes.DISCONNECT_INVALID_TOKEN(), (3500, "invalid token")),
    (Disconnect(4500, "mine"), (4500, "mine")),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("refusal", "told"), REFUSALS, ids=lambda value: str(value)[:30])
async def test_an_error_becomes_a_disconnect(
    server: InProcess, kind: str, refusal: Exception, told: tuple[int, str]
) -> None:
    refusing(server, refusal)
    async with raw(server) as stream:
        await begun(stream, kind)
        assert await stream.disconnected() == told
    await all_gone(server)


@pytest.mark.parametrize("kind", KINDS)
async def test_configured_disconnects(kind: str) -> None:
    settings = with_client(connect_code_to_unidirectional_disconnect={
        "enabled": True,
        "transforms": [{"code": 109, "to": {"code": 4009, "reason": "renew"}}]})
    async with serving(settings) as server:
        for refusal, told in (
            (codes.ERROR_TOKEN_EXPIRED(), (4009, "renew")),
            (codes.ERROR_EXPIRED(), (3005, "connection expired")),
            (codes.DISCONNECT_INVALID_TOKEN(), (3500, "invalid token")),
        ):
            refusing(server, refusal)
            async with raw(server) as stream:
                await begun(stream, kind)
                assert await stream.disconnected() == told


@pytest.mark.parametrize("kind", KINDS)
async def test_configured_statuses(kind: str) -> None:
    settings = {**EVERYTHING, kind: {**ON, "connect_code_to_http_response": {
        "enabled": True,
        "transforms": [
            {"code": 109, "to": {"status_code": 401}},
            {"code": 3500, "to": {"status_code": 403, "body": "no é"}}]}}}
    async with serving(settings) as server:
        for refusal, status, body in (
            (codes.ERROR_TOKEN_EXPIRED(), 401, "token expired"),
            (codes.DISCONNECT_INVALID_TOKEN(), 403, "no é"),
            (codes.ERROR_PERMISSION_DENIED(), 500, "Internal Server Error"),
        ):
            refusing(server, refusal)
            async with raw(server) as stream:
                await stream.send(
                    request(f"/connection/{kind}", body=b"{}", Origin="http://localhost"))
                assert await stream.head() == status
                assert (await stream.body()).decode() == body
                assert stream.headers["connection"] == "close"
                assert stream.headers["access-control-allow-origin"] == "http://localhost"
                assert await asyncio.wait_for(stream.reader.read(), 10) == b""
        await all_gone(server)
        # Who may connect gets the stream.
        server.node.handlers.connect = lambda event: ConnectReply()
        async with raw(server) as stream:
            await begun(stream, kind)
            assert "connect" in await stream.next()
            only_client(server).disconnect(codes.DISCONNECT_INVALID_TOKEN)
            assert await stream.disconnected() == (3500, "invalid token")


# WebSocket


def uni_url(server: InProcess, query: str = "") -> str:
    return f"ws://127.0.0.1:{server.port}/connection/uni_websocket{query}"


async def receive(websocket: Any) -> Any:
    message = await asyncio.wait_for(websocket.recv(), 10)
    assert isinstance(message, str)
    return json.loads(message)


async def closed(websocket: Any) -> tuple[int, str]:
    try:
        message = await asyncio.wait_for(websocket.recv(), 10)
    except ConnectionClosed as error:
        assert error.rcvd is not None
        return error.rcvd.code, error.rcvd.reason
    raise AssertionError(f"not closed: {message!r}")


@pytest.mark.parametrize("by_url", [True, False])
async def test_websocket(server: InProcess, by_url: bool) -> None:
    wanted = json.dumps({"subs": {"a": {}}})
    url = uni_url(server, f"?cf_connect={quote(wanted)}" if by_url else "")
    async with open_websocket(url, compression=None) as websocket:
        if not by_url:
            await websocket.send(wanted)
        connect = (await receive(websocket))["connect"]
        assert (connect["subs"], connect["session"] != "") == ({"a": {}}, True)
        # What it says now is for nobody.
        await websocket.send("no json")
        await websocket.send(wanted)
        await (await websocket.ping())
        server.node.publish("a", b"1")
        assert await receive(websocket) == {"channel": "a", "pub": {"data": 1}}
        only_client(server).disconnect()
        assert await receive(websocket) == {
            "disconnect": {"code": 3503, "reason": "force disconnect"}}
        assert await closed(websocket) == (3503, "force disconnect")
    await all_gone(server)


@pytest.mark.parametrize("kind", ["first message", "url"])
@pytest.mark.parametrize(("refusal", "told"), REFUSALS, ids=lambda value: str(value)[:30])
async def test_a_websocket_error_becomes_a_disconnect(
    server: InProcess, kind: str, refusal: Exception, told: tuple[int, str]
) -> None:
    refusing(server, refusal)
    url = uni_url(server, "?cf_connect=%7B%7D" if kind == "url" else "")
    async with open_websocket(url) as websocket:
        if kind != "url":
            await websocket.send("{}")
        assert await receive(websocket) == {"disconnect": {"code": told[0], "reason": told[1]}}
        assert await closed(websocket) == told


async def test_a_first_message_that_is_none(server: InProcess) -> None:
    async with open_websocket(uni_url(server)) as websocket:
        await websocket.send("no json")
        assert (await receive(websocket))["disconnect"]["code"] == 3501
        assert await closed(websocket) == (3501, "bad request")


async def test_a_connect_request_in_the_url_that_is_none(server: InProcess) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await open_websocket(uni_url(server, "?cf_connect=nothing"))
    assert refused.value.response.status_code == 400
    await all_gone(server)


async def test_a_broken_websocket_has_no_push(server: InProcess) -> None:
    """Its code is WebSocket's own."""
    async with open_websocket(uni_url(server), max_size=None) as websocket:
        await websocket.send("x" * 70_000)
        assert (await closed(websocket))[0] == 1009


async def test_who_says_nothing_is_stale() -> None:
    async with (
        serving(with_client(stale_close_delay="50ms")) as server,
        open_websocket(uni_url(server)) as websocket,
    ):
        assert (await receive(websocket))["disconnect"]["code"] == 3502
        assert await closed(websocket) == (3502, "stale")


async def test_without_the_push() -> None:
    settings = {**EVERYTHING, "uni_websocket": {**ON, "disable_disconnect_push": True}}
    async with serving(settings) as server, open_websocket(uni_url(server)) as websocket:
        await websocket.send("{}")
        await receive(websocket)
        only_client(server).disconnect()
        assert await closed(websocket) == (3503, "force disconnect")


@pytest.mark.parametrize("no_push", [False, True])
async def test_without_the_closing_handshake(no_push: bool) -> None:
    settings = {**EVERYTHING, "uni_websocket": {
        **ON, "disable_closing_handshake": True, "disable_disconnect_push": no_push}}
    async with serving(settings) as server, open_websocket(uni_url(server)) as websocket:
        await websocket.send("{}")
        await receive(websocket)
        only_client(server).disconnect()
        if not no_push:
            assert (await receive(websocket))["disconnect"]["code"] == 3503
        with pytest.raises(ConnectionClosed) as ended:
            await asyncio.wait_for(websocket.recv(), 10)
        assert ended.value.rcvd is None


async def test_a_websocket_peer_that_never_answers_is_cut(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "CLOSE_TIMEOUT", 0.05)
    async with raw(server) as stream:
        await stream.send(request(
            "/connection/uni_websocket?cf_connect=%7B%7D", "GET", Upgrade="websocket",
            Connection="Upgrade", Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=="))
        assert await stream.head() == 101
        first, size = await stream.reader.readexactly(2)
        assert (first, size) == (0x81, 126)
        (length,) = struct.unpack("!H", await stream.reader.readexactly(2))
        assert json.loads(await stream.reader.readexactly(length))["connect"]
        only_client(server).disconnect()
        await all_gone(server)
