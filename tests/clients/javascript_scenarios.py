"""What an application does with the published JavaScript client, over each way to the server.

The tests are imported by a module for Node and by one for the browser, each of which has the
fixtures ``world`` and ``ways``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import cent

from tests.clients.agent import Agent, Refused, Remote, Way, data
from tests.clients.deployment import Deployment, token, unique

LONG = {f"field {number}": "the same in every message " * 3 for number in range(20)}


@dataclass
class World:
    """Where the client runs, how it reaches the server, and the server."""

    agent: Agent
    way: Way
    deployment: Deployment

    @contextlib.asynccontextmanager
    async def connected(
        self, user: str = "", *, port: int = 0, **options: Any
    ) -> AsyncIterator[Remote]:
        """A client with a token of the user's, after its connect."""
        if user:
            options["token"] = token(user)
        way = self.way.options(port or self.deployment.server.port)
        async with self.agent.client(**way, **options) as client:
            await client.call("connect")
            await client.until("connected")
            yield client


async def test_connect_with_a_token(world: World) -> None:
    user = unique("user")
    way = world.way.options(world.deployment.server.port)
    asked: list[Any] = []

    def get_token(context: Any) -> str:
        asked.append(context)
        return token(user, info={"name": "Ada"})

    async with world.agent.client(**way, asks={"getToken": get_token}) as client:
        await client.call("connect")
        assert (await client.until("connecting"))["reason"] == "connect called"
        context = await client.until("connected")
        assert context["transport"] == world.way.transport
        assert context["client"]
        assert asked == [{}]
        room, _ = await client.subscribed(unique("room:"))
        info = (await room.call("presence"))["clients"][context["client"]]
        assert (info["user"], info["connInfo"]) == (user, {"name": "Ada"})
        await client.call("disconnect")
        context = await client.until("disconnected")
        assert (context["code"], context["reason"]) == (0, "disconnect called")
        # And again, with the same object and its token.
        await client.call("connect")
        await client.until("connected")
        assert len(asked) == 1


async def test_tokens_that_are_refused(world: World) -> None:
    way = world.way.options(world.deployment.server.port)
    for bad in ("a.b.c", token("u") + "x", token("u", "room:x")):
        async with world.agent.client(**way, token=bad) as client:
            await client.call("connect")
            context = await client.until("disconnected")
            assert (context["code"], context["reason"]) == (3500, "invalid token")
            assert await client.read("state") == "disconnected"

    def refuse(context: Any) -> str:
        raise Refused("go away")

    async with world.agent.client(**way, asks={"getToken": refuse}) as client:
        await client.call("connect")
        context = await client.until("disconnected")
        assert (context["code"], context["reason"]) == (1, "unauthorized")
    # Nobody without a token, where the configuration does not say so.
    async with world.agent.client(**way) as client:
        await client.call("connect")
        context = await client.until("disconnected")
        assert (context["code"], context["reason"]) == (3501, "bad request")


async def test_an_expired_token_is_asked_for_again(world: World) -> None:
    way = world.way.options(world.deployment.server.port)
    fresh = token(unique("user"))
    async with world.agent.client(
        **way, token=token("late", expires_in=-10), asks={"getToken": lambda context: fresh},
    ) as client:
        await client.call("connect")
        await client.until("connected")


async def test_tokens_are_refreshed(
    agent: Agent, deployment: Deployment, ways: list[Way]
) -> None:
    """Over every way at once, for it takes as long as a token is good."""

    async def over(way: Way) -> None:
        user, channel = unique("user"), unique("$room:")
        asked = asyncio.Queue[str]()

        def get_token(context: Any) -> str:
            of_channel = context.get("channel", "")
            asked.put_nowait(of_channel)
            return token(user, of_channel, expires_in=2)

        async with agent.client(
            **way.options(deployment.server.port), asks={"getToken": get_token},
        ) as client:
            await client.call("connect")
            await client.until("connected")
            room, _ = await client.subscribed(channel, asks={"getToken": get_token})
            wanted = ["", "", "", channel, channel, channel]
            # The third is asked for because the server took the second.
            async with asyncio.timeout(20):
                while wanted:
                    one = await asked.get()
                    if one in wanted:
                        wanted.remove(one)
            assert "connecting" not in client.seen()
            assert "subscribing" not in room.seen()
            await room.call("publish", data("still there"))
            assert await room.publications(1) == ["still there"]

    await asyncio.gather(*map(over, ways))


