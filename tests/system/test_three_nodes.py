"""Three servers on one broker, all well: they are one system to their clients."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from fanout import Node
from tests.system.checker import Received, check
from tests.system.cluster import Cluster
from tests.system.subscriber import Subscriber
from tests.system.waiting import equal, until

PER_PUBLISHER = 100


async def publish_from(subscriber: Subscriber, channel: str) -> None:
    for number in range(1, PER_PUBLISHER + 1):
        await subscriber.client.publish(
            channel, {"publisher": f"{subscriber.user} in {channel}", "number": number})


async def test_every_message_reaches_every_subscriber_once_and_in_channel_order(
    cluster: Cluster, node: Node, rooms: tuple[str, str], plain: str
) -> None:
    channels = (*rooms, plain)
    async with cluster.subscribers(*channels) as subscribers:
        publishers = subscribers[::2]     # one at each server
        async with asyncio.timeout(60):
            await asyncio.gather(
                *(publish_from(each, channel) for each in publishers for channel in channels))
        expected = PER_PUBLISHER * len(publishers)
        for channel in channels:
            await until(
                lambda channel=channel: all(  # type: ignore[misc]
                    len(each.received(channel)) >= expected for each in subscribers),
                f"{expected} messages of {channel} everywhere",
            )
        for room in rooms:
            page = await node.history_stream(room, limit=0)
            assert page.position.offset == expected
            assert check({each.name: each.logs[room] for each in subscribers}, []) == []
            for each in subscribers:
                assert each.place(room) == (page.position.epoch, expected)
        for each in subscribers:
            by_publisher: dict[str, list[int]] = {}
            for entry in each.received(plain):
                by_publisher.setdefault(entry.publisher, []).append(entry.number)
            assert len(by_publisher) == len(publishers)
            for numbers in by_publisher.values():
                assert numbers == list(range(1, PER_PUBLISHER + 1))
        if cluster.kind.name == "valkey":
            # One thread serves all: what all publish has one order, also without offsets.
            first: list[Received] = subscribers[0].received(plain)
            assert all(each.received(plain) == first for each in subscribers)


async def test_presence_and_channels_are_the_same_everywhere(
    cluster: Cluster, node: Node, rooms: tuple[str, str], plain: str
) -> None:
    async with cluster.node("node-other") as other:
        async with cluster.subscribers(rooms[0], plain) as subscribers:
            everybody = {each.id: each.user for each in subscribers}
            for asked in (node, other):
                infos = await asked.presence(rooms[0])
                assert {client: info.user for client, info in infos.items()} == everybody
                stats = await asked.presence_stats(rooms[0])
                assert (stats.num_clients, stats.num_users) == (6, 6)
                assert sorted(await asked.channels(f"{rooms[0]}*")) == [rooms[0]]
                assert set(await asked.channels()) >= {rooms[0], plain}
            for each in subscribers:
                result = await each.subscriptions[rooms[0]].presence()
                assert {client: info.user for client, info in result.clients.items()} == everybody
        for asked in (node, other):
            await equal(lambda asked=asked: asked.presence(rooms[0]), {})  # type: ignore[misc]
            await equal(lambda asked=asked: asked.channels(rooms[0]), [])  # type: ignore[misc]


async def two_devices(cluster: Cluster, stack: AsyncExitStack, room: str) -> list[Subscriber]:
    """A user at two servers, and another one beside each."""
    found = []
    for number, user in ((0, "ann"), (1, "ann"), (0, "bob"), (2, "bob")):
        subscriber = Subscriber(
            cluster.url(number), [room], user=user, name=f"{user} at {number}")
        found.append(await stack.enter_async_context(subscriber))
    return found


async def test_a_user_is_unsubscribed_from_any_node(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async with cluster.node("node-other") as other, AsyncExitStack() as stack:
        ann, ann_too, bob, bob_too = await two_devices(cluster, stack, rooms[0])
        await node.unsubscribe(rooms[0], user="ann")
        await until(lambda: all(each.unsubscribed(rooms[0]) for each in (ann, ann_too)), "ann out")
        assert [each.unsubscribed(rooms[0]) for each in (ann, ann_too)] == [[2000], [2000]]
        # One connection of a user's, from another node.
        await other.unsubscribe(rooms[0], user="bob", client=bob_too.id)
        await until(lambda: bool(bob_too.unsubscribed(rooms[0])), "one of bob's out")
        await equal(lambda: _users(node, rooms[0]), [(bob.id, "bob")])
        await node.publish(rooms[0], b'{"publisher": "p", "number": 1}')
        await until(lambda: len(bob.received(rooms[0])) == 1, "bob still hears")
        assert not any(each.received(rooms[0]) for each in (ann, ann_too, bob_too))
        assert not any(each.disconnected for each in (ann, ann_too, bob, bob_too))


async def test_a_user_is_disconnected_from_any_node(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async with cluster.node("node-other") as other, AsyncExitStack() as stack:
        ann, ann_too, bob, bob_too = await two_devices(cluster, stack, rooms[0])
        await other.disconnect(user="ann")
        await until(lambda: bool(ann.disconnected and ann_too.disconnected), "ann is out")
        assert ann.disconnected == ann_too.disconnected == [3503]
        await node.disconnect(client=bob_too.id)
        await until(lambda: bool(bob_too.disconnected), "one of bob's is out")
        await equal(lambda: _users(node, rooms[0]), [(bob.id, "bob")])
        assert bob.disconnected == []


async def _users(node: Node, room: str) -> list[tuple[str, str]]:
    return [(client, info.user) for client, info in (await node.presence(room)).items()]


async def test_every_node_knows_of_all(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async def names() -> list[str]:
        return sorted(each.name for each in node.info())

    await equal(names, ["node-0", "node-1", "node-2", "node-test"])
    async with cluster.subscribers(rooms[0]):

        async def clients() -> dict[str, int]:
            return {each.name: each.num_clients for each in node.info() if each.uid != node.uid}

        await equal(clients, {"node-0": 2, "node-1": 2, "node-2": 2})
        uids = [each.uid for each in node.info()]
        assert len(set(uids)) == 4
        assert uids[0] == node.uid
        async with cluster.node("node-other") as other:
            await equal(lambda: _uids(other), {*uids, other.uid})
            await equal(lambda: _uids(node), {*uids, other.uid})
        # It said goodbye.
        await equal(lambda: _uids(node), set(uids))


async def _uids(node: Node) -> set[str]:
    return {each.uid for each in node.info()}
