"""What the page is told, and what it can do."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from typing import Any

import pytest

from fanout import ClientInfo, Node
from fanout.server.admin import sampler as sampling
from fanout.server.admin.answers import MOST_CHANNELS, MOST_CONNECTIONS, MOST_NAMES
from fanout.server.admin.endpoints import MOST_HISTORY, MOST_PRESENT
from fanout.server.admin.sampler import KEPT, Sampler
from fanout.server.admin.system import System, _channels
from tests.brokers.valkey import ValkeyServer
from tests.server.admin.visiting import ADMIN, Visitor, visitor
from tests.server.running import InProcess, serving
from tests.system.waiting import until

USERS = {"client": {"insecure": True, "user_id_http_header": "X-User"}}


async def user(server: InProcess, name: str, *channels: str) -> Any:
    return await server.client(*channels, additional_headers={"X-User": name})


def ids(server: InProcess) -> list[str]:
    return list(server.node.clients)


# Nodes


async def test_a_node_as_it_is(admin: Visitor, server: InProcess) -> None:
    await server.client("a", "b")
    await server.client("a")
    view = await admin.ask("nodes")
    (node,) = view["nodes"]
    assert view["missing"] == {} and view["open"] is False
    assert view["own"] == node["uid"] == server.node.uid
    assert abs(view["now"] - time.time()) < 60
    assert [node[what] for what in ("clients", "users", "channels", "subscriptions")] == [
        2, 0, 2, 3]
    assert node["memory"] > 1_000_000 and node["draining"] is False
    assert node["engine"] == server.node.engine.name


async def test_seconds_are_told_one_by_one(admin: Visitor, server: InProcess) -> None:
    reader = await server.client("news")

    async def samples(last: int = KEPT) -> list[dict[str, Any]]:
        (node,) = (await admin.ask("nodes", last=last))["nodes"]
        told: list[dict[str, Any]] = node["samples"]
        return told

    for _ in range(10):
        server.node.publish("news", b"1")
    for _ in range(10):
        await reader.next()
    async with asyncio.timeout(20):
        # Ten in one second, or in two; the rest of the seconds had none.
        while not any(sample["delivered"] for sample in await samples()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    told = await samples()
    assert [sample["t"] for sample in told] == sorted({sample["t"] for sample in told})
    assert told[-1]["clients"] == 1 and told[-1]["channels"] == 1
    assert any(sample["published"] and sample["bytes"] for sample in told)
    assert any(sample["connects"] for sample in told)
    assert len(await samples(1)) == 1
    assert await samples(0) == [] == await samples(-5)
    assert len(await samples(10**9)) <= KEPT


async def test_who_is_never_looked_at_has_no_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "FORGOTTEN_AFTER", 0.0)
    async with Node() as node:
        idle = Sampler(node)
        assert idle._timer is None
        assert idle.latest(10) == []        # from now on it is looked at
        timer = idle._timer
        assert timer is not None
        idle._tick(0.0)                     # nobody came back since
        assert idle._timer is None
        timer.cancel()


async def test_a_late_timer_makes_no_rate_larger() -> None:
    async with Node() as node:
        sampler = Sampler(node)
        sampler.start()
        for _ in range(100):
            node.publish("a", b"x")
        sampler.stop()
        then, counted = sampler._last
        sampler._last = then - 4.0, counted         # four seconds ago
        sampler._tick(asyncio.get_running_loop().time() - 3.0)
        (sample,) = sampler.latest(5)
        assert 20 < sample["published"] <= 25
        assert sample["lag"] >= 3
        sampler.stop()


async def test_a_drain_shows(admin: Visitor, server: InProcess) -> None:
    server._server._service.drain.begin()
    (node,) = (await admin.ask("nodes"))["nodes"]
    assert node["draining"] is True


# Channels


async def test_channels_the_largest_first(admin: Visitor, server: InProcess) -> None:
    for channels in (["a", "b", "Chat"], ["a", "b"], ["a"]):
        await server.client(*channels)
    view = await admin.ask("channels")
    assert view["channels"] == [
        {"name": "a", "subscribers": 3}, {"name": "b", "subscribers": 2},
        {"name": "Chat", "subscribers": 1}]
    assert (view["total"], view["partial"], view["missing"]) == (3, False, {})
    view = await admin.ask("channels", match="chA")
    assert [channel["name"] for channel in view["channels"]] == ["Chat"]
    assert (await admin.ask("channels", match="*"))["channels"] == []


async def test_many_channels(admin: Visitor, server: InProcess) -> None:
    many = server.node.subscribe(*(f"c{number}" for number in range(3 * MOST_CHANNELS)))
    server.node.subscribe("c7", callback=lambda message: None)
    view = await admin.ask("channels")
    assert len(view["channels"]) == MOST_CHANNELS and view["partial"] is True
    assert view["total"] == 3 * MOST_CHANNELS
    assert view["channels"][0] == {"name": "c7", "subscribers": 2}
    many.close()


def test_nodes_are_added_up() -> None:
    view = _channels([
        {"total": 2, "channels": {"a": 5, "b": 1}}, {"total": 2, "channels": {"b": 6, "c": 2}}])
    assert view == {"total": 3, "partial": False, "channels": [
        {"name": "b", "subscribers": 7}, {"name": "a", "subscribers": 5},
        {"name": "c", "subscribers": 2}]}


# Connections


async def test_connections_the_newest_first(quiet: None) -> None:
    async with serving({**ADMIN, **USERS}) as server, visitor(server.http) as admin:
        await admin.log_in()
        for name in ("ada", "Ben", ""):
            await user(server, name, "a", *(["b"] if name else []))
        view = await admin.ask("connections")
        assert [row["user"] for row in view["connections"]] == ["", "Ben", "ada"]
        assert view["total"] == 3
        row = view["connections"][2]
        assert row == {
            "client": ids(server)[0], "user": "ada", "node": server.node.name,
            "transport": "websocket", "encoding": "json", "since": row["since"],
            "num_channels": 2, "channels": row["channels"]}
        assert sorted(row["channels"]) == ["a", "b"]
        assert abs(row["since"] - time.time()) < 60

        async def found(**request: str) -> list[str]:
            view = await admin.ask("connections", **request)
            return sorted(row["user"] for row in view["connections"])

        assert await found(match="be") == ["Ben"]
        assert await found(match=ids(server)[0][:13]) == ["ada"]
        assert await found(channel="b") == ["Ben", "ada"]
        assert await found(channel="b", match="ada") == ["ada"]
        assert await found(client=ids(server)[1]) == ["Ben"]
        assert await found(client="nobody") == await found(channel="none") == []


async def test_many_connections_and_channels_of_one(quiet: None) -> None:
    settings = {**ADMIN, "client": {"insecure": True, "channel_limit": 50}}
    async with serving(settings) as server, visitor(server.http) as admin:
        await admin.log_in()
        busy = await server.client(*(f"c{number}" for number in range(40)))
        await asyncio.gather(*(server.client() for _ in range(MOST_CONNECTIONS + 20)))
        view = await admin.ask("connections")
        assert len(view["connections"]) == MOST_CONNECTIONS
        assert view["total"] == MOST_CONNECTIONS + 21
        (row,) = (await admin.ask("connections", channel="c3"))["connections"]
        assert len(row["channels"]) == MOST_NAMES and row["num_channels"] == 40
        (row,) = (await admin.ask("connections", client=row["client"]))["connections"]
        assert len(row["channels"]) == 40
        await busy.close()


async def test_nothing_secret_of_a_connection(admin: Visitor, server: InProcess) -> None:
    peer = await server.peer(additional_headers={"X-Header": "SECRET-1"})
    await peer.call(connect={"data": {"x": "SECRET-2"}, "headers": {"x-mine": "SECRET-3"}})
    for client in server.node.clients.values():
        client.meta = b'"SECRET-4"'
        client.session = "SECRET-5"
    _, _, text = await admin.post("api/connections")
    assert ids(server)[0] in text and "SECRET" not in text


async def test_names_that_are_no_unicode(admin: Visitor, server: InProcess) -> None:
    """Half a surrogate pair, which JSON can say and UTF-8 cannot."""
    await server.client()
    for client in server.node.clients.values():
        client.user = "half \ud83d"
    _, _, text = await admin.post("api/connections")
    assert json.loads(text)["connections"][0]["user"] == "half \ud83d"


# What can be done


async def test_publishing_by_hand(admin: Visitor, server: InProcess) -> None:
    peer = await server.client("news")
    answer = await admin.ask("publish", channel="news", data={"text": "hello", "n": [1, 2.5]})
    assert answer["result"]["offset"] == 1
    push = (await peer.next())["push"]
    assert push["pub"]["data"] == {"text": "hello", "n": [1, 2.5]}
    assert "info" not in push["pub"]
    (found,) = (await admin.ask("history", channel="news", limit=10))["result"]["publications"]
    assert found["data"] == push["pub"]["data"]


async def test_what_the_channel_does_not_allow(admin: Visitor) -> None:
    for name, request, code in (
        ("publish", {"channel": "none:x", "data": 1}, 102),
        ("publish", {"channel": "", "data": 1}, 107),
        ("publish", {"channel": "x" * 300, "data": 1}, 107),
        ("history", {"channel": "none:x"}, 102),
        ("disconnect", {}, 107),
    ):
        assert (await admin.ask(name, **request))["error"]["code"] == code, name


async def test_history_and_presence_have_bounds(admin: Visitor, server: InProcess) -> None:
    for number in range(5):
        await server.node.publish("news", str(number).encode())
    for limit, length in ((-1, 0), (0, 0), (3, 3), (10**6, 5)):
        answer = await admin.ask("history", channel="news", limit=limit, reverse=True)
        assert len(answer["result"]["publications"]) == length
    assert MOST_HISTORY < 1000
    for number in range(MOST_PRESENT + 20):
        await server.node.engine.add_presence(
            "news", f"c{number}", ClientInfo(f"u{number}", f"c{number}"))
    answer = await admin.ask("presence", channel="news")
    assert len(answer["result"]["presence"]) == MOST_PRESENT
    assert answer["total"] == MOST_PRESENT + 20


async def test_history_is_removed(admin: Visitor, server: InProcess) -> None:
    await server.node.publish("news", b"1")
    assert await admin.ask("history_remove", channel="news") == {"result": {}}
    answer = await admin.ask("history", channel="news", limit=10)
    assert answer["result"]["publications"] == [] and answer["result"]["offset"] == 1


async def test_one_connection_ends(
    admin: Visitor, server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = await server.client("news"), await server.client("news")
    one, two = ids(server)
    caplog.set_level("INFO")
    assert await admin.ask("unsubscribe", channel="news", client=two) == {"result": {}}
    assert (await second.next())["push"]["unsubscribe"]["code"] == 2000
    assert await admin.ask("disconnect", client=one) == {"result": {}}
    assert (await first.closed())[0] == 3503
    assert ids(server) == [two]
    # Who did what is in the log.
    told = [record for record in caplog.records if "an admin asked" in record.getMessage()]
    assert [record.__dict__["fields"] for record in told] == [
        {"channel": "news", "client": two}, {"client": one}]


async def test_what_cannot_be_read(admin: Visitor) -> None:
    for name, body in (
        ("nodes", []), ("nodes", {"last": "x"}), ("channels", {"match": 1}),
        ("connections", {"client": None}), ("publish", "x"), ("history", {"limit": "x"}),
    ):
        assert (await admin.post(f"api/{name}", body))[0] == 400, name
    async with admin.session.post(
        f"{admin.url}/admin/api/nodes", data=b"\xff{", headers=admin.headers
    ) as answer:
        assert answer.status == 400


# Several nodes, several pages


async def test_pages_that_ask_the_same_make_one_survey(
    admin: Visitor, server: InProcess
) -> None:
    now = 0.0
    system = System(server.node, lambda: now)
    before = server.node.surveys.num_asked
    views = await asyncio.gather(*(system.channels("") for _ in range(20)))
    assert all(view == views[0] for view in views)
    await system.channels("")
    assert server.node.surveys.num_asked == before + 1
    await system.channels("other")
    now += 1.0
    await system.channels("")
    assert server.node.surveys.num_asked == before + 3
    for number in range(500):
        await system.channels(str(number))
    assert len(system._asked) <= 100


async def test_who_asked_first_may_go_away(server: InProcess) -> None:
    system = System(server.node)
    first = asyncio.ensure_future(system.nodes(5))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(system.nodes(5))
    await asyncio.sleep(0)
    first.cancel()
    assert len((await second)["nodes"]) == 1


async def test_all_nodes_are_shown_also_those_without_a_page(quiet: None) -> None:
    prefix = f"admin-{secrets.token_hex(4)}"
    with ValkeyServer() as valkey:
        engine = {"type": "redis", "redis": {"address": valkey.url, "prefix": prefix}}
        with_page = {**ADMIN, "engine": engine, "node": {"name": "one"}}
        without = {**ADMIN, "engine": engine, "node": {"name": "two"}, "admin": {}}
        async with (
            serving(with_page) as one, serving(without) as two, visitor(one.http) as admin,
        ):
            await admin.log_in()
            await until(lambda: len(one.node.info()) == len(two.node.info()) == 2,
                        "the nodes know of each other")
            here, there = await one.client("a", "b"), await two.client("a")
            view = await admin.ask("nodes")
            assert [node["name"] for node in view["nodes"]] == ["one", "two"]
            assert [node["clients"] for node in view["nodes"]] == [1, 1]
            assert (await admin.ask("channels"))["channels"] == [
                {"name": "a", "subscribers": 2}, {"name": "b", "subscribers": 1}]
            rows = (await admin.ask("connections", channel="a"))["connections"]
            assert {row["node"] for row in rows} == {"one", "two"}
            assert (await get_status(two)) == 404

            (theirs,) = two.node.clients
            await admin.ask("disconnect", client=theirs)
            assert (await there.closed())[0] == 3503
            await here.close()


async def test_a_node_that_cannot_answer_is_named(quiet: None) -> None:
    """As one of another version would be, which knows nothing of admin pages."""
    prefix = f"admin-{secrets.token_hex(4)}"
    with ValkeyServer() as valkey:
        engine = {"type": "redis", "redis": {"address": valkey.url, "prefix": prefix}}
        settings = {**ADMIN, "engine": engine, "node": {"name": "one"}}
        async with (
            serving(settings) as one, serving(settings) as two, visitor(one.http) as admin,
        ):
            await admin.log_in()
            await until(lambda: len(one.node.info()) == len(two.node.info()) == 2,
                        "the nodes know of each other")
            two.node.surveys._handlers.clear()
            view = await admin.ask("nodes")
            assert [node["uid"] for node in view["nodes"]] == [one.node.uid]
            assert list(view["missing"]) == [two.node.uid]


async def get_status(server: InProcess) -> int:
    async with visitor(server.http) as one:
        return (await one.post("api/nodes"))[0]