async def test_the_next_transport_when_one_does_not_work(
    agent: Agent, deployment: Deployment
) -> None:
    port, nowhere = deployment.server.port, "http://127.0.0.1:{}/connection/nowhere"
    endpoints = [
        {"transport": "websocket", "endpoint": nowhere.format(port).replace("http", "ws")},
        {"transport": "http_stream", "endpoint": nowhere.format(port)},
        *Way("sse").options(port)["endpoint"],
    ]
    async with agent.client(
        endpoints, emulationEndpoint=f"http://127.0.0.1:{port}/emulation", token=token("ada"),
    ) as client:
        await client.call("connect")
        assert (await client.until("connected"))["transport"] == "sse"
        room, _ = await client.subscribed(unique("room:"))
        await room.call("publish", data(1))
        assert await room.publications(1) == [1]


async def test_subscribe_publish_unsubscribe(world: World) -> None:
    channel = unique("room:")
    async with world.connected("ada") as ada, world.connected("ben") as ben:
        room, context = await ada.subscribed(channel)
        assert context["recoverable"] and context["positioned"]
        assert not context["wasRecovering"]
        theirs, _ = await ben.subscribed(channel)
        said = {"text": "grüße 😀\u2028", "list": [1, 2.5, None, True], "empty": {}, "n": 1e-7}
        await room.call("publish", data(said))
        for listener in (room, theirs):
            publication = await listener.until("publication")
            assert publication["data"] == said
            assert publication["offset"] == 1
            assert publication["channel"] == channel
            assert publication["info"]["user"] == "ada"
        await world.deployment.publish(channel, "from the backend", tags={"k": "v"})
        publication = await room.until("publication")
        assert (publication["data"], publication["tags"]) == ("from the backend", {"k": "v"})
        assert publication.get("info") is None
        await room.call("unsubscribe")
        context = await room.until("unsubscribed")
        assert (context["code"], context["reason"]) == (0, "unsubscribe called")
        # A reply to it comes after the unsubscribe has been worked on.
        assert (await ada.error("presence", channel))[0] == 103
        await theirs.call("publish", data("nobody there"))
        assert await theirs.publications(2) == ["from the backend", "nobody there"]
        assert "publication" not in room.seen()
        await room.call("subscribe")
        await room.until("subscribed")
        await theirs.call("publish", data("back"))
        # Nothing was missed that it would not be given now: it recovers from where it was.
        assert await room.publications(2) == ["nobody there", "back"]


async def test_commands_of_one_batch(world: World) -> None:
    channel = unique("room:")
    async with world.connected("ada") as client:
        room, _ = await client.subscribed(channel)
        await client.together(*(["publish", channel, data(n)] for n in range(100)))
        publications = [await room.until("publication") for _ in range(100)]
        assert [one["data"] for one in publications] == list(range(100))
        assert [one["offset"] for one in publications] == list(range(1, 101))
        results = await client.together(
            ["rpc", "one", data(1)], ["presenceStats", channel],
            ["history", channel, {"limit": 1}], ["rpc", "two", data(2)])
        assert [results[0]["data"]["method"], results[3]["data"]["method"]] == ["one", "two"]
        assert results[1] == {"numClients": 1, "numUsers": 1}
        assert [one["data"] for one in results[2]["publications"]] == [0]


async def test_rpc(world: World) -> None:
    async with world.connected("ada") as client:
        result = await client.call("rpc", "sum", data({"of": [1, 2]}))
        assert result["data"] == {"user": "ada", "method": "sum", "data": {"of": [1, 2]}}
        assert await client.error("rpc", "refuse", data(None)) == (1234, "not today")


