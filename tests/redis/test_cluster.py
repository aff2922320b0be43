"""A cluster: sharded pub/sub, slots that move, nodes that fail."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    EngineUnavailableError,
    Message,
    RedisEngine,
    StreamPosition,
)
from tests.brokers.cluster import Cluster, ClusterNode
from tests.brokers.recorder import Told
from tests.conformance.engines import PATIENCE
from tests.redis.conftest import MakeEngine, NewEngine

KEPT = ChannelOptions(history_size=100_000, history_lifetime=600)


def url_of(cluster: Cluster) -> str:
    return "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in cluster.addresses)


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    """A cluster whose slots a test may move."""
    yield shared
    for node in shared.nodes:
        node.client().flushall()


def names_on(cluster: Cluster, prefix: str, node: ClusterNode, count: int) -> list[str]:
    """So many channels whose slots a node has."""
    names: list[str] = []
    number = 0
    while len(names) < count:
        if cluster.node_of(f"{prefix}.client.{{ch{number}}}") is node:
            names.append(f"ch{number}")
        number += 1
    return names


class Publisher:
    """Publishes numbered messages into channels for as long as it is told to."""

    def __init__(self, engine: RedisEngine, channels: list[str], per_tick: int = 3) -> None:
        self.engine = engine
        self.channels = channels
        self.results: dict[str, list[Any]] = {channel: [] for channel in channels}
        self._per_tick = per_tick
        self._stopping = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._stopping:
            for channel in self.channels:
                results = self.results[channel]
                for _ in range(self._per_tick):
                    message = Message(channel, b"%d" % len(results))
                    results.append(self.engine.publish_message(channel, message, KEPT))
            await asyncio.sleep(0.002)

    async def more(self, count: int = 50) -> None:
        """Until it has published so many more into each channel."""
        goal = len(self.results[self.channels[0]]) + count
        async with asyncio.timeout(PATIENCE):
            while len(self.results[self.channels[0]]) < goal:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def stop(self) -> None:
        self._stopping = True
        await self._task
        for channel, results in self.results.items():
            self.results[channel] = await asyncio.gather(*results, return_exceptions=True)


async def check(publisher: Publisher, told: Told) -> None:
    """Nothing failed, was lost, doubled or reordered, except what was told."""
    for channel, results in publisher.results.items():
        assert [result for result in results if isinstance(result, Exception)] == []
        assert [result.offset for result in results] == list(range(1, len(results) + 1))
        kept = await publisher.engine.history_stream(channel)
        assert [int(each.data) for each in kept.messages] == list(range(len(results)))
        arrived = [int(each.data) for each in told.messages if each.channel == channel]
        assert arrived == sorted(set(arrived))
        if not any(channel in lost for lost in await told.lost(0)):
            assert arrived == list(range(len(results)))


async def test_all_nodes_are_used(
    make_engine: MakeEngine, cluster: Cluster, prefix: str
) -> None:
    engine, told = await make_engine(url_of(cluster))
    assert engine.name == "Redis Cluster"
    other, other_told = await make_engine(url_of(cluster))
    channels = [name for node in cluster.nodes for name in names_on(cluster, prefix, node, 3)]
    for channel in channels:
        await engine.subscribe(channel)
    for channel in channels:
        await other.publish_message(channel, Message(channel, b"1"), KEPT)
        await other.publish_message(channel, Message(channel, b"2"))
        await other.add_presence(channel, "c", ClientInfo("u", "c"))
    await told.until(lambda: len(told.messages) == 18)
    assert sorted(await other.channels()) == sorted(channels)
    assert sorted(await other.channels("ch?")) == sorted(
        channel for channel in channels if len(channel) == 3)
    for node in cluster.nodes:
        keys = node.client().keys(f"{prefix}.*")
        assert len(keys) == 15      # of three channels: history two, presence three
    for each in (engine, other):
        await each.publish_control(ControlMessage("n", "ping"))
        await each.publish_admin(AdminMessage("note"))
    await told.until(lambda: len(told.arrived) == 22)
    await other_told.until(lambda: len(other_told.arrived) == 4)


async def test_a_slot_that_moves_under_load(
    make_engine: MakeEngine, cluster: Cluster, prefix: str
) -> None:
    """Publishes go on in order; subscribers are told that something may be missing."""
    source, target, _ = cluster.nodes
    (moving, staying) = names_on(cluster, prefix, source, 2)
    engine, told = await make_engine(url_of(cluster))
    for channel in (moving, staying):
        await engine.subscribe(channel)
    publisher = Publisher(engine, [moving, staying])
    await publisher.more()
    slot = cluster.slot_of(f"{prefix}.client.{{{moving}}}")
    await asyncio.to_thread(cluster.move_slots, [slot], source, target)
    assert await told.lost() == [{moving}]
    assert await told.restored() == [{moving}]
    await publisher.more()
    # And back, so that other tests find the cluster as it was.
    await asyncio.to_thread(cluster.move_slots, [slot], target, source)
    await told.restored(2)
    await publisher.more()
    await publisher.stop()
    await engine.publish_message(moving, Message(moving, b"%d" % 10**6))
    await told.until(lambda: told.messages[-1].data == b"%d" % 10**6)
    told.arrived.pop()
    await check(publisher, told)


async def test_a_slot_whose_keys_are_on_their_way(
    make_engine: MakeEngine, cluster: Cluster, prefix: str
) -> None:
    """Between the beginning of a move and its end the keys are here, there, or on both sides."""
    source, target, _ = cluster.nodes
    (channel,) = names_on(cluster, prefix, source, 1)
    slot = cluster.slot_of(f"{prefix}.client.{{{channel}}}")
    engine, _ = await make_engine(url_of(cluster))
    offset = (await engine.publish_message(channel, Message(channel, b"1"), KEPT)).offset
    await asyncio.to_thread(cluster.begin_move, slot, source, target)
    results = [engine.publish_message(channel, Message(channel, b"2"), KEPT) for _ in range(3)]
    assert [(await result).offset for result in results] == [2, 3, 4]
    # One of the two keys alone: the node cannot do it now, and is asked again.
    client = source.client()
    host, port = "127.0.0.1", target.port
    meta = f"{prefix}.meta.{{{channel}}}"
    client.execute_command("MIGRATE", host, port, "", 0, 5000, "KEYS", meta)
    waiting = engine.publish_message(channel, Message(channel, b"3"), KEPT)
    await asyncio.sleep(0.2)
    assert not waiting.done()
    await asyncio.to_thread(cluster.move_keys, slot, source, target)
    offset = (await waiting).offset
    assert offset == 5
    # All keys are gone, the slot is still the old node's: it points to the new one.
    results = [engine.publish_message(channel, Message(channel, b"4"), KEPT) for _ in range(3)]
    assert [(await result).offset for result in results] == [6, 7, 8]
    assert len(await engine.history(channel)) == 8
    # A channel without any key is asked for at the new node at once.
    await asyncio.to_thread(cluster.end_move, slot, target)
    await asyncio.to_thread(cluster.wait_ok)
    assert (await engine.publish_message(channel, Message(channel, b"5"), KEPT)).offset == 9
    await asyncio.to_thread(cluster.move_slots, [slot], target, source)
    assert (await engine.publish_message(channel, Message(channel, b"6"), KEPT)).offset == 10


async def test_many_slots_move_with_their_channels(
    make_engine: MakeEngine, cluster: Cluster, prefix: str
) -> None:
    source, target, _ = cluster.nodes
    channels = names_on(cluster, prefix, source, 60)
    engine, told = await make_engine(url_of(cluster))
    other, _ = await make_engine(url_of(cluster))
    await asyncio.gather(*[engine.subscribe(channel) for channel in channels])
    slots = {cluster.slot_of(f"{prefix}.client.{{{channel}}}") for channel in channels[:40]}
    await asyncio.to_thread(cluster.move_slots, slots, source, target)
    moved = {
        channel for channel in channels
        if cluster.slot_of(f"{prefix}.client.{{{channel}}}") in slots}
    await told.until(lambda: set().union(*map(set, told._of("link_restored"))) == moved)
    assert set().union(*(await told.lost())) == moved
    assert sorted(await other.channels()) == sorted(channels)
    for channel in channels:
        await other.publish_message(channel, Message(channel, b"1"))
    await told.until(lambda: len(told.messages) == 60)
    for channel in channels[::2]:
        await engine.unsubscribe(channel)
    assert sorted(await other.channels()) == sorted(channels[1::2])
    await asyncio.to_thread(cluster.move_slots, slots, target, source)


async def test_a_node_that_is_killed_takes_only_its_channels_along(
    make_engine: MakeEngine, prefix: str
) -> None:
    with Cluster() as cluster:
        victim, *others = cluster.nodes
        engine, told = await make_engine(url_of(cluster), timeout=1.0, ping_interval=0.2)
        (gone,) = names_on(cluster, prefix, victim, 1)
        stay = [name for node in others for name in names_on(cluster, prefix, node, 1)]
        for channel in (gone, *stay):
            await engine.subscribe(channel)
        await engine.publish_message(gone, Message(gone, b"1"), KEPT)
        victim.kill()
        assert await told.lost() == [{gone}]
        with pytest.raises(EngineUnavailableError):
            await engine.publish_message(gone, Message(gone, b"2"), KEPT)
        for channel in stay:
            assert (await engine.publish_message(channel, Message(channel, b"1"), KEPT)).offset == 1
        with pytest.raises(EngineUnavailableError):
            await engine.channels()
        await asyncio.to_thread(victim.start)
        await asyncio.to_thread(cluster.wait_ok)
        assert await told.restored() == [{gone}]
        position = await retried(lambda: engine.publish_message(gone, Message(gone, b"3"), KEPT))
        assert position.offset == 1
        assert sorted(await retried(engine.channels)) == sorted([gone, *stay])


async def test_slots_of_a_dead_node_go_to_another(
    make_engine: MakeEngine, prefix: str
) -> None:
    """As after a failover: the owner is gone for good, and somebody else has its slots."""
    with Cluster() as cluster:
        victim, heir, _ = cluster.nodes
        engine, told = await make_engine(url_of(cluster), timeout=1.0, ping_interval=0.2)
        channels = names_on(cluster, prefix, victim, 5)
        await asyncio.gather(*[engine.subscribe(channel) for channel in channels])
        victim.kill()
        assert await told.lost() == [set(channels)]
        await asyncio.to_thread(cluster.wait_failed, victim)
        slots = cluster.slots_of(victim)
        # Nobody else claims them, so it may.
        heir.ask("DELSLOTSRANGE", slots[0], slots[-1])
        heir.ask("BUMPEPOCH")
        heir.ask("ADDSLOTSRANGE", slots[0], slots[-1])
        assert await told.restored() == [set(channels)]
        for channel in channels:
            message = Message(channel, b"1")
            position = await retried(
                lambda message=message: engine.publish_message(message.channel, message, KEPT))
            assert position.offset >= 1
        await told.until(
            lambda: {message.channel for message in told.messages} == set(channels))


async def test_a_cluster_that_is_gone_is_told_by_run(
    new_engine: NewEngine, shared: Cluster
) -> None:
    engine = new_engine("redis+cluster://127.0.0.1:1", timeout=0.5)
    with pytest.raises(EngineUnavailableError, match=r"127\.0\.0\.1:1\b"):
        await engine.run(Told())


async def test_the_replica_of_a_dead_node_takes_its_place(
    make_engine: MakeEngine, prefix: str
) -> None:
    with Cluster(replica=True) as cluster:
        dead = cluster.nodes[0]
        (lost,) = names_on(cluster, prefix, dead, 1)
        (safe,) = names_on(cluster, prefix, cluster.nodes[1], 1)
        engine, told = await make_engine(url_of(cluster), timeout=1.0, ping_interval=0.2)
        for channel in (lost, safe):
            await engine.subscribe(channel)
        for _ in range(2):
            before = await engine.publish_message(
                lost, Message(lost, b"0"), KEPT, idempotency_key="0", version=9)
        await engine.add_presence(lost, "c", ClientInfo("u", "c"))
        # What the replica has not been told yet would be lost with the master.
        with dead.client() as client:
            assert client.wait(1, 10_000) == 1
        dead.kill()
        await told.lost()
        assert (await engine.publish_message(safe, Message(safe, b"safe"), KEPT)).offset == 1
        await asyncio.to_thread(cluster.wait_promoted)
        page = await retried(lambda: engine.history_stream(lost))
        assert [message.data for message in page.messages] == [b"0"]
        assert list(await engine.presence(lost)) == ["c"]
        # What was published is known there, by its key and by its version.
        for key, version in (("0", 0), ("", 9)):
            assert await engine.publish_message(
                lost, Message(lost, b"again"), KEPT, idempotency_key=key, version=version
            ) == before
        await told.restored()
        after = await engine.publish_message(lost, Message(lost, b"after"), KEPT)
        assert after == StreamPosition(before.offset + 1, before.epoch)
        await told.until(lambda: b"after" in told.data)
        assert sorted(told.data) == [b"0", b"after", b"safe"]
        assert sorted(await engine.channels()) == sorted([lost, safe])
        await engine.publish_control(ControlMessage("n", "m"))
        await told.until(lambda: "control" in [kind for kind, _, _ in told.arrived])


async def test_any_node_leads_to_all(
    make_engine: MakeEngine, cluster: Cluster, prefix: str
) -> None:
    """The first of the addresses is dead, the second knows the others."""
    _, port = cluster.addresses[1]
    engine, _ = await make_engine(f"redis+cluster://127.0.0.1:1,127.0.0.1:{port}")
    for node in cluster.nodes:
        (channel,) = names_on(cluster, prefix, node, 1)
        assert (await engine.publish_message(channel, Message(channel, b"1"), KEPT)).offset == 1


async def test_with_a_password(make_engine: MakeEngine) -> None:
    with Cluster(password="pa:ss@wo/rd") as cluster:
        hosts = url_of(cluster).partition("://")[2]
        engine, _ = await make_engine(f"redis+cluster://:pa%3Ass%40wo%2Frd@{hosts}")
        assert await engine.publish_message("ch", Message("ch", b"1")) == StreamPosition()


async def retried(call: Any) -> Any:
    """What ``call`` gives when the servers have come to terms."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await call()
            except EngineUnavailableError:
                continue
