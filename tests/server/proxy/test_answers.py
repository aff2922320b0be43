"""What becomes of the answers of a backend."""

from __future__ import annotations

import base64
import math
from typing import Any

import pytest

from fanout.codes import ClientError
from fanout.errors import UnsupportedError
from fanout.events import (
    Capability,
    ConnectReply,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    RPCEvent,
    RPCReply,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.server.proxy import Proxies
from tests.server.proxy.backend import Backend
from tests.server.proxy.conftest import DECISIONS, EVENTS, Start, Visitor, all_proxies, ask

BYTES = b"\xff\x00 no JSON"
B64 = base64.b64encode(BYTES).decode()
LATER = 1_900_000_000


def on(value: bool = True) -> dict[str, bool]:
    return {"value": value}


@pytest.mark.parametrize(("event", "result", "reply"), [
    ("connect", {}, ConnectReply(client_refresh=False)),
    ("connect", {"user": "42"}, ConnectReply("42", client_refresh=False)),
    ("connect", {
        "user": "42", "expire_at": LATER, "info": {"name": "Jo"}, "data": [1], "meta": {"a": 1},
        "unknown": {"key": []}},
     ConnectReply("42", b'{"name": "Jo"}', b"[1]", b'{"a": 1}', LATER, False)),
    ("connect", {"user": "42", "b64info": B64, "info": 1, "b64data": B64, "data": 2},
     ConnectReply("42", BYTES, BYTES, client_refresh=False)),
    ("connect", {"channels": ["a", "b"], "subs": {
        "b": {"info": {"x": 1}, "data": 5, "override": {
            "presence": on(), "join_leave": on(False), "force_recovery": on(),
            "force_positioning": on(False), "force_push_join_leave": on()}},
        "c": {"b64info": B64, "b64data": B64, "override": {"presence": on(False)}},
        "d": None}},
     ConnectReply(client_refresh=False, subs={
         "a": SubscribeReply(),
         "b": SubscribeReply(
             b'{"x": 1}', b"5", push_join_leave=True, recover=True, position=False,
             presence=True, join_leave=False),
         "c": SubscribeReply(BYTES, BYTES, presence=False),
         "d": SubscribeReply()})),
    ("connect", {"caps": [
        {"channels": ["a", "b"], "allow": ["sub", "pub", "fly"]},
        {"channels": ["c.*"], "allow": ["prs", "hst"], "match": "wildcard"},
        {"match": "regex"}]},
     ConnectReply(client_refresh=False, capabilities=(
         Capability(("a", "b"), frozenset({"sub", "pub"})),
         Capability(("c.*",), frozenset({"prs", "hst"}), "wildcard"),
         Capability((), frozenset(), "regex")))),
    ("refresh", {}, RefreshReply()),
    ("refresh", {"expire_at": LATER}, RefreshReply(LATER)),
    ("refresh", {"expire_at": LATER, "info": {"a": 1}, "meta": None},
     RefreshReply(LATER, info=b'{"a": 1}', meta=b"null")),
    ("refresh", {"b64info": B64}, RefreshReply(info=BYTES)),
    ("refresh", {"expired": True, "expire_at": LATER}, RefreshReply(expired=True)),
    ("subscribe", {}, SubscribeReply(client_refresh=False)),
    ("subscribe", {"expire_at": LATER, "info": {"x": 1}, "data": "hi", "override": {
        "force_recovery": on(False), "force_positioning": on(), "presence": on(False),
        "join_leave": on(), "force_push_join_leave": on(False)}},
     SubscribeReply(
         b'{"x": 1}', b'"hi"', push_join_leave=False, recover=False, position=True,
         presence=False, join_leave=True, expire_at=LATER, client_refresh=False)),
    ("subscribe", {"b64info": B64, "b64data": B64, "override": {"presence": {}}},
     SubscribeReply(BYTES, BYTES, presence=False, client_refresh=False)),
    ("sub_refresh", {}, SubRefreshReply()),
    ("sub_refresh", {"expire_at": LATER, "info": 1}, SubRefreshReply(LATER, info=b"1")),
    ("sub_refresh", {"b64info": B64}, SubRefreshReply(info=BYTES)),
    ("sub_refresh", {"expired": True}, SubRefreshReply(expired=True)),
    ("publish", {}, PublishReply()),
    ("publish", {"data": {"a": 1}}, PublishReply(b'{"a": 1}')),
    ("publish", {"data": None}, PublishReply(b"null")),
    ("publish", {"b64data": B64}, PublishReply(BYTES)),
    ("publish", {"b64data": B64, "data": 1}, PublishReply(b"1")),
    ("publish", {
        "skip_history": True, "tags": {"a": "b"}, "idempotency_key": "k", "delta": True,
        "version": 0xFFFFFFFFFFFFFFFF, "version_epoch": "e"},
     PublishReply(None, {"a": "b"}, True, True, "k", 0xFFFFFFFFFFFFFFFF, "e")),
    ("rpc", {}, RPCReply()),
    ("rpc", {"data": {"sum": 3}}, RPCReply(b'{"sum": 3}')),
    ("rpc", {"b64data": B64, "data": 1}, RPCReply(BYTES)),
])
async def test_a_result(
    backend: Backend, proxies: Proxies, event: str, result: dict[str, Any], reply: object
) -> None:
    backend.on(f"/{event}", {"result": result})
    assert await ask(proxies, event) == reply


@pytest.mark.parametrize(("event", "names"), [
    ("connect", ("user", "expire_at", "b64info", "b64data", "channels", "subs", "caps")),
    ("refresh", ("expired", "expire_at", "b64info")),
    ("subscribe", ("expire_at", "b64info", "b64data", "override")),
    ("sub_refresh", ("expired", "expire_at", "b64info")),
    ("publish", ("b64data", "skip_history", "tags", "idempotency_key", "delta", "version",
                 "version_epoch")),
    ("rpc", ("b64data",)),
])
async def test_null_is_as_good_as_nothing(
    backend: Backend, proxies: Proxies, event: str, names: tuple[str, ...]
) -> None:
    backend.on(f"/{event}", {"result": {}})
    plain = await ask(proxies, event)
    backend.on(f"/{event}", {"result": dict.fromkeys(names), "error": None, "disconnect": None})
    assert await ask(proxies, event) == plain


@pytest.mark.parametrize(("event", "reply"), [
    ("connect", None),
    ("refresh", RefreshReply(expired=True)),
    ("subscribe", SubscribeReply(client_refresh=False)),
    ("sub_refresh", SubRefreshReply(expired=True)),
    ("publish", PublishReply()),
    ("rpc", RPCReply()),
])
@pytest.mark.parametrize("answer", [{}, {"result": None}, {"status": "ok"}])
async def test_an_answer_without_a_result(
    backend: Backend, proxies: Proxies, event: str, reply: object, answer: dict[str, Any]
) -> None:
    backend.on(f"/{event}", answer)
    assert await ask(proxies, event) == reply


@pytest.mark.parametrize(("event", "body", "reply"), [
    ("rpc", b'{"result": {"data": {"b" : 1.50,"a":\t[1e2 ]} } }', b'{"b" : 1.50,"a":\t[1e2 ]}'),
    ("rpc", '{"result":{"data":"\u20ac \\u20ac"}}'.encode(), '"\u20ac \\u20ac"'.encode()),
    ("publish", b'{"result": {"data": [1 ,2]}}', b"[1 ,2]"),
    ("subscribe", b'{"result": {"data": [1 ,2]}}', b"[1 ,2]"),
    ("connect", b'{"result": {"data": [1 ,2]}}', b"[1 ,2]"),
])
async def test_json_comes_through_byte_by_byte(
    backend: Backend, proxies: Proxies, event: str, body: bytes, reply: bytes
) -> None:
    backend.on(f"/{event}", body)
    assert (await ask(proxies, event)).data == reply


async def test_base64_may_have_line_ends(backend: Backend, proxies: Proxies) -> None:
    data = bytes(range(256))
    lines = base64.encodebytes(data).decode().replace("\n", "\r\n")
    backend.on("/rpc", {"result": {"b64data": lines}})
    assert await proxies.rpc(Visitor(), RPCEvent("add")) == RPCReply(data)


async def test_who_refreshes_is_told_to_the_client(backend: Backend, start: Start) -> None:
    """Without proxies for it clients refresh by themselves what expires."""
    settings = all_proxies(backend.url)
    del settings["client"]["proxy"]["refresh"]
    settings["channel"]["without_namespace"]["sub_refresh_proxy_enabled"] = False
    proxies = await start(settings)
    backend.on("/connect", {"result": {"expire_at": LATER}})
    backend.on("/subscribe", {"result": {"expire_at": LATER}})
    assert await ask(proxies, "connect") == ConnectReply(expire_at=LATER, client_refresh=True)
    assert await ask(proxies, "subscribe") == SubscribeReply(expire_at=LATER, client_refresh=True)


@pytest.mark.parametrize("result", [
    {"channels": ["nowhere:a"]}, {"subs": {"nowhere:a": {}}}])
async def test_a_connection_cannot_be_subscribed_to_an_unknown_namespace(
    backend: Backend, proxies: Proxies, result: dict[str, Any]
) -> None:
    backend.on("/connect", {"result": {"user": "42", **result}})
    with pytest.raises(ClientError) as caught:
        await ask(proxies, "connect")
    assert caught.value.code == 102


INVALID: list[tuple[str, bytes]] = [
    *((event, body) for event in EVENTS for body in (
        b"", b"ok", b"[]", b'"result"', b'{"result": []}', b'{"result": {}', b'{"result": {}} x',
        b'{"error": 1}', b'{"error": {"code": "400"}}', b'{"error": {"code": -1}}',
        b'{"error": {"code": 4294967296}}', b'{"disconnect": {"code": 4294967296}}',
        b"\xff", b'{"result": ' + b"[" * 200_000)),
    *((event, b'{"result": {"b64info": "%%"}}') for event in EVENTS
      if event not in ("publish", "rpc")),
    *((event, b'{"result": {"b64data": "YQ=x"}}') for event in
      ("connect", "subscribe", "publish", "rpc")),
    *((event, b'{"result": {"b64data": "\xc3\xa9"}}') for event in ("publish", "rpc")),
    *((event, b'{"result": {"data": "\xff"}}') for event in
      ("connect", "subscribe", "publish", "rpc")),
    *((event, b'{"result": {"info": "\xff"}}') for event in
      ("connect", "refresh", "subscribe", "sub_refresh")),
    *((event, b'{"result": {"meta": "\xff"}}') for event in ("connect", "refresh")),
    *((event, b'{"result": {"expire_at": "soon"}}') for event in
      ("connect", "refresh", "subscribe", "sub_refresh")),
    *((event, b'{"result": {"expire_at": 1e999}}') for event in
      ("connect", "refresh", "subscribe", "sub_refresh")),
    *((event, b'{"result": {"data": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}")
      for event in DECISIONS),
    *((event, b'{"unknown": ' + b"[" * 200_000 + b"]" * 200_000 + b"}") for event in EVENTS),
    ("connect", b'{"result": {"user": 42}}'),
    ("connect", b'{"result": {"channels": "a"}}'),
    ("connect", b'{"result": {"subs": ["a"]}}'),
    ("connect", b'{"result": {"subs": {"a": {"b64info": "%%"}}}}'),
    ("connect", b'{"result": {"caps": [{"match": "glob"}]}}'),
    ("subscribe", b'{"result": {"override": {"presence": true}}}'),
    ("publish", b'{"result": {"tags": {"a": 1}}}'),
    ("publish", b'{"result": {"version": -1}}'),
    ("publish", b'{"result": {"version": 18446744073709551616}}'),
]


@pytest.mark.parametrize(("event", "body"), INVALID)
async def test_an_invalid_answer_is_a_failure(
    backend: Backend, proxies: Proxies, caplog: pytest.LogCaptureFixture, event: str, body: bytes
) -> None:
    backend.on(f"/{event}", body)
    if event in ("refresh", "sub_refresh"):
        reply = await ask(proxies, event)
        assert not reply.expired
        assert reply.expire_at > 0
        assert math.isfinite(reply.expire_at)
    else:
        with pytest.raises(ClientError) as caught:
            await ask(proxies, event)
        assert (caught.value.code, caught.value.temporary) == (100, True)
    line, = caplog.messages
    assert f"({event}, http://127.0.0.1:{backend.port}): an answer " in line
    assert len(line) < 300


async def test_an_expiry_may_be_a_fraction(backend: Backend, proxies: Proxies) -> None:
    backend.on("/refresh", {"result": {"expire_at": LATER + 0.5}})
    assert await ask(proxies, "refresh") == RefreshReply(LATER + 0.5)


async def test_nobody_in_charge_is_the_callers_mistake(backend: Backend, start: Start) -> None:
    settings = all_proxies(backend.url)
    settings["channel"]["namespaces"] = [{"name": "alone"}]
    settings["client"] = {}
    proxies = await start(settings)
    with pytest.raises(UnsupportedError):
        await ask(proxies, "connect")
    with pytest.raises(UnsupportedError):
        await proxies.refresh(Visitor(), RefreshEvent())
    with pytest.raises(UnsupportedError):
        await proxies.subscribe(Visitor(), SubscribeEvent("alone:a"))
    with pytest.raises(UnsupportedError):
        await proxies.publish(Visitor(), PublishEvent("alone:a", b"1"))
    assert backend.calls == []
