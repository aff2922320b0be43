"""The server in a program of one's own: whose handlers decide, who runs the node, what is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import jwt
import pytest
from aiohttp import web

import fanout
from fanout import ChannelOptions, ConnectEvent, ConnectReply, Node, RPCEvent, RPCReply
from fanout.server import Server, mount
from fanout.server.config import Config, ConfigError
from tests.server.peer import Peer, connect
from tests.server.running import errors_in, get, raw_socket

FREE_PORT: Mapping[str, Any] = {"address": "127.0.0.1", "port": 0}
SECRET = "a secret of some length, for HMAC"
SHUTDOWN = (3001, "shutdown")


def settings(**sections: Any) -> dict[str, Any]:
    return {"http_server": FREE_PORT, "shutdown": {"timeout": "5s"}, **sections}


def open_node(**options: Any) -> Node:
    """A node on which everybody is who the token says, and may subscribe."""
    node = Node(**options)

    @node.on_connecting
    async def connecting(event: ConnectEvent) -> ConnectReply:
        return ConnectReply(user=event.token)

    @node.on_subscribe
    def subscribe(client: fanout.Client, event: fanout.SubscribeEvent) -> None:
        pass

    return node


async def peer_at(port: int, path: str = "/connection/websocket", **handshake: Any) -> Peer:
    return await connect(f"ws://127.0.0.1:{port}{path}", **handshake)


async def connected(server: Server, user: str, *channels: str) -> Peer:
    peer = await peer_at(server.port)
    assert "connect" in await peer.call(connect={"token": user})
    for channel in channels:
        assert "subscribe" in await peer.call(subscribe={"channel": channel})
    return peer


async def called(server: Server, method: str, params: dict[str, Any]) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://127.0.0.1:{server.port}/api/{method}", json=params,
            headers={"X-API-Key": "key"}) as response,
    ):
        assert response.status == 200
        return dict(await response.json())


# ---- the application's node ------------------------------------------------


async def test_nothing_is_open_that_no_handler_opens() -> None:
    async with Server(settings(), node=Node()) as server, await peer_at(server.port) as peer:
        await peer.send({"id": 1, "connect": {"token": "ada"}})
        assert (await peer.closed())[0] == fanout.codes.DISCONNECT_PERMISSION_DENIED.code

    node = Node(options=ChannelOptions(history_size=5, history_lifetime=60, presence=True))
    node.on_connect(lambda event: ConnectReply(user="ada"))
    async with Server(settings(), node=node) as server, await peer_at(server.port) as peer:
        await peer.call(connect={})
        for refused, code in (
            ({"subscribe": {"channel": "news"}}, 103),
            ({"publish": {"channel": "news", "data": 1}}, 103),
            ({"presence": {"channel": "news"}}, 103),
            ({"history": {"channel": "news"}}, 103),
            ({"rpc": {"method": "any"}}, 108),
        ):
            assert (await peer.error(**refused))[0] == code, refused


async def test_the_application_s_handlers_decide() -> None:
    node = open_node()

    @node.on_publish
    def publish(client: fanout.Client, event: fanout.PublishEvent) -> fanout.PublishReply:
        if client.user != "ada":
            raise fanout.ClientError(4001, "only Ada speaks")
        return fanout.PublishReply(data=b'"as the application has it"')

    @node.on_rpc
    async def rpc(client: fanout.Client, event: RPCEvent) -> RPCReply:
        return RPCReply(f'"{event.method} of {client.user}"'.encode())

    async with Server(settings(), node=node) as server:
        assert server.node is node
        ada, bob = await connected(server, "ada", "news"), await connected(server, "bob", "news")
        assert await bob.error(publish={"channel": "news", "data": 1}) == (
            4001, "only Ada speaks")
        assert "publish" in await ada.call(publish={"channel": "news", "data": 1})
        push = (await bob.next())["push"]
        assert push["pub"]["data"] == "as the application has it"
        assert (await bob.call(rpc={"method": "name"}))["rpc"]["data"] == "name of bob"
        await node.publish("news", b'"from the program"')
        assert (await bob.next())["push"]["pub"]["data"] == "from the program"
        await ada.close()
        await bob.close()


async def test_a_handler_that_fails_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = open_node()

    @node.on_publish
    def publish(client: fanout.Client, event: fanout.PublishEvent) -> None:
        raise KeyError("text")

    @node.on_rpc
    def rpc(client: fanout.Client, event: RPCEvent) -> None:
        raise KeyError("method")

    async with Server(settings(), node=node) as server:
        ada = await connected(server, "ada", "news")
        assert (await ada.error(publish={"channel": "news", "data": "its payload"}))[0] == 100
        assert (await ada.error(rpc={"method": "any", "data": "its payload"}))[0] == 100
        (client,) = node.clients
        await ada.close()
    told = [record for record in caplog.records if record.getMessage() == "a command failed"]
    whose = {"client": client, "user": "ada"}
    assert [vars(record)["fields"] for record in told] == [
        {**whose, "command": "publish", "channel": "news"}, {**whose, "command": "rpc"}]
    assert all(record.exc_info for record in told)


async def test_the_configuration_lets_nobody_into_the_application_s_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = settings(
        client={"insecure": True, "allow_anonymous_connect_without_token": True,
                "token": {"hmac_secret_key": SECRET}},
        channel={"without_namespace": {"allow_subscribe_for_client": True}},
    )
    async with Server(config, node=Node()) as server, await peer_at(server.port) as peer:
        await peer.send({"id": 1, "connect": {}})
        assert (await peer.closed())[0] == fanout.codes.DISCONNECT_PERMISSION_DENIED.code
    told = {record.getMessage().partition(":")[0] for record in caplog.records
            if "has no effect, the application's node decides" in record.getMessage()}
    assert told == {
        "channel", "client.insecure", "client.allow_anonymous_connect_without_token",
        "client.token"}


async def test_what_concerns_connections_is_the_configuration_s(
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = settings(
        client={"ping_interval": "9s", "connection_limit": 1,
                "allowed_origins": ["https://app.example"]},
        websocket={"handler_prefix": "/ws"}, sse={"enabled": True})
    async with Server(config, node=open_node()) as server:
        assert await _status(server, "/ws", Origin="https://other.example") == 403
        assert await _status(server, "/connection/websocket") == 404
        async with await peer_at(server.port, "/ws", origin="https://app.example") as peer:
            assert (await peer.call(connect={"token": "ada"}))["connect"]["ping"] == 9
            assert await _status(server, "/ws", Origin="https://app.example") == 503
    assert "has no effect" not in caplog.text


async def _status(server: Server, path: str, **headers: str) -> int:
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    return (await get(f"http://127.0.0.1:{server.port}{path}", **{**upgrade, **headers}))[0]


async def test_a_node_that_runs_goes_on() -> None:
    async with open_node() as node:
        async with Server(settings(), node=node) as server:
            peer = await connected(server, "ada", "news")
        assert node.running
        assert await peer.closed() == SHUTDOWN
        assert not node.clients
        async with node.subscribe("news") as news:
            await node.publish("news", b"1")
            assert (await anext(aiter(news))).data == b"1"
        await peer.close()


async def test_who_is_busy_to_the_end_is_told_of_the_shutdown_too() -> None:
    begun, told = asyncio.Event(), asyncio.Queue[int]()
    async with open_node() as node:
        @node.on_rpc
        async def rpc(client: fanout.Client, event: RPCEvent) -> None:
            begun.set()
            await asyncio.Event().wait()

        @node.on_disconnect
        def disconnected(client: fanout.Client, disconnect: fanout.Disconnect) -> None:
            told.put_nowait(disconnect.code)

        async with Server(settings(shutdown={"timeout": "200ms"}), node=node) as server:
            peer = await connected(server, "ada")
            await peer.send({"id": 9, "rpc": {"method": "wait"}})
            await asyncio.wait_for(begun.wait(), 10)
        assert await asyncio.wait_for(told.get(), 10) == 3001
        await peer.close()


async def test_a_node_that_does_not_run_is_run_and_shut_down() -> None:
    node = open_node()
    async with Server(settings(), node=node) as server:
        assert node.running
        peer = await connected(server, "ada")
    assert not node.running
    assert await peer.closed() == SHUTDOWN
    await peer.close()
    with pytest.raises(fanout.ClosedError, match="a node is run once"):
        await node.run()


async def test_a_node_is_served_once() -> None:
    node = Node()
    Server(settings(), node=node)
    with pytest.raises(ValueError, match="the node has a server already"):
        Server(settings(), node=node)
    with pytest.raises(ValueError, match="the node has a server already"):
        mount(web.Application(), node)


async def test_a_closed_node_is_not_served() -> None:
    node = Node()
    async with node:
        pass
    with pytest.raises(fanout.ClosedError, match="a node is run once; this one is closed"):
        await Server(settings(), node=node).start()


@pytest.mark.parametrize("running", [False, True])
async def test_a_start_that_fails_leaves_nothing_behind(running: bool) -> None:
    node = Node()
    async with contextlib.AsyncExitStack() as stack:
        if running:
            await stack.enter_async_context(node)
        async with Server(settings(), node=Node()) as other:
            taken = settings(http_server={"address": "127.0.0.1", "port": other.port})
            server = Server(taken, node=node)
            with pytest.raises(OSError, match="address already in use"):
                await server.start()
        assert node.running is running
        with pytest.raises(fanout.ClosedError, match="a server is started once"):
            await server.start()


async def test_whoever_stops_it_again_waits_for_the_same_end() -> None:
    node = open_node()
    server = Server(settings(), node=node)
    await server.start()
    peer = await connected(server, "ada")
    await asyncio.gather(server.stop(), server.stop())
    assert not node.running
    await server.stop()
    assert await peer.closed() == SHUTDOWN
    await peer.close()


async def test_a_program_that_does_nothing_but_serve(caplog: pytest.LogCaptureFixture) -> None:
    node = open_node()
    server = Server(settings(), node=node)
    serving = asyncio.ensure_future(server.serve())
    try:
        async with asyncio.timeout(10):
            while "listening on" not in caplog.text:  # noqa: ASYNC110 - a line is no event
                await asyncio.sleep(0.005)
        peer = await connected(server, "ada")
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, 10)
    finally:
        serving.cancel()
    assert not node.running
    assert await peer.closed() == SHUTDOWN
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    await peer.close()


async def test_a_stop_whose_caller_gives_up_goes_on() -> None:
    node = open_node()
    server = Server(settings(), node=node)
    await server.start()
    stopping = asyncio.ensure_future(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait({stopping})
    assert stopping.cancelled()
    again = asyncio.ensure_future(server.stop())
    await asyncio.wait({again}, timeout=10)
    try:
        assert not again.cancelled() and again.exception() is None
        assert not node.running
    finally:
        if node.running:
            await server._stop()


async def test_a_server_that_was_never_started_stops() -> None:
    node = Node()
    server = Server(settings(), node=node)
    await server.stop()
    with pytest.raises(fanout.ClosedError, match="the server does not listen"):
        _ = server.port
    with pytest.raises(fanout.ClosedError, match="a server is started once"):
        await server.start()


def test_the_loop_of_asyncio_serves_as_well() -> None:
    async def main() -> None:
        node = open_node()
        async with Server(settings(), node=node) as server:
            peer = await connected(server, "ada", "news")
            for number in range(100):
                node.publish("news", b"%d" % number)
            for number in range(100):
                assert (await peer.next())["push"]["pub"]["data"] == number
        assert await peer.closed() == SHUTDOWN
        await peer.close()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


async def test_what_is_no_node_and_no_configuration() -> None:
    with pytest.raises(TypeError, match="node must be a Node, not 'news'"):
        Server(node="news")     # type: ignore[arg-type]
    with pytest.raises(TypeError, match="config must be a Config or a mapping, not str"):
        Server("config.json")   # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r'client\.ping_intervall.*ping_interval'):
        Server({"client": {"ping_intervall": "3s"}})
    with pytest.raises(ConfigError, match=r'client\.pong_timeout = "9s": must be shorter'):
        Server({"client": {"ping_interval": "8s", "pong_timeout": "9s"}})
    with pytest.raises(ValueError, match="the demo needs a node made from the configuration"):
        Server(node=Node(), demo=True)
    assert Server().config == Server(Config()).config == Server({}).config == Config()


# ---- the server API, figures and admin page of the application's node -------


def channel_options(channel: str) -> ChannelOptions | None:
    if channel.startswith("chat:"):
        return ChannelOptions(
            presence=True, history_size=5, history_lifetime=60, recover=True)
    return ChannelOptions() if channel == "plain" else None


async def test_the_server_api_goes_by_the_node_s_options() -> None:
    node = open_node(options=channel_options)
    async with Server(settings(http_api={"key": "key"}), node=node) as server:
        peer = await connected(server, "ada")
        answer = await called(server, "publish", {"channel": "chat:a", "data": {"n": 1}})
        assert answer["result"]["offset"] == 1
        answer = await called(server, "history", {"channel": "chat:a", "limit": -1})
        assert [one["data"] for one in answer["result"]["publications"]] == [{"n": 1}]
        for method, channel, code in (
            ("publish", "elsewhere", 102), ("presence", "plain", 108), ("history", "plain", 108),
            ("publish", "plain", 107),
        ):
            answer = await called(server, method, {"channel": channel})
            assert answer["error"]["code"] == code, (method, channel)

        await called(server, "subscribe", {"channel": "chat:a", "user": "ada"})
        push = (await peer.next())["push"]
        assert push["channel"] == "chat:a"
        assert push["subscribe"]["recoverable"] and push["subscribe"]["positioned"]
        answer = await called(server, "presence", {"channel": "chat:a"})
        assert [one["user"] for one in answer["result"]["presence"].values()] == ["ada"]
        await called(server, "subscribe", {
            "channel": "chat:b", "user": "ada", "override": {"presence": {"value": False}}})
        assert (await peer.next())["push"]["channel"] == "chat:b"
        answer = await called(server, "presence", {"channel": "chat:b"})
        assert answer["result"]["presence"] == {}
        await peer.close()


async def test_its_api_has_the_application_s_methods() -> None:
    server = Server(settings(http_api={"key": "key"}), node=Node())
    server.api.on_rpc("double", lambda params: params * 2)
    async with server:
        answer = await called(server, "rpc", {"method": "double", "params": 4})
        assert answer == {"result": {"data": 44}}


async def test_figures_and_the_admin_page() -> None:
    config = settings(
        prometheus={"enabled": True},
        admin={"enabled": True, "insecure": True, "handler_prefix": "/admin"})
    async with Server(config, node=open_node()) as server:
        peer = await connected(server, "ada")
        base = f"http://127.0.0.1:{server.port}"
        status, _, body = await get(f"{base}/metrics")
        assert status == 200 and b"node_clients 1.0" in body
        assert b"fanout_proxy_calls_total{" not in body
        assert (await get(f"{base}/health"))[0] == 200
        assert (await get(f"{base}/admin/"))[0] == 200
        await peer.close()


async def test_the_application_s_own_measure_stays() -> None:
    node = Node()
    node.measure = lambda: {"orders": 3.0}
    async with Server(settings(), node=node):
        assert node.info()[0].metrics == {"orders": 3.0}


# ---- the configuration's node, and handlers beside it -----------------------


async def test_a_handler_wins_over_the_configuration_s_and_the_rest_stays() -> None:
    server = Server(settings(
        client={"token": {"hmac_secret_key": SECRET}},
        channel={"without_namespace": {"allow_subscribe_for_client": True}}))

    @server.node.on_rpc
    def rpc(client: fanout.Client, event: RPCEvent) -> RPCReply:
        return RPCReply(f'"{client.user}"'.encode())

    with pytest.raises(ValueError, match="on_rpc has a handler already"):
        server.node.on_rpc(rpc)
    async with server:
        async with await peer_at(server.port) as peer:
            await peer.call(connect={"token": jwt.encode({"sub": "ada"}, SECRET, "HS256")})
            assert (await peer.call(rpc={"method": "who"}))["rpc"]["data"] == "ada"
            assert "subscribe" in await peer.call(subscribe={"channel": "news"})
            assert (await peer.error(publish={"channel": "news", "data": 1}))[0] == 103
        async with await peer_at(server.port) as peer:
            await peer.send({"id": 1, "connect": {"token": "no token"}})
            assert await peer.closed() == (3500, "invalid token")


@pytest.mark.parametrize(
    ("client", "own", "warned"),
    [
        ({}, False, True),
        ({"insecure": True}, False, False),
        ({"allow_anonymous_connect_without_token": True}, False, False),
        ({}, True, False),
    ],
)
async def test_a_server_that_lets_nobody_in_says_so(
    client: dict[str, Any], own: bool, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(settings(client=client))
    if own:
        server.node.on_connect(lambda event: ConnectReply())
    async with server:
        assert ("nobody can connect" in caplog.text) is warned


async def test_a_handler_may_ask_the_configuration_s() -> None:
    server = Server(settings(
        client={"token": {"hmac_secret_key": SECRET}},
        channel={"without_namespace": {"allow_subscribe_for_client": True}}))
    configured: Any = server.node.handlers.subscribe

    @server.node.on_subscribe
    async def subscribe(
        client: fanout.Client, event: fanout.SubscribeEvent
    ) -> fanout.SubscribeReply:
        if event.channel == "closed today":
            raise fanout.ClientError(4002, "come back tomorrow")
        reply: fanout.SubscribeReply = await configured(client, event)
        return reply

    async with server, await peer_at(server.port) as peer:
        await peer.call(connect={"token": jwt.encode({"sub": "ada"}, SECRET, "HS256")})
        assert await peer.error(subscribe={"channel": "closed today"}) == (
            4002, "come back tomorrow")
        assert "subscribe" in await peer.call(subscribe={"channel": "news"})
        assert (await peer.error(subscribe={"channel": "no:such namespace"}))[0] == 102


async def test_what_the_configuration_does_at_a_connect_is_done_beside_the_application_s() -> None:
    server = Server(settings(
        client={
            "token": {"hmac_secret_key": SECRET},
            "subscribe_to_user_personal_channel": {"enabled": True, "single_connection": True},
        },
        channel={"without_namespace": {"presence": True}}))
    told: asyncio.Queue[str] = asyncio.Queue()

    @server.node.on_connected
    def here(client: fanout.Client) -> None:
        told.put_nowait(client.user)

    token = jwt.encode({"sub": "ada"}, SECRET, "HS256")
    async with server, await peer_at(server.port) as first, await peer_at(server.port) as second:
        await first.call(connect={"token": token})
        assert await asyncio.wait_for(told.get(), 10) == "ada"
        await second.call(connect={"token": token})
        assert await asyncio.wait_for(told.get(), 10) == "ada"
        assert (await first.closed())[0] == fanout.codes.DISCONNECT_CONNECTION_LIMIT.code


# ---- beside an aiohttp application ------------------------------------------


@contextlib.asynccontextmanager
async def running(application: web.Application) -> AsyncIterator[int]:
    """The application on a free port, as aiohttp's own runner serves it."""
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_one_port_has_both() -> None:
    node = open_node()
    application = web.Application()

    async def order(request: web.Request) -> web.Response:
        await node.publish("orders", await request.read())
        return web.Response(text="ordered")

    application.router.add_post("/orders", order)
    mount(application, node, {"sse": {"enabled": True}})
    async with running(application) as port:
        peer = await peer_at(port)
        await peer.call(connect={"token": "ada"})
        await peer.call(subscribe={"channel": "orders"})
        async with aiohttp.ClientSession() as session, session.post(
            f"http://127.0.0.1:{port}/orders", data=b'"tea"'
        ) as response:
            assert await response.text() == "ordered"
        assert (await peer.next())["push"]["pub"]["data"] == "tea"
        assert (await get(f"http://127.0.0.1:{port}/health"))[0] == 200
    assert await peer.closed() == SHUTDOWN
    assert not node.running
    await peer.close()


