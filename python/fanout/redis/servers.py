"""The servers of an engine, and the links to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial
from typing import Any, NamedTuple

from fanout.redis.commands import CommandLink
from fanout.redis.dial import Dialer
from fanout.redis.link import Link, LinkSettings
from fanout.redis.sentinel import SentinelDialer
from fanout.redis.shards import shard_of
from fanout.redis.subscriptions import SubscriptionLink

__all__ = ["Deliver", "Servers", "Shard"]

Deliver = Callable[[Any, bytes], object]
"""Gets the channel, None for a topic that is no channel's, and what arrived."""


class Shard(NamedTuple):
    """The links to one server."""

    commands: CommandLink
    subscriptions: SubscriptionLink


class Servers:
    """One server, or several that share the channels between them.

    Topics that are no channel's are subscribed on all of them, and published
    to the first that can be reached: while one server is left that both ends
    see, what is published there arrives.
    """

    publish_verb = b"PUBLISH"
    channels_verb = b"CHANNELS"

    def __init__(
        self,
        dialers: Sequence[Dialer],
        settings: LinkSettings,
        lost: Callable[[Collection[str], Exception], object],
        restored: Callable[[Collection[str]], object],
    ) -> None:
        self._shards = [
            Shard(CommandLink(dialer, settings),
                  SubscriptionLink(dialer, settings, lost, restored))
            for dialer in dialers
        ]
        for shard in self._shards:
            if isinstance(shard.commands.dialer, SentinelDialer):
                commands, subscriptions = shard
                commands.on_up = partial(_follow, commands, subscriptions)
                subscriptions.on_up = partial(_follow, subscriptions, commands)

    async def open(self) -> None:
        """Connect to all; see :meth:`fanout.redis.link.Link.open`."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                for link in shard:
                    group.create_task(link.open())

    async def close(self) -> None:
        await asyncio.gather(*[shard.commands.drain() for shard in self._shards])
        await asyncio.gather(*[link.close() for shard in self._shards for link in shard])

    def shard(self, channel: bytes) -> Shard:
        """Where a channel is."""
        return self._shards[shard_of(channel, len(self._shards))]

    def for_all(self, topic: bytes) -> CommandLink:
        """Where to publish to a topic that is no channel's."""
        for shard in self._shards:
            if shard.commands.wire is not None:
                return shard.commands
        return self._shards[0].commands

    @property
    def commands(self) -> list[CommandLink]:
        """A link to each server."""
        return [shard.commands for shard in self._shards]

    def subscribe_for_all(self, topic: bytes, deliver: Deliver) -> list[Awaitable[None]]:
        """Subscribe to a topic that is no channel's, everywhere."""
        return [shard.subscriptions.subscribe(topic, None, deliver) for shard in self._shards]


def _follow(link: Link, other: Link) -> None:
    """Have both links of a shard lead to the same server, also after another became master."""
    if other.peer not in (None, link.peer):
        other.break_off(ConnectionError("another server is the master now"))
