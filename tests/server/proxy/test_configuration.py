"""Which backend is in charge of what, and configurations that cannot be used."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import pytest
import trustme

from fanout.codes import ClientError
from fanout.events import PublishEvent, RPCEvent, RPCReply, SubRefreshEvent, SubscribeEvent
from fanout.server.config import ConfigError
from fanout.server.config.proxies import ProxyConfig
from fanout.server.proxy import Proxies
from fanout.server.proxy import backend as backend_module
from fanout.server.proxy.link import Link
from fanout.server.proxy.messages import RPCResult
from tests.server.proxy.backend import Backend, running_backend
from tests.server.proxy.conftest import Start, Visitor, all_proxies, ask, make


def proxy(backend: Backend, name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "endpoint": backend.url(f"/{name}"), **options}


@pytest.fixture
def settings(backend: Backend) -> dict[str, Any]:
    """Two namespaces with proxies of their own, one with the default, one without any."""
    for path in ("one", "two", "subscribe", "publish", "sub_refresh"):
        backend.on(f"/{path}", {"result": {}})
    return {
        "proxies": [proxy(backend, "one"), proxy(backend, "two", binary_encoding=True)],
        "channel": {
            "proxy": {
                event: {"endpoint": backend.url(f"/{event}")}
                for event in ("subscribe", "publish", "sub_refresh")},
            "namespaces": [
                {"name": "first", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "one",
                 "publish_proxy_enabled": True, "publish_proxy_name": "two"},
                {"name": "second", "subscribe_proxy_enabled": True, "subscribe_proxy_name": "two",
                 "sub_refresh_proxy_enabled": True, "sub_refresh_proxy_name": "one"},
                {"name": "third", "subscribe_proxy_enabled": True, "publish_proxy_enabled": True,
                 "sub_refresh_proxy_enabled": True},
                {"name": "named", "subscribe_proxy_name": "one"},
            ]},
    }


@pytest.mark.parametrize(("channel", "subscribe", "publish", "sub_refresh"), [
    ("first:a", "one", "two", ""),
    ("$first:a", "one", "two", ""),
    ("second:a", "two", "", "one"),
    ("third:a:b", "subscribe", "publish", "sub_refresh"),
    ("named:a", "", "", ""),
    ("unknown:a", "", "", ""),
    ("first", "", "", ""),
    ("", "", "", ""),
])
async def test_the_namespace_says_who_is_asked(
    backend: Backend, start: Start, settings: dict[str, Any], channel: str, subscribe: str,
    publish: str, sub_refresh: str,
) -> None:
    proxies = await start(settings)
    assert proxies.subscribes(channel) == bool(subscribe)
    assert proxies.publishes(channel) == bool(publish)
    assert proxies.sub_refreshes(channel) == bool(sub_refresh)
    if subscribe:
        await proxies.subscribe(Visitor(), SubscribeEvent(channel))
    if publish:
        await proxies.publish(Visitor(), PublishEvent(channel, b"1"))
    if sub_refresh:
        await proxies.sub_refresh(Visitor(), SubRefreshEvent(channel))
    assert [call.path[1:] for call in backend.calls] == [
        path for path in (subscribe, publish, sub_refresh) if path]
    for call in backend.calls:
        assert call.json["channel"] == channel
        assert call.json["encoding"] == ("binary" if call.path == "/two" else "json")


async def test_each_use_of_a_proxy_is_counted_by_itself(
    start: Start, settings: dict[str, Any]
) -> None:
    proxies = await start(settings)
    await proxies.subscribe(Visitor(), SubscribeEvent("first:a"))
    stats = {(one.event, one.name): one.num_calls for one in proxies.stats()}
    assert stats == {
        ("subscribe", "default"): 0, ("subscribe", "one"): 1, ("subscribe", "two"): 0,
        ("publish", "default"): 0, ("publish", "two"): 0,
        ("sub_refresh", "default"): 0, ("sub_refresh", "one"): 0}


def test_nothing_is_in_charge_by_default() -> None:
    proxies = make({})
    assert not proxies.connects
    assert not proxies.refreshes
    assert not proxies.subscribes("news")
    assert not proxies.publishes("news")
    assert not proxies.sub_refreshes("news")
    assert proxies.stats() == []


def test_a_proxy_without_its_switch_is_off() -> None:
    here = {"endpoint": "http://127.0.0.1:9/"}
    proxies = make({
        "client": {"proxy": {"connect": here, "refresh": here}},
        "channel": {"proxy": {"subscribe": here, "publish": here, "sub_refresh": here}},
        "rpc": {"proxy": here}})
    assert not proxies.connects
    assert not proxies.refreshes
    assert proxies.stats() == []


async def rpc(proxies: Proxies, method: str) -> RPCReply | int:
    try:
        return await proxies.rpc(Visitor(), RPCEvent(method))
    except ClientError as error:
        return error.code


async def test_the_namespace_of_a_method_says_who_answers(backend: Backend, start: Start) -> None:
    for path in ("/rpc", "/one"):
        backend.on(path, {"result": {"data": path}})
    settings: dict[str, Any] = {
        "proxies": [proxy(backend, "one")],
        "rpc": {
            "proxy": {"endpoint": backend.url("/rpc")},
            "namespaces": [
                {"name": "first", "proxy_enabled": True, "proxy_name": "one"},
                {"name": "second", "proxy_enabled": True},
                {"name": "third"}]}}
    proxies = await start(settings)
    assert await rpc(proxies, "first:add:x") == RPCReply(b'"/one"')
    assert await rpc(proxies, "second:add") == RPCReply(b'"/rpc"')
    assert await rpc(proxies, "third:add") == 108
    assert await rpc(proxies, "fourth:add") == 104
    assert await rpc(proxies, "add") == 108
    assert [call.json["method"] for call in backend.calls] == ["first:add:x", "second:add"]
    settings["rpc"]["without_namespace"] = {"proxy_enabled": True}
    proxies = await start(settings)
    assert await rpc(proxies, "add") == RPCReply(b'"/rpc"')
    assert await rpc(proxies, ":add") == RPCReply(b'"/rpc"')
    assert await rpc(proxies, "") == RPCReply(b'"/rpc"')
    assert "method" not in backend.calls[-1].json
    settings["rpc"]["namespace_boundary"] = "."
    proxies = await start(settings)
    assert await rpc(proxies, "first.add") == RPCReply(b'"/one"')
    assert await rpc(proxies, "first:add") == RPCReply(b'"/rpc"')
    settings["rpc"]["namespace_boundary"] = ""
    proxies = await start(settings)
    assert await rpc(proxies, "first.add") == RPCReply(b'"/rpc"')


async def test_calls_without_any_proxy(start: Start) -> None:
    assert await rpc(await start({}), "add") == 108
    with_ping = await start({"rpc": {"ping": {"enabled": True}}})
    assert await rpc(with_ping, "ping") == RPCReply()
    assert await rpc(with_ping, "add") == 104


async def test_ping_is_answered_here(backend: Backend, start: Start) -> None:
    settings = all_proxies(backend.url)
    settings["rpc"]["ping"] = {"enabled": True, "method": "are you there"}
    proxies = await start(settings)
    assert await rpc(proxies, "are you there") == RPCReply()
    assert backend.calls == []


@pytest.mark.parametrize("endpoint", ["", "grpc://127.0.0.1:9"])
def test_an_endpoint_that_cannot_be_asked(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make({"client": {"proxy": {"connect": {"enabled": True, "endpoint": endpoint}}}})
    assert caught.value.key == "client.proxy.connect.endpoint"


@pytest.mark.parametrize("endpoint", [
    "grpc://127.0.0.1:9", "ftp://secret@127.0.0.1/", "127.0.0.1:9/secret", "http://", "http:///secret",
    "http://127.0.0.1:0/secret", "http://127.0.0.1:99999/secret", "http://[secret/"])
def test_an_endpoint_that_is_no_url(endpoint: str) -> None:
    """The error never shows the URL: it may hold a key."""
    with pytest.raises(ConfigError) as caught:
        backend_module.Backend(
            Link(), "rpc", "default", "rpc.proxy", ProxyConfig(endpoint=endpoint), RPCResult)
    assert caught.value.key == "rpc.proxy.endpoint"
    assert "secret" not in str(caught.value)


async def test_a_user_in_the_url_is_basic_authentication(
    backend: Backend, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    def url(path: str) -> str:
        return backend.url(path).replace("//", "//me%40home:p%3Aw@")

    proxies = await start(all_proxies(url))
    assert (await ask_status(backend, proxies)) == (
        "Basic " + base64.b64encode(b"me@home:p:w").decode())
    assert "me" not in caplog.text
    assert "p%3Aw" not in caplog.text
    # A header that is configured goes before it.
    proxies = await start(all_proxies(url, http={"static_headers": {"Authorization": "Bearer 1"}}))
    assert (await ask_status(backend, proxies)) == "Bearer 1"


async def ask_status(backend: Backend, proxies: Proxies) -> str:
    """The authorization of a request that fails, and so is logged."""
    backend.on("/rpc", 500)
    with pytest.raises(ClientError):
        await ask(proxies, "rpc")
    return backend.to("/rpc")[-1].headers["authorization"]


async def test_the_url_is_used_as_it_stands(backend: Backend, start: Start) -> None:
    path = "/a%20b/%2f/%7e?key=a%26b&c=d+e"
    backend.on(path, {"result": {"data": 1}})
    settings = {"rpc": {
        "proxy": {"endpoint": backend.url(path)}, "without_namespace": {"proxy_enabled": True}}}
    proxies = await start(settings)
    assert await rpc(proxies, "add") == RPCReply(b"1")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize(("name", "tls", "works"), [
    ("127.0.0.1", {"enabled": True, "server_ca_pem": "ca"}, True),
    ("127.0.0.1", {"enabled": True}, False),
    ("127.0.0.1", {"enabled": False, "server_ca_pem": "ca"}, False),
    ("127.0.0.1", {}, False),
    ("backend.test", {"enabled": True, "server_ca_pem": "ca"}, False),
    ("backend.test", {"enabled": True, "server_ca_pem": "ca", "server_name": "backend.test"},
     True),
    ("127.0.0.1", {"enabled": True, "server_ca_pem": "ca", "server_name": "other.test"}, False),
])
async def test_a_certificate_is_checked(
    start: Start, authority: trustme.CA, caplog: pytest.LogCaptureFixture, name: str,
    tls: dict[str, Any], works: bool,
) -> None:
    if "server_ca_pem" in tls:
        tls = {**tls, "server_ca_pem": authority.cert_pem.bytes().decode()}
    async with running_backend(serving(authority, name)) as backend:
        backend.on("/rpc", {"result": {"data": 1}})
        proxies = await start({"rpc": {
            "proxy": {"endpoint": backend.url("/rpc"), "timeout": "10s", "http": {"tls": tls}},
            "without_namespace": {"proxy_enabled": True}}})
        assert await rpc(proxies, "add") == (RPCReply(b"1") if works else 100)
    assert ("certificate" in caplog.text.lower()) == (not works)
    assert len(backend.calls) == works


def test_a_certificate_that_cannot_be_used_names_its_key() -> None:
    with pytest.raises(ConfigError) as caught:
        make({"rpc": {
            "proxy": {"endpoint": "https://127.0.0.1:9/", "http": {"tls": {
                "enabled": True, "server_ca_pem": "/nowhere/ca.pem"}}},
            "without_namespace": {"proxy_enabled": True}}})
    assert caught.value.key == "rpc.proxy.http.tls.server_ca_pem"


def test_secrets_are_shown_nowhere(backend: Backend) -> None:
    proxies = make(all_proxies(
        lambda path: f"http://me:secret-a@127.0.0.1:9/secret-b{path}",
        http={"static_headers": {"X-Key": "secret-c"}}))
    assert "secret" not in repr(proxies) + repr(proxies.stats()) + repr(proxies._connect)