async def test_requests_under_way_may_publish_while_the_application_shuts_down() -> None:
    node = open_node(options=ChannelOptions(history_size=9, history_lifetime=60))
    application = web.Application()
    begun, go_on = asyncio.Event(), asyncio.Event()
    kept: list[fanout.Message] = []

    async def slow(request: web.Request) -> web.Response:
        begun.set()
        await go_on.wait()
        await node.publish("orders", b"1")
        kept.extend(await node.history("orders"))
        return web.Response()

    async def release(application: web.Application) -> None:
        assert not node.clients     # they were asked to leave before
        go_on.set()

    application.router.add_get("/slow", slow)
    mount(application, node)
    application.on_shutdown.append(release)
    async with running(application) as port:
        peer = await peer_at(port)
        await peer.call(connect={"token": "ada"})
        answer = asyncio.ensure_future(get(f"http://127.0.0.1:{port}/slow"))
        await asyncio.wait_for(begun.wait(), 10)
    assert (await answer)[0] == 200
    assert [message.data for message in kept] == [b"1"]
    assert await peer.closed() == SHUTDOWN
    await peer.close()


async def test_a_node_that_the_application_runs_itself_goes_on() -> None:
    node = open_node()
    application = web.Application()
    mount(application, node)
    async with node:
        async with running(application) as port, await peer_at(port) as peer:
            assert "connect" in await peer.call(connect={"token": "ada"})
        assert node.running
    application = web.Application()
    node = open_node()

    async def run_node(application: web.Application) -> AsyncIterator[None]:
        async with node:
            yield

    mount(application, node)
    application.cleanup_ctx.append(run_node)
    async with running(application) as port:
        peer = await peer_at(port)
        await peer.call(connect={"token": "ada"})
    assert await peer.closed() == SHUTDOWN
    await peer.close()


