"""What tokens come to for those who connect with them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from tests.server.running import InProcess, Settings, serving

SECRET = "a secret that is long enough for HS256"
SETTINGS: dict[str, Any] = {
    "client": {
        "token": {"hmac_secret_key": SECRET},
        "expired_close_delay": "100ms", "expired_sub_close_delay": "100ms",
    },
    "channel": {
        "without_namespace": {
            "allow_subscribe_for_client": True, "presence": True,
            "allow_presence_for_subscriber": True,
        },
        "namespaces": [{"name": "open"}],
    },
}


def token(**claims: Any) -> str:
    return jwt.encode(claims, SECRET, algorithm="HS256")


def with_client(**options: Any) -> Settings:
    return {**SETTINGS, "client": {**SETTINGS["client"], **options}}


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(SETTINGS) as running:
        yield running


async def test_a_token_says_who_connects(server: InProcess) -> None:
    async with await server.peer() as peer:
        reply = await peer.call(connect={"token": token(
            sub="42", info={"name": "Ada"}, meta={"secret": 1}, channels=["news"])})
        assert reply["connect"]["subs"] == {"news": {}}
        (client,) = server.node.clients_of("42")
        assert (client.info, client.meta) == (b'{"name":"Ada"}', b'{"secret":1}')
        assert client.channels == ["news"]
        assert "expires" not in reply["connect"]


@pytest.mark.parametrize("bad", [
    "x", "e30.e30.", jwt.encode({"sub": "42"}, "another secret of enough length.", "HS256"),
    jwt.encode({"sub": "42"}, None, algorithm="none"), token(sub="42", channel="news"),
])
async def test_an_invalid_token(server: InProcess, bad: str) -> None:
    async with await server.peer() as peer:
        await peer.send({"id": 1, "connect": {"token": bad}})
        assert await peer.closed() == (3500, "invalid token")


async def test_an_expired_token_may_be_renewed(server: InProcess) -> None:
    async with await server.peer() as peer:
        reply = await peer.call(connect={"token": token(sub="42", exp=int(time.time()) - 1)})
        assert reply["error"] == {"code": 109, "message": "token expired"}


async def test_without_a_token_nobody_connects(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.send({"id": 1, "connect": {}})
        assert await peer.closed() == (3501, "bad request")


async def test_an_anonymous_token() -> None:
    async with serving(with_client(disallow_anonymous_connection_tokens=True)) as server:
        async with await server.peer() as peer:
            await peer.send({"id": 1, "connect": {"token": token()}})
            assert await peer.closed() == (3507, "permission denied")
        async with await server.peer() as peer:
            assert "connect" in await peer.call(connect={"token": token(sub="42")})


async def test_a_connection_expires_and_is_refreshed(server: InProcess) -> None:
    async with await server.peer() as peer:
        reply = await peer.call(connect={"token": token(sub="42", exp=int(time.time()) + 2)})
        assert reply["connect"]["expires"] is True and reply["connect"]["ttl"] in (1, 2)
        later = int(time.time()) + 100
        reply = await peer.call(refresh={"token": token(sub="42", exp=later, info=[1])})
        told = reply["refresh"]
        assert told["expires"] is True and 98 <= told["ttl"] <= 100
        assert told["client"] and told["version"]
        (client,) = server.node.clients.values()
        assert (client.expire_at, client.info) == (later, b"[1]")


async def test_a_connection_that_nobody_refreshes(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42", expire_at=time.time() + 0.1)})
        assert await peer.closed() == (3005, "connection expired")


@pytest.mark.parametrize(("claims", "code"), [
    ({"sub": "43"}, 3500),                                  # of another user
    ({"sub": "42", "exp": 1}, 3005),
    ({"sub": "42", "channels": ["more"]}, 3010),            # comes back with another set
])
async def test_refresh_tokens_that_are_refused(
    server: InProcess, claims: dict[str, Any], code: int
) -> None:
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42", exp=int(time.time()) + 100)})
        await peer.send({"id": 2, "refresh": {"token": token(**claims)}})
        assert (await peer.closed())[0] == code


async def test_an_insecure_server_takes_no_notice_of_expiry() -> None:
    async with serving(with_client(insecure=True)) as server, await server.peer() as peer:
        reply = await peer.call(connect={"token": token(sub="42", exp=int(time.time()) + 1)})
        assert "expires" not in reply["connect"]


async def test_a_private_channel_needs_a_token(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42")})
        reply = await peer.call(subscribe={"channel": "$secret"})
        assert reply["error"]["code"] == 103
        good = token(sub="42", channel="$secret", info={"role": "admin"}, data=[1, 2.0],
                     exp=int(time.time()) + 100)
        reply = await peer.call(subscribe={"channel": "$secret", "token": good})
        told = reply["subscribe"]
        assert told["data"] == [1, 2.0] and told["expires"] is True and told["ttl"] >= 99
        present = (await peer.call(presence={"channel": "$secret"}))["presence"]["presence"]
        assert [info["chan_info"] for info in present.values()] == [{"role": "admin"}]


async def test_a_token_opens_a_namespace_that_allows_nothing(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42")})
        assert (await peer.call(subscribe={"channel": "open:a"}))["error"]["code"] == 103
        good = token(sub="42", channel="open:a", override={"presence": {"value": True}})
        assert "subscribe" in await peer.call(subscribe={"channel": "open:a", "token": good})
        assert len(await server.node.presence("open:a")) == 1


async def test_subscription_tokens_that_are_refused(server: InProcess) -> None:
    for claims, answer in (
        ({"sub": "42", "channel": "$a", "exp": 1}, 109),
        ({"sub": "42"}, 103),                               # no subscription token
        ({"sub": "42", "channel": "$b"}, (3500, "invalid token")),
        ({"sub": "43", "channel": "$a"}, (3500, "invalid token")),
        ({"sub": "42", "channel": "$a", "client": "other"}, (3500, "invalid token")),
    ):
        async with await server.peer() as peer:
            await peer.call(connect={"token": token(sub="42")})
            await peer.send({"id": 7, "subscribe": {"channel": "$a", "token": token(**claims)}})
            if isinstance(answer, int):
                assert (await peer.next())["error"]["code"] == answer
            else:
                assert await peer.closed() == answer


async def test_a_subscription_expires_and_is_refreshed(server: InProcess) -> None:
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42")})
        for channel in ("$a", "$b"):
            await peer.call(subscribe={"channel": channel, "token": token(
                sub="42", channel=channel, expire_at=time.time() + 0.5)})
        reply = await peer.call(sub_refresh={"channel": "$a", "token": token(
            sub="42", channel="$a", exp=int(time.time()) + 100)})
        assert reply["sub_refresh"]["expires"] is True and reply["sub_refresh"]["ttl"] >= 98
        assert (await peer.next())["push"] == {
            "channel": "$b", "unsubscribe": {"code": 2501, "reason": "subscription expired"}}
        for claims, code in (
            ({"sub": "42", "channel": "$a", "exp": 1}, 110), ({"sub": "42"}, 103)):
            reply = await peer.call(sub_refresh={"channel": "$a", "token": token(**claims)})
            assert reply["error"]["code"] == code


async def test_another_secret_for_subscriptions() -> None:
    other = "another secret of enough length for HS256"
    settings = with_client(subscription_token={"enabled": True, "hmac_secret_key": other})
    async with serving(settings) as server, await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42")})
        claims = {"sub": "42", "channel": "$a"}
        reply = await peer.call(subscribe={"channel": "$a", "token": token(**claims)})
        assert reply["error"]["code"] == 103
        good = jwt.encode(claims, other, "HS256")
        assert "subscribe" in await peer.call(subscribe={"channel": "$a", "token": good})


async def test_capabilities(server: InProcess) -> None:
    caps = [{"channels": ["open:*"], "match": "wildcard", "allow": ["sub", "pub"]},
            {"channels": ["news"], "allow": ["pub"]}]
    async with await server.peer() as peer:
        await peer.call(connect={"token": token(sub="42", caps=caps)})
        assert "subscribe" in await peer.call(subscribe={"channel": "open:a"})
        await peer.send({"id": 9, "publish": {"channel": "open:a", "data": 1}})
        got = [await peer.next(), await peer.next()]
        assert {"id": 9, "publish": {}} in got
        assert "publish" in await peer.call(publish={"channel": "news", "data": 1})
        reply = await peer.call(publish={"channel": "other", "data": 1})
        assert reply["error"]["code"] == 103
        assert (await peer.call(subscribe={"channel": "$open:a"}))["error"]["code"] == 103


async def test_a_personal_channel() -> None:
    settings = {**with_client(subscribe_to_user_personal_channel={
        "enabled": True, "single_connection": True})}
    async with serving(settings) as server, await server.peer() as first:
        reply = await first.call(connect={"token": token(sub="42")})
        assert list(reply["connect"]["subs"]) == ["#42"]
        await server.node.publish("#42", b'"yours"')
        assert (await first.next())["push"] == {"channel": "#42", "pub": {"data": "yours"}}
        async with await server.peer() as second:
            await second.call(connect={"token": token(sub="42")})
            assert await first.closed() == (3504, "connection limit")
            assert len(server.node.clients) == 1


async def test_server_side_subscriptions_that_a_client_asks_for(server: InProcess) -> None:
    async with await server.peer() as peer:
        reply = await peer.call(connect={
            "token": token(sub="42", channels=["a"]), "subs": {"b": {}, "$c": {}, "open:d": {}}})
        assert sorted(reply["connect"]["subs"]) == ["a", "b"]
    async with await server.peer() as peer:
        await peer.send({"id": 1, "connect": {
            "token": token(sub="42"), "subs": {"unknown:a": {}}}})
        assert await peer.closed() == (3501, "bad request")


async def test_recovery_of_a_server_side_subscription() -> None:
    kept = {"history_size": 10, "history_ttl": "60s", "force_recovery": True}
    settings = {**SETTINGS, "channel": {"without_namespace": kept}}
    async with serving(settings) as server:
        top = await server.node.publish("a", b"1")
        await server.node.publish("a", b"2")
        async with await server.peer() as peer:
            reply = await peer.call(connect={
                "token": token(sub="42", channels=["a"]),
                "subs": {"a": {"recover": True, "offset": top.offset, "epoch": top.epoch}}})
            assert reply["connect"]["subs"]["a"] == {
                "recoverable": True, "positioned": True, "epoch": top.epoch, "offset": 1,
                "recovered": True, "was_recovering": True,
                "publications": [{"data": 2, "offset": 2}]}
            await server.node.publish("a", b"3")
            assert (await peer.next())["push"]["pub"] == {"data": 3, "offset": 3}
