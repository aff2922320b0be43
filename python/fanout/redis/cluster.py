"""A cluster: channels on the nodes that have their slots, wherever these go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from functools import lru_cache

from fanout.errors import EngineError, EngineUnavailableError
from fanout.redis.address import Address
from fanout.redis.cluster_links import NodeCommands, NodeSubscriptions
from fanout.redis.commands import Command, CommandLink
from fanout.redis.dial import ServerDialer
from fanout.redis.keys import Names
from fanout.redis.link import LinkSettings, reason
from fanout.redis.servers import Deliver, Shard
from fanout.redis.slots import NUM_SLOTS, Place, SlotRange, fetch_slots, slot_of

__all__ = ["Cluster"]

_LOOK_PAUSE = 0.2
"""Seconds between two looks at whose the slots are, at least."""
_LOOK_AGAIN = 1.0
"""Seconds until another look, while a node cannot be reached."""
_KEEP = 30.0
"""Seconds for which links to a node without slots are kept, which may just get some."""
_MOST_SLOTS_KNOWN = 16384


class Node:
    """One node and the links to it."""

    def __init__(self, place: Place, commands: NodeCommands, subscriptions: NodeSubscriptions):
        self.place = place
        self.commands = commands
        self.subscriptions = subscriptions
        self.wanted_at = 0.0


class Cluster:
    """The nodes of a cluster, as :class:`fanout.redis.servers.Servers`.

    Each slot has an owner, to whom its commands go, and a target, who will be
    the owner when nothing of that slot is under way to the old one: so nothing
    of a channel overtakes what came before it.

    ``changed`` is called when a channel may be elsewhere than before.
    """

    publish_verb = b"SPUBLISH"
    channels_verb = b"SHARDCHANNELS"

    def __init__(
        self,
        address: Address,
        settings: LinkSettings,
        names: Names,
        lost: Callable[[Collection[str], Exception], object],
        restored: Callable[[Collection[str]], object],
        changed: Callable[[], object],
    ) -> None:
        self._address = address
        self._settings = settings
        self._lost = lost
        self._restored = restored
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        self._nodes: dict[Place, Node] = {}
        self._owners: list[Node] = []
        self._targets: list[Node] = []
        self._is_open = False
        self._closed = False
        self._looking: asyncio.Task[None] | None = None
        self._look_again = False
        self._will_look = False
        self._timers: set[asyncio.TimerHandle] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self.slot: Callable[[str | bytes], int] = lru_cache(_MOST_SLOTS_KNOWN)(
            lambda name: slot_of(names.topic(name.encode()) if isinstance(name, str) else name))
        """The slot of a channel, or of a topic that is no channel's."""

    # ---- as Servers --------------------------------------------------------

    async def open(self) -> None:
        """Find the nodes and connect to all that have slots."""
        ranges = await self._fetch_first()
        self._owners = [self._node(ranges[0].place)] * NUM_SLOTS
        self._targets = list(self._owners)
        for each in ranges:
            count = each.last - each.first + 1
            self._owners[each.first:each.last + 1] = [self._node(each.place)] * count
        self._targets = list(self._owners)
        async with asyncio.TaskGroup() as group:
            for node in self._nodes.values():
                group.create_task(node.commands.open())
                group.create_task(node.subscriptions.open())
        self._is_open = True

    async def close(self) -> None:
        nodes = list(self._nodes.values())
        await asyncio.gather(*[node.commands.drain() for node in nodes])
        self._closed = True
        for timer in self._timers:
            timer.cancel()
        tasks = [*self._retiring]
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        links = [link for node in nodes for link in (node.commands, node.subscriptions)]
        await asyncio.gather(*[link.close() for link in links])

    def shard(self, channel: bytes) -> Shard:
        node = self._owners[self.slot(channel.decode())]
        return Shard(node.commands, node.subscriptions)

    def for_all(self, topic: bytes) -> CommandLink:
        """The node that has the topic's slot: every node of ours is subscribed there."""
        return self._owners[self.slot(topic)].commands

    @property
    def commands(self) -> list[CommandLink]:
        return [node.commands for node in dict.fromkeys(self._owners)]

    def subscribe_for_all(self, topic: bytes, deliver: Deliver) -> list[Awaitable[None]]:
        node = self._owners[self.slot(topic)]
        return [node.subscriptions.subscribe(topic, None, deliver)]

    # ---- what the links tell -----------------------------------------------

    def commands_of(self, channel: str | bytes) -> NodeCommands:
        """The link for commands of a channel now."""
        return self._owners[self.slot(channel)].commands

    def moved(self, slot: int, place: Place) -> None:
        """A node said that another has a slot."""
        node = self._node(place)
        if self._targets[slot] is not node:
            self._targets[slot] = node
            self._leave(self._owners[slot])
        self.look()

    def settled(self, link: NodeCommands) -> None:
        """Nothing is under way over ``link``, which waits for this to tell it to go on."""
        node = self._nodes.get(link.place)
        leaving = [
            slot for slot, (owner, target) in enumerate(
                zip(self._owners, self._targets, strict=True))
            if owner is node is not target
        ]
        for slot in leaving:
            self._owners[slot] = self._targets[slot]
        if node is not None and leaving:
            self._changed()
            self._move_topics(node)
        link.held = False
        batches: dict[NodeCommands, list[Command]] = {}
        for command in link.take_unsent():
            place = link.asked.pop(command.future, None)
            other = link
            if place is not None:
                other = self._node(place).commands
                batches.setdefault(other, []).append(other.introduction(command))
            elif command.channel:
                other = self.commands_of(command.channel)
            batches.setdefault(other, []).append(command)
        link.asked.clear()
        for other, commands in batches.items():
            other.accept(commands)

    def later(self, seconds: float, call: Callable[[], object]) -> None:
        """Call something after so long, unless this is closed before."""
        handle: list[asyncio.TimerHandle] = []

        def run() -> None:
            self._timers.discard(handle[0])
            call()

        if not self._closed:
            handle.append(self._loop.call_later(seconds, run))
            self._timers.add(handle[0])

    def look(self) -> None:
        """Find out whose the slots are, soon."""
        self._will_look = False
        if self._closed or not self._is_open:
            return
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        else:
            self._look_again = True

    # ---- the slots ---------------------------------------------------------

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            host, port = place
            scheme = "rediss" if self._address.tls else "redis"
            label = f"{scheme}://{host}:{port}"
            dialer = ServerDialer(self._address, self._settings.timeout, place, label)
            node = Node(
                place,
                NodeCommands(dialer, self._settings, place, self),
                NodeSubscriptions(
                    dialer, self._settings, self._lost, self._restored, place, self),
            )
            self._nodes[place] = node
            if self._is_open:
                node.commands.start()
                node.subscriptions.start()
        node.wanted_at = self._loop.time()
        return node

    def _leave(self, node: Node) -> None:
        """Some slots of ``node`` go elsewhere, once nothing is under way to it."""
        node.commands.settle()

    def _move_topics(self, node: Node) -> None:
        """Have the topics that a node has no longer subscribed at the nodes that have them."""
        moving = node.subscriptions.release(
            lambda topic: self._owners[slot_of(topic)] is node)
        for other in dict.fromkeys(self._owners):
            own = [each for each in moving if self._owners[slot_of(each.topic.name)] is other]
            if own:
                other.subscriptions.adopt(own)

    def _apply(self, ranges: list[SlotRange]) -> None:
        for each in ranges:
            count = each.last - each.first + 1
            self._targets[each.first:each.last + 1] = [self._node(each.place)] * count
        for node in dict.fromkeys(self._owners):
            if any(
                owner is node is not target
                for owner, target in zip(self._owners, self._targets, strict=True)
            ):
                self._leave(node)
        self._retire()

    def _retire(self) -> None:
        """Close the links to nodes that have no slots any more."""
        wanted = {*self._owners, *self._targets}
        now = self._loop.time()
        for node in list(self._nodes.values()):
            if node not in wanted and now > node.wanted_at + _KEEP:
                del self._nodes[node.place]
                task = asyncio.create_task(_end(node))
                self._retiring.add(task)
                task.add_done_callback(self._retiring.discard)

    async def _fetch_first(self) -> list[SlotRange]:
        """Whose the slots are, as the first of the given nodes that answers says."""
        trouble: Exception = ConnectionError("no node was given")
        seconds = self._settings.timeout / len(self._address.hosts)
        for place in self._address.hosts:
            try:
                return await fetch_slots(self._address, place, seconds)
            except EngineError:
                raise
            except Exception as error:
                trouble = error
        raise EngineUnavailableError(
            f"{self._address.label} cannot be reached: {reason(trouble)}") from trouble

    async def _look(self) -> None:
        try:
            while True:
                self._look_again = False
                places = list(dict.fromkeys([*self._nodes, *self._address.hosts]))
                random.shuffle(places)
                # Nodes that answer are likely to do so again.
                places.sort(key=self._is_down)
                for place in places:
                    try:
                        ranges = await fetch_slots(
                            self._address, place, min(1.0, self._settings.timeout))
                    except Exception:
                        continue
                    self._apply(ranges)
                    break
                await asyncio.sleep(random.uniform(_LOOK_PAUSE, 2 * _LOOK_PAUSE))
                if not self._look_again:
                    break
        finally:
            self._looking = None
        if any(self._is_down(place) for place in self._nodes) and not self._will_look:
            self._will_look = True
            self.later(_LOOK_AGAIN, self.look)

    def _is_down(self, place: Place) -> bool:
        node = self._nodes.get(place)
        return node is None or node.commands.wire is None or node.subscriptions.wire is None


async def _end(node: Node) -> None:
    await node.commands.drain()
    await node.commands.close()
    await node.subscriptions.close()
