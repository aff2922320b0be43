"""What a backend is sent: Centrifugo's fields, and the client's bytes as they came."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fanout.codes import ClientError
from fanout.events import ConnectEvent, PublishEvent, RPCEvent, SubscribeEvent
from fanout.server.proxy import Proxies
from tests.server.proxy.backend import Backend
from tests.server.proxy.conftest import EVENTS, Start, Visitor, all_proxies, ask

COMMON = {"client": "c-1", "transport": "websocket", "protocol": "json", "encoding": "json"}
WHO = {**COMMON, "user": "42"}
# Data of the client's comes last in none of these, so that what it spills is seen.
WITH_DATA = ("connect", "subscribe", "publish", "rpc")


def answering(backend: Backend) -> None:
    for event in EVENTS:
        backend.on(f"/{event}", {"result": {}})


@pytest.mark.parametrize(("event", "fields"), [
    ("connect", COMMON),
    ("refresh", WHO),
    ("subscribe", {**WHO, "channel": "news"}),
    ("sub_refresh", {**WHO, "channel": "news"}),
    ("publish", {**WHO, "channel": "news"}),
    ("rpc", {**WHO, "method": "add"}),
])
async def test_a_request_has_nothing_that_is_empty(
    backend: Backend, proxies: Proxies, event: str, fields: dict[str, Any]
) -> None:
    answering(backend)
    await ask(proxies, event)
    call = backend.only(f"/{event}")
    assert call.method == "POST"
    assert call.headers["content-type"] == "application/json"
    assert call.json == fields


async def test_connect_tells_what_the_client_said(backend: Backend, proxies: Proxies) -> None:
    answering(backend)
    await proxies.connect(ConnectEvent(
        "c-2", token="not told", data=b'{"a":1}', name="js", version="5.0",
        subs={"b": SubscribeEvent("b"), "a": SubscribeEvent("a")},
        transport="sse", encoding="protobuf"))
    assert backend.only("/connect").json == {
        "client": "c-2", "transport": "sse", "protocol": "protobuf", "encoding": "json",
        "data": {"a": 1}, "name": "js", "version": "5.0", "channels": ["b", "a"]}


async def test_subscribe_tells_the_token(backend: Backend, proxies: Proxies) -> None:
    answering(backend)
    await proxies.subscribe(Visitor(), SubscribeEvent("news", token="ey", data=b"[1]"))
    assert backend.only("/subscribe").json == {
        **WHO, "channel": "news", "token": "ey", "data": [1]}


async def test_an_anonymous_user_is_told_as_such(backend: Backend, proxies: Proxies) -> None:
    answering(backend)
    for event in EVENTS[1:]:
        await ask(proxies, event, Visitor(user=""))
        assert backend.only(f"/{event}").json["user"] == ""


@pytest.mark.parametrize("event", WITH_DATA)
@pytest.mark.parametrize("data", [
    b'{"b" : 1.0,"a": 1e2}', b"null", b'"\\ud83d"', b" [ ] ", '"\u20ac <&>"'.encode()])
async def test_json_goes_through_byte_by_byte(
    backend: Backend, proxies: Proxies, event: str, data: bytes
) -> None:
    answering(backend)
    await ask(proxies, event, data=data)
    assert b'"data":' + data in backend.only(f"/{event}").body


@pytest.mark.parametrize("event", WITH_DATA)
@pytest.mark.parametrize("data", [b'1,"user":"admin"', b'"\xff"', b"\x00", b"{", b"[" * 100_000])
async def test_what_is_no_json_is_refused_before_it_is_sent(
    backend: Backend, proxies: Proxies, event: str, data: bytes
) -> None:
    answering(backend)
    with pytest.raises(ClientError) as caught:
        await ask(proxies, event, data=data)
    assert (caught.value.code, caught.value.temporary) == (107, False)
    assert backend.calls == []


@pytest.mark.parametrize("event", WITH_DATA)
async def test_binary_encoding_sends_any_bytes_as_base64(
    backend: Backend, start: Start, event: str
) -> None:
    proxies = await start(all_proxies(backend.url, binary_encoding=True))
    answering(backend)
    data = b"\xff\x00, no JSON"
    await ask(proxies, event, data=data)
    request = backend.only(f"/{event}").json
    assert request["encoding"] == "binary"
    assert base64.b64decode(request["b64data"], validate=True) == data
    assert "data" not in request


async def test_binary_encoding_without_data_sends_none(backend: Backend, start: Start) -> None:
    proxies = await start(all_proxies(backend.url, binary_encoding=True))
    answering(backend)
    await ask(proxies, "rpc")
    assert backend.only("/rpc").json == {**WHO, "encoding": "binary", "method": "add"}


@pytest.mark.parametrize("event", EVENTS[1:])
async def test_meta_is_sent_where_it_is_configured(
    backend: Backend, start: Start, proxies: Proxies, event: str
) -> None:
    answering(backend)
    client = Visitor(meta=b'{"role" : "admin"}')
    await ask(proxies, event, client)
    assert "meta" not in backend.only(f"/{event}").json
    with_meta = await start(all_proxies(backend.url, include_connection_meta=True))
    await ask(with_meta, event, client)
    assert b'"meta":{"role" : "admin"}' in backend.to(f"/{event}")[1].body
    await ask(with_meta, event, Visitor())
    assert "meta" not in backend.to(f"/{event}")[2].json


@pytest.mark.parametrize(("event", "text"), [
    ("channel", SubscribeEvent("\ud83d")), ("method", RPCEvent("\ud83d"))])
async def test_half_a_surrogate_pair_in_a_name_is_the_clients_mistake(
    backend: Backend, proxies: Proxies, event: str, text: Any
) -> None:
    with pytest.raises(ClientError) as caught:
        if event == "channel":
            await proxies.subscribe(Visitor(), text)
        else:
            await proxies.rpc(Visitor(), text)
    assert caught.value.code == 107
    assert backend.calls == []


async def test_a_published_null_is_sent(backend: Backend, proxies: Proxies) -> None:
    answering(backend)
    await proxies.publish(Visitor(), PublishEvent("news", b"null"))
    assert backend.only("/publish").json == {**WHO, "channel": "news", "data": None}
