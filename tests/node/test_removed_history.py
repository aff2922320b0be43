"""What one node removes of a history, the others give to nobody: nodes on one broker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

import fanout.positions
from fanout import (
    ChannelOptions,
    ConnectReply,
    ControlMessage,
    Engine,
    EngineUnavailableError,
    NatsEngine,
    Node,
    RedisEngine,
    StreamPosition,
    SubscribeReply,
)
from fanout.redis.shards import shard_of
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.brokers.valkey import ValkeyServer
from tests.node.connections import Connection
from tests.node.engines import eventually

KEPT = ChannelOptions(recover=True, history_size=10, history_lifetime=60)


@pytest.fixture(scope="module", params=["valkey", "nats"])
def make_engine(request: pytest.FixtureRequest) -> Iterator[Callable[[], Engine]]:
    """Makes engines of one system on a broker that runs."""
    prefix = f"removed-{secrets.token_hex(4)}"
    if request.param == "valkey":
        with ValkeyServer() as valkey:
            yield lambda: RedisEngine(valkey.url, prefix=prefix)
    else:
        with NatsServer(jetstream=True) as nats:
            yield lambda: NatsEngine(nats.url, prefix=prefix, jetstream=True)


@pytest.fixture
def channel() -> str:
    return secrets.token_hex(4)


@pytest.fixture
async def nodes(
    make_engine: Callable[[], Engine], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Node, Node]]:
    """Two that know of each other, and forget no reading by themselves."""
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 1000.0)
    async with running(make_engine(), make_engine()) as both:
        yield both


@contextlib.asynccontextmanager
async def running(*engines: Engine) -> AsyncIterator[tuple[Node, Node]]:
    async with contextlib.AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(Node(engine, options=KEPT)) for engine in engines]
        for node in (one, two):
            node.on_connect(lambda event: ConnectReply("42"))
            node.on_subscribe(lambda client, event: SubscribeReply())
            node.on_survey("heard", lambda params: None)
        await eventually(lambda: len(one.info()) == len(two.info()) == 2)
        yield one, two


async def told(one: Node, two: Node) -> None:
    """What ``one`` has told ``two`` so far was heard: the question comes behind it."""
    await one.survey("heard", to=two.uid)


async def recovered(node: Node, channel: str, since: StreamPosition) -> list[bytes] | None:
    connection = await Connection.made(node)
    result = await connection.subscribe(channel, since=since)
    return None if result.missed is None else [message.data for message in result.missed]


async def test_another_node_does_not_give_what_was_removed(
    nodes: tuple[Node, Node], channel: str
) -> None:
    one, two = nodes
    first = await one.publish(channel, b"1")
    second = await one.publish(channel, b"2")
    assert await recovered(two, channel, first) == [b"2"]
    assert await recovered(two, channel, second) == []
    await one.remove_history(channel)
    await told(one, two)
    assert await recovered(two, channel, first) is None
    # The stream's position outlives what was removed of it.
    assert await recovered(two, channel, second) == []


async def test_what_follows_a_removal_is_given(nodes: tuple[Node, Node], channel: str) -> None:
    one, two = nodes
    first = await one.publish(channel, b"1")
    second = await one.publish(channel, b"2")
    assert await recovered(two, channel, first) == [b"2"]
    await one.remove_history(channel)
    await one.publish(channel, b"3")
    await told(one, two)
    assert await recovered(two, channel, first) is None
    assert await recovered(two, channel, second) == [b"3"]


async def test_what_nobody_is_told_of_is_found_out(
    nodes: tuple[Node, Node], channel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then nobody reads again what many are given."""
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 0.01)
    monkeypatch.setattr(fanout.positions, "CHECKED_AFTER", 0.03)
    one, two = nodes
    await one.publish(channel, b"0")
    first = await one.publish(channel, b"1")
    await one.publish(channel, b"2")
    assert await recovered(two, channel, first) == [b"2"]
    track = two.positions.get(channel)
    assert track is not None
    reading = track.readings[first]
    reading.waiting += 1        # somebody always does
    read_at = reading.known_at
    await eventually(lambda: reading.known_at > read_at)    # it was looked at
    assert await recovered(two, channel, first) == [b"2"]
    assert track.readings[first] is reading
    await one.engine.remove_history(channel)
    await eventually(lambda: not track.readings)
    assert await recovered(two, channel, first) is None


async def test_others_that_cannot_be_told_are_no_secret(
    nodes: tuple[Node, Node], channel: str
) -> None:
    one, two = nodes
    first = await one.publish(channel, b"1")
    await one.publish(channel, b"2")
    assert await recovered(two, channel, first) == [b"2"]
    publish = one.engine.publish_control

    async def away(message: ControlMessage) -> None:
        raise EngineUnavailableError("away")

    one.engine.publish_control = away       # type: ignore[method-assign]
    with pytest.raises(EngineUnavailableError, match="away"):
        await one.remove_history(channel)
    one.engine.publish_control = publish    # type: ignore[method-assign]
    assert await recovered(one, channel, first) is None
    # What is left to do is what a repeat does.
    await one.remove_history(channel)
    await told(one, two)
    assert await recovered(two, channel, first) is None


async def test_a_node_that_may_have_missed_it_reads_again(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """The channel is on one server, and what nodes tell each other comes over the other."""
    monkeypatch.setattr(fanout.positions, "SHARED_FOR", 1000.0)
    channel = next(name for name in map(str, range(100)) if shard_of(name.encode(), 2) == 1)
    with ValkeyServer() as words, ValkeyServer() as kept, CuttingProxy(words.port) as proxy:
        async with running(
            RedisEngine(words.url, kept.url),
            RedisEngine(f"redis://127.0.0.1:{proxy.port}/0", kept.url),
        ) as (one, two):
            lost, back = asyncio.Event(), asyncio.Event()
            two.on_interruption(lambda event: lost.set())
            two.on_restoration(lambda event: back.set())
            first = await one.publish(channel, b"1")
            await one.publish(channel, b"2")
            assert await recovered(two, channel, first) == [b"2"]
            proxy.refuse()
            proxy.cut()
            async with asyncio.timeout(10):
                await lost.wait()
                assert await recovered(two, channel, first) == [b"2"]
                await one.remove_history(channel)
                proxy.accept()
                await back.wait()
            assert await recovered(two, channel, first) is None