async def test_a_mounted_node_below_a_path() -> None:
    application, below = web.Application(), web.Application()
    mount(below, open_node())
    application.add_subapp("/live/", below)
    async with (
        running(application) as port,
        await peer_at(port, "/live/connection/websocket") as peer,
    ):
        assert "connect" in await peer.call(connect={"token": "ada"})


async def test_mounting_says_what_is_wrong_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        mount(web.Application(), Node(), {"websockets": {}})
    application = web.Application()
    mount(application, Node(), {"channel": {"max_length": 20}, "http_server": {"port": 1}})
    async with running(application):
        assert "channel: has no effect, the application's node decides" in caplog.text
        assert "http_server: has no effect, the application listens" in caplog.text


async def test_an_application_s_end_that_fails_is_logged_and_the_server_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server(settings(), node=(node := open_node()))

    @contextlib.asynccontextmanager
    async def around() -> AsyncIterator[None]:
        yield
        raise RuntimeError("not today")

    server._service.around = around()
    await server.start()
    port = server.port
    await server.stop()
    assert not node.running
    with pytest.raises(ConnectionRefusedError):
        raw_socket(port)
    assert errors_in(caplog.records) == ["the application did not end well not today"]


# ---- what is imported --------------------------------------------------------


def test_the_library_is_light() -> None:
    code = (
        "import sys, fanout\n"
        "assert 'server' in dir(fanout) and 'RedisEngine' in dir(fanout)\n"
        "fanout.server\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "heavy = {'aiohttp', 'msgspec', 'click', 'jwt', 'google', 'yaml', 'redis', 'nats',\n"
        "         'prometheus_client'}\n"
        "assert not loaded & heavy, loaded & heavy\n"
        "assert 'Server' in dir(fanout.server) and 'mount' in dir(fanout.server)\n"
        "from fanout.server import Server, mount\n"
        "from fanout import *\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_the_server_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("fanout.server.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(ImportError, match=r"Server needs aiohttp.*pip install 'fanout\[server\]'"):
        _ = fanout.server.Server
    with pytest.raises(AttributeError, match="no attribute 'Servers'"):
        _ = fanout.server.Servers       # type: ignore[attr-defined]


def test_every_public_name_is_there_and_typed() -> None:
    assert sorted(fanout.__all__) == fanout.__all__
    for name in fanout.__all__:
        assert getattr(fanout, name).__doc__, name


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