async def test_presence_joins_and_leaves(world: World) -> None:
    channel = unique("room:")
    async with world.connected("ada") as ada:
        room, _ = await ada.subscribed(channel)
        assert (await room.until("join"))["info"]["user"] == "ada"
        async with world.connected("ben") as ben:
            theirs, _ = await ben.subscribed(channel)
            assert (await room.until("join"))["info"]["user"] == "ben"
            clients = (await room.call("presence"))["clients"]
            assert sorted(one["user"] for one in clients.values()) == ["ada", "ben"]
            assert await room.call("presenceStats") == {"numClients": 2, "numUsers": 2}
            await theirs.call("unsubscribe")
            assert (await room.until("leave"))["info"]["user"] == "ben"
            await theirs.call("subscribe")
            assert (await room.until("join"))["info"]["user"] == "ben"
            await ben.call("disconnect")
            assert (await room.until("leave"))["info"]["user"] == "ben"
        assert await ada.call("presenceStats", channel) == {"numClients": 1, "numUsers": 1}


async def test_history(world: World) -> None:
    channel = unique("room:")
    await world.deployment.publish(channel, *({"n": n} for n in range(1, 21)))
    async with world.connected("ada") as client:
        room, _ = await client.subscribed(channel)
        top = await room.call("history")
        assert (top["offset"], top["publications"]) == (20, [])

        async def offsets(**request: Any) -> list[int]:
            page = await room.call("history", request)
            assert (page["offset"], page["epoch"]) == (20, top["epoch"])
            assert [one["data"] for one in page["publications"]] == [
                {"n": one["offset"]} for one in page["publications"]]
            return [one["offset"] for one in page["publications"]]

        assert await offsets(limit=100) == list(range(1, 21))
        assert await offsets(limit=2, reverse=True) == [20, 19]
        since = {"offset": 15, "epoch": top["epoch"]}
        assert await offsets(limit=2, since=since) == [16, 17]
        assert await offsets(limit=2, since=since, reverse=True) == [14, 13]
        assert await room.error("history", {
            "limit": 1, "since": {"offset": 15, "epoch": "another"}}) == (
                112, "unrecoverable position")


async def test_what_was_missed_is_recovered(world: World) -> None:
    channel = unique("room:")
    with world.deployment.wire() as wire:
        async with world.connected("ada", port=wire.port) as client:
            room, _ = await client.subscribed(channel)
            await world.deployment.publish(channel, "before")
            assert await room.publications(1) == ["before"]
            for again in range(2):
                await asyncio.to_thread(wire.cut)
                await room.until("subscribing")
                await world.deployment.publish(channel, *range(5))
                await asyncio.to_thread(wire.mend)
                context = await room.until("subscribed")
                assert context["wasRecovering"] and context["recovered"]
                assert context["hasRecoveredPublications"]
                got = [await room.until("publication") for _ in range(5)]
                assert [one["data"] for one in got] == list(range(5))
                assert [one["offset"] for one in got] == [2 + 5 * again + n for n in range(5)]
            await room.call("publish", data("after"))
            assert await room.publications(1) == ["after"]


async def test_what_cannot_be_recovered_is_told(world: World) -> None:
    channel = unique("short:")
    with world.deployment.wire() as wire:
        async with world.connected("ada", port=wire.port) as client:
            room, _ = await client.subscribed(channel)
            await world.deployment.publish(channel, "before")
            assert await room.publications(1) == ["before"]
            await asyncio.to_thread(wire.cut)
            await room.until("subscribing")
            # One more than the history keeps.
            await world.deployment.publish(channel, *range(4))
            await asyncio.to_thread(wire.mend)
            context = await room.until("subscribed")
            assert context["wasRecovering"] and not context["recovered"]
            assert not context["hasRecoveredPublications"]
            assert context["streamPosition"]["offset"] == 5
            await world.deployment.publish(channel, "after")
            assert await room.publications(1) == ["after"]


