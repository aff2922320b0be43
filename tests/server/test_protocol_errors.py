"""Every error reply and every disconnect of the client protocol, by what causes it."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout import ConnectEvent, ConnectReply, codes
from fanout.codes import ClientError, Disconnect, DisconnectCode, ErrorCode
from fanout.handlers import answer
from tests.server.conftest import OPEN
from tests.server.running import InProcess, Settings, serving, with_options

ANONYMOUS: Settings = {"client": {"allow_anonymous_connect_without_token": True}}
HISTORY: dict[str, object] = {"history_size": 10, "history_ttl": "60s"}

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    """Everything is allowed that is not switched off."""
    async with serving(OPEN) as running:
        yield running


# Disconnects: what may not be said


@pytest.mark.parametrize("frame", [
    pytest.param("", id="empty"),
    pytest.param("\n", id="newline alone"),
    pytest.param(" ", id="space alone"),
    pytest.param("hello", id="no JSON"),
    pytest.param("{", id="half an object"),
    pytest.param("[]", id="array"),
    pytest.param('"connect"', id="string"),
    pytest.param("1", id="number"),
    pytest.param("null", id="null"),
    pytest.param('{"id":1,"connect":{}}{"id":2', id="half a second command"),
    pytest.param('{"id":1,"connect":[]}', id="method of the wrong type"),
    pytest.param('{"id":"1","connect":{}}', id="id as a string"),
    pytest.param('{"id":1.5,"connect":{}}', id="id with a fraction"),
    pytest.param('{"id":-1,"connect":{}}', id="id below zero"),
    pytest.param('{"id":4294967296,"connect":{}}', id="id beyond 32 bits"),
    pytest.param('{"id":1,"connect":{"token":7}}', id="token as a number"),
    pytest.param("[" * 60000, id="very deep"),
    pytest.param('{"id":1,"connect":{"data":' + '{"a":' * 9000 + "1", id="very deep data"),
])
async def test_a_frame_that_cannot_be_read(server: InProcess, frame: str) -> None:
    async with await server.peer() as peer:
        await peer.send_text(frame)
        assert await peer.closed() == (3501, "bad request")


@pytest.mark.parametrize("command", [
    {"id": 1, "subscribe": {"channel": "a"}},
    {"id": 1, "publish": {"channel": "a", "data": 1}},
    {"id": 1, "history": {"channel": "a"}},
    {"id": 1, "ping": {}},
    {"id": 1, "rpc": {"method": "a"}},
    {"send": {"data": 1}},
    {"connect": {}},
    {"id": 1},
    {},
])
async def test_anything_before_connect(server: InProcess, command: dict[str, Any]) -> None:
    async with await server.peer() as peer:
        await peer.send(command)
        assert await peer.closed() == (3501, "bad request")


@pytest.mark.parametrize("command", [
    pytest.param({"id": 2, "connect": {}}, id="a second connect"),
    pytest.param({"id": 2}, id="no method"),
    pytest.param({"id": 2, "dance": {}}, id="unknown method"),
    pytest.param({"id": 2, "ping": {}}, id="ping with an id"),
    pytest.param({}, id="pong that was not asked for"),
    pytest.param({"subscribe": {"channel": "a"}}, id="no id, so a pong"),
    pytest.param({"id": 2, "subscribe": {"channel": ""}}, id="subscribe, empty channel"),
    pytest.param({"id": 2, "subscribe": {}}, id="subscribe, no channel"),
    pytest.param({"id": 2, "subscribe": {"channel": 5}}, id="channel as a number"),
    pytest.param({"id": 2, "subscribe": {"channel": "a", "delta": "x"}}, id="unknown delta"),
    pytest.param({"id": 2, "unsubscribe": {"channel": ""}}, id="unsubscribe, empty channel"),
    pytest.param({"id": 2, "publish": {"channel": "", "data": 1}}, id="publish, empty channel"),
    pytest.param({"id": 2, "presence": {"channel": ""}}, id="presence, empty channel"),
    pytest.param({"id": 2, "presence_stats": {}}, id="presence_stats, empty channel"),
    pytest.param({"id": 2, "history": {}}, id="history, empty channel"),
    pytest.param({"id": 2, "history": {"channel": "a", "limit": 1 << 31}}, id="limit of 32 bits"),
    pytest.param({"id": 2, "refresh": {"token": ""}}, id="refresh without a token"),
])
async def test_a_bad_request(server: InProcess, command: dict[str, Any]) -> None:
    async with await server.client() as peer:
        await peer.send(command)
        assert await peer.closed() == (3501, "bad request")


async def test_a_binary_message(server: InProcess) -> None:
    async with await server.client() as peer:
        await peer.websocket.send(b'{"id":2,"rpc":{}}')
        assert await peer.closed() == (3501, "bad request")


async def test_what_comes_behind_a_bad_command_is_not_run(server: InProcess) -> None:
    async with await server.client("a") as witness, await server.client() as peer:
        await peer.send(
            {"id": 2, "publish": {"channel": "a", "data": 1}},
            {"id": 3},
            {"id": 4, "publish": {"channel": "a", "data": 2}},
        )
        assert await peer.next() == {"id": 2, "publish": {}}
        assert await peer.closed() == (3501, "bad request")
        assert (await witness.next())["push"]["pub"]["data"] == 1
        await witness.call(publish={"channel": "a", "data": 3})
        assert (await witness.next())["push"]["pub"]["data"] == 3


async def test_a_token_that_nobody_can_check(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.send({"id": 1, "connect": {"token": "x.y.z"}})
        assert await peer.closed() == (3500, "invalid token")
    async with await server.client() as peer:
        await peer.send({"id": 2, "refresh": {"token": "x.y.z"}})
        assert await peer.closed() == (3500, "invalid token")


async def test_closed_by_default() -> None:
    async with serving({}) as server, await server.peer() as peer:
        await peer.send({"id": 1, "connect": {}})
        assert await peer.closed() == (3501, "bad request")


async def test_no_connect_in_time() -> None:
    async with (
        serving({"client": {"insecure": True, "stale_close_delay": "50ms"}}) as server,
        await server.peer() as peer,
    ):
        assert await peer.closed() == (3502, "stale")


async def test_who_is_half_connected_is_stale_too() -> None:
    """Its server-side subscriptions wait for an engine that does not answer."""
    settings = {"client": {
        "insecure": True, "stale_close_delay": "50ms",
        "subscribe_to_user_personal_channel": {"enabled": True},
        "user_id_http_header": "X-User"}}
    goes_on = asyncio.Event()

    async def hangs(*_: object) -> None:
        await goes_on.wait()

    async with serving(settings) as server:
        server.node.engine.subscribe = hangs  # type: ignore[assignment, method-assign]
        async with await server.peer(additional_headers={"X-User": "42"}) as peer:
            await peer.send({"id": 1, "connect": {}})
            assert await peer.closed() == (3502, "stale")
        assert peer.texts == []
        await server.settled(lambda: not server.node.clients)
        goes_on.set()


async def test_after_an_error_reply_to_connect_only_the_stale_close_comes() -> None:
    async with serving({"client": {"insecure": True, "stale_close_delay": "200ms"}}) as server:
        refuse(server, ClientError(109, "token expired"))
        async with await server.peer() as peer:
            assert await peer.error(connect={}) == (109, "token expired")
            assert await peer.closed() == (3502, "stale")
        async with await server.peer() as peer:
            assert await peer.error(connect={}) == (109, "token expired")
            await peer.send({"id": 2, "subscribe": {"channel": "a"}})
            assert await peer.closed() == (3501, "bad request")
        async with await server.peer() as peer:
            assert await peer.error(connect={}) == (109, "token expired")
            await peer.send({"id": 2, "connect": {}})
            assert await peer.closed() == (3501, "bad request")


def refuse(server: InProcess, error: Exception) -> None:
    """Let everything that has a handler be refused with ``error``."""
    def handler(*_: object) -> None:
        raise error

    for name in ("connect", "subscribe", "publish", "presence", "history"):
        setattr(server.node.handlers, name, handler)


async def test_send_is_not_available(server: InProcess) -> None:
    async with await server.client() as peer:
        await peer.send({"send": {"data": {}}})
        assert await peer.closed() == (3508, "not available")


async def test_the_user_connection_limit() -> None:
    async with serving({"client": {"insecure": True, "user_connection_limit": 1}}) as server:
        server.node.handlers.connect = lambda event: ConnectReply(user="42")
        async with await server.client(), await server.peer() as peer:
            await peer.send({"id": 1, "connect": {}})
            assert await peer.closed() == (3504, "connection limit")
            assert server.node.stats().num_clients == 1


async def test_data_that_is_no_json(server: InProcess) -> None:
    async with await server.client("a") as peer, await server.client("b") as other:
        server.node.publish("a", b"not json")
        assert await peer.closed() == (3506, "inappropriate protocol")
        server.node.publish("b", b"1")
        assert (await other.next())["push"]["pub"]["data"] == 1


async def test_an_asynchronous_message_that_is_no_json(server: InProcess) -> None:
    async with await server.client() as peer:
        (client,) = server.node.clients.values()
        client.send(b'{"a":\n1}')
        assert await peer.next_text() == '{"push":{"message":{"data":{"a":1}}}}'
        client.send(b"{")
        assert await peer.closed() == (3506, "inappropriate protocol")


async def test_history_that_is_no_json() -> None:
    async with serving(with_options(OPEN, **HISTORY)) as server:
        await server.node.publish("a", b"\xff\xfe")
        async with await server.client() as peer:
            await peer.send({"id": 2, "history": {"channel": "a", "limit": 5}})
            assert await peer.closed() == (3506, "inappropriate protocol")


@pytest.mark.parametrize("disconnect", [
    codes.DISCONNECT_FORCE, codes.DISCONNECT_FORCE_RECONNECT, codes.DISCONNECT_CONNECTION_CLOSED,
    codes.DISCONNECT_CHANNEL_LIMIT, Disconnect(4000, "ours"), Disconnect(4999, "é" * 61),
], ids=lambda disconnect: disconnect.reason)
async def test_the_application_ends_a_connection(
    server: InProcess, disconnect: Disconnect | DisconnectCode
) -> None:
    async with await server.client() as peer:
        (client,) = server.node.clients
        await server.node.disconnect(client=client, disconnect=disconnect)
        assert await peer.closed() == (disconnect.code, disconnect.reason)


@pytest.mark.parametrize("method", ["connect", "subscribe", "publish", "presence", "history"])
async def test_a_handler_ends_a_connection(method: str) -> None:
    async with serving(with_options(OPEN, presence=True, **HISTORY)) as server:
        peer = await server.peer() if method == "connect" else await server.client()
        refuse(server, Disconnect(4242, "go away"))
        async with peer:
            await peer.send({"id": 9, method: {"channel": "a", "data": 1}})
            assert await peer.closed() == (4242, "go away")


# Error replies


@pytest.mark.parametrize("method", ["connect", "subscribe", "publish", "presence", "history"])
async def test_a_handler_refuses(method: str) -> None:
    async with serving(with_options(OPEN, presence=True, **HISTORY)) as server:
        peer = await server.peer() if method == "connect" else await server.client()
        refuse(server, ClientError(444, "not today", temporary=True))
        async with peer:
            await peer.send({"id": 9, method: {"channel": "a", "data": 1}})
            assert await peer.next_text() == (
                '{"id":9,"error":{"code":444,"message":"not today","temporary":true}}')


@pytest.mark.parametrize("command", [
    {"subscribe": {"channel": "open:a", "token": ""}},
    {"publish": {"channel": "open:a", "data": 1}},
    {"presence": {"channel": "open:a"}},
    {"presence_stats": {"channel": "open:a"}},
    {"history": {"channel": "open:a"}},
])
async def test_a_refused_command_does_not_end_the_session(command: dict[str, Any]) -> None:
    closed: Settings = {**ANONYMOUS, "channel": {"namespaces": [
        {"name": "open", "presence": True, "history_size": 1, "history_ttl": "10s"}]}}
    async with serving(closed) as server, await server.client() as peer:
        assert await peer.error(**command) == (103, "permission denied")
        assert await peer.error(**command) == (103, "permission denied")
        assert "unsubscribe" in await peer.call(unsubscribe={"channel": "open:a"})


METHODS: list[dict[str, Any]] = [
    {"subscribe": {}}, {"publish": {"data": 1}}, {"presence": {}}, {"presence_stats": {}},
    {"history": {}},
]


def named(command: dict[str, Any], channel: str) -> dict[str, Any]:
    return {method: {**request, "channel": channel} for method, request in command.items()}


@pytest.mark.parametrize("command", METHODS, ids=lambda command: next(iter(command)))
async def test_the_channels_name(command: dict[str, Any]) -> None:
    options = with_options(OPEN, presence=True, **HISTORY)
    async with serving(options) as server, await server.client() as peer:
        assert await peer.error(**named(command, "nobody:a")) == (102, "unknown channel")
        assert await peer.error(**named(command, "a" * 256)) == (107, "bad request")
        assert await peer.error(**named(command, "grüße")) == (107, "bad request")
        assert "error" not in await peer.call(**named(command, "a" * 255))


async def test_length_counts_bytes_of_utf_8() -> None:
    settings = with_options(OPEN, channel_regex="^[a-zé]+$")
    async with serving(settings) as server, await server.client() as peer:
        assert "subscribe" in await peer.call(subscribe={"channel": "é" * 127})
        assert await peer.error(subscribe={"channel": "é" * 128}) == (107, "bad request")
        assert await peer.error(subscribe={"channel": "É"}) == (107, "bad request")


async def test_half_a_surrogate_pair_in_a_name(server: InProcess) -> None:
    """JSON can say it, UTF-8 cannot."""
    async with await server.client() as peer:
        await peer.send_text('{"id":2,"subscribe":{"channel":"\\ud800"}}')
        assert await peer.closed() == (3501, "bad request")


async def test_already_subscribed(server: InProcess) -> None:
    async with await server.client("a") as peer:
        assert await peer.error(subscribe={"channel": "a"}) == (105, "already subscribed")
        # In the same frame, where the first is not answered yet.
        await peer.send(
            {"id": 5, "subscribe": {"channel": "b"}}, {"id": 6, "subscribe": {"channel": "b"}})
        assert await peer.next() == {"id": 5, "subscribe": {}}
        assert await peer.next() == {
            "id": 6, "error": {"code": 105, "message": "already subscribed"}}


async def test_the_channel_limit() -> None:
    settings: Settings = {"client": {"insecure": True, "channel_limit": 2}}
    async with serving(settings) as server, await server.client("a", "b") as peer:
        assert await peer.error(subscribe={"channel": "c"}) == (106, "limit exceeded")
        assert await peer.error(subscribe={"channel": "a"}) == (105, "already subscribed")
        assert await peer.error(subscribe={"channel": "x" * 256}) == (107, "bad request")
        # The limit is looked at before the namespace.
        assert await peer.error(subscribe={"channel": "nobody:c"}) == (106, "limit exceeded")
        await peer.call(unsubscribe={"channel": "a"})
        assert "subscribe" in await peer.call(subscribe={"channel": "c"})


async def test_the_default_channel_limit(server: InProcess) -> None:
    channels = [f"c{number}" for number in range(128)]
    async with await server.client(*channels) as peer:
        assert await peer.error(subscribe={"channel": "one more"}) == (106, "limit exceeded")


async def test_no_channel_limit() -> None:
    settings: Settings = {"client": {"insecure": True, "channel_limit": 0}}
    async with serving(settings) as server, await server.client() as peer:
        for start in range(0, 2000, 500):
            await peer.send(*(
                {"id": 10 + number, "subscribe": {"channel": f"c{number}"}}
                for number in range(start, start + 500)))
            for number in range(start, start + 500):
                assert await peer.next() == {"id": 10 + number, "subscribe": {}}
        assert server.node.stats().num_subscriptions == 2000
        server.node.publish("c1999", b"1")
        assert (await peer.next())["push"]["channel"] == "c1999"


async def test_what_a_channel_does_not_keep(server: InProcess) -> None:
    async with await server.client("a") as peer:
        assert await peer.error(presence={"channel": "a"}) == (108, "not available")
        assert await peer.error(presence_stats={"channel": "a"}) == (108, "not available")
        assert await peer.error(history={"channel": "a"}) == (108, "not available")
        assert await peer.error(rpc={"method": "m", "data": {}}) == (108, "not available")


async def test_private_channels_need_a_token(server: InProcess) -> None:
    async with await server.client() as peer:
        assert await peer.error(subscribe={"channel": "$a"}) == (103, "permission denied")
        assert await peer.error(
            subscribe={"channel": "$a", "token": "x"}) == (103, "permission denied")
        assert await peer.error(
            subscribe={"channel": "a", "token": "x"}) == (103, "permission denied")


async def test_sub_refresh_of_nothing(server: InProcess) -> None:
    async with await server.client() as peer:
        assert await peer.error(
            sub_refresh={"channel": "a", "token": "x"}) == (103, "permission denied")


@pytest.mark.parametrize("request_text", ['{"channel":"a"}', '{"channel":"a","data":""}'])
async def test_publishing_nothing(server: InProcess, request_text: str) -> None:
    async with await server.client("a") as peer:
        await peer.send_text(f'{{"id":7,"publish":{request_text}}}')
        reply = await peer.next()
        if "data" in request_text:
            # An empty string is two bytes of JSON, so it is not nothing.
            assert {"id": 7, "publish": {}} in (reply, await peer.next())
        else:
            assert reply == {"id": 7, "error": {"code": 107, "message": "bad request"}}


@pytest.mark.parametrize(("data_format", "data", "taken"), [
    ("json", "1", True),
    ("json", "null", True),
    ("json_object", "{}", True),
    ("json_object", "[]", False),
    ("json_object", "1", False),
    ("binary", "1", True),
])
async def test_data_formats(data_format: str, data: str, taken: bool) -> None:
    settings = with_options(OPEN, publication_data_format=data_format)
    async with serving(settings) as server, await server.client() as peer:
        await peer.send_text(f'{{"id":7,"publish":{{"channel":"a","data":{data}}}}}')
        reply = await peer.next()
        assert ("publish" in reply) == taken
        if not taken:
            assert reply["error"]["code"] == 107


@pytest.mark.parametrize("depth", [500, 512, 513, 600, 900])
async def test_deep_data_never_hurts_those_who_receive_it(server: InProcess, depth: int) -> None:
    """It is taken and delivered, or refused; its sender alone may suffer."""
    async with await server.client("a") as reader, await server.client() as writer:
        await writer.send_text(
            f'{{"id":7,"publish":{{"channel":"a","data":{"[" * depth + "]" * depth}}}}}')
        reply = await writer.next()
        assert reply == {"id": 7, "publish": {}} if depth <= 512 else (
            reply["error"]["code"] == 107)
        if depth <= 512:
            text = await reader.next_text()
            assert "[" * depth + "]" * depth in text
        server.node.publish("a", b'"still there"')
        assert (await reader.next())["push"]["pub"]["data"] == "still there"


@pytest.mark.parametrize("data", [
    b"", b"1", b"{}", b'{"name":5}', b'{"name":null}', b"[" * 100_000,
    b'{"name":"n","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
])
async def test_a_demo_visitor_without_a_name(data: bytes) -> None:
    async with serving(OPEN, demo=True) as server:
        handler = server.node.handlers.connect
        assert handler is not None
        reply = await answer(handler, ConnectEvent("id", data=data))
        assert (reply.user, reply.info) == ("", b"")


@pytest.mark.parametrize("name", ["Ada", "", "x" * 39, "x" * 500, "\u00e9\n\"<b>"])
async def test_a_demo_visitor_is_shown_by_name(name: str) -> None:
    settings = with_options(OPEN, presence=True)
    async with serving(settings, demo=True) as server, await server.peer() as peer:
        await peer.call(connect={"data": {"name": name, "more": [1]}})
        await peer.call(subscribe={"channel": "a"})
        (info,) = (await peer.call(presence={"channel": "a"}))["presence"]["presence"].values()
        assert info["conn_info"] == {"name": name[:40]}


async def test_the_history_requests_position() -> None:
    async with serving(with_options(OPEN, **HISTORY)) as server, await server.client() as peer:
        await server.node.publish("a", b"1")
        page = (await peer.call(history={"channel": "a"}))["history"]
        wrong = {"offset": 1, "epoch": "wrong"}
        assert await peer.error(
            history={"channel": "a", "since": wrong}) == (112, "unrecoverable position")
        assert await peer.error(history={
            "channel": "a", "reverse": True, "since": {"offset": 0, "epoch": page["epoch"]},
        }) == (107, "bad request")
        for offset in (-1, 1 << 64):
            assert await peer.error(history={
                "channel": "a", "since": {"offset": offset, "epoch": ""},
            }) == (107, "bad request")
        assert "history" in await peer.call(history={
            "channel": "a", "since": {"offset": (1 << 64) - 1, "epoch": page["epoch"]}})


# Refusals cost nothing that stays


class Marker:
    """Lives as long as the frame that made it."""


@pytest.mark.parametrize("code", [codes.ERROR_LIMIT_EXCEEDED, codes.DISCONNECT_FORCE], ids=repr)
def test_every_raise_has_an_exception_of_its_own(code: ErrorCode | DisconnectCode) -> None:
    raised = []
    for _ in range(2):
        try:
            raise code()
        except (ClientError, Disconnect) as error:
            raised.append(error)
    first, second = raised
    assert first is not second
    assert first.code == second.code == code.code
    assert first.args == second.args
    assert first.__traceback__ is not second.__traceback__


@pytest.mark.parametrize(
    "code", [codes.ERROR_LIMIT_EXCEEDED, codes.DISCONNECT_CHANNEL_LIMIT], ids=repr)
async def test_a_refusal_keeps_no_frames(
    server: InProcess, code: ErrorCode | DisconnectCode
) -> None:
    """Not by a cycle either: the collector is off."""
    markers: list[weakref.ref[Marker]] = []
    told: list[Disconnect] = []

    async def subscribe(client: object, event: object) -> None:
        marker = Marker()
        markers.append(weakref.ref(marker))
        raise code()

    server.node.handlers.subscribe = subscribe
    server.node.on_disconnect(lambda client, disconnect: told.append(disconnect))
    gc.disable()
    try:
        async with await server.client() as peer:
            await peer.send({"id": 2, "subscribe": {"channel": "a"}})
            if isinstance(code, ErrorCode):
                assert json.loads(await peer.next_text())["error"]["code"] == code.code
            else:
                assert await peer.closed() == (code.code, code.reason)
        await server.settled(lambda: len(told) == 1)
        assert [marker() for marker in markers] == [None]
    finally:
        gc.enable()


def client_errors() -> list[ClientError]:
    return [value for value in gc.get_objects() if type(value) is ClientError]


async def test_a_refusal_by_configuration_keeps_no_frames() -> None:
    """The handlers of a server that is run by configuration alone raise for others."""
    async with serving(ANONYMOUS) as server, await server.client() as peer:
        gc.disable()
        try:
            before = client_errors()
            for _ in range(5):
                assert await peer.error(subscribe={"channel": "a"}) == (103, "permission denied")
            assert client_errors() == before
        finally:
            gc.enable()


async def test_commands_after_the_end_are_not_run(server: InProcess) -> None:
    """They were in the inbox while the command before them ended the session."""
    release = asyncio.Event()
    ran: list[str] = []

    async def subscribe(client: object, event: Any) -> None:
        ran.append(event.channel)
        await release.wait()

    server.node.handlers.subscribe = subscribe
    async with await server.client() as peer:
        await peer.send({"id": 2, "subscribe": {"channel": "a"}})
        await peer.send({"id": 3, "subscribe": {"channel": "b"}})
        await server.settled(lambda: ran == ["a"])
        await server.node.disconnect(client=next(iter(server.node.clients)))
        release.set()
        assert await peer.closed() == (3503, "force disconnect")
    await server.settled(lambda: not server.connections._connections)
    assert ran == ["a"]
    assert server.node.stats().num_subscriptions == 0


def test_the_codes_are_the_protocols() -> None:
    errors = {value.code: (value.message, value.temporary) for value in vars(codes).values()
              if isinstance(value, ErrorCode)}
    assert json.loads(json.dumps(errors)) == {
        "100": ["internal server error", True],
        "101": ["unauthorized", False],
        "102": ["unknown channel", False],
        "103": ["permission denied", False],
        "104": ["method not found", False],
        "105": ["already subscribed", False],
        "106": ["limit exceeded", False],
        "107": ["bad request", False],
        "108": ["not available", False],
        "109": ["token expired", False],
        "110": ["expired", False],
        "111": ["too many requests", True],
        "112": ["unrecoverable position", False],
        "113": ["concurrent pagination", True],
    }
    disconnects = {value.code: (value.reason, value().reconnect) for value in vars(codes).values()
                   if isinstance(value, DisconnectCode)}
    assert disconnects == {
        3000: ("connection closed", True),
        3001: ("shutdown", True),
        3004: ("internal server error", True),
        3005: ("connection expired", True),
        3006: ("subscription expired", True),
        3008: ("slow", True),
        3009: ("write error", True),
        3010: ("insufficient state", True),
        3011: ("force reconnect", True),
        3012: ("no pong", True),
        3013: ("too many requests", True),
        3014: ("state invalidated", True),
        3500: ("invalid token", False),
        3501: ("bad request", False),
        3502: ("stale", False),
        3503: ("force disconnect", False),
        3504: ("connection limit", False),
        3505: ("channel limit", False),
        3506: ("inappropriate protocol", False),
        3507: ("permission denied", False),
        3508: ("not available", False),
        3509: ("too many errors", False),
    }
