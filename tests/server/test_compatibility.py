"""What docs/compatibility.md says and no test of a single part shows."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import Any

import jwt
import pytest
from centrifuge.protocol import client_pb2 as pb

from fanout import codes
from fanout.codes import DisconnectCode
from fanout.events import RefreshReply
from tests.server.api.calling import api_server
from tests.server.conftest import OPEN
from tests.server.running import serving, with_options
from tests.server.transports.conftest import EVERYTHING
from tests.server.transports.stream import raw
from tests.server.transports.test_unidirectional import begun

SECRET = "a secret that is long enough for HS256"
BEFORE = "the secret of before, long enough as well"
KEPT = {"history_size": 10, "history_ttl": "60s", "allow_history_for_client": True}


def token(secret: str, **claims: Any) -> str:
    return jwt.encode({"sub": "42", **claims}, secret, "HS256")


@pytest.mark.parametrize("code", [
    codes.DISCONNECT_FORCE_RECONNECT, codes.DISCONNECT_STATE_INVALIDATED,
    codes.DISCONNECT_TOO_MANY_ERRORS, DisconnectCode(4321, "the application's own"),
])
async def test_codes_that_the_application_uses(code: DisconnectCode) -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        (client,) = server.node.clients.values()
        client.disconnect(code)
        assert await peer.closed() == (code.code, code.reason)


@pytest.mark.parametrize("code", [2000, 2500, 2502])
async def test_codes_of_an_unsubscribe(code: int) -> None:
    async with serving(OPEN) as server, await server.client("a") as peer:
        (client,) = server.node.clients.values()
        await server.node.unsubscribe("a", client=client.id, code=code, reason="so")
        assert (await peer.next())["push"] == {
            "channel": "a", "unsubscribe": {"code": code, "reason": "so"}}


async def test_what_fails_at_a_one_way_connect() -> None:
    async def connect(event: Any) -> None:
        raise RuntimeError("a bug")

    async with serving(EVERYTHING) as server, raw(server) as stream:
        server.node.handlers.connect = connect
        await begun(stream, "uni_http_stream", b"{}")
        assert await stream.next() == {
            "disconnect": {"code": 3004, "reason": "internal server error"}}


async def test_a_one_way_client_is_told_that_it_was_refreshed() -> None:
    async with serving(EVERYTHING) as server, raw(server) as stream:
        await begun(stream, "uni_http_stream", b"{}")
        session = (await stream.next())["connect"]["session"]
        await server.node.refresh_user(
            session=session, reply=RefreshReply(expire_at=time.time() + 100))
        push = (await stream.next())["refresh"]
        assert push["expires"] is True and 98 <= push["ttl"] <= 100


async def test_deltas_of_a_server_side_subscription() -> None:
    settings = with_options(OPEN, allowed_delta_types=["fossil"], delta_publish=True)
    async with serving(settings) as server, await server.peer() as peer:
        reply = await peer.call(connect={"subs": {"a": {"delta": "fossil"}}})
        assert reply["connect"]["subs"]["a"]["delta"] is True
        text = json.dumps({"text": "much that stays as it is", "number": 1})
        for number in range(3):
            await server.node.publish("a", text.replace("1", str(number)).encode())
        pushes = [(await peer.next())["push"]["pub"] for _ in range(3)]
        assert [push.get("delta", False) for push in pushes] == [False, True, True]
        assert json.loads(pushes[0]["data"])["number"] == 0


async def test_what_a_publication_tells() -> None:
    """Live and out of the history, in both encodings, also who published it."""
    async with serving(with_options(OPEN, **KEPT)) as server, contextlib.AsyncExitStack() as stack:
        peer = await stack.enter_async_context(await server.client("a"))
        binary = await stack.enter_async_context(
            await server.peer(subprotocols=["centrifuge-protobuf"]))
        await binary.websocket.send(
            b"\x04\x08\x01\x22\x00" + b"\x07\x08\x02\x2a\x03\x0a\x01a")
        for _ in range(2):
            await binary.websocket.recv()
        await server.node.publish("a", b"1", tags={"k": "v"})
        live = (await peer.next())["push"]["pub"]
        assert live == {"data": 1, "offset": 1, "tags": {"k": "v"}}
        data = await binary.websocket.recv()
        assert isinstance(data, bytes)
        push = pb.Reply.FromString(data[1:]).push
        assert (push.channel, push.pub.data, push.pub.offset, dict(push.pub.tags)) == (
            "a", b"1", 1, {"k": "v"})
        await peer.call(publish={"channel": "a", "data": {"x": 2}})
        published = (await peer.next())["push"]["pub"]
        info = published.pop("info")
        assert published == {"data": {"x": 2}, "offset": 2}
        assert info["client"] in server.node.clients
        history = (await peer.call(history={"channel": "a", "limit": 10}))["history"]
        assert history["publications"] == [live, {**published, "info": info}]


async def test_a_secret_is_changed_while_tokens_of_the_old_one_are_about() -> None:
    options: dict[str, Any] = {"hmac_secret_key": SECRET, "hmac_previous_secret_key": BEFORE}
    async with serving({"client": {"token": options}}) as server:
        for secret in (SECRET, BEFORE):
            async with await server.peer() as peer:
                assert "connect" in await peer.call(connect={"token": token(secret)})
        async with await server.peer() as peer:
            await peer.send({"id": 1, "connect": {"token": token("another" * 6)}})
            assert await peer.closed() == (3500, "invalid token")
    options["hmac_previous_secret_key_valid_until"] = int(time.time()) - 1
    async with serving({"client": {"token": options}}) as server, await server.peer() as peer:
        await peer.send({"id": 1, "connect": {"token": token(BEFORE)}})
        assert await peer.closed() == (3500, "invalid token")


async def test_signatures_are_not_looked_at_when_told_so() -> None:
    settings = {"client": {"insecure_skip_token_signature_verify": True}}
    async with serving(settings) as server:
        async with await server.peer() as peer:
            assert "connect" in await peer.call(connect={"token": token("anybody's" * 4)})
            assert server.node.clients_of("42")
        async with await server.peer() as peer:
            reply = await peer.call(connect={"token": token("anybody's" * 4, exp=1)})
            assert reply["error"]["code"] == 109


async def test_dictionaries_are_passed_over() -> None:
    async with serving(OPEN) as server, await server.peer() as peer:
        reply = await peer.call(connect={"flag": 1, "dict": "d", "profile": "p"})
        assert not reply["connect"].keys() & {"flag", "dict"}


async def test_binary_claims() -> None:
    options = {"client": {"token": {"hmac_secret_key": SECRET}}}
    async with serving(options) as server, await server.peer() as peer:
        info = base64.b64encode(b'{"binary":1}').decode()
        await peer.call(connect={"token": token(SECRET, b64info=info)})
        (client,) = server.node.clients_of("42")
        assert client.info == b'{"binary":1}'


async def test_nothing_is_published_into_a_map() -> None:
    settings = {**OPEN, "http_api": {"insecure": True}, "channel": {
        "namespaces": [{"name": "maps", "subscription_type": "map"}]}}
    async with api_server(settings) as api:
        assert (await api.error("publish", channel="maps:a", data=1))[0] == 107
        (answer,) = (await api.call("broadcast", channels=["maps:a"], data=1))["responses"]
        assert answer["error"]["code"] == 107


async def test_a_channel_is_subscribed_to_once_by_whomever() -> None:
    async with serving(OPEN) as server, await server.peer() as peer:
        reply = await peer.call(connect={"subs": {"a": {}}})
        assert list(reply["connect"]["subs"]) == ["a"]
        assert await peer.error(subscribe={"channel": "a"}) == (105, "already subscribed")


async def test_what_a_filter_leaves_out_is_not_missed() -> None:
    settings = with_options(OPEN, **KEPT, force_recovery=True, allow_tags_filter=True)
    async with serving(settings) as server, await server.client() as peer:
        await peer.call(subscribe={
            "channel": "a", "tf": {"key": "k", "cmp": "eq", "val": "wanted"}})
        for number, tag in enumerate(["other", "other", "wanted", "other", "wanted"], 1):
            await server.node.publish("a", b"%d" % number, tags={"k": tag})
        got = [(await peer.next())["push"]["pub"]["offset"] for _ in range(2)]
        assert got == [3, 5]
        assert "history" in await peer.call(history={"channel": "a"})


async def test_a_history_has_no_deltas() -> None:
    settings = with_options(
        OPEN, **KEPT, allowed_delta_types=["fossil"], delta_publish=True)
    async with serving(settings) as server, await server.client() as peer:
        await peer.call(subscribe={"channel": "a", "delta": "fossil"})
        data = {"text": "much that stays as it is", "number": 1}
        for _ in range(2):
            await server.node.publish("a", json.dumps(data).encode())
        history = (await peer.call(history={"channel": "a", "limit": 10}))["history"]
        assert history["publications"] == [
            {"data": data, "offset": offset} for offset in (1, 2)]
