"""A server whose backend decides, seen by clients over WebSocket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from fanout.errors import ClosedError
from fanout.events import RefreshEvent, RefreshReply, SubscribeReply
from fanout.server.app import Server
from fanout.server.config import ConfigError
from tests.server.proxy.backend import Backend, running_script
from tests.server.proxy.conftest import Visitor, all_proxies
from tests.server.running import InProcess, config_of, serving

LATER = int(time.time()) + 3600


def settings_of(backend: Backend, **options: Any) -> dict[str, Any]:
    settings = all_proxies(backend.url, **options)
    settings["channel"]["without_namespace"] |= {
        "presence": True, "history_size": 10, "history_ttl": "60s", "force_recovery": True,
        "allow_history_for_client": True, "allow_presence_for_client": True}
    settings["channel"]["namespaces"] = [{"name": "open", "allow_subscribe_for_client": True}]
    return settings


@pytest.fixture
async def server(backend: Backend, quiet: None) -> AsyncIterator[InProcess]:
    backend.on("/connect", {"result": {"user": "42", "meta": {"role": "editor"}}})
    async with serving(settings_of(backend, include_connection_meta=True)) as server:
        yield server


async def test_connect(backend: Backend, server: InProcess) -> None:
    backend.on("/connect", {"result": {
        "user": "42", "info": {"name": "Jo"}, "data": {"hello": 1},
        "channels": ["open:a"], "subs": {"news": {"info": {"seat": 7}, "data": {"n": 1}}}}})
    peer = await server.peer()
    reply = await peer.call(connect={"data": {"a": 1}, "name": "js", "subs": {"open:x": {}}})
    assert reply["connect"]["data"] == {"hello": 1}
    assert set(reply["connect"]["subs"]) == {"open:a", "news"}
    assert reply["connect"]["subs"]["news"]["data"] == {"n": 1}
    assert "expires" not in reply["connect"]
    request = backend.only("/connect").json
    assert request == {
        "client": reply["connect"]["client"], "transport": "websocket", "protocol": "json",
        "encoding": "json", "data": {"a": 1}, "name": "js", "channels": ["open:x"]}
    present = await peer.call(presence={"channel": "news"})
    assert list(present["presence"]["presence"].values()) == [{
        "user": "42", "client": request["client"], "conn_info": {"name": "Jo"},
        "chan_info": {"seat": 7}}]
    await peer.close()


async def test_a_refused_connect(backend: Backend, server: InProcess) -> None:
    backend.on("/connect", {"disconnect": {"code": 4501, "reason": "unauthorized"}})
    peer = await server.peer()
    await peer.send({"id": 1, "connect": {}})
    assert await peer.closed() == (4501, "unauthorized")
    backend.on("/connect", {"error": {"code": 403, "message": "no"}})
    peer = await server.peer()
    assert await peer.error(connect={}) == (403, "no")
    await peer.close()
    # Nobody is let in as anonymous because the backend had nothing to say.
    backend.on("/connect", {})
    peer = await server.peer()
    await peer.send({"id": 1, "connect": {}})
    assert await peer.closed() == (3501, "bad request")


async def test_a_backend_that_is_down(server: InProcess, backend: Backend) -> None:
    backend.on("/connect", 503)
    peer = await server.peer()
    reply = await peer.call(connect={})
    assert reply["error"] == {"code": 100, "message": "internal server error", "temporary": True}
    await peer.close()
    assert len(server.node.clients) == 0


async def test_subscribe(backend: Backend, server: InProcess) -> None:
    backend.on("/subscribe", {"result": {
        "info": {"seat": 7}, "data": {"topic": "cats"},
        "override": {"force_recovery": {"value": False}}}})
    peer = await server.client()
    reply = await peer.call(subscribe={"channel": "news", "data": {"key": 1}})
    assert reply["subscribe"]["data"] == {"topic": "cats"}
    assert "recoverable" not in reply["subscribe"]
    assert backend.only("/subscribe").json == {
        "client": backend.only("/connect").json["client"], "transport": "websocket",
        "protocol": "json", "encoding": "json", "user": "42", "channel": "news",
        "meta": {"role": "editor"}, "data": {"key": 1}}
    backend.on("/subscribe", {"error": {"code": 403, "message": "not you"}})
    assert await peer.error(subscribe={"channel": "other"}) == (403, "not you")
    # Names that say by themselves who may are nothing for a backend.
    assert (await peer.error(subscribe={"channel": "$private"}))[0] == 103
    assert "subscribe" in await peer.call(subscribe={"channel": "open:a"})
    assert len(backend.to("/subscribe")) == 2
    await peer.close()


async def test_publish(backend: Backend, server: InProcess) -> None:
    backend.on("/subscribe", {"result": {}})
    peer = await server.client("news")
    backend.on("/publish", {"result": {
        "data": {"text": "Hi!"}, "tags": {"lang": "en"}}})
    assert "publish" in await peer.call(publish={"channel": "news", "data": {"text": "hi"}})
    push = (await peer.next())["push"]
    assert push["channel"] == "news"
    assert push["pub"]["data"] == {"text": "Hi!"}
    assert push["pub"]["tags"] == {"lang": "en"}
    assert push["pub"]["info"]["user"] == "42"
    request = backend.only("/publish").json
    assert request["data"] == {"text": "hi"}
    assert request["meta"] == {"role": "editor"}
    backend.on("/publish", {"result": {"skip_history": True}})
    await peer.call(publish={"channel": "news", "data": {"text": "fleeting"}})
    assert (await peer.next())["push"]["pub"]["data"] == {"text": "fleeting"}
    history = await peer.call(history={"channel": "news", "limit": 10})
    assert [pub["data"] for pub in history["history"]["publications"]] == [{"text": "Hi!"}]
    backend.on("/publish", {"disconnect": {"code": 4500, "reason": "spam"}})
    await peer.send({"id": 99, "publish": {"channel": "news", "data": {}}})
    assert await peer.closed() == (4500, "spam")


async def test_a_publication_is_made_once(backend: Backend, server: InProcess) -> None:
    backend.on("/subscribe", {"result": {}})
    backend.on("/publish", {"result": {"idempotency_key": "k"}})
    peer = await server.client("news")
    for _ in range(2):
        await peer.call(publish={"channel": "news", "data": 1})
    history = await peer.call(history={"channel": "news", "limit": 10})
    assert len(history["history"]["publications"]) == 1
    await peer.close()


async def test_rpc(backend: Backend, server: InProcess) -> None:
    backend.on("/rpc", lambda call: {"result": {"data": {"echo": call.json["data"]}}})
    peer = await server.client()
    reply = await peer.call(rpc={"method": "add", "data": [1, 2]})
    assert reply["rpc"] == {"data": {"echo": [1, 2]}}
    assert backend.only("/rpc").json["method"] == "add"
    await peer.close()


def soon() -> float:
    return time.time() + 0.1


async def test_refresh(backend: Backend, server: InProcess) -> None:
    """The backend is asked when the connection expires; the client hears nothing of it."""
    backend.on("/connect", {"result": {"user": "42", "expire_at": LATER, "meta": {"n": 1}}})
    backend.on("/refresh", {"result": {"expire_at": LATER + 1, "meta": {"n": 2}}})
    backend.on("/rpc", {"result": {}})
    peer = await server.peer()
    assert "expires" not in (await peer.call(connect={}))["connect"]
    client, = server.node.clients.values()
    client.refresh_by_server(RefreshReply(soon()))
    assert (await backend.called("/refresh")).json["meta"] == {"n": 1}
    await server.settled(lambda: client.expire_at == LATER + 1)
    await peer.call(rpc={})
    assert backend.only("/rpc").json["meta"] == {"n": 2}
    backend.on("/refresh", 503)
    client.refresh_by_server(RefreshReply(soon()))
    await backend.called("/refresh", 2)
    await server.settled(lambda: client.expire_at > time.time() + 30)
    backend.on("/refresh", {"result": {"expired": True}})
    client.refresh_by_server(RefreshReply(soon()))
    with pytest.raises(ConnectionClosedError) as closed:
        while True:
            await peer.websocket.recv()
    assert closed.value.rcvd == Close(3005, "connection expired")


async def test_sub_refresh(backend: Backend, server: InProcess) -> None:
    backend.on("/subscribe", {"result": {"expire_at": LATER}})
    backend.on("/sub_refresh", {"result": {"expire_at": LATER, "info": {"seat": 8}}})
    peer = await server.client()
    assert "expires" not in (await peer.call(subscribe={"channel": "news"}))["subscribe"]
    client, = server.node.clients.values()
    await client.subscribe_by_server(
        "own", SubscribeReply(expire_at=soon(), client_refresh=False))
    assert (await backend.called("/sub_refresh")).json["channel"] == "own"
    await server.settled(lambda: client.client_info("own").channel_info == b'{"seat": 8}')
    backend.on("/sub_refresh", {"result": {"expired": True}})
    await client.subscribe_by_server(
        "other", SubscribeReply(expire_at=soon(), client_refresh=False))
    with pytest.raises(ConnectionClosedError) as closed:
        while True:
            await peer.websocket.recv()
    assert closed.value.rcvd == Close(3006, "subscription expired")


async def test_headers_are_still_there_for_later_questions(backend: Backend) -> None:
    for event in ("connect", "rpc"):
        backend.on(f"/{event}", {"result": {"user": "42"} if event == "connect" else {}})
    async with serving(settings_of(
        backend, http_headers=["Cookie", "X-User"], emulated_headers=["Authorization"]
    )) as server:
        peer = await server.peer(additional_headers={"Cookie": "a=1"})
        await peer.call(connect={"headers": {
            "Authorization": "Bearer ey", "X-User": "forged", "Cookie": "forged"}})
        await peer.call(rpc={})
        for event in ("connect", "rpc"):
            headers = backend.only(f"/{event}").headers
            assert headers["cookie"] == "a=1"
            assert headers["authorization"] == "Bearer ey"
            assert "x-user" not in headers
        await peer.close()


async def test_the_proxies_are_closed_with_the_server() -> None:
    async with running_script(_silent) as url:
        server = Server(config_of(all_proxies(lambda path: f"{url}{path}")))
        await server.start()
        proxies = server._service.proxies
        await server.stop()
        with pytest.raises(ClosedError):
            await proxies.refresh(Visitor(), RefreshEvent())


def test_a_configuration_that_cannot_be_used_is_an_error_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"client\.proxy\.connect\.endpoint"):
        Server(config_of({"client": {"proxy": {"connect": {
            "enabled": True, "endpoint": "grpc://127.0.0.1:9"}}}}))


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
