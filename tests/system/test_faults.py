"""What breaks between servers and broker, under a steady load of publishes with history.

Each test proves by the clients' own logs that there was no duplicate, no
reorder, and no gap that a client was not told of; and by the publisher's book
that what was acknowledged was received by everybody who was not told so.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import pytest
from centrifuge import ReplyError  # type: ignore[import-untyped]

from fanout import EngineUnavailableError, Node, StreamPosition
from tests.system.checker import stretches
from tests.system.cluster import Cluster
from tests.system.load import Load
from tests.system.proof import assert_kept, everywhere, under_load
from tests.system.subscriber import Subscriber
from tests.system.waiting import equal, until

BROKEN = "the engine's link broke"


def loaded(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> AbstractAsyncContextManager[tuple[list[Subscriber], Load]]:
    """Two clients at each server, and publishes into two rooms."""
    return under_load(cluster.subscribers(*rooms), node, rooms)


async def test_the_broker_is_killed_and_comes_back_with_its_data(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async with loaded(cluster, node, rooms) as (subscribers, load):
        await asyncio.to_thread(cluster.broker.kill)
        await load.failed()
        await asyncio.to_thread(cluster.broker.start)
    for room in rooms:
        await assert_kept(node, room, load)
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
    assert [each.num_connects for each in subscribers] == [1] * 6


async def test_the_broker_is_killed_and_comes_back_empty(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async with loaded(cluster, node, rooms) as (subscribers, load):
        before = {room: load.acknowledged[room][-1].epoch for room in rooms}
        await asyncio.to_thread(cluster.broker.kill)
        await load.failed()
        await asyncio.to_thread(cluster.broker.wipe)
        await asyncio.to_thread(cluster.broker.start)
        # Presence went with it, and is there again when it was refreshed.
        await equal(lambda: _present(node, rooms[0]), {each.id for each in subscribers})
    for room in rooms:
        after = load.acknowledged[room][-1].epoch
        assert after != before[room]
        # Nobody can know what of the old stream was not delivered: all are told.
        assert all(each.num_lost(room) >= 1 for each in subscribers)
    assert [each.num_connects for each in subscribers] == [1] * 6


@pytest.mark.parametrize("seen", ["by all", "by some"])
async def test_the_broker_comes_back_with_older_data(
    seen: str, cluster: Cluster, node: Node, rooms: tuple[str, str], tmp_path: Path
) -> None:
    """As from a snapshot: what was acknowledged since is gone, and its offsets come again.

    Who has seen none of what is gone lost nothing. Otherwise it dies while
    servers are still at work on its first death.
    """
    broker, older = cluster.broker, tmp_path / "older"
    async with cluster.subscribers(*rooms) as subscribers:
        async with Load(node, rooms) as load:
            await load.more(50)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(shutil.copytree, broker.data, older)
            await asyncio.to_thread(broker.start)
            await load.more(50)
            for room in rooms if seen == "by all" else ():
                place = await load.mark(room)
                await until(
                    lambda room=room, place=place: all(  # type: ignore[misc]
                        each.place(room) >= _pair(place) for each in subscribers),
                    "all have what will be gone",
                )
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(shutil.rmtree, broker.data)
            await asyncio.to_thread(shutil.copytree, older, broker.data)
            await asyncio.to_thread(broker.start)
            await load.more(50)
        for room in rooms:
            assert len({item.epoch for item in load.acknowledged[room]}) == 1
            assert len({item.offset for item in load.acknowledged[room]}) < len(
                load.acknowledged[room]), "no offset came again"
            await everywhere(subscribers, room, await load.mark(room))
            assert seen != "by all" or all(each.num_lost(room) >= 1 for each in subscribers)
            # What stood at a place before is not what stands there now: each log by itself.
            for each in subscribers:
                assert stretches(each.logs[room])[1] == []


async def test_the_broker_is_paused_for_longer_than_the_timeouts(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    before = [cluster.logged(number, BROKEN) for number in range(3)]
    async with loaded(cluster, node, rooms) as (subscribers, load):
        await asyncio.to_thread(cluster.broker.pause)
        await load.failed()
        await until(
            lambda: all(cluster.logged(n, BROKEN) > before[n] for n in range(3)),
            "all servers noticed",
        )
        cluster.broker.resume()
    for room in rooms:
        await assert_kept(node, room, load)
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
    assert [each.num_connects for each in subscribers] == [1] * 6


async def test_what_clients_ask_while_the_broker_is_away(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    late = Subscriber(cluster.url(1), rooms, user="late")
    async with AsyncExitStack() as stack, loaded(cluster, node, rooms) as (subscribers, load):
        first, second, third, *_ = (each.subscriptions[rooms[0]] for each in subscribers)
        await asyncio.to_thread(cluster.broker.kill)
        await load.failed()
        answers = await asyncio.gather(
            first.publish({"publisher": "client", "number": 1}),
            second.presence(),
            third.history(limit=1),
            node.disconnect(user="somebody"),
            node.channels(),
            return_exceptions=True,
        )
        for answer in answers[:3]:
            assert isinstance(answer, ReplyError)
            assert (answer.code, answer.temporary) == (100, True)
        assert all(isinstance(answer, EngineUnavailableError) for answer in answers[3:])
        # Who comes now is connected, and subscribed when the broker is back.
        entering = asyncio.create_task(stack.enter_async_context(late))
        await until(lambda: late.num_connects == 1, "connected without a broker")
        assert not entering.done()
        await asyncio.to_thread(cluster.broker.start)
        await entering
        subscribers.append(late)
    assert [each.num_connects for each in subscribers] == [1] * 7
    assert [each.num_lost(room) for each in subscribers for room in rooms] == [0] * 14


@pytest.mark.parametrize("num_bytes", [0, 1000])
async def test_one_server_s_links_are_cut_in_the_middle_of_a_reply(
    num_bytes: int, cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    before = [cluster.logged(number, BROKEN) for number in range(3)]
    async with loaded(cluster, node, rooms) as (subscribers, load):
        for _ in range(3):
            cut = cluster.proxies[1].cut_after(num_bytes)
            await asyncio.wait_for(asyncio.wrap_future(cut), 30)
            await load.more(5)
        assert not load.failures     # of others that go on
    for room in rooms:
        await assert_kept(node, room, load)
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
    assert [each.num_connects for each in subscribers] == [1] * 6
    await until(lambda: cluster.logged(1, BROKEN) > before[1], "it says so")
    assert [cluster.logged(n, BROKEN) - before[n] for n in (0, 2)] == [0, 0]


async def test_one_server_is_parted_from_the_broker(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    before = [cluster.logged(number, BROKEN) for number in range(3)]
    async with loaded(cluster, node, rooms) as (subscribers, load):
        cluster.proxies[2].stall()
        cluster.proxies[2].refuse()
        await until(lambda: cluster.logged(2, BROKEN) > before[2], "it noticed")
        # Where the broker can be reached all goes on.
        far = [each for each in subscribers if each.user.startswith("user-2-")]
        near = [each for each in subscribers if each not in far]
        place = await load.mark(rooms[0])
        await until(lambda: all(each.place(rooms[0]) >= _pair(place) for each in near), "the near")
        assert all(each.place(rooms[0]) < _pair(place) for each in far)
        assert not load.failures
        cluster.proxies[2].cut()
        cluster.proxies[2].unstall()
        cluster.proxies[2].accept()
    for room in rooms:
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
    assert [cluster.logged(n, BROKEN) - before[n] for n in (0, 1)] == [0, 0]


async def test_a_server_is_killed(
    cluster: Cluster, node: Node, rooms: tuple[str, str], plain: str
) -> None:
    # It knows of one server only, and so will not come back.
    lonely = Subscriber(cluster.servers[0].url, [plain], user="lonely")
    async with lonely, loaded(cluster, node, rooms) as (subscribers, load):
        assert await node.channels(plain) == [plain]
        moved = [each for each in subscribers if each.user.startswith("user-0-")]
        ids = {each.id for each in moved}
        await asyncio.to_thread(cluster.servers[0].stop, signal.SIGKILL)
        cluster.entrances[0].retarget(cluster.servers[1].port)
        await until(lambda: came_back(moved, rooms), "they came back")
        # Who died with it is gone when its presence ends, and they are there again.
        await equal(lambda: _present(node, rooms[0]), {each.id for each in subscribers})
        assert not ids & {each.id for each in moved}
        await equal(lambda: _names(node), ["node-1", "node-2", "node-test"])
        await equal(lambda: node.channels(plain), [])
        assert not load.failures
    for room in rooms:
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
        assert [each.num_recovered(room) for each in moved] == [1, 1]
    assert [each.num_connects for each in subscribers] == [2, 2, 1, 1, 1, 1]


async def test_a_server_is_stopped(cluster: Cluster, node: Node, rooms: tuple[str, str]) -> None:
    async with loaded(cluster, node, rooms) as (subscribers, load):
        moved = [each for each in subscribers if each.user.startswith("user-0-")]
        cluster.entrances[0].retarget(cluster.servers[1].port)
        assert await asyncio.to_thread(cluster.servers[0].stop) == 0
        await until(lambda: came_back(moved, rooms), "they came back")
        assert all(each.lost[-1] == "3001 shutdown" for each in moved)
        # It left no presence behind, and the others know that it is gone.
        assert await _names(node) == ["node-1", "node-2", "node-test"]
        for room in rooms:
            assert await _present(node, room) == {each.id for each in subscribers}
        assert not load.failures
    for room in rooms:
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
        assert [each.num_recovered(room) for each in moved] == [1, 1]


async def test_clients_that_do_not_keep_up(
    cluster: Cluster, node: Node, rooms: tuple[str, str]
) -> None:
    async with loaded(cluster, node, rooms) as (subscribers, load):
        slow = [each for each in subscribers if each.user.startswith("user-0-")]
        ids = {each.id for each in slow}
        cluster.entrances[0].stall()
        # What the kernel takes on both ways comes before what the server lets wait.
        while ids & set(await node.presence(rooms[0])):
            await load.mark(rooms[0], padding=20_000)
        cluster.entrances[0].unstall()
        await until(lambda: all(each.num_connects > 1 for each in slow), "they came back")
    for room in rooms:
        assert [each.num_lost(room) for each in subscribers] == [0] * 6
        assert all(each.num_recovered(room) for each in slow)
    # Once, or again while the long reply with what they missed was on its way.
    assert all(set(each.lost[1:]) == {"3008 slow"} for each in slow)
    assert [each.num_connects for each in subscribers[2:]] == [1] * 4


def came_back(moved: Iterable[Subscriber], rooms: Iterable[str]) -> bool:
    """Whether clients whose server is gone are subscribed again."""
    return all(each.num_recovered(room) == 1 for each in moved for room in rooms)


def _pair(position: StreamPosition) -> tuple[str, int]:
    return position.epoch, position.offset


async def _present(node: Node, room: str) -> set[str] | None:
    try:
        return set(await node.presence(room))
    except EngineUnavailableError:
        return None         # the broker has just come back


async def _names(node: Node) -> list[str]:
    return sorted(each.name for each in node.info())
