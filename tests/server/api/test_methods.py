"""What each method of the server API does and answers."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from typing import Any

import centrifuge  # type: ignore[import-untyped]
import pytest

from fanout import EngineUnavailableError
from tests.server.api.calling import Backend

HISTORY = {"epoch", "offset", "publications"}


async def user(api: Backend, name: str, *channels: str) -> Any:
    """A client that is connected as ``name``."""
    return await api.server.client(*channels, additional_headers={"X-User": name})


def client_ids(api: Backend, name: str) -> list[str]:
    return [client.id for client in api.server.node.clients_of(name)]


async def test_publish(api: Backend) -> None:
    peer = await api.server.client("a", "bare:a")
    first = await api.call("publish", channel="a", data={"x": 1})
    assert first["offset"] == 1
    assert len(first["epoch"]) > 0
    assert await api.call("publish", channel="a", data=2) == {**first, "offset": 2}
    # No history, no place; and what is nothing is left out.
    assert await api.call("publish", channel="bare:a", data=3) == {}
    assert await api.call("publish", channel="a", data=4, skip_history=True) == {}
    pushes = [(await peer.next())["push"] for _ in range(4)]
    assert [(p["channel"], p["pub"]["data"]) for p in pushes] == [
        ("a", {"x": 1}), ("a", 2), ("bare:a", 3), ("a", 4)]
    await peer.close()


@pytest.mark.parametrize("data", [
    '{"b": 1, "a":[1.50, 1e3,"\\u00e9", "é"] }', "null", "0", '""', "[ ]", '{"x":\t"y"}'])
async def test_json_goes_through_byte_for_byte(api: Backend, data: str) -> None:
    peer = await api.server.client("a")
    await api.send("/api/publish", f'{{"channel": "a", "data": {data}}}')
    text = await peer.next_text()
    assert f'"data":{data}' in text
    _, _, body = await api.send("/api/history", '{"channel": "a", "limit": 1}')
    assert f'"data":{data}'.encode() in body
    await peer.close()


async def test_bytes_in_base64(api: Backend) -> None:
    encoded = base64.b64encode(b'{"x":1}').decode()
    reader = api.server.node.subscribe("a", "binary:a")
    await api.call("publish", channel="a", b64data=encoded, data="not this")
    await api.call("publish", channel="binary:a", b64data="/wA=")
    await api.call("publish", channel="binary:a")
    assert [m.data for m in await reader.get_batch()] == [b'{"x":1}', b"\xff\x00", b""]
    # What is no JSON is told as what it is.
    history = await api.call("history", channel="binary:a", limit=-1)
    assert history["publications"] == [
        {"data": None, "offset": 1, "b64data": "/wA="}, {"data": None, "offset": 2}]
    assert await api.error("publish", channel="a", b64data="not base64") == (
        107, "bad request: b64data must be base64")
    reader.close()


async def test_tags_and_deltas_are_carried(api: Backend) -> None:
    reader = api.server.node.subscribe("a")
    await api.call("publish", channel="a", data=1, tags={"k": "v"}, delta=True)
    await api.call("publish", channel="a", data=1, tags={}, delta=False)
    messages = await reader.get_batch()
    assert [(m.tags, m.delta) for m in messages] == [({"k": "v"}, True), (None, False)]
    history = await api.call("history", channel="a", limit=2)
    assert [p.get("tags") for p in history["publications"]] == [{"k": "v"}, None]
    reader.close()


async def test_a_repeat_is_not_published_again(api: Backend) -> None:
    first = await api.call("publish", channel="a", data=1, idempotency_key="k")
    assert await api.call("publish", channel="a", data=2, idempotency_key="k") == first
    other = await api.call("broadcast", channels=["a", "b"], data=3, idempotency_key="k")
    assert other["responses"][0] == {"result": first}
    assert other["responses"][1]["result"]["offset"] == 1
    history = await api.call("history", channel="a", limit=-1)
    assert [p["data"] for p in history["publications"]] == [1]


async def test_an_older_version_is_not_published(api: Backend) -> None:
    async def publish(version: int, epoch: str = "") -> int:
        result = await api.call(
            "publish", channel="a", data=version, version=version, version_epoch=epoch)
        offset: int = result["offset"]
        return offset

    assert [await publish(5), await publish(5), await publish(4), await publish(6)] == [1, 1, 1, 2]
    assert await publish(1, "new") == 3


@pytest.mark.parametrize(("params", "code", "rule"), [
    ({"channel": "", "data": 1}, 107, "channel must not be empty"),
    ({"data": 1}, 107, "channel must not be empty"),
    ({"channel": None, "data": 1}, 107, "channel must not be empty"),
    ({"channel": "x" * 256, "data": 1}, 107, "at most 255 bytes"),
    ({"channel": "nope:a", "data": 1}, 102, "unknown channel"),
    ({"channel": "a"}, 107, "data must not be empty"),
    ({"channel": "a", "b64data": ""}, 107, "data must not be empty"),
    ({"channel": "json:a", "b64data": "/w=="}, 107, "format asks for: json"),
    ({"channel": "object:a", "data": [1]}, 107, "format asks for: json_object"),
    ({"channel": "a", "data": 1, "version": 2**64}, 107, "version"),
], ids=str)
async def test_a_publish_that_is_refused(
    api: Backend, params: dict[str, Any], code: int, rule: str
) -> None:
    got, message = await api.error("publish", **params)
    assert got == code
    assert rule in message
    if "channel" in params:
        params = {**params, "channels": [params.pop("channel") or ""]}
        result = await api.reply("broadcast", **params)
        error = result.get("error") or result["result"]["responses"][0]["error"]
        assert error["code"] == code


async def test_data_has_a_bound(api: Backend) -> None:
    code, message = await api.error("publish", channel="a", data="x" * 1_048_577)
    assert code == 107
    assert "1048576 bytes" in message


async def test_formats(api: Backend) -> None:
    assert "offset" not in await api.call("publish", channel="json:a", data=[1])
    assert await api.call("publish", channel="object:a", data={}) == {}


async def test_broadcast(api: Backend) -> None:
    peer = await api.server.client("a", "b")
    result = await api.call("broadcast", channels=["a", "nope:x", "", "b", "a"], data={"x": 1})
    assert list(result) == ["responses"]
    assert [
        r["error"]["code"] if "error" in r else r["result"]["offset"]
        for r in result["responses"]
    ] == [1, 102, 107, 1, 2]
    assert all(len(response) == 1 for response in result["responses"])
    assert [(await peer.next())["push"]["channel"] for _ in range(3)] == ["a", "b", "a"]
    for channels in ([], None):
        assert await api.error("broadcast", channels=channels, data=1) == (
            107, "bad request: channels must not be empty")
    assert await api.error("broadcast", channels=["a"] * 100_001, data=1) == (
        107, "bad request: channels must be at most 100000, not 100001")
    result = await api.call("broadcast", channels=["json:a", "object:a", "json:b"], data=[1])
    assert [list(response) for response in result["responses"]] == [
        ["result"], ["error"], ["result"]]
    many = await api.call("broadcast", channels=[f"c{n}" for n in range(3000)], data=1)
    assert [r["result"]["offset"] for r in many["responses"]] == [1] * 3000
    await peer.close()


async def test_subscribe_and_unsubscribe(api: Backend) -> None:
    one, two, other = await user(api, "u"), await user(api, "u"), await user(api, "v")
    assert await api.call(
        "subscribe", user="u", channel="all:a", data={"hello": 1}, info={"i": 1}) == {}
    for peer in (one, two):
        push = (await peer.next())["push"]
        assert push["channel"] == "all:a"
        assert push["subscribe"]["data"] == {"hello": 1}
        assert push["subscribe"]["recoverable"] is True
    presence = (await api.call("presence", channel="all:a"))["presence"]
    assert sorted(presence) == sorted(client_ids(api, "u"))
    assert [info["chan_info"] for info in presence.values()] == [{"i": 1}] * 2
    one_of_them = next(iter(presence))
    assert await api.call("unsubscribe", user="u", channel="all:a", client=one_of_them) == {}
    assert len((await api.call("presence", channel="all:a"))["presence"]) == 1
    assert await api.call("unsubscribe", user="u", channel="") == {}
    assert (await api.call("presence", channel="all:a"))["presence"] == {}
    pushes = {json.dumps(p["push"].get("unsubscribe")) for p in await drained(one, two)}
    assert '{"code": 2000, "reason": "server unsubscribe"}' in pushes
    assert await api.call("subscribe", user="nobody", channel="a") == {}
    for peer in (one, two, other):
        await peer.close()


async def drained(*peers: Any) -> list[Any]:
    """All that came to the peers before the reply to a command of theirs."""
    found = []
    for peer in peers:
        await peer.send({"id": 1000, "rpc": {}})
        while "push" in (came := await peer.next()):
            found.append(came)
    return found


async def test_what_a_subscription_overrides(api: Backend) -> None:
    peer = await user(api, "u")
    off = {"value": False}
    await api.call("subscribe", user="u", channel="all:a", override={
        "presence": off, "join_leave": off, "force_recovery": off, "force_positioning": off,
        "force_push_join_leave": off})
    push = (await peer.next())["push"]
    assert push == {"channel": "all:a", "subscribe": {}}
    assert (await api.call("presence", channel="all:a"))["presence"] == {}
    await api.call("subscribe", user="u", channel="a", override={
        "force_recovery": {"value": True}, "presence": None})
    assert (await peer.next())["push"]["subscribe"]["recoverable"] is True
    await api.call("subscribe", user="u", channel="b", b64data=base64.b64encode(b"7").decode())
    assert (await peer.next())["push"]["subscribe"]["data"] == 7
    await peer.close()


async def published(api: Backend, *numbers: int) -> str:
    """The epoch of the stream that the numbers are published into."""
    for number in numbers:
        result = await api.call("publish", channel="all:a", data=number)
    return str(result["epoch"])


async def test_what_was_missed_follows_the_subscription(api: Backend) -> None:
    epoch = await published(api, 1, 2, 3)
    peer = await user(api, "u")
    await api.call("subscribe", user="u", channel="all:a",
                   recover_since={"offset": 1, "epoch": epoch})
    await published(api, 4)
    pushes = [(await peer.next())["push"] for _ in range(5)]
    assert pushes[0]["subscribe"] == {
        "recoverable": True, "positioned": True, "epoch": epoch, "offset": 1}
    pubs = [push["pub"] for push in pushes if "pub" in push]
    assert pubs == [{"data": n, "offset": n} for n in (2, 3, 4)]
    await peer.close()


async def test_what_was_missed_follows_in_protobuf_too(api: Backend) -> None:
    told: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    events = centrifuge.ClientEventHandler()

    async def on_publication(context: Any) -> None:
        told.put_nowait((context.pub.offset, bytes(context.pub.data)))

    events.on_publication = on_publication
    client = centrifuge.Client(
        api.server.url, events=events, use_protobuf=True, headers={"X-User": "u"})
    epoch = await published(api, 1, 2, 3)
    await client.connect()
    await client.ready()
    await api.call("subscribe", user="u", channel="all:a",
                   recover_since={"offset": 1, "epoch": epoch})
    await published(api, 4)
    async with asyncio.timeout(10):
        assert [await told.get() for _ in range(3)] == [(2, b"2"), (3, b"3"), (4, b"4")]
    await client.disconnect()


async def test_what_a_client_cannot_be_told_ends_it(
    api: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    peer = await user(api, "u")
    await api.call("subscribe", user="u", channel="a", b64data="/w==")
    assert await peer.closed() == (3506, "inappropriate protocol")
    assert api.server.node.hub.channels() == []


async def test_a_subscription_that_expires_is_told(api: Backend) -> None:
    peer = await user(api, "u")
    await api.call("subscribe", user="u", channel="a", expire_at=int(time.time()) + 1000)
    await peer.next()
    (client,) = api.server.node.clients_of("u")
    assert client.is_subscribed("a")
    await peer.close()


@pytest.mark.parametrize(("method", "params"), [
    ("subscribe", {"channel": "a"}), ("unsubscribe", {"channel": "a"}), ("disconnect", {}),
    ("refresh", {"expired": True}),
], ids=str)
async def test_anonymous_users_are_not_one_user(
    api: Backend, method: str, params: dict[str, Any]
) -> None:
    peer = await api.server.client("a")
    for name in ("", None):
        assert await api.error(method, user=name, **params) == (
            107, "bad request: name a user, a client or a session")
    assert await drained(peer) == []
    await peer.close()


async def test_an_anonymous_connection_can_be_named(api: Backend) -> None:
    peer = await api.server.client()
    (client,) = api.server.node.clients
    assert await api.call("disconnect", user="", client=client) == {}
    assert await peer.closed() == (3503, "force disconnect")


@pytest.mark.parametrize(("method", "params", "code"), [
    ("subscribe", {"user": "u"}, 107),
    ("subscribe", {"user": "u", "channel": "nope:a"}, 102),
    ("subscribe", {"user": "u", "channel": "a", "b64info": "!"}, 107),
    ("subscribe", {"user": "u", "channel": "a", "expire_at": -1}, 107),
    ("subscribe", {"user": "u", "channel": "a", "recover_since": {"offset": 2**64}}, 107),
    ("unsubscribe", {"user": "u", "channel": "nope:a"}, 102),
    ("disconnect", {"user": "u", "disconnect": {}}, 107),
    ("disconnect", {"user": "u", "disconnect": {"code": 2999, "reason": "x"}}, 107),
    ("disconnect", {"user": "u", "disconnect": {"code": 4000, "reason": "x" * 124}}, 107),
    ("refresh", {"user": "u", "expire_at": -5}, 107),
], ids=str)
async def test_operations_that_are_refused(
    api: Backend, method: str, params: dict[str, Any], code: int
) -> None:
    peer = await user(api, "u")
    assert (await api.error(method, **params))[0] == code
    assert await drained(peer) == []
    await peer.close()


async def test_disconnect(api: Backend) -> None:
    one, two, other = await user(api, "u"), await user(api, "u"), await user(api, "v")
    first, second = client_ids(api, "u")
    mine = {"code": 4001, "reason": "mine"}
    peers = {str(client.id): peer for client, peer in zip(
        api.server.node.clients.values(), (one, two, other), strict=True)}
    assert await api.call("disconnect", user="u", whitelist=[first], disconnect=mine) == {}
    assert await peers[second].closed() == (4001, "mine")
    assert await api.call("disconnect", user="u") == {}
    assert await peers[first].closed() == (3503, "force disconnect")
    assert len(api.server.node.clients) == 1
    await other.close()


async def test_refresh(api: Backend) -> None:
    peer = await user(api, "u")
    (client,) = api.server.node.clients_of("u")
    end = int(time.time()) + 1000
    assert await api.call("refresh", user="u", expire_at=end, info={"new": 1}) == {}
    assert client.expire_at == end
    assert client.info == b'{"new": 1}'
    assert await api.call("refresh", user="u", client=client.id, expired=True) == {}
    assert await peer.closed() == (3005, "connection expired")


async def test_presence(api: Backend) -> None:
    assert await api.call("presence", channel="a") == {"presence": {}}
    assert await api.call("presence_stats", channel="a") == {"num_clients": 0, "num_users": 0}
    peers = [await user(api, name, "a") for name in ("u", "u", "v", "")]
    presence = (await api.call("presence", channel="a"))["presence"]
    assert set(presence) == set(api.server.node.clients)
    assert sorted(info["user"] for info in presence.values()) == ["", "u", "u", "v"]
    assert all(info["client"] == client for client, info in presence.items())
    assert await api.call("presence_stats", channel="a") == {"num_clients": 4, "num_users": 3}
    for peer in peers:
        await peer.close()


async def test_history(api: Backend) -> None:
    empty = await api.call("history", channel="a")
    assert set(empty) == HISTORY
    assert (empty["offset"], empty["publications"]) == (0, [])
    epoch = empty["epoch"]
    for number in range(1, 6):
        await api.call("publish", channel="a", data=number)

    async def numbers(**params: Any) -> list[int]:
        result = await api.call("history", channel="a", **params)
        assert set(result) == HISTORY
        assert (result["offset"], result["epoch"]) == (5, epoch)
        return [publication["data"] for publication in result["publications"]]

    assert await numbers() == await numbers(limit=0) == []
    assert await numbers(limit=-1) == await numbers(limit=100) == [1, 2, 3, 4, 5]
    assert await numbers(limit=2) == [1, 2]
    assert await numbers(limit=2, reverse=True) == [5, 4]
    assert await numbers(limit=-1, since={"offset": 3, "epoch": epoch}) == [4, 5]
    assert await numbers(limit=-1, since={"offset": 3}) == [4, 5]
    assert await numbers(limit=-1, since={"offset": 3, "epoch": epoch}, reverse=True) == [2, 1]
    assert (await api.error("history", channel="a", since={"offset": 1, "epoch": "x"}))[0] == 112
    assert (await api.error("history", channel="a", since={}, reverse=True))[0] == 100
    assert await api.call("history_remove", channel="a") == {}
    assert await numbers(limit=-1) == []


async def test_who_published_is_in_the_history(api: Backend) -> None:
    peer = await user(api, "u", "a")
    await peer.call(publish={"channel": "a", "data": {"x": 1}})
    (client,) = client_ids(api, "u")
    (publication,) = (await api.call("history", channel="a", limit=1))["publications"]
    assert publication == {
        "data": {"x": 1}, "info": {"user": "u", "client": client}, "offset": 1}
    await peer.close()


@pytest.mark.parametrize("method", ["presence", "presence_stats", "history", "history_remove"])
async def test_what_a_channel_does_not_keep(api: Backend, method: str) -> None:
    assert await api.error(method, channel="bare:a") == (108, "not available")
    assert await api.error(method, channel="nope:a") == (102, "unknown channel")
    assert await api.error(method) == (107, "bad request: channel must not be empty")


async def test_info(api: Backend) -> None:
    peer = await user(api, "u", "a", "b")
    node = api.server.node
    node.measure = None
    (info,) = (await api.call("info"))["nodes"]
    assert info.pop("version")
    assert info.pop("uptime", 0) >= 0
    assert info == {
        "uid": node.uid, "name": node.name, "num_clients": 1, "num_users": 1, "num_channels": 2,
        "num_subs": 2}
    node.measure = lambda: {"published": 7}
    (info,) = (await api.call("info"))["nodes"]
    assert info["metrics"] == {"interval": 60.0, "items": {"published": 7}}
    await peer.close()


async def test_channels(api: Backend) -> None:
    assert await api.call("channels") == {"channels": {}}
    peers = [await user(api, "u", "a", "bare:b"), await user(api, "v", "a")]
    reader = api.server.node.subscribe("a", "only-a-reader")
    assert await api.call("channels") == {
        "channels": {"a": {"num_clients": 2}, "bare:b": {"num_clients": 1}}}
    assert await api.call("channels", pattern="bare:*") == {
        "channels": {"bare:b": {"num_clients": 1}}}
    reader.close()
    for peer in peers:
        await peer.close()


async def test_rpc(api: Backend, caplog: pytest.LogCaptureFixture) -> None:
    server_api = api.server._server.api

    async def add(params: bytes) -> bytes:
        await asyncio.sleep(0)
        return str(sum(json.loads(params))).encode()

    server_api.on_rpc("add", add)
    server_api.on_rpc("none", lambda params: None)
    server_api.on_rpc("echo", lambda params: params)
    server_api.on_rpc("broken", lambda params: b"{")
    assert await api.call("rpc", method="add", params=[1, 2]) == {"data": 3}
    assert await api.call("rpc", method="none") == {}
    assert await api.call("rpc", method="echo", params={"x": 1.50}) == {"data": {"x": 1.5}}
    assert await api.error("rpc", method="unknown") == (104, "method not found")
    assert await api.error("rpc") == (107, "bad request: method must not be empty")
    with pytest.raises(ValueError, match="has a handler already"):
        server_api.on_rpc("add", add)
    with pytest.raises(ValueError, match="empty"):
        server_api.on_rpc("", add)
    with pytest.raises(TypeError, match="callable"):
        server_api.on_rpc("x", 7)       # type: ignore[arg-type]
    with caplog.at_level(logging.CRITICAL, "fanout.server"):
        assert await api.error("rpc", method="broken") == (100, "internal server error")


@pytest.mark.parametrize("method", [
    "map_publish", "map_remove", "map_read_state", "map_read_stream", "map_stats", "map_clear",
    "shared_poll_publish"])
async def test_what_this_server_does_not_have(api: Backend, method: str) -> None:
    assert await api.error(method, channel="a", key="k") == (108, "not available")


async def test_an_engine_that_is_away(api: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*arguments: object, **keywords: object) -> Any:
        raise EngineUnavailableError("the password is secret")

    engine = api.server.node.engine
    for name in ("publish_message", "presence", "history_stream"):
        monkeypatch.setattr(engine, name, away)
    internal = (100, "internal server error")
    assert await api.error("publish", channel="a", data=1) == internal
    assert await api.error("presence", channel="a") == internal
    assert await api.error("history", channel="a") == internal
    (response,) = (await api.call("broadcast", channels=["a"], data=1))["responses"]
    assert response["error"] == {"code": 100, "message": "internal server error"}
