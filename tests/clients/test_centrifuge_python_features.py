"""The published client centrifuge-python against a server configured as Centrifugo is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import cent
import pytest
import pytest_asyncio
from centrifuge import (  # type: ignore[import-untyped]
    ClientState,
    DeltaType,
    Filter,
    StreamPosition,
    UnauthorizedError,
)

from tests.clients.centrifuge_python import JSON, PROTOBUF, Encoding, error_of
from tests.clients.deployment import Deployment, deployed, token, unique
from tests.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG = {f"field {number}": "the same in every message " * 3 for number in range(20)}
SOON = {"min_reconnect_delay": 0.01, "max_reconnect_delay": 0.2}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path_factory.mktemp("deployment")) as deployment:
        yield deployment
    ours = {asyncio.current_task()}
    async with asyncio.timeout(15):
        # Clients close their connections in the background.
        await asyncio.gather(*asyncio.all_tasks() - ours)


@pytest.fixture(params=[JSON, PROTOBUF], ids=str)
def encoding(request: pytest.FixtureRequest) -> Encoding:
    chosen: Encoding = request.param
    return chosen


def url_of(wire: Wire) -> str:
    return f"ws://127.0.0.1:{wire.port}/connection/websocket"


async def test_connect_with_a_token(deployment: Deployment, encoding: Encoding) -> None:
    user = unique("user")
    asked = 0

    async def get_token() -> str:
        nonlocal asked
        asked += 1
        return token(user, info={"name": "Ada"})

    async with encoding.connected(deployment.server.url, get_token=get_token) as (client, told):
        me = (await told.until("connected")).client
        room, _ = await encoding.subscribed(client, unique("room:"))
        info = (await room.presence()).clients[me]
        assert (info.user, encoding.back(info.conn_info)) == (user, {"name": "Ada"})
    assert asked == 1


async def test_tokens_that_are_refused(deployment: Deployment, encoding: Encoding) -> None:
    for bad, code, reason in (
        ("a.b.c", 3500, "invalid token"), (token("u") + "x", 3500, "invalid token"),
        (token("u", "room:x"), 3500, "invalid token"), ("", 3501, "bad request"),
    ):
        client, told = encoding.client(deployment.server.url, token=bad)
        await client.connect()
        context = await told.until("disconnected")
        assert (context.code, context.reason) == (code, reason)
        assert client.state == ClientState.DISCONNECTED

    async def refuse() -> str:
        raise UnauthorizedError("go away")

    client, told = encoding.client(deployment.server.url, get_token=refuse)
    await client.connect()
    assert (await told.until("disconnected")).reason == "unauthorized"


async def test_an_expired_token_is_asked_for_again(
    deployment: Deployment, encoding: Encoding
) -> None:
    async def get_token() -> str:
        return token("late")

    late = token("late", expires_in=-10)
    async with encoding.connected(
        deployment.server.url, token=late, get_token=get_token, **SOON,
    ) as (client, _):
        assert client.state == ClientState.CONNECTED


async def test_tokens_are_refreshed(deployment: Deployment) -> None:
    """In both encodings at once, for it takes as long as a token is good."""

    async def of(encoding: Encoding) -> None:
        user, channel = unique("user"), unique("$room:")
        asked = asyncio.Queue[str]()

        async def get_token(of_channel: str = "") -> str:
            asked.put_nowait(of_channel)
            return token(user, of_channel, expires_in=2)

        async with encoding.connected(
            deployment.server.url, get_token=get_token
        ) as (client, told):
            room, events = await encoding.subscribed(client, channel, get_token=get_token)
            wanted = ["", "", "", channel, channel, channel]
            # The third is asked for because the server took the second.
            async with asyncio.timeout(20):
                while wanted:
                    one = await asked.get()
                    if one in wanted:
                        wanted.remove(one)
            assert told.seen().count("connecting") == 1
            assert events.seen().count("subscribing") == 1
            await room.publish(encoding.out("still there"))
            assert await events.publications(1) == ["still there"]

    await asyncio.gather(of(JSON), of(PROTOBUF))


async def test_rpc(deployment: Deployment, encoding: Encoding) -> None:
    async with encoding.connected(deployment.server.url, token=token("ada")) as (client, _):
        result = await client.rpc("sum", encoding.out({"of": [1, 2]}))
        assert encoding.back(result.data) == {
            "user": "ada", "method": "sum", "data": {"of": [1, 2]}}
        assert await error_of(client.rpc("refuse", encoding.out(1))) == (1234, "not today", False)


async def test_what_was_missed_is_recovered(deployment: Deployment, encoding: Encoding) -> None:
    channel = unique("room:")
    with deployment.wire() as wire:
        async with encoding.connected(url_of(wire), token=token("ada"), **SOON) as (client, _):
            room, events = await encoding.subscribed(client, channel)
            assert (await events.until("subscribed")).recoverable
            await deployment.publish(channel, "before")
            assert await events.publications(1) == ["before"]
            for again in range(2):
                await asyncio.to_thread(wire.cut)
                await events.until("subscribing")
                await deployment.publish(channel, *range(5))
                await asyncio.to_thread(wire.mend)
                context = await events.until("subscribed")
                assert context.was_recovering and context.recovered
                got = [(await events.until("publication")).pub for _ in range(5)]
                assert [one.data for one in got] == list(range(5))
                assert [one.offset for one in got] == [2 + 5 * again + n for n in range(5)]
            await room.publish(encoding.out("after"))
            assert await events.publications(1) == ["after"]


async def test_what_cannot_be_recovered_is_told(
    deployment: Deployment, encoding: Encoding
) -> None:
    channel = unique("short:")
    with deployment.wire() as wire:
        async with encoding.connected(url_of(wire), token=token("ada"), **SOON) as (client, _):
            _, events = await encoding.subscribed(client, channel)
            await events.until("subscribed")
            await deployment.publish(channel, "before")
            assert await events.publications(1) == ["before"]
            await asyncio.to_thread(wire.cut)
            await events.until("subscribing")
            # One more than the history keeps.
            await deployment.publish(channel, *range(4))
            await asyncio.to_thread(wire.mend)
            context = await events.until("subscribed")
            assert context.was_recovering and not context.recovered
            assert context.stream_position.offset == 5
            await deployment.publish(channel, "after")
            assert await events.publications(1) == ["after"]


async def test_a_first_subscribe_from_a_known_place(
    deployment: Deployment, encoding: Encoding
) -> None:
    channel = unique("room:")
    await deployment.publish(channel, *range(5))
    top = await deployment.api.history(cent.HistoryRequest(channel=channel))

    async def get_state(channel: str) -> StreamPosition:
        return StreamPosition(offset=3, epoch=top.epoch)

    async with encoding.connected(deployment.server.url, token=token("ada")) as (client, _):
        _, events = await encoding.subscribed(client, channel, get_state=get_state)
        assert await events.publications(2) == [3, 4]


async def test_a_disconnect_by_the_server(deployment: Deployment, encoding: Encoding) -> None:
    user, channel = unique("user"), unique("room:")
    async with encoding.connected(
        deployment.server.url, token=token(user), **SOON,
    ) as (client, told):
        _, events = await encoding.subscribed(client, channel)
        await told.until("connected")
        await deployment.publish(channel, 1)
        await deployment.disconnect(user, 3100, "come again")
        context = await told.until("connecting")
        assert (context.code, context.reason) == (3100, "come again")
        await deployment.publish(channel, 2)
        await told.until("connected")
        await deployment.publish(channel, 3)
        assert await events.publications(3) == [1, 2, 3]
        await deployment.disconnect(user, 4500, "stay away")
        context = await told.until("disconnected")
        assert (context.code, context.reason) == (4500, "stay away")


async def test_deltas(deployment: Deployment, encoding: Encoding) -> None:
    channel = unique("delta:")
    sent = [{**LONG, "number": number, "text": "é😀\n\"" * number} for number in range(20)]
    with deployment.wire() as wire:
        async with encoding.connected(url_of(wire), token=token("ada"), **SOON) as (client, _):
            _, events = await encoding.subscribed(client, channel, delta=DeltaType.FOSSIL)
            await deployment.publish(channel, *sent[:6])
            got = [(await events.until("publication")).pub for _ in range(6)]
            assert [one.delta for one in got] == [False, *[True] * 5]
            await asyncio.to_thread(wire.cut)
            await events.until("subscribing")
            await deployment.publish(channel, *sent[6:12])
            await asyncio.to_thread(wire.mend)
            assert (await events.until("subscribed")).recovered
            await deployment.publish(channel, *sent[12:])
            got += [(await events.until("publication")).pub for _ in range(14)]
            assert [one.data for one in got] == sent
            assert sum(one.delta for one in got) >= 18


async def test_tags_filter(deployment: Deployment, encoding: Encoding) -> None:
    channel = unique("tagged:")
    wanted = Filter.any(Filter.eq("team", "red"), Filter.gte("score", "10"))
    async with encoding.connected(deployment.server.url, token=token("ada")) as (client, _):
        _, events = await encoding.subscribed(client, channel, tags_filter=wanted)
        for number, tags in enumerate([
            {"team": "red"}, {"team": "blue"}, {"team": "blue", "score": "12"}, {}, {"score": "9"},
            {"team": "red", "score": "1"},
        ]):
            await deployment.publish(channel, number, tags=tags)
        assert await events.publications(3) == [0, 2, 5]


async def test_subscription_tokens(deployment: Deployment, encoding: Encoding) -> None:
    user = unique("user")

    async def get_token(channel: str) -> str:
        return token(user, channel, info={"seat": 3})

    async with encoding.connected(
        deployment.server.url, token=token(user)
    ) as (client, told):
        room, _ = await encoding.subscribed(client, unique("$room:"), get_token=get_token)
        (info,) = (await room.presence()).clients.values()
        assert encoding.back(info.chan_info) == {"seat": 3}
        for bad in ("", "a.b.c", token(user, "$room:another") + "x"):
            _, events = await encoding.subscribing(client, unique("$room:"), token=bad)
            context = await events.until("unsubscribed")
            assert (context.code, context.reason) == (103, "permission denied")
        await encoding.subscribing(
            client, unique("$room:"), token=token(user, "$room:another"))
        context = await told.until("disconnected")
        assert (context.code, context.reason) == (3500, "invalid token")


async def test_server_side_subscriptions(deployment: Deployment, encoding: Encoding) -> None:
    user, news, more = unique("user"), unique("news:"), unique("news:")
    own = f"own:#{user}"
    with deployment.wire() as wire:
        async with encoding.connected(
            url_of(wire), token=token(user, channels=[news]), **SOON,
        ) as (client, told):
            assert {(await told.until("subscribed")).channel for _ in range(2)} == {own, news}
            await deployment.publish(news, "to all")
            await deployment.publish(own, "to one")
            for channel, value in ((news, "to all"), (own, "to one")):
                context = await told.until("publication")
                assert (context.channel, context.pub.data) == (channel, value)
            await deployment.api.subscribe(cent.SubscribeRequest(
                user=user, channel=more, data={"why": "because"}))
            context = await told.until("subscribed")
            assert context.channel == more
            assert encoding.back(context.data) == {"why": "because"}
            await deployment.api.unsubscribe(cent.UnsubscribeRequest(user=user, channel=more))
            assert (await told.until("unsubscribed")).channel == more
            await asyncio.to_thread(wire.cut)
            await told.until("connecting")
            await deployment.publish(news, 2, 3)
            await deployment.publish(own, 2)
            await asyncio.to_thread(wire.mend)
            got: dict[str, list[Any]] = {own: [], news: []}
            recovered = []
            while len(recovered) < 2 or sum(map(len, got.values())) < 3:
                async with asyncio.timeout(15):
                    name, context = await told.queue.get()
                if name == "subscribed":
                    recovered.append(context.recovered)
                elif name == "publication":
                    got[context.channel].append(context.pub.data)
            assert got == {own: [2], news: [2, 3]}
            assert recovered == [True, True]
            assert client.state == ClientState.CONNECTED


async def test_the_server_ends_a_subscription(
    deployment: Deployment, encoding: Encoding
) -> None:
    user, channel = unique("user"), unique("room:")
    async with encoding.connected(deployment.server.url, token=token(user)) as (client, _):
        _, events = await encoding.subscribed(client, channel)
        await deployment.api.unsubscribe(cent.UnsubscribeRequest(user=user, channel=channel))
        context = await events.until("unsubscribed")
        assert (context.code, context.reason) == (2000, "server unsubscribe")
        assert client.state == ClientState.CONNECTED
