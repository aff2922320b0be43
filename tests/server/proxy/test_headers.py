"""Which headers reach a backend: those configured, and never what belongs to the request."""

from __future__ import annotations

from typing import Any

import pytest

import fanout
from fanout.codes import ClientError
from fanout.events import ConnectEvent, RefreshReply, SubRefreshReply
from fanout.server.proxy import Proxies
from tests.server.proxy.backend import Backend
from tests.server.proxy.conftest import (
    DECISIONS,
    EVENTS,
    PROLONGATIONS,
    Start,
    Visitor,
    all_proxies,
    ask,
    make,
)

OWN = {"host", "accept", "accept-encoding", "user-agent", "content-length", "content-type"}
CLIENT = Visitor(
    headers={"cookie": "a=1", "x-user": "from the proxy in front", "origin": "http://a"},
    emulated_headers={"Authorization": "Bearer ey", "X-User": "forged"})


async def sent(
    backend: Backend, proxies: Proxies, event: str, client: Visitor = CLIENT
) -> dict[str, str]:
    """The headers of one request, without those that it always has."""
    backend.on(f"/{event}", {"result": {}})
    await ask(proxies, event, client)
    headers = backend.to(f"/{event}")[-1].headers
    assert headers.keys() >= OWN
    assert headers["host"] == f"127.0.0.1:{backend.port}"
    assert headers["content-type"] == "application/json"
    return {name: value for name, value in headers.items() if name not in OWN}


@pytest.mark.parametrize("event", EVENTS)
async def test_by_default_none(backend: Backend, proxies: Proxies, event: str) -> None:
    assert await sent(backend, proxies, event) == {}
    assert backend.only(f"/{event}").headers["user-agent"] == f"fanout/{fanout.__version__}"


@pytest.mark.parametrize("event", EVENTS)
async def test_those_of_the_request(backend: Backend, start: Start, event: str) -> None:
    proxies = await start(all_proxies(
        backend.url, http_headers=["Cookie", "X-User", "X-Other", "Authorization"]))
    assert await sent(backend, proxies, event) == {
        "cookie": "a=1", "x-user": "from the proxy in front"}


@pytest.mark.parametrize("event", EVENTS)
async def test_those_that_the_client_writes(backend: Backend, start: Start, event: str) -> None:
    proxies = await start(all_proxies(
        backend.url, emulated_headers=["authorization", "Cookie", "x-other"]))
    assert await sent(backend, proxies, event) == {"authorization": "Bearer ey"}


async def test_the_request_wins_over_the_client_and_the_client_over_the_configuration(
    backend: Backend, start: Start
) -> None:
    proxies = await start(all_proxies(
        backend.url, http_headers=["x-user"], emulated_headers=["X-USER", "Authorization"],
        http={"static_headers": {"X-User": "static", "authorization": "static", "X-Key": "k"}}))
    assert await sent(backend, proxies, "rpc") == {
        "x-user": "from the proxy in front", "authorization": "Bearer ey", "x-key": "k"}
    assert await sent(backend, proxies, "rpc", Visitor(emulated_headers={"x-user": "forged"})) == {
        "x-user": "forged", "authorization": "static", "x-key": "k"}
    assert await sent(backend, proxies, "rpc", Visitor()) == {
        "x-user": "static", "authorization": "static", "x-key": "k"}


async def test_the_user_agent_can_be_the_clients(backend: Backend, start: Start) -> None:
    proxies = await start(all_proxies(backend.url, http_headers=["User-Agent"]))
    await sent(backend, proxies, "rpc", Visitor(headers={"user-agent": "Mozilla"}))
    assert backend.only("/rpc").headers["user-agent"] == "Mozilla"


HOPS = (
    "Connection", "Keep-Alive", "Proxy-Authorization", "TE", "Trailer", "Transfer-Encoding",
    "Upgrade", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Expect",
    "Accept-Encoding", "Sec-WebSocket-Key", "Sec-WebSocket-Protocol")


