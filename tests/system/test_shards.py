"""Two servers on two Valkeys that share the channels between them, one of which dies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fanout import EngineUnavailableError, Node
from fanout.redis.shards import shard_of
from tests.brokers.valkey import ValkeyServer
from tests.server.running import Process
from tests.system.cluster import Kind
from tests.system.proof import assert_kept, under_load
from tests.system.subscriber import Subscriber
from tests.system.waiting import equal, until

VALKEY = Kind("valkey")


class Sharded:
    """Two shards, and servers that know both."""

    def __init__(self, directory: Path) -> None:
        self.prefix = f"shards-{secrets.token_hex(4)}"
        self.shards = [ValkeyServer(persist=True), ValkeyServer(persist=True)]
        self.ports = [shard.port for shard in self.shards]
        self.servers = []
        for number in range(2):
            place = directory / f"node-{number}"
            place.mkdir()
            settings = VALKEY.settings(f"node-{number}", self.prefix, *self.ports)
            self.servers.append(Process(settings, place))

    @contextlib.asynccontextmanager
    async def subscribers(self, *rooms: str) -> AsyncIterator[list[Subscriber]]:
        async with contextlib.AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(
                    Subscriber(server.url, rooms, user=f"user-{number}"))
                for number, server in enumerate(self.servers)
            ]


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[Sharded]:
    sharded = Sharded(tmp_path)
    with contextlib.ExitStack() as stack:
        for part in (*sharded.shards, *sharded.servers):
            stack.enter_context(part)
        yield sharded


@pytest.fixture
async def node(sharded: Sharded) -> AsyncIterator[Node]:
    async with VALKEY.node("node-test", sharded.prefix, *sharded.ports) as node:
        yield node


def room_of(shard: int) -> str:
    """A room's name that belongs to a shard."""
    return next(
        room for number in itertools.count()
        if shard_of((room := f"room:{number}").encode(), 2) == shard
    )


async def test_while_one_shard_is_down_the_channels_of_the_other_go_on(
    sharded: Sharded, node: Node
) -> None:
    rooms = room_of(0), room_of(1)
    alive = rooms[1]
    async with under_load(sharded.subscribers(*rooms), node, rooms) as (subscribers, load):
        await asyncio.to_thread(sharded.shards[0].kill)
        await load.failed()
        # Nothing of the other one's failed, and it arrives.
        place = await load.mark(alive)
        await until(
            lambda: all(each.place(alive)[1] >= place.offset for each in subscribers), "the living")
        assert all(f":{sharded.ports[0]}" in str(error) for error in load.failures)
        assert set(await node.presence(alive)) == {each.id for each in subscribers}
        with pytest.raises(EngineUnavailableError):
            await node.channels()       # which would be less than all
        # Control messages take the way that is left.
        await node.unsubscribe(alive, user="user-1")
        await until(lambda: subscribers[1].unsubscribed(alive) == [2000], "told")
        await subscribers[1].subscriptions[alive].subscribe()
        await asyncio.to_thread(sharded.shards[0].start)
    for room in rooms:
        await assert_kept(node, room, load)
        assert [each.num_lost(room) for each in subscribers] == [0, 0]
    await equal(lambda: node.channels("room:*"), [])
