"""Where the application decides: handlers of every kind, and what holds without them."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    Client,
    ClientError,
    ClientInfo,
    ConnectEvent,
    ConnectReply,
    Disconnect,
    HistoryEvent,
    Node,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    StreamPosition,
    SubRefreshEvent,
    SubscribeEvent,
    SubscribeReply,
    codes,
)
from fanout.roster import Target
from fanout.server.policy.state import ClientState
from fanout.server.session import SessionRequest
from tests.node.connections import Connection
from tests.node.engines import eventually

KEPT = ChannelOptions(presence=True, history_size=5, history_lifetime=60)


def open_to_all(node: Node) -> Node:
    node.on_connect(lambda event: ConnectReply(user=event.token))
    node.on_subscribe(lambda client, event: SubscribeReply())
    return node


# Without handlers


async def test_nobody_connects_without_a_handler() -> None:
    async with Node() as node:
        connection = Connection(node)
        with pytest.raises(Disconnect) as refused:
            await connection.connect()
        assert refused.value.code == 3507
        assert node.stats().num_clients == 0


async def test_nobody_subscribes_without_a_handler() -> None:
    async with Node() as node:
        node.on_connect(lambda event: ConnectReply(user="42"))
        connection = await Connection.made(node)
        with pytest.raises(ClientError) as refused:
            await connection.subscribe("a")
        assert refused.value.code == 103
        assert node.stats().num_subscriptions == 0


@pytest.mark.parametrize(("options", "user", "subscribed", "code"), [
    (ChannelOptions(), "42", True, 103),
    (ChannelOptions(publish=True), "42", False, 103),
    (ChannelOptions(publish=True), "", True, 103),
    (ChannelOptions(publish=True), "42", True, 0),
    (ChannelOptions(publish=True, anonymous=True), "", True, 0),
    (ChannelOptions(publish=True, anonymous=True), "", False, 103),
])
async def test_publishing_without_a_handler(
    options: ChannelOptions, user: str, subscribed: bool, code: int
) -> None:
    async with open_to_all(Node(options=options)) as node:
        connection = Connection(node)
        await connection.connect(user)
        if subscribed:
            await connection.subscribe("a")
        assert await outcome(connection.client.publish(PublishEvent("a", b"1"))) == code
        assert len(connection.pushes()) == (code == 0)


@pytest.mark.parametrize(("user", "anonymous", "subscribed", "code"), [
    ("42", False, True, 0), ("42", False, False, 103), ("", False, True, 103),
    ("", True, True, 0), ("", True, False, 103),
])
async def test_reading_without_a_handler(
    user: str, anonymous: bool, subscribed: bool, code: int
) -> None:
    options = ChannelOptions(
        presence=True, history_size=5, history_lifetime=60, anonymous=anonymous)
    async with open_to_all(Node(options=options)) as node:
        connection = Connection(node)
        await connection.connect(user)
        if subscribed:
            await connection.subscribe("a")
        client = connection.client
        for reading in (
            client.presence("a"), client.presence_stats("a"), client.history(HistoryEvent("a"))):
            assert await outcome(reading) == code


async def outcome(calling: Any) -> int:
    """The code of what ``calling`` raises, or 0."""
    try:
        await calling
    except (ClientError, Disconnect) as refused:
        return refused.code
    return 0


# Sync, async, and everything else that can be called


def plain(*_: object) -> Any:
    return None


async def coroutine(*_: object) -> Any:
    await asyncio.sleep(0)


def future(*_: object) -> Any:
    waiting = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(waiting.set_result, None)
    return waiting


class WithCall:
    async def __call__(self, *_: object) -> Any:
        await asyncio.sleep(0)


@pytest.mark.parametrize("handler", [
    plain, coroutine, future, WithCall(), functools.partial(coroutine, 1)])
async def test_every_kind_of_handler(handler: Callable[..., Any]) -> None:
    async with Node(options=KEPT) as node:
        node.on_connect(lambda event: ConnectReply())
        assert node.on_subscribe(handler) is handler
        node.on_publish(handler)
        node.on_presence(handler)
        node.on_history(handler)
        node.on_disconnect(handler)
        connection = await Connection.made(node, "a")
        assert await connection.client.publish(PublishEvent("a", b"1")) == StreamPosition(
            1, (await node.history_stream("a")).position.epoch)
        assert list(await connection.client.presence("a")) == [connection.client.id]
        assert (await connection.client.presence_stats("a")).num_clients == 1
        page = await connection.client.history(HistoryEvent("a", limit=-1))
        assert [message.data for message in page.messages] == [b"1"]
        connection.client.disconnect()


async def test_what_handlers_are_given() -> None:
    seen: list[Any] = []
    options = ChannelOptions(presence=True, history_size=5, history_lifetime=60)
    async with Node(options=options) as node:
        @node.on_connect
        def connect(event: ConnectEvent) -> ConnectReply:
            seen.append(event)
            return ConnectReply("42", b'"info"', b'"data"')

        @node.on_subscribe
        def subscribe(client: Client, event: SubscribeEvent) -> SubscribeReply:
            seen.append((client, event))
            return SubscribeReply(info=b'"chan"', data=b'"hello"')

        @node.on_publish
        def publish(client: Client, event: PublishEvent) -> PublishReply:
            seen.append((client, event))
            return PublishReply(data=event.data.upper(), tags={"checked": "yes"})

        @node.on_disconnect
        def gone(client: Client, disconnect: Disconnect) -> None:
            seen.append((client, disconnect))

        connection = Connection(node)
        client = connection.client
        event = ConnectEvent(client.id, "token", b"{}", "name", "version", {"host": "h"})
        reply = await client.connect(event)
        assert reply.data == b'"data"'
        assert (client.user, client.info) == ("42", b'"info"')
        wish = SubscribeEvent("a", "token", b"1", True)
        assert (await client.subscribe(wish)).data == b'"hello"'
        await client.publish(PublishEvent("a", b'"x"'))
        info = ClientInfo("42", client.id, b'"info"', b'"chan"')
        (message,) = await node.history("a")
        assert (message.data, message.client, message.info, message.tags) == (
            b'"X"', client.id, info, {"checked": "yes"})
        assert await node.presence("a") == {client.id: info}
        client.disconnect(Disconnect(4001, "mine"))
        await eventually(lambda: len(seen) == 4)
        assert seen[0] is event
        assert seen[1] == (client, wish)
        assert seen[2] == (client, PublishEvent("a", b'"x"'))
        assert seen[3][0] is client
        assert (seen[3][1].code, seen[3][1].reason) == (4001, "mine")


# Wrong answers


@pytest.mark.parametrize("value", [None, "42", {"user": "42"}, True, SubscribeReply()])
async def test_a_connect_handler_answers_with_a_reply(value: object) -> None:
    async with Node() as node:
        node.on_connect(lambda event: value)
        connection = Connection(node)
        with pytest.raises(TypeError, match="on_connect must return a ConnectReply"):
            await connection.connect()
        assert node.stats().num_clients == 0
        assert not connection.client.connected


@pytest.mark.parametrize("value", [True, False, "yes", ConnectReply(), PublishReply])
async def test_other_handlers_answer_with_theirs_or_none(value: object) -> None:
    async with Node(options=KEPT) as node:
        node.on_connect(lambda event: ConnectReply())
        node.on_subscribe(lambda client, event: value)
        node.on_publish(lambda client, event: value)
        connection = await Connection.made(node)
        with pytest.raises(TypeError, match="on_subscribe must return a SubscribeReply or None"):
            await connection.subscribe("a")
        with pytest.raises(TypeError, match="on_publish must return a PublishReply or None"):
            await connection.client.publish(PublishEvent("a", b"1"))
        assert node.stats().num_subscriptions == 0
        assert await node.presence("a") == {}
        assert await node.channels() == []


@pytest.mark.parametrize("error", [
    RuntimeError("out of order"), ClientError(444, "mine"), Disconnect(4444, "mine"),
    asyncio.CancelledError(),
])
@pytest.mark.parametrize("late", [False, True])
async def test_what_a_handler_raises_reaches_the_protocol(
    error: BaseException, late: bool
) -> None:
    def handler(*_: object) -> Any:
        raise error

    async def late_handler(*_: object) -> Any:
        await asyncio.sleep(0)
        raise error

    async with Node(options=KEPT) as node:
        node.on_connect(lambda event: ConnectReply())
        for register in (node.on_subscribe, node.on_publish, node.on_presence, node.on_history):
            register(late_handler if late else handler)
        connection = await Connection.made(node)
        client = connection.client
        for call in (
            client.subscribe(SubscribeEvent("a")), client.publish(PublishEvent("a", b"1")),
            client.presence("a"), client.history(HistoryEvent("a")),
        ):
            with pytest.raises(type(error)) as caught:
                await call
            assert caught.value is error
        assert node.stats().num_subscriptions == 0
        assert await node.channels() == []
        # The refused subscribe is over: the next one is not "in flight".
        node.handlers.subscribe = None
        assert await outcome(client.subscribe(SubscribeEvent("a"))) == 103


def test_registering() -> None:
    node = Node()
    for name in ("connect", "subscribe", "publish", "presence", "history", "disconnect",
                 "admin_message"):
        register = getattr(node, f"on_{name}")
        with pytest.raises(TypeError, match="must be callable"):
            register("not a function")
        register(plain)
        with pytest.raises(ValueError, match="has a handler already"):
            register(plain)


def test_a_handler_takes_what_its_event_is_called_with() -> None:
    node = Node()
    with pytest.raises(TypeError) as refused:
        @node.on_subscribe
        def subscribe(event: SubscribeEvent) -> None: ...
    assert str(refused.value).startswith("on_subscribe calls its handler with (client, event), ")
    assert "<locals>.subscribe(event) does not" in str(refused.value)
    for register, handler, arguments in (
        (node.on_connect, lambda client, event: None, "(event)"),
        (node.on_rpc, functools.partial(lambda client, event: None, None), "(client, event)"),
        (node.on_history, lambda client, event, more: None, "(client, event)"),
        (node.on_disconnect, lambda client, *, disconnect: None, "(client, disconnect)"),
        (node.on_admin_message, lambda: None, "(message)"),
    ):
        with pytest.raises(TypeError, match=re.escape(f"calls its handler with {arguments},")):
            register(handler)
    # More names than are given, with defaults, and what does not tell its arguments.
    node.on_subscribe(lambda client, event, log=None: None)
    node.on_disconnect(lambda *arguments: None)
    node.on_connected(Untold())


class Untold:
    """As a function written in C may be."""

    __signature__ = 1

    def __call__(self, *arguments: object) -> None: ...


async def test_admin_messages() -> None:
    got: list[AdminMessage] = []
    async with Node() as node:
        node.on_admin_message(got.append)
        await node.publish_admin(AdminMessage("info", b"{}"))
    assert got == [AdminMessage("info", b"{}")]


# While a handler takes its time


async def test_the_client_leaves_while_connect_is_decided() -> None:
    release = asyncio.Event()
    async with Node() as node:
        @node.on_connect
        async def connect(event: ConnectEvent) -> ConnectReply:
            await release.wait()
            return ConnectReply()

        connection = Connection(node)
        connecting = asyncio.create_task(connection.connect())
        await asyncio.sleep(0)
        connection.client.close(codes.DISCONNECT_CONNECTION_CLOSED)
        release.set()
        assert await outcome(connecting) == 3000
        assert node.stats().num_clients == 0


@pytest.mark.parametrize("step", ["handler", "presence", "history"])
async def test_the_client_leaves_while_subscribe_is_decided(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it may stay: no subscription, no presence, no interest."""
    reached, release = asyncio.Event(), asyncio.Event()
    options = ChannelOptions(
        presence=True, join_leave=True, recover=True, history_size=5, history_lifetime=60)

    async def wait() -> None:
        reached.set()
        await release.wait()

    async with Node(options=options) as node:
        node.on_connect(lambda event: ConnectReply())

        @node.on_subscribe
        async def subscribe(client: Client, event: SubscribeEvent) -> None:
            if step == "handler":
                await wait()

        def slowed(method: Callable[..., Any]) -> Callable[..., Any]:
            async def call(*arguments: Any, **keywords: Any) -> Any:
                result = await method(*arguments, **keywords)
                await wait()
                return result

            return call

        if step != "handler":
            name = {"presence": "add_presence", "history": "history_stream"}[step]
            monkeypatch.setattr(node.engine, name, slowed(getattr(node.engine, name)))
        connection = await Connection.made(node)
        subscribing = asyncio.create_task(connection.subscribe("a"))
        await reached.wait()
        connection.client.disconnect()
        release.set()
        assert await outcome(subscribing) == 3000
        assert node.stats().num_subscriptions == 0
        assert await node.presence("a") == {}
        assert await node.channels() == []
        assert not node.interest._holds
        assert connection.pushes() == []