@pytest.mark.parametrize("name", HOPS)
@pytest.mark.parametrize("option", ["http_headers", "emulated_headers", "static_headers"])
async def test_what_belongs_to_the_request_is_never_set(
    backend: Backend, start: Start, caplog: pytest.LogCaptureFixture, name: str, option: str
) -> None:
    options: dict[str, Any] = {option: [name, "Cookie"]}
    if option == "static_headers":
        options = {"http": {"static_headers": {name: "evil", "Cookie": "evil"}}}
    settings = all_proxies(backend.url, **options)
    settings.pop("channel")
    settings.pop("client")
    proxies = await start(settings)
    key = f"rpc.proxy.{'http.' if option == 'static_headers' else ''}{option}"
    line, = caplog.messages
    assert line.startswith(f"{key}: {name.lower()} ")
    assert "evil" not in line
    evil = Visitor(
        headers={name.lower(): "evil", "cookie": "evil"},
        emulated_headers={name: "evil", "Cookie": "evil"})
    headers = await sent(backend, proxies, "rpc", evil)
    assert headers == {"cookie": "evil"}
    assert "evil" not in [backend.only("/rpc").headers[own] for own in OWN]


@pytest.mark.parametrize("event", DECISIONS)
@pytest.mark.parametrize("value", ["a\r\nX-Admin: 1", "a\nb", "\x00", "\x7f", "\ud83d"])
@pytest.mark.parametrize("source", ["headers", "emulated_headers"])
async def test_a_value_cannot_bring_more_headers(
    backend: Backend, start: Start, event: str, value: str, source: str
) -> None:
    proxies = await start(all_proxies(
        backend.url, http_headers=["x-token"], emulated_headers=["x-token"]))
    client = Visitor(**{source: {"x-token": value}})  # type: ignore[arg-type]
    with pytest.raises(ClientError) as caught:
        await ask(proxies, event, client)
    assert caught.value.code == 107
    assert backend.calls == []


@pytest.mark.parametrize("event", PROLONGATIONS)
async def test_a_client_with_such_a_value_is_not_prolonged(
    backend: Backend, start: Start, event: str
) -> None:
    proxies = await start(all_proxies(backend.url, emulated_headers=["x-token"]))
    reply = await ask(proxies, event, Visitor(emulated_headers={"x-token": "\n"}))
    assert reply in (RefreshReply(expired=True), SubRefreshReply(expired=True))
    assert backend.calls == []


async def test_a_value_is_text(backend: Backend, start: Start) -> None:
    proxies = await start(all_proxies(backend.url, emulated_headers=["x-name"]))
    headers = await sent(
        backend, proxies, "rpc", Visitor(emulated_headers={"X-Name": "J\u00f6 \u20ac\t1"}))
    assert headers == {"x-name": "J\u00f6 \u20ac\t1"}


async def test_an_emulated_name_that_is_none_goes_nowhere(
    backend: Backend, start: Start
) -> None:
    proxies = await start(all_proxies(backend.url, emulated_headers=["x-name"]))
    client = Visitor(emulated_headers={"x-name: 1\r\nx-admin": "1", "": "1", "x-name ": "1"})
    assert await sent(backend, proxies, "rpc", client) == {}


def test_only_what_later_questions_need_is_kept() -> None:
    def url(path: str) -> str:
        return f"http://127.0.0.1:9{path}"

    event = ConnectEvent(
        "c", headers={"cookie": "a", "origin": "b", "x-a": "c"},
        emulated_headers={"Authorization": "d", "X-A": "e", "x-b": "f"})
    assert make(all_proxies(url)).kept(event) == ({}, {})
    assert make(all_proxies(url, http_headers=["Cookie", "X-None"])).kept(event) == (
        {"cookie": "a"}, {})
    assert make(all_proxies(url, emulated_headers=["authorization", "x-a"])).kept(event) == (
        {}, {"Authorization": "d", "X-A": "e"})
    # The connect proxy is asked at once, and no other proxy is there.
    alone = {"client": {"proxy": {"connect": {
        "enabled": True, "endpoint": url("/"), "http_headers": ["Cookie"],
        "emulated_headers": ["x-a"]}}}}
    assert make(alone).kept(event) == ({}, {})
