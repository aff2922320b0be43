"""What is done to a user's connections, on whichever node they are."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from fanout import (
    BackpressureError,
    ChannelOptions,
    ClientError,
    ConnectReply,
    ControlMessage,
    Disconnect,
    Node,
    RefreshReply,
    StreamPosition,
    SubscribeReply,
    UnknownChannelError,
)
from fanout import control as control_module
from fanout.control import (
    READERS,
    DisconnectOrder,
    RefreshOrder,
    SubscribeOrder,
    UnsubscribeOrder,
)
from fanout.roster import Target
from tests.conformance.reference_engine import Bus, ReferenceEngine
from tests.model.clock import ManualClock
from tests.node.connections import Connection
from tests.node.engines import SlowEngine, eventually

MakeNode = Callable[..., Node]
KEPT = ChannelOptions(presence=True, history_size=10, history_lifetime=60, recover=True)


@pytest.fixture
def make_node() -> MakeNode:
    bus = Bus(60, 60, 300, ManualClock())

    def make(**arguments: Any) -> Node:
        node = Node(ReferenceEngine(bus), **{"options": KEPT, **arguments})
        node.on_connect(lambda event: ConnectReply(user=event.token))
        node.on_subscribe(lambda client, event: None)
        return node

    return make


async def connected(node: Node, user: str, *channels: str, session: str = "") -> Connection:
    connection = Connection(node)
    connection.client.session = session
    await connection.connect(user)
    for channel in channels:
        await connection.subscribe(channel)
    return connection


async def test_a_user_is_subscribed_everywhere(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        here, there = await connected(one, "u"), await connected(two, "u")
        again, other = await connected(two, "u"), await connected(two, "v")
        await one.subscribe_user("a", user="u", reply=SubscribeReply(info=b'"i"', data=b'"d"'))
        assert here.client.channels == ["a"]
        await eventually(lambda: there.subscribed and again.subscribed)
        for connection in (here, there, again):
            ((channel, result),) = connection.subscribed
            assert (channel, result.data) == ("a", b'"d"')
        assert other.client.channels == []
        infos = (await one.presence("a")).values()
        assert sorted(info.channel_info for info in infos) == [b'"i"'] * 3
        # A second time nothing happens.
        await two.subscribe_user("a", user="u")
        await asyncio.sleep(0)
        assert len(here.subscribed) == len(there.subscribed) == 1


async def test_one_connection_is_named_by_its_id_or_its_session(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        by_id, by_session = await connected(two, ""), await connected(two, "u", session="s")
        others = [await connected(two, ""), await connected(two, "u", session="t")]
        await one.subscribe_user("a", client=by_id.client.id)
        await one.subscribe_user("a", user="u", session="s")
        await one.subscribe_user("a", user="v", session="t")
        await one.subscribe_user("a", client=others[0].client.id, session="t")
        await eventually(lambda: by_id.subscribed and by_session.subscribed)
        assert [other.client.channels for other in others] == [[], []]
        await one.unsubscribe("a", session="s", code=2500, reason="why")
        await eventually(lambda: by_session.unsubscribed)
        assert by_session.unsubscribed == [("a", 2500, "why")]
        await one.disconnect(session="t")
        await eventually(lambda: others[1].ended)
        assert by_session.ended is None
        by_session.client.disconnect()
        await one.disconnect(session="s")       # gone already


async def test_what_was_missed_is_recovered(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        there = await connected(two, "u")
        first = await one.publish("a", b"1")
        second = await one.publish("a", b"2")
        await one.subscribe_user("a", user="u", since=first)
        await eventually(lambda: there.subscribed)
        assert there.subscribed[0][1].position == second


async def test_all_channels_at_once(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        here, there = await connected(one, "u", "a", "b"), await connected(two, "u", "c")
        await one.unsubscribe("", user="u")
        assert {channel for channel, _, _ in here.unsubscribed} == {"a", "b"}
        await eventually(lambda: there.unsubscribed)
        assert here.client.channels == there.client.channels == []


async def test_those_on_the_whitelist_stay(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        gone = [await connected(one, "u"), await connected(two, "u")]
        kept = [await connected(one, "u"), await connected(two, "u")]
        await one.disconnect(user="u", whitelist=[c.client.id for c in kept])
        await eventually(lambda: all(c.ended for c in gone))
        assert [c.ended for c in kept] == [None, None]
        with pytest.raises(TypeError, match="several"):
            await one.disconnect(user="u", whitelist="x")


async def test_refresh(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        here, there = await connected(one, "u"), await connected(two, "u")
        end = time.time() + 1000
        reply = RefreshReply(expire_at=end, info=b'"new"', meta=b"{}")
        await one.refresh_user(user="u", reply=reply)
        await eventually(lambda: there.refreshed)
        for connection in (here, there):
            assert connection.refreshed == [end]
            assert (connection.client.info, connection.client.meta) == (b'"new"', b"{}")
        await one.refresh_user(client=there.client.id, reply=RefreshReply(expired=True))
        await eventually(lambda: there.ended)
        assert there.ended is not None
        assert there.ended.code == 3005
        assert here.ended is None


async def test_nobody_is_named(make_node: MakeNode) -> None:
    async with make_node() as node:
        connection = await connected(node, "", "a")
        for call in (
            node.disconnect(), node.unsubscribe("a"), node.subscribe_user("b"),
            node.refresh_user(reply=RefreshReply(expired=True)),
        ):
            with pytest.raises(ValueError, match="name a user, a client or a session"):
                await call
        assert connection.client.channels == ["a"]
        assert connection.ended is None


async def test_bad_arguments_reach_nobody(make_node: MakeNode) -> None:
    async with make_node(options=lambda name: None if name == "unknown" else KEPT) as node:
        told: list[ControlMessage] = []
        publish = node.engine.publish_control
        node.engine.publish_control = told.append   # type: ignore[method-assign,assignment]
        with pytest.raises(UnknownChannelError):
            await node.subscribe_user("unknown", user="u")
        with pytest.raises(ValueError, match="channel must not be empty"):
            await node.subscribe_user("", user="u")
        with pytest.raises(TypeError, match="user must be a str"):
            await node.subscribe_user("a", user=7)      # type: ignore[arg-type]
        with pytest.raises(TypeError, match="since must be"):
            await node.subscribe_user("a", user="u", since=7)   # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"since\.offset"):
            await node.subscribe_user("a", user="u", since=StreamPosition(-1))
        with pytest.raises(ValueError, match="expire_at"):
            await node.refresh_user(user="u", reply=RefreshReply(expire_at=float("nan")))
        with pytest.raises(ValueError, match="code must be"):
            await node.unsubscribe("a", user="u", code=-1)
        with pytest.raises(ValueError, match="whitelist"):
            await node.disconnect(user="u", whitelist=[str(n) for n in range(10_001)])
        assert told == []
        node.engine.publish_control = publish       # type: ignore[method-assign]


async def test_what_fails_here_is_raised_and_done_elsewhere(make_node: MakeNode) -> None:
    async with make_node(client_channel_limit=1) as one, make_node() as two:
        full, there = await connected(one, "u", "x"), await connected(two, "u")
        with pytest.raises(ClientError, match="106"):
            await one.subscribe_user("a", user="u")
        await eventually(lambda: there.subscribed)
        assert full.client.channels == ["x"]


async def test_what_fails_elsewhere_is_logged_there(
    make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_node() as one, make_node(client_channel_limit=1) as two:
        await connected(two, "u", "x")
        await one.subscribe_user("a", user="u")
        await eventually(lambda: "could not be carried out" in caplog.text)
        assert one.uid in caplog.text
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_who_leaves_meanwhile_is_no_failure() -> None:
    engine = SlowEngine()
    async with Node(engine) as node:
        node.on_connect(lambda event: ConnectReply(user=event.token))
        connection = await connected(node, "u")
        task = asyncio.create_task(node.subscribe_user("a", user="u"))
        await eventually(lambda: engine.calls)
        connection.client.disconnect()
        await engine.allow()
        engine.free = True
        await task
        assert connection.subscribed == []


async def test_orders_about_a_channel_keep_their_order() -> None:
    """A subscribe takes its time; what comes after it must not overtake it."""
    engine = SlowEngine()
    async with Node(engine) as node:
        node.on_connect(lambda event: ConnectReply(user=event.token))
        connection = await connected(node, "u")
        target = Target("u")

        def say(order: Any) -> None:
            node.on_control(ControlMessage("other", order.method, order.to_params()))

        say(SubscribeOrder(target, "a"))
        say(UnsubscribeOrder(target, "a"))
        say(SubscribeOrder(target, "b"))
        say(UnsubscribeOrder(target, ""))
        say(SubscribeOrder(target, "b", SubscribeReply(data=b"2")))
        await engine.allow("a")
        await engine.allow("b")
        engine.free = True
        await eventually(lambda: not node._orders._under_way)
        assert connection.client.channels == ["b"]
        assert [channel for channel, _, _ in connection.unsubscribed] == ["a", "b"]
        assert [result.data for _, result in connection.subscribed] == [b"", b"", b"2"]
        assert node._orders._last == {}


async def test_orders_under_way_are_bounded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(control_module, "MOST_ORDERS", 1)
    engine = SlowEngine()
    async with Node(engine) as node:
        node.on_connect(lambda event: ConnectReply(user=event.token))
        await connected(node, "u")
        task = asyncio.create_task(node.subscribe_user("a", user="u"))
        await eventually(lambda: engine.calls)
        with pytest.raises(BackpressureError, match="1 orders"):
            await node.subscribe_user("b", user="u")
        order = SubscribeOrder(Target("u"), "b")
        node.on_control(ControlMessage("other", order.method, order.to_params()))
        assert "is not carried out" in caplog.text
        engine.free = True
        await engine.allow()
        await task


ORDERS = [
    DisconnectOrder(Target("u")),
    DisconnectOrder(Target("u", "c", "s"), whitelist=frozenset(["x", "y"])),
    UnsubscribeOrder(Target("", "c"), "é"),
    UnsubscribeOrder(Target(session="s"), "", 2500, "why"),
    SubscribeOrder(Target("u"), "a"),
    SubscribeOrder(
        Target("u"), "a",
        SubscribeReply(b"\xff", b"{}", True, False, None, True, False, 12.5, False),
        StreamPosition(1 << 63, "e")),
    RefreshOrder(Target("u"), RefreshReply()),
    RefreshOrder(Target("u"), RefreshReply(5.5, True, b"\x00", b"")),
]


@pytest.mark.parametrize("order", ORDERS, ids=repr)
def test_an_order_comes_back(order: Any) -> None:
    assert READERS[order.method](order.to_params()) == order


def test_nothing_of_a_reply_is_left_out() -> None:
    for order, reply in (
        (SubscribeOrder(Target("u"), "a"), SubscribeReply),
        (RefreshOrder(Target("u"), RefreshReply()), RefreshReply),
    ):
        told = set(json.loads(order.to_params()))
        assert {field.name for field in dataclasses.fields(reply)} <= told


@pytest.mark.parametrize("change", [None, 7, "x", [], {}, -1.5, True, "\ud800", [7], 1e400],
                         ids=ascii)
@pytest.mark.parametrize("order", ORDERS[1::2], ids=lambda order: order.method)
async def test_an_order_that_no_node_has_given_is_refused_whole(
    order: Any, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Every word of it is replaced in turn."""
    said = json.loads(order.to_params())
    async with Node() as node:
        node.on_connect(lambda event: ConnectReply(user="u"))
        node.on_subscribe(lambda client, event: None)
        connection = await connected(node, "u", "z")
        for word in said:
            params = json.dumps({**said, "user": "nobody", word: change}).encode()
            node.on_control(ControlMessage("other", order.method, params))
        await eventually(lambda: not node._background)
        assert connection.client.channels == ["z"]
        assert not connection.client.closed
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_a_disconnect_code_is_checked() -> None:
    with pytest.raises(ValueError, match="between 3000 and 4999"):
        READERS["disconnect"](b'{"user": "u", "client": "", "code": 99, "reason": ""}')


async def test_the_application_may_name_its_own_disconnect(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        there = await connected(two, "u")
        await one.disconnect(user="u", disconnect=Disconnect(4001, "mine"))
        await eventually(lambda: there.ended)
        assert there.ended is not None
        assert (there.ended.code, there.ended.reason) == (4001, "mine")