async def test_a_first_subscribe_from_a_known_place(world: World) -> None:
    channel = unique("room:")
    await world.deployment.publish(channel, *range(5))
    top = await world.deployment.api.history(cent.HistoryRequest(channel=channel))
    async with world.connected("ada") as client:
        room, context = await client.subscribed(
            channel, since={"offset": 3, "epoch": top.epoch})
        assert context["recovered"]
        assert await room.publications(2) == [3, 4]


async def test_the_latest_alone(world: World) -> None:
    channel = unique("latest:")
    await world.deployment.publish(channel, "old", "new")
    async with world.connected("ada") as client:
        room, _ = await client.subscribed(channel)
        assert await room.publications(1) == ["new"]
        await world.deployment.publish(channel, "newer")
        assert await room.publications(1) == ["newer"]


async def test_a_disconnect_by_the_server(world: World) -> None:
    user, channel = unique("user"), unique("room:")
    async with world.connected(user) as client:
        room, _ = await client.subscribed(channel)
        await world.deployment.publish(channel, 1)
        await world.deployment.disconnect(user, 3100, "come again")
        context = await client.until("connecting")
        assert (context["code"], context["reason"]) == (3100, "come again")
        await world.deployment.publish(channel, 2)
        await client.until("connected")
        await world.deployment.publish(channel, 3)
        assert await room.publications(3) == [1, 2, 3]
        await world.deployment.disconnect(user, 4500, "stay away")
        context = await client.until("disconnected")
        assert (context["code"], context["reason"]) == (4500, "stay away")
        assert await client.read("state") == "disconnected"


async def test_deltas(world: World) -> None:
    channel = unique("delta:")
    sent = [{**LONG, "number": number, "text": "é😀\n\"" * number} for number in range(20)]
    with world.deployment.wire() as wire:
        async with (
            world.connected("ada", port=wire.port) as ada,
            world.connected("ben") as ben,
        ):
            room, _ = await ada.subscribed(channel, delta="fossil")
            whole, _ = await ben.subscribed(channel)
            await world.deployment.publish(channel, *sent[:6])
            assert await room.publications(6) == sent[:6]
            stats = await room.call("deltaStats")
            assert (stats["numFullPayloads"], stats["numDeltaPayloads"]) == (1, 5)
            await asyncio.to_thread(wire.cut)
            await room.until("subscribing")
            await world.deployment.publish(channel, *sent[6:12])
            await asyncio.to_thread(wire.mend)
            assert (await room.until("subscribed"))["recovered"]
            await world.deployment.publish(channel, *sent[12:])
            assert await room.publications(14) == sent[6:]
            assert await whole.publications(20) == sent
            stats = await room.call("deltaStats")
            # What a client missed is whole once at most; what follows is deltas again.
            assert stats["numPublications"] == 20
            assert stats["numFullPayloads"] <= 2
            assert stats["compressionRatio"] > 0.8
            assert (await whole.call("deltaStats"))["numDeltaPayloads"] == 0


async def test_tags_filter(world: World) -> None:
    channel = unique("tagged:")
    async with world.connected("ada") as client:
        room, _ = await client.subscribed(channel, tagsFilter={
            "op": "or", "nodes": [
                {"key": "team", "cmp": "eq", "val": "red"},
                {"key": "score", "cmp": "gte", "val": "10"}]})
        for number, tags in enumerate([
            {"team": "red"}, {"team": "blue"}, {"team": "blue", "score": "12"}, {}, {"score": "9"},
            {"team": "red", "score": "1"},
        ]):
            await world.deployment.publish(channel, number, tags=tags)
        assert await room.publications(3) == [0, 2, 5]


