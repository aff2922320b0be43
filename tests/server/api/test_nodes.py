"""The server API of one node reaches the clients of all: two servers on one broker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.brokers.nats import NatsServer
from tests.brokers.valkey import ValkeyServer
from tests.server.api.calling import SETTINGS, Backend, api_server
from tests.system.waiting import equal, until


@pytest.fixture(scope="module", params=["valkey", "nats"])
def engine(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The configuration of an engine whose broker runs."""
    prefix = f"api-{secrets.token_hex(4)}"
    if request.param == "valkey":
        with ValkeyServer() as valkey:
            yield {"type": "redis", "redis": {"address": valkey.url, "prefix": prefix}}
    else:
        with NatsServer(jetstream=True) as nats:
            url = f"nats://127.0.0.1:{nats.port}"
            yield {"type": "nats", "nats": {"url": url, "prefix": prefix, "jetstream": True}}


@pytest.fixture
async def nodes(engine: dict[str, Any], quiet: None) -> AsyncIterator[tuple[Backend, Backend]]:
    """Two servers that know of each other."""
    async with contextlib.AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(api_server(
                {**SETTINGS, "engine": engine, "node": {"name": name}}))
            for name in ("one", "two")]
        for api in (one, two):
            await until(lambda api=api: len(api.server.node.info()) == 2,  # type: ignore[misc]
                        "the nodes know of each other")
        yield one, two


async def user(api: Backend, name: str, *channels: str) -> Any:
    return await api.server.client(*channels, additional_headers={"X-User": name})


async def test_a_user_on_another_node(nodes: tuple[Backend, Backend]) -> None:
    one, two = nodes
    here, there = await user(one, "u"), await user(two, "u")
    await one.call("subscribe", user="u", channel="all:a", data={"hello": 1}, info={"i": 1})
    for peer in (here, there):
        push = (await peer.next())["push"]
        assert push["subscribe"]["data"] == {"hello": 1}
    await equal(lambda: numbers(two), (2, 1))
    await two.call("publish", channel="all:a", data="both")
    for peer in (here, there):
        while "pub" not in (push := (await peer.next())["push"]):
            assert "join" in push
        assert push["pub"]["data"] == "both"
    # In order: who is unsubscribed at once after is not subscribed again.
    await one.call("unsubscribe", user="u", channel="all:a")
    await one.call("subscribe", user="u", channel="all:b")
    await one.call("unsubscribe", user="u", channel="all:b")
    (client,) = two.server.node.clients_of("u")
    await until(lambda: client.channels == [], "the other node ended both subscriptions")
    await equal(lambda: numbers(two), (0, 0))
    end = int(time.time()) + 1000
    await one.call("refresh", user="u", expire_at=end)
    await until(lambda: client.expire_at == end, "the other node prolonged the connection")
    await one.call("disconnect", user="u", whitelist=[client.id])
    await until(lambda: not one.server.node.clients, "the connection here has ended")
    await one.call("disconnect", user="u", client=client.id,
                   disconnect={"code": 4001, "reason": "mine"})
    await until(lambda: client.closed, "the connection there has ended")
    for peer in (here, there):
        await peer.close()


async def numbers(api: Backend) -> tuple[int, int]:
    stats = await api.call("presence_stats", channel="all:a")
    return stats["num_clients"], stats["num_users"]


async def test_channels_and_info_are_of_all_nodes(nodes: tuple[Backend, Backend]) -> None:
    one, two = nodes
    peers = [await user(one, "u", "a", "b"), await user(two, "v", "a")]
    expected = {"channels": {"a": {"num_clients": 2}, "b": {"num_clients": 1}}}
    for api in nodes:
        assert await api.call("channels") == expected
    assert await two.call("channels", pattern="b*") == {"channels": {"b": {"num_clients": 1}}}
    names = [node["name"] for node in (await one.call("info"))["nodes"]]
    assert names == ["one", "two"]
    for peer in peers:
        await peer.close()


async def test_history_and_idempotency_are_shared(nodes: tuple[Backend, Backend]) -> None:
    one, two = nodes
    first = await one.call("publish", channel="kept", data=1, idempotency_key="k", version=3)
    assert await two.call("publish", channel="kept", data=2, idempotency_key="k") == first
    assert await two.call("publish", channel="kept", data=3, version=3) == first
    history = await two.call("history", channel="kept", limit=-1)
    assert [p["data"] for p in history["publications"]] == [1]
    await two.call("history_remove", channel="kept")
    assert (await one.call("history", channel="kept", limit=-1))["publications"] == []


async def test_a_survey_over_the_broker(nodes: tuple[Backend, Backend]) -> None:
    one, two = (api.server.node for api in nodes)
    for node in (one, two):
        node.on_survey("size", lambda params: str(len(params)).encode())
    large = bytes(range(256)) * 3900
    answers = await asyncio.gather(*(one.survey("size", large) for _ in range(5)))
    assert answers == [{one.uid: b"998400", two.uid: b"998400"}] * 5
    assert await one.survey("size", b"\n\x00", to=two.uid) == {two.uid: b"2"}


@pytest.mark.parametrize("kind", ["valkey", "nats"])
async def test_what_the_broker_does_not_take_for_the_others_fails(
    kind: str, quiet: None
) -> None:
    """The node that was called has carried it out; whoever called hears that it may be all."""
    limits = {"prefix": "api", "io_timeout": "0.3s"}
    broker: ValkeyServer | NatsServer
    with ValkeyServer() if kind == "valkey" else NatsServer(jetstream=True) as broker:
        if kind == "valkey":
            engine = {"type": "redis", "redis": {"address": broker.url, **limits}}
        else:
            engine = {"type": "nats", "nats": {"url": broker.url, "jetstream": True, **limits}}
        async with api_server({**SETTINGS, "engine": engine}) as api:
            left, gone = await user(api, "left", "kept"), await user(api, "gone")
            broker.kill()
            calls: list[tuple[str, dict[str, Any]]] = [
                ("unsubscribe", {"user": "left", "channel": "kept"}),
                ("disconnect", {"user": "gone"}),
                ("refresh", {"user": "left", "expire_at": int(time.time()) + 1000}),
                ("subscribe", {"user": "elsewhere", "channel": "bare:a"}),
                ("history_remove", {"channel": "kept"}),
            ]
            errors = await asyncio.gather(*(
                api.error(method, **params) for method, params in calls))
            assert errors == [(100, "internal server error")] * len(calls)
            status, _, body = await api.send("/api/batch", json.dumps(
                {"commands": [{method: params} for method, params in calls], "parallel": True}))
            assert status == 200
            assert [reply["error"]["code"] for reply in json.loads(body)["replies"]] == (
                [100] * len(calls))
            await until(lambda: not list(api.server.node.clients_of("gone")), "it is disconnected")
            (client,) = api.server.node.clients_of("left")
            assert "kept" not in client.channels
            for peer in (left, gone):
                await peer.close()
