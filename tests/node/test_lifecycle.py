"""A node's life: from its construction to the end of everything it holds."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    Client,
    ClosedError,
    ConnectReply,
    Disconnect,
    EngineEvents,
    EngineUnavailableError,
    MemoryEngine,
    Node,
    SubscribeReply,
)
from tests.node.connections import Connection
from tests.node.engines import SlowEngine, eventually


def open_node(**arguments: Any) -> Node:
    node = Node(**arguments)
    node.on_connect(lambda event: ConnectReply(user=event.token))
    node.on_subscribe(lambda client, event: SubscribeReply())
    return node


@pytest.mark.parametrize(("arguments", "error"), [
    ({"options": 5}, TypeError),
    ({"max_channel_length": "255"}, TypeError),
    ({"max_channel_length": True}, TypeError),
    ({"max_channel_length": 0}, ValueError),
    ({"max_message_size": -1}, ValueError),
    ({"client_queue_size": 0}, ValueError),
    ({"client_channel_limit": 0}, ValueError),
    ({"user_connection_limit": -1}, ValueError),
    ({"threadsafe_limit": 0}, ValueError),
    ({"threadsafe_limit": 1.5}, TypeError),
    ({"presence_interval": 0}, ValueError),
])
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(arguments))):
        Node(**arguments)


CALLS: list[Callable[[Node], object]] = [
    lambda node: node.publish("a", b"1"),
    lambda node: node.subscribe("a"),
    lambda node: node.publish_threadsafe("a", b"1"),
    lambda node: node.stats(),
]


@pytest.mark.parametrize("call", CALLS)
async def test_before_and_after_its_life(call: Callable[[Node], object]) -> None:
    node = Node()
    with pytest.raises(ClosedError):
        call(node)
    await node.run()
    call(node)
    await node.shutdown()
    with pytest.raises(ClosedError, match=r"closed|does not run"):
        call(node)


async def test_it_runs_once() -> None:
    node = Node()
    async with node:
        assert node.running
        with pytest.raises(ClosedError, match="run once"):
            await node.run()
    assert not node.running
    with pytest.raises(ClosedError, match="run once"):
        await node.run()
    await node.shutdown()       # nothing happens


async def test_shutdown_of_what_never_ran() -> None:
    node = Node()
    await node.shutdown()
    with pytest.raises(ClosedError):
        await node.run()


async def test_an_error_leaves_the_block_after_the_shutdown() -> None:
    with pytest.raises(KeyError):
        async with Node() as node:
            raise KeyError("mine")
    with pytest.raises(ClosedError):
        node.stats()


async def test_it_is_collected_when_it_is_over() -> None:
    node = open_node()
    async with node:
        subscription = node.subscribe("a")
        await Connection.made(node, "a")
        node.publish("a", b"1")
        assert (await subscription.get_batch())[0].data == b"1"
    gone = weakref.ref(node)
    del node, subscription
    for _ in range(3):      # what the loop still has to call
        await asyncio.sleep(0)
    gc.collect()
    assert gone() is None


async def test_stats() -> None:
    async with open_node(name="one") as node:
        before = node.stats()
        assert (before.name, before.uid) == ("one", node.uid)
        assert before.engine == node.engine.name
        assert before.uptime >= 0
        assert before.num_clients == before.num_channels == before.num_published == 0
        subscription = node.subscribe("a", "b")
        connections = [Connection(node) for _ in range(3)]
        for connection, user in zip(connections, ["1", "1", ""], strict=True):
            await connection.connect(user)
            await connection.subscribe("a")
        node.publish("a", b"1")
        stats = node.stats()
        assert (stats.num_clients, stats.num_users) == (3, 1)
        assert (stats.num_channels, stats.num_subscriptions) == (2, 5)
        assert (stats.num_published, stats.num_delivered, stats.num_dropped) == (1, 4, 0)
        assert stats.uptime >= before.uptime
        connections[0].client.disconnect()
        assert (node.stats().num_clients, node.stats().num_users) == (2, 1)
        connections[1].client.disconnect()
        connections[2].client.disconnect()
        subscription.close()
        stats = node.stats()
        assert (stats.num_clients, stats.num_users, stats.num_channels) == (0, 0, 0)


# Shutdown


async def test_shutdown_sends_everybody_away() -> None:
    node = open_node(options=ChannelOptions(presence=True, join_leave=True))
    told: list[tuple[Client, Disconnect, int]] = []

    @node.on_disconnect
    async def gone(client: Client, disconnect: Disconnect) -> None:
        await asyncio.sleep(0)
        told.append((client, disconnect, len(await node.presence("a"))))

    async with node:
        connections = [await Connection.made(node, "a") for _ in range(3)]
        late = Connection(node)
    assert [connection.ended.code for connection in connections if connection.ended] == [3001] * 3
    assert {client for client, _, _ in told} == {one.client for one in connections}
    assert {disconnect.code for _, disconnect, _ in told} == {3001}
    assert min(left for _, _, left in told) == 0
    with pytest.raises(Disconnect) as refused:
        await late.connect()
    assert refused.value.code == 3001


async def test_readers_get_what_is_queued_and_then_the_end() -> None:
    async with Node() as node:
        subscription = node.subscribe("a")
        seen: list[bytes] = []
        node.subscribe("a", callback=lambda message: seen.append(message.data))
        waiting = node.subscribe("b")
        reading = asyncio.create_task(waiting.get_batch())
        await asyncio.sleep(0)
        node.publish("a", b"1")
        node.publish("a", b"2")
    assert subscription.closed
    assert [message.data async for message in subscription] == [b"1", b"2"]
    assert seen == [b"1", b"2"]
    assert await asyncio.wait_for(reading, 5) == []
    subscription.close()        # nothing happens


async def test_publishes_of_other_threads_are_finished() -> None:
    async with Node() as node:
        subscription = node.subscribe("a")
        futures = await asyncio.to_thread(
            lambda: [node.publish_threadsafe("a", b"%d" % number) for number in range(100)])
    assert all(future.done() for future in futures)
    assert [future.exception() for future in futures] == [None] * 100
    assert [int(message.data) async for message in subscription] == list(range(100))


async def test_shutdown_waits_for_work_in_the_background() -> None:
    release = asyncio.Event()
    node = open_node()

    @node.on_disconnect
    async def gone(client: Client, disconnect: Disconnect) -> None:
        await release.wait()
        await node.publish("log", b"gone")

    async with node:
        log = node.subscribe("log")
        (await Connection.made(node)).client.disconnect()
        stopping = asyncio.create_task(node.shutdown())
        await eventually(lambda: not node.running)
        assert not stopping.done()
        release.set()
        await stopping
    assert [message.data async for message in log] == [b"gone"]


async def test_shutdown_is_bounded() -> None:
    cancelled: list[str] = []
    node = open_node()

    @node.on_disconnect
    async def never(client: Client, disconnect: Disconnect) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(client.id)
            raise

    await node.run()
    connection = await Connection.made(node)
    subscription = node.subscribe("a")
    await asyncio.wait_for(node.shutdown(0.01), 10)
    await eventually(lambda: cancelled == [connection.client.id])
    assert subscription.closed


async def test_shutdown_is_bounded_when_the_engine_hangs() -> None:
    class Hanging(MemoryEngine):
        async def unsubscribe(self, channel: str) -> None:
            await asyncio.Event().wait()

    node = Node(Hanging())
    await node.run()
    subscription = node.subscribe("a")
    before = asyncio.all_tasks()
    await asyncio.wait_for(node.shutdown(0.01), 10)
    assert subscription.closed
    await eventually(lambda: asyncio.all_tasks() <= before)


async def test_the_engine_is_closed_after_its_last_call() -> None:
    """The engine itself checks it."""
    engine = SlowEngine()
    engine.free = True
    async with open_node(engine=engine) as node:
        subscriptions = [await node.subscribe(f"c{number}") for number in range(10)]
        await Connection.made(node, "a", "b")
    assert all(subscription.closed for subscription in subscriptions)
    assert engine.closed
    assert not engine.has
    assert engine.calls.count("subscribe") == engine.calls.count("unsubscribe") == 12


async def test_a_failing_disconnect_handler_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    node = open_node()

    @node.on_disconnect
    def gone(client: Client, disconnect: Disconnect) -> None:
        raise RuntimeError("out of order")

    async with node:
        (await Connection.made(node)).client.disconnect()
    (record,) = (one for one in caplog.records if one.levelno >= logging.ERROR)
    assert record.exc_info is not None
    assert "out of order" in str(record.exc_info[1])


async def test_the_engine_cannot_start() -> None:
    class Broken(MemoryEngine):
        async def run(self, events: object) -> None:
            raise ConnectionError("no broker")

    node = Node(Broken())
    with pytest.raises(ConnectionError, match="no broker"):
        async with node:
            pytest.fail("it started")
    assert not node.running
    await node.shutdown()


@pytest.mark.parametrize("call", [
    lambda node: node.publish("a", b"1"),
    lambda node: node.publish("nobody", b"1"),
    lambda node: node.subscribe("a"),
    lambda node: node.stats(),
])
async def test_other_threads_have_one_door(call: Callable[[Node], object]) -> None:
    options = ChannelOptions(history_size=5, history_lifetime=60)
    async with Node(options=options) as node:
        subscription = node.subscribe("a")
        with pytest.raises(RuntimeError, match="publish_threadsafe"):
            await asyncio.to_thread(call, node)
        assert node.stats().num_subscriptions == 1
        # Neither stored nor delivered.
        assert await node.history("a") == await node.history("nobody") == []
        assert subscription.get_nowait() is None


async def test_an_engine_that_does_not_start_leaves_nothing_behind() -> None:
    class Unreachable(MemoryEngine):
        async def run(self, events: EngineEvents) -> None:
            raise EngineUnavailableError("no server there")

    node = Node(Unreachable())
    with pytest.raises(EngineUnavailableError, match="no server there"):
        await node.run()
    with pytest.raises(ClosedError):
        node.publish("a", b"1")
    await node.shutdown()


@pytest.mark.parametrize("engine", ["redis://127.0.0.1:6379", MemoryEngine, object()])
def test_what_is_no_engine_is_refused_at_once(engine: Any) -> None:
    with pytest.raises(TypeError, match="engine must be an Engine"):
        Node(engine)
