"""The links to one node of a cluster, whose slots come and go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fanout.errors import EngineUnavailableError
from fanout.redis.commands import NO_PLACE, Command, CommandLink
from fanout.redis.dial import Dialer
from fanout.redis.link import LinkSettings, pack
from fanout.redis.script import Script
from fanout.redis.slots import Place, parse_redirect, slot_of
from fanout.redis.subscriptions import SUBSCRIBE, Asked, SubscriptionLink, Topic, Wait

if TYPE_CHECKING:
    from fanout.redis.cluster import Cluster

__all__ = ["Moving", "NodeCommands", "NodeSubscriptions"]

T = TypeVar("T")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
"""Seconds before that is sent again which a node could not do just then."""
_ASKING = pack(b"ASKING")
_NOT_NOW = frozenset({"TRYAGAIN", "CLUSTERDOWN"})
_ELSEWHERE = frozenset({"MOVED", "ASK"})


class NodeCommands(CommandLink):
    """Commands for the channels whose slots one node has."""

    not_done = NO_PLACE | _NOT_NOW | _ELSEWHERE

    def __init__(
        self, dialer: Dialer, settings: LinkSettings, place: Place, cluster: Cluster
    ) -> None:
        super().__init__(dialer, settings)
        self.place = place
        self._cluster = cluster
        self.asked: dict[asyncio.Future[Any], Place] = {}
        """Where commands are to go that the node has not, though it has their slot."""
        self._must_settle = False
        self._not_now = False
        self._pause = _FIRST_PAUSE

    def execute(
        self, body: bytes, convert: Callable[[Any], T], channel: str | bytes = "",
        script: Script | None = None, keys: bytes = b"",
    ) -> asyncio.Future[T]:
        link: CommandLink = self
        if self.is_closed and channel:
            # Whoever calls has known the node for longer than it had the slot.
            link = self._cluster.commands_of(channel)
        if link is self:
            return super().execute(body, convert, channel, script, keys)
        return link.execute(body, convert, channel, script, keys)

    def go_together(self, one: Command, other: Command) -> bool:
        slot = self._cluster.slot
        return slot(one.channel) == slot(other.channel)

    def settle(self) -> None:
        """Send nothing more until what is under way has its answer; then tell the cluster."""
        self._must_settle = self.held = True
        if self.num_sent == 0:
            # Others may be told in the same turn, before any of them is asked.
            self._loop.call_soon(self.settled)

    def introduction(self, command: Command) -> Command:
        """What goes in front of a command of a slot that is only on its way here."""
        return Command(
            self._loop.create_future(), _nothing, "", None, b"", _ASKING, command.deadline)

    def was_not_done(self, command: Command, code: str, text: str) -> None:
        if code in NO_PLACE:
            return
        self._must_settle = True
        if code == "MOVED":
            self._cluster.moved(*parse_redirect(text, self.place))
        elif code == "ASK":
            self.asked[command.future] = parse_redirect(text, self.place)[1]
        else:
            self._not_now = True
            self._cluster.look()

    def settled(self) -> None:
        if self.must_reconnect or self.num_sent or self.is_closed:
            super().settled()
        elif not self._must_settle:
            self._pause = _FIRST_PAUSE
            super().settled()
        elif self._not_now:
            self._not_now = False
            self.held = True
            self._cluster.later(self._pause, self.settle)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        else:
            self._must_settle = False
            self._cluster.settled(self)

    def went_down(self, error: Exception) -> None:
        super().went_down(error)
        self._cluster.look()


class Moving(NamedTuple):
    """A topic that goes from one node's link to another's."""

    topic: Topic
    is_live: bool
    """Messages arrived until now."""
    was_told: bool
    """It was told lost, and not restored yet."""
    waits: list[Wait]


class NodeSubscriptions(SubscriptionLink):
    """Subscriptions to the topics whose slots one node has."""

    def __init__(
        self,
        dialer: Dialer,
        settings: LinkSettings,
        lost: Callable[[Collection[str], Exception], object],
        restored: Callable[[Collection[str]], object],
        place: Place,
        cluster: Cluster,
    ) -> None:
        super().__init__(dialer, settings, lost, restored, sharded=True)
        self._place = place
        self._cluster = cluster
        self._will_retry = False
        self._dropped: list[Topic] = []

    def groups(self, topics: list[Topic]) -> Iterable[list[Topic]]:
        by_slot: dict[int, list[Topic]] = {}
        for topic in topics:
            by_slot.setdefault(slot_of(topic.name), []).append(topic)
        return by_slot.values()

    # ---- topics come and go ------------------------------------------------

    def release(self, stays: Callable[[bytes], bool]) -> list[Moving]:
        """Forget all topics but those that stay; gives those that are wanted."""
        leaving = [topic for topic in self._topics.values() if not stays(topic.name)]
        names = {topic.name for topic in leaving}
        waits: dict[bytes, list[Wait]] = {}
        for wait in self._waits:
            if wait[1] in names:
                waits.setdefault(wait[1], []).append(wait)
        if waits:
            self._waits = deque(wait for wait in self._waits if wait[1] not in waits)
        moving = []
        for topic in leaving:
            del self._topics[topic.name]
            self._changed.pop(topic, None)
            if topic.wanted:
                moving.append(Moving(
                    topic, topic.confirmed, topic in self._lost, waits.get(topic.name, [])))
            self.left(topic)
        return moving

    def adopt(self, moving: Iterable[Moving]) -> None:
        """Subscribe to topics that another link had."""
        newly_lost = []
        for old, is_live, was_told, waits in moving:
            topic = self.want_again(old)
            self._waits.extendleft(reversed(waits))
            if is_live or was_told:
                self.await_again(topic)
            if is_live and not was_told:
                newly_lost.append(topic)
        self.rearm()
        self._tell_moved(newly_lost)

    def pushed(self, kind: object, name: object) -> None:
        if kind != b"sunsubscribe":
            super().pushed(kind, name)
        # The node has given the slot away.
        topic = self._topics.get(name)  # type: ignore[call-overload]
        if topic is None or not topic.subscribed:
            return
        was_live, topic.confirmed = topic.confirmed, False
        if topic.num_sent == 0:
            # Else what is under way tells what becomes of it.
            topic.subscribed = False
            self._change(topic)
        if was_live:
            self.await_again(topic)
            if not self._dropped:
                self._loop.call_soon(self._tell_dropped)
            self._dropped.append(topic)
        self._cluster.look()

    def was_not_done(self, asked: Asked, text: str) -> bool:
        code = text.partition(" ")[0]
        if code not in _ELSEWHERE | _NOT_NOW:
            return False
        for topic in asked.topics:
            if topic.num_sent == 0:
                topic.subscribed = False
                if not topic.wanted:
                    self._settle(topic)
        if asked.kind == SUBSCRIBE:
            if code == "MOVED":
                self._cluster.moved(*parse_redirect(text, self._place))
            else:
                self._cluster.look()
            if not self._will_retry:
                self._will_retry = True
                self._cluster.later(_FIRST_PAUSE, self._retry)
        return True

    def went_down(self, error: Exception) -> None:
        super().went_down(error)
        self._cluster.look()

    def _retry(self) -> None:
        """Try those again that were refused here and went nowhere else."""
        self._will_retry = False
        if self.wire is None:
            return
        for topic in self._topics.values():
            if topic.wanted and not topic.subscribed and topic.num_sent == 0:
                self._change(topic)

    def _tell_dropped(self) -> None:
        dropped, self._dropped = self._dropped, []
        self._tell_moved(dropped)

    def _tell_moved(self, topics: list[Topic]) -> None:
        if topics:
            error = EngineUnavailableError("slots of the cluster have moved to another node")
            self.tell_lost(topics, error)


def _nothing(reply: object) -> None:
    return None