async def test_two_subscribes_at_once() -> None:
    release = asyncio.Event()
    async with Node() as node:
        node.on_connect(lambda event: ConnectReply())

        @node.on_subscribe
        async def subscribe(client: Client, event: SubscribeEvent) -> None:
            await release.wait()

        connection = await Connection.made(node)
        first = asyncio.create_task(connection.subscribe("a"))
        await asyncio.sleep(0)
        assert await outcome(connection.subscribe("a")) == 105
        release.set()
        await first
        assert await outcome(connection.subscribe("a")) == 105
        assert connection.client.channels == ["a"]


async def test_the_channel_limit_counts_what_is_in_flight() -> None:
    release = asyncio.Event()
    async with Node(client_channel_limit=3) as node:
        node.on_connect(lambda event: ConnectReply())

        @node.on_subscribe
        async def subscribe(client: Client, event: SubscribeEvent) -> None:
            await release.wait()

        connection = await Connection.made(node)
        tasks = [asyncio.create_task(connection.subscribe(f"c{number}")) for number in range(6)]
        await asyncio.sleep(0)
        release.set()
        assert [await outcome(task) for task in tasks] == [0, 0, 0, 106, 106, 106]


# Channels nobody knows


async def test_unknown_channels() -> None:
    node = open_to_all(Node(options=lambda channel: KEPT if channel == "a" else None))
    async with node:
        client = (await Connection.made(node, "a")).client
        for call in (
            client.subscribe(SubscribeEvent("b")), client.publish(PublishEvent("b", b"1")),
            client.presence("b"), client.presence_stats("b"), client.history(HistoryEvent("b")),
        ):
            assert await outcome(call) == 102


async def test_options_that_fail() -> None:
    def options(channel: str) -> ChannelOptions:
        raise LookupError(channel)

    async with Node(options=options) as node:
        with pytest.raises(LookupError):
            node.publish("a", b"1")
        with pytest.raises(LookupError):
            node.subscribe("a")
        assert node.stats().num_subscriptions == 0


@pytest.mark.parametrize("event", [
    ConnectEvent("1", token="secret", headers={"cookie": "secret"},
                 emulated_headers={"authorization": "secret"},
                 subs={"a": SubscribeEvent("a", token="secret")}),
    SubscribeEvent("a", token="secret"), RefreshEvent("secret"), SubRefreshEvent("a", "secret"),
    Target(session="secret"),
    SessionRequest("websocket", {"authorization": "secret"}),
    ClientState(headers={"cookie": "secret"}, emulated_headers={"cookie": "secret"}),
])
def test_what_is_logged_of_an_event_has_no_secrets(event: object) -> None:
    assert "secret" not in repr(event)