async def test_subscription_tokens(world: World) -> None:
    user, channel = unique("user"), unique("$room:")
    async with world.connected(user) as client:
        def get_token(context: Any) -> str:
            return token(user, context["channel"], info={"seat": 3})

        room, _ = await client.subscribed(channel, asks={"getToken": get_token})
        (info,) = (await room.call("presence"))["clients"].values()
        assert info["chanInfo"] == {"seat": 3}

        def refuse(context: Any) -> str:
            raise Refused("not you")

        other = await client.subscription(unique("$room:"), asks={"getToken": refuse})
        context = await other.until("unsubscribed")
        assert (context["code"], context["reason"]) == (1, "unauthorized")
        for bad in ("", "a.b.c", token(user, "$room:another") + "x"):
            refused = await client.subscription(unique("$room:"), token=bad)
            context = await refused.until("unsubscribed")
            assert (context["code"], context["reason"]) == (103, "permission denied")
        # One that is for something else is no accident.
        await client.subscription(unique("$room:"), token=token(user, "$room:another"))
        context = await client.until("disconnected")
        assert (context["code"], context["reason"]) == (3500, "invalid token")


async def test_errors(world: World) -> None:
    async with world.connected("ada") as client:
        for channel, code, reason in (
            ("shut:a", 103, "permission denied"),
            ("nobody:a", 102, "unknown channel"),
            ("room:é", 107, "bad request"),
            ("room:" + "x" * 251, 107, "bad request"),
        ):
            subscription = await client.subscription(channel)
            context = await subscription.until("unsubscribed")
            assert (context["code"], context["reason"]) == (code, reason)
        plain, _ = await client.subscribed(unique("plain:"))
        assert await plain.error("publish", data(1)) == (103, "permission denied")
        assert await plain.error("presence") == (108, "not available")
        assert await plain.error("history", {"limit": 1}) == (108, "not available")
        assert await client.read("state") == "connected"


async def test_server_side_subscriptions(world: World) -> None:
    user, news, more = unique("user"), unique("news:"), unique("news:")
    own = f"own:#{user}"
    with world.deployment.wire() as wire:
        way = world.way.options(wire.port)
        async with world.agent.client(**way, token=token(user, channels=[news])) as client:
            await client.call("connect")
            there = {(await client.until("subscribed"))["channel"] for _ in range(2)}
            assert there == {own, news}
            await world.deployment.publish(news, "to all")
            await world.deployment.publish(own, "to one")
            for channel, value in ((news, "to all"), (own, "to one")):
                publication = await client.until("publication")
                assert (publication["channel"], publication["data"]) == (channel, value)
                assert publication["offset"] == 1
            await world.deployment.api.subscribe(cent.SubscribeRequest(
                user=user, channel=more, data={"why": "because"}))
            context = await client.until("subscribed")
            assert (context["channel"], context["data"]) == (more, {"why": "because"})
            await world.deployment.publish(more, "and more")
            assert (await client.until("publication"))["data"] == "and more"
            await world.deployment.api.unsubscribe(cent.UnsubscribeRequest(
                user=user, channel=more))
            assert (await client.until("unsubscribed"))["channel"] == more
            await asyncio.to_thread(wire.cut)
            await client.until("connecting")
            await world.deployment.publish(news, 2, 3)
            await world.deployment.publish(own, 2)
            await asyncio.to_thread(wire.mend)
            contexts = {}
            got: dict[str, list[Any]] = {own: [], news: []}
            for _ in range(2):
                context = await client.until("subscribed")
                contexts[context["channel"]] = context
            for _ in range(3):
                publication = await client.until("publication")
                got[publication["channel"]].append(publication["data"])
            assert got == {own: [2], news: [2, 3]}
            assert all(one["recovered"] for one in contexts.values())


async def test_the_server_ends_a_subscription(world: World) -> None:
    user, channel = unique("user"), unique("room:")
    async with world.connected(user) as client:
        room, _ = await client.subscribed(channel)
        await world.deployment.api.unsubscribe(cent.UnsubscribeRequest(user=user, channel=channel))
        context = await room.until("unsubscribed")
        assert (context["code"], context["reason"]) == (2000, "server unsubscribe")
        assert await client.read("state") == "connected"


async def test_large_publications(world: World) -> None:
    channel = unique("room:")
    large = {"text": "abcdefgh" * 6000}
    async with world.connected("ada") as client:
        room, _ = await client.subscribed(channel)
        await room.call("publish", data(large))
        await world.deployment.publish(channel, {"text": "x" * 300_000})
        assert await room.publications(2) == [large, {"text": "x" * 300_000}]
