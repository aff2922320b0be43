"""What a node wants of an engine that is slow to subscribe, or fails to."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
from collections.abc import AsyncIterator

import pytest

from fanout import ConnectReply, Node, SubscribeReply
from tests.node.connections import Connection
from tests.node.engines import SlowEngine, eventually


@pytest.fixture
def engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def node(engine: SlowEngine) -> AsyncIterator[Node]:
    node = Node(engine)
    node.on_connect(lambda event: ConnectReply())
    node.on_subscribe(lambda client, event: SubscribeReply())
    async with node:
        yield node
        for waiting in list(engine._gates.values()):
            waiting.set_result(None)
        engine.free = True


def idle(node: Node) -> bool:
    return not node.interest._moves


async def test_one_call_for_the_first_and_one_for_the_last(
    node: Node, engine: SlowEngine
) -> None:
    first = node.subscribe("a")
    await engine.allow()
    await first
    second = await node.subscribe("a")
    connection = await Connection.made(node, "a")
    first.close()
    second.close()
    assert engine.calls == ["subscribe"]
    await connection.client.unsubscribe("a")
    await engine.allow()
    await eventually(lambda: idle(node))
    assert engine.calls == ["subscribe", "unsubscribe"]
    assert not engine.has


async def test_a_subscriber_waits_for_the_engine(node: Node, engine: SlowEngine) -> None:
    connection = await Connection.made(node)
    subscribing = asyncio.create_task(connection.subscribe("a"))
    await eventually(lambda: engine.running)
    another = asyncio.create_task(node.subscribe("a")._ready())
    await asyncio.sleep(0)
    assert not subscribing.done()
    assert not another.done()
    await engine.allow()
    await asyncio.gather(subscribing, another)
    assert engine.calls == ["subscribe"]
    assert engine.has == {"a"}
    await connection.client.unsubscribe("a")


async def test_it_is_gone_before_the_engine_had_it(node: Node, engine: SlowEngine) -> None:
    subscription = node.subscribe("a")
    await eventually(lambda: engine.running)
    subscription.close()
    await engine.allow()
    await engine.allow()
    await eventually(lambda: idle(node))
    assert engine.calls == ["subscribe", "unsubscribe"]


async def test_back_and_forth_while_a_call_runs(node: Node, engine: SlowEngine) -> None:
    """Only what is wanted in the end is asked for."""
    first = node.subscribe("a")
    await engine.allow()
    await first
    first.close()
    await eventually(lambda: engine.running == {"a": "unsubscribe"})
    for _ in range(5):
        node.subscribe("a").close()
    last = node.subscribe("a")
    assert engine.calls == ["subscribe", "unsubscribe"]
    await engine.allow()
    await engine.allow()
    await last
    assert engine.calls == ["subscribe", "unsubscribe", "subscribe"]
    assert engine.has == {"a"}
    last.close()


async def test_a_subscription_that_nobody_refers_to(node: Node, engine: SlowEngine) -> None:
    subscription = node.subscribe("a")
    await engine.allow()
    await subscription
    del subscription
    gc.collect()
    await engine.allow()
    await eventually(lambda: idle(node))
    assert engine.calls == ["subscribe", "unsubscribe"]


async def test_channels_do_not_wait_for_each_other(node: Node, engine: SlowEngine) -> None:
    a, b = node.subscribe("a"), node.subscribe("b")
    await engine.allow("b")
    await b
    assert engine.running == {"a": "subscribe"}
    await engine.allow("a")
    await a
    a.close()
    b.close()


async def test_a_subscription_of_several_channels(node: Node, engine: SlowEngine) -> None:
    both = node.subscribe("a", "b")
    await engine.allow("b")
    await engine.allow("a")
    await both
    assert engine.has == {"a", "b"}
    engine.free = True
    both.close()
    await eventually(lambda: idle(node))
    assert engine.has == set()


# Failures


async def test_the_engine_cannot_subscribe(node: Node, engine: SlowEngine) -> None:
    engine.free = True
    connection = await Connection.made(node)
    engine.failures = ["subscribe"]
    with pytest.raises(ConnectionError, match="subscribe failed"):
        await connection.subscribe("a")
    assert node.stats().num_subscriptions == 0
    assert not connection.client.is_subscribed("a")
    await eventually(lambda: idle(node))
    await connection.subscribe("a")
    assert engine.has == {"a"}


async def test_the_engine_cannot_subscribe_for_anybody(node: Node, engine: SlowEngine) -> None:
    """All who wait for the one call hear of it; the next one tries again."""
    connection = await Connection.made(node)
    engine.failures = ["subscribe"]
    waiting = [
        asyncio.create_task(connection.subscribe("a")),
        asyncio.create_task(node.subscribe("a").__aenter__()),
        asyncio.create_task(node.subscribe("a").__aenter__()),
    ]
    await engine.allow()
    engine.free = True
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [ConnectionError] * 3
    await eventually(lambda: idle(node))
    assert node.stats().num_subscriptions == 0
    assert engine.has == set()
    async with node.subscribe("a"):
        assert engine.has == {"a"}


async def test_a_failure_is_not_taken_for_a_subscription(node: Node, engine: SlowEngine) -> None:
    """The first is closed, with the reason; the second must not be told that all is well."""
    engine.free = True
    engine.failures = ["subscribe"]
    first = node.subscribe("a")
    with pytest.raises(ConnectionError):
        await first
    second = await node.subscribe("a")
    assert engine.has == {"a"}
    assert first.closed
    with pytest.raises(ConnectionError):
        await anext(aiter(first))
    second.close()


async def test_a_reader_that_waited_for_nobody_hears_of_the_failure(
    node: Node, engine: SlowEngine
) -> None:
    engine.free = True
    engine.failures = ["subscribe"]
    with pytest.raises(ConnectionError):
        async for _ in node.subscribe("a"):
            raise AssertionError("there is nothing to read")


@pytest.mark.parametrize("then", ["subscribe", "nothing"])
async def test_the_engine_cannot_unsubscribe(
    node: Node, engine: SlowEngine, then: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine.free = True
    (await node.subscribe("a")).close()
    await eventually(lambda: idle(node))
    engine.free = False
    subscription = node.subscribe("a")
    await engine.allow()
    await subscription
    engine.failures = ["unsubscribe"]
    subscription.close()
    await eventually(lambda: engine.running == {"a": "unsubscribe"})
    again = node.subscribe("a") if then == "subscribe" else None
    await engine.allow()
    engine.free = True
    if again is not None:
        # Nobody knows what the engine has after the failure, so it is asked again.
        await eventually(lambda: engine.running)
        await engine.allow()
        await again
        assert engine.calls[-2:] == ["unsubscribe", "subscribe"]
        assert engine.has == {"a"}
        again.close()
    await eventually(lambda: idle(node))
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "could not unsubscribe from 'a'" in caplog.text


@pytest.mark.parametrize("seed", range(20))
async def test_in_the_end_the_engine_has_what_is_wanted(
    node: Node, engine: SlowEngine, seed: int
) -> None:
    """Subscribers come and go, calls fail; the engine itself checks that none overlap."""
    random_ = random.Random(seed)
    engine.free = True
    channels = ["a", "b", "c"]
    connections = [await Connection.made(node) for _ in range(3)]
    held = []
    tasks: set[asyncio.Task[object]] = set()
    for _ in range(300):
        channel = random_.choice(channels)
        connection = random_.choice(connections)
        match random_.randrange(8):
            case 0 | 1:
                held.append(node.subscribe(channel))
            case 2 | 3 if held:
                held.pop(random_.randrange(len(held))).close()
            case 4:
                tasks.add(asyncio.create_task(connection.subscribe(channel)))
            case 5:
                tasks.add(asyncio.create_task(connection.client.unsubscribe(channel)))
            case 6:
                await asyncio.sleep(0)
            case 7 if seed % 2:
                engine.failures.append(random_.choice(["subscribe", "unsubscribe"]))
    await asyncio.gather(*tasks, return_exceptions=True)
    engine.failures.clear()
    await eventually(lambda: idle(node))
    # Whoever comes now makes sure.
    last = [await node.subscribe(channel) for channel in channels]
    assert engine.has == set(channels)
    for subscription in [*held, *last]:
        subscription.close()
    for connection in connections:
        for channel in channels:
            await connection.client.unsubscribe(channel)
    await eventually(lambda: idle(node))
    assert engine.has == set()
    assert not node.interest._holds
