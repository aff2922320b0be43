"""Subscriptions to topics, and what arrives in them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeAlias

from fanout._awaitable import Ready
from fanout.errors import ClosedError, EngineError
from fanout.redis.dial import Dialer
from fanout.redis.link import PING, SECOND_LOOK, Link, LinkSettings, Refusal, pack

__all__ = ["SUBSCRIBE", "Asked", "SubscriptionLink", "Topic", "Wait"]

_MOST_TOPICS = 512
"""In one command: the server answers nobody else while it carries it out."""

_CHUNK = 256 * 1024
"""Bytes that leave in one write, about; what is more follows when the transport has room."""
_DONE: Ready[None] = Ready(None)
SUBSCRIBE, UNSUBSCRIBE, _PING = range(3)

Wait: TypeAlias = tuple[float, bytes, asyncio.Future[None]]
"""Until when, in loop time, somebody waits for which topic."""


class Topic:
    """One topic that is wanted, or that the server may still think is wanted."""

    __slots__ = ("channel", "confirmed", "deliver", "kept", "leaving", "name", "num_sent",
                 "subscribed", "waiting", "wanted")

    def __init__(
        self, name: bytes, channel: str | None, deliver: Callable[[Any, bytes], object]
    ) -> None:
        self.name = name
        self.channel = channel
        """None for a topic that is no channel's."""
        self.deliver = deliver
        """Called with the channel and what arrived."""
        self.wanted = False
        self.subscribed = False
        """The last that was sent of it on this connection is that it is wanted."""
        self.num_sent = 0
        """Commands under way that name it."""
        self.confirmed = False
        """What is published from now on arrives."""
        self.kept = False
        """It was confirmed since it is wanted: only ``unsubscribe`` ends that."""
        self.waiting: list[asyncio.Future[None]] = []
        self.leaving: list[asyncio.Future[None]] = []


class Asked:
    """A command under way: its topics, and how many of them were answered."""

    __slots__ = ("at", "kind", "topics")

    def __init__(self, kind: int, topics: list[Topic]) -> None:
        self.kind = kind
        self.topics = topics
        self.at = 0


class SubscriptionLink(Link):
    """Keeps its topics subscribed, over as many connections as that takes.

    lost
        Called when a connection broke with the channels that nothing arrives
        for from then on, and the error.
    restored
        Called when all of these are subscribed again, with those that are
        wanted still.
    """

    def __init__(
        self,
        dialer: Dialer,
        settings: LinkSettings,
        lost: Callable[[Collection[str], Exception], object],
        restored: Callable[[Collection[str]], object],
        *,
        sharded: bool = False,
    ) -> None:
        super().__init__(dialer, settings)
        self._tell_lost = lost
        self._tell_restored = restored
        self._topics: dict[bytes, Topic] = {}
        self._changed: dict[Topic, None] = {}
        self._queue: deque[Asked] = deque()
        self._sent: deque[Asked] = deque()
        self._sent_at: float | None = None
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._waits: deque[Wait] = deque()
        self._lost: set[Topic] = set()
        """Those that were told lost and not told restored; without channels too, for what
        nodes tell each other is lost with them."""
        self._missing: set[Topic] = set()
        """Those that are to be confirmed before anything is told restored."""
        letter = b"S" if sharded else b""
        self._verbs = (letter + b"SUBSCRIBE", letter + b"UNSUBSCRIBE")
        self._answers = (self._verbs[0].lower(), self._verbs[1].lower(), b"pong")
        self._message = letter.lower() + b"message"

    # ---- for the engine ------------------------------------------------

    def subscribe(
        self, name: bytes, channel: str | None, deliver: Callable[[Any, bytes], object]
    ) -> Awaitable[None]:
        """Want a topic; done when what is published from then on arrives.

        Raises, from the awaitable, :exc:`fanout.EngineUnavailableError` when
        that is not so within the time limit; the topic is not wanted then.
        """
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = Topic(name, channel, deliver)
        if not topic.wanted:
            topic.wanted = True
            topic.kept = False
            self._change(topic)
        elif topic.confirmed:
            return _DONE
        future = self._loop.create_future()
        topic.waiting.append(future)
        self._waits.append((self._loop.time() + self.settings.timeout, name, future))
        if self._timer is None:
            self._arm()
        return future

    def unsubscribe(self, name: bytes) -> Awaitable[None]:
        """Want a topic no more: nothing of it is delivered from now on."""
        topic = self._topics.get(name)
        if topic is None:
            return _DONE
        if topic.wanted:
            self._drop(topic)
        future = self._loop.create_future()
        topic.leaving.append(future)
        return future

    async def close(self) -> None:
        topics = [*self._topics.values()]
        self._topics.clear()
        await super().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for topic in topics:
            _fail(topic.waiting, ClosedError("the engine is closed"))
            _finish(topic.leaving)

    # ---- sending -------------------------------------------------------

    def _change(self, topic: Topic) -> None:
        self._changed[topic] = None
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _drop(self, topic: Topic) -> None:
        """``topic`` is wanted no more."""
        topic.wanted = topic.confirmed = False
        _finish(topic.waiting)
        self._change(topic)
        self._found(topic, restored=False)

    def _flush(self) -> None:
        """Send what the last tick changed, each topic by what came of it in the end."""
        self._scheduled = False
        changed, self._changed = self._changed, {}
        if self.wire is None:
            # All that is wanted is subscribed when there is a connection.
            for topic in changed:
                self._settle(topic)
            return
        come: list[Topic] = []
        gone: list[Topic] = []
        for topic in changed:
            if topic.wanted != topic.subscribed:
                (come if topic.wanted else gone).append(topic)
            elif topic.num_sent == 0:
                self._settle(topic)
        self._send(UNSUBSCRIBE, gone)
        self._send(SUBSCRIBE, come)

    def _send(self, kind: int, topics: list[Topic]) -> None:
        for topic in topics:
            topic.subscribed = kind == SUBSCRIBE
            topic.num_sent += 1
        for group in self.groups(topics):
            for start in range(0, len(group), _MOST_TOPICS):
                self._queue.append(Asked(kind, group[start:start + _MOST_TOPICS]))
        self._write()

    def groups(self, topics: list[Topic]) -> Iterable[list[Topic]]:
        """The topics by what can be in one command."""
        return [topics]

    def send_ping(self) -> None:
        self._queue.append(Asked(_PING, []))
        self._write()

    def _write(self) -> None:
        wire = self.wire
        if wire is None:
            return
        while self._queue and not wire.paused and self.wire is wire:
            # One write for what a tick changed, a few for all there is.
            parts = []
            size = 0
            if not self._sent:
                self._sent_at = self._loop.time()
            while self._queue and size < _CHUNK:
                asked = self._queue.popleft()
                self._sent.append(asked)
                parts.append(self._packed(asked))
                size += len(parts[-1])
            wire.transport.write(b"".join(parts))

    def _packed(self, sent: Asked) -> bytes:
        if sent.kind == _PING:
            return PING
        return pack(self._verbs[sent.kind], *[topic.name for topic in sent.topics])

    # ---- what arrives --------------------------------------------------

    def take(self, reader: Any) -> None:
        gets = reader.gets
        topics = self._topics
        message = self._message
        while (reply := gets()) is not False:
            if type(reply) is not list:
                self._answered(reply)
            elif reply[0] == message:
                topic = topics.get(reply[1])
                if topic is not None and topic.wanted:
                    topic.deliver(topic.channel, reply[2])
            else:
                self._answered(reply[0], reply[1])

    def _answered(self, kind: object, name: object = None) -> None:
        if not self._sent:
            self.pushed(kind, name)
            return
        sent = self._sent[0]
        if type(kind) is Refusal:
            self._sent.popleft()
            self._was_refused(sent, str(kind))
        elif sent.kind == _PING and kind in (b"pong", b"PONG"):
            self._sent.popleft()
        elif sent.kind != _PING and kind == self._answers[sent.kind] and (
            (topic := sent.topics[sent.at]).name == name
        ):
            sent.at += 1
            if sent.at == len(sent.topics):
                self._sent.popleft()
            topic.num_sent -= 1
            if topic.num_sent == 0:
                self._settle(topic)
        else:
            self.pushed(kind, name)
            return
        if not self._sent:
            self._sent_at = None

    def pushed(self, kind: object, name: object) -> None:
        """Something came that answers nothing."""
        raise ValueError(f"{kind!r} for {name!r}, which nobody asked for")

    def _settle(self, topic: Topic) -> None:
        """Nothing that was sent of ``topic`` is under way."""
        if topic.wanted:
            if topic.subscribed and not topic.confirmed:
                topic.confirmed = topic.kept = True
                _finish(topic.waiting)
                self._found(topic, restored=True)
            _finish(topic.leaving)
        elif not topic.subscribed:
            if self._topics.get(topic.name) is topic:
                del self._topics[topic.name]
            _finish(topic.leaving)

    def _was_refused(self, sent: Asked, text: str) -> None:
        """The server did nothing for any of the topics of a command."""
        if sent.kind == _PING:
            raise ValueError(text)
        for topic in sent.topics:
            topic.num_sent -= 1
        if self.was_not_done(sent, text):
            return
        if sent.kind == UNSUBSCRIBE:
            raise ValueError(text)
        if len(sent.topics) == 1:
            self._forbidden(sent.topics[0], text)
            return
        # One of them may be forbidden, and the others not.
        again = [topic for topic in sent.topics if topic.subscribed]
        half = (len(again) + 1) // 2
        for part in (again[:half], again[half:]):
            if part:
                for topic in part:
                    topic.num_sent += 1
                self._queue.append(Asked(SUBSCRIBE, part))
        self._write()

    def was_not_done(self, asked: Asked, text: str) -> bool:
        """Whether the refusal, in the server's words, is no verdict on the topics."""
        return False

    def _forbidden(self, topic: Topic, text: str) -> None:
        if topic.num_sent > 0:
            return
        topic.subscribed = False
        if topic.wanted:
            error = EngineError(f"{self.dialer.label}: {text}")
            if topic.kept:
                self._loop.call_exception_handler({
                    "message": f"fanout: {topic.name!r} cannot be subscribed again",
                    "exception": error,
                })
            _fail(topic.waiting, error)
            self._drop(topic)
        else:
            self._settle(topic)

    # ---- for links among which topics move -------------------------------------

    def left(self, topic: Topic) -> None:
        """``topic`` is no more this link's, wherever it is now."""
        topic.wanted = topic.confirmed = False
        _finish(topic.leaving)
        self._found(topic, restored=False)

    def want_again(self, old: Topic) -> Topic:
        """Want what another link had, for those who wait for it."""
        topic = self._topics.get(old.name)
        if topic is None:
            topic = self._topics[old.name] = Topic(old.name, old.channel, old.deliver)
        topic.wanted = True
        topic.kept = old.kept
        topic.waiting += old.waiting
        old.waiting = []
        self._change(topic)
        return topic

    def await_again(self, topic: Topic) -> None:
        """Nothing arrives in ``topic``, and when it does again that is to be told."""
        self._lost.add(topic)
        self._missing.add(topic)

    def rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm()

    # ---- the time limit ------------------------------------------------

    def _arm(self) -> None:
        while self._waits and self._waits[0][2].done():
            self._waits.popleft()
        if self._waits:
            self._timer = self._loop.call_at(self._waits[0][0], self._check)

    def _check(self) -> None:
        now = self._loop.time()
        if self.is_late(now, self._timer):
            self._timer = self._loop.call_later(SECOND_LOOK, self._check)
            return
        self._timer = None
        self.break_if_dead(now)
        while self._waits and self._waits[0][0] <= now:
            _, name, future = self._waits.popleft()
            if future.done():
                continue
            topic = self._topics[name]
            topic.waiting.remove(future)
            _fail([future], self.unavailable())
            if not topic.waiting and not topic.kept:
                self._drop(topic)
        self._arm()

    # ---- the connection ------------------------------------------------

    def came_up(self) -> None:
        wanted = [topic for topic in self._topics.values() if topic.wanted]
        self._missing = set(self._lost)
        # What nodes tell each other comes first, and what had been delivered before.
        self._send(SUBSCRIBE, [
            *(topic for topic in wanted if topic.channel is None),
            *(topic for topic in wanted if topic.channel is not None and topic.kept),
            *(topic for topic in wanted if topic.channel is not None and not topic.kept),
        ])
        self._tell_if_whole()

    def went_down(self, error: Exception) -> None:
        topics = list(self._topics.values())
        newly_lost = [topic for topic in topics if topic.confirmed and topic not in self._lost]
        for topic in topics:
            topic.subscribed = topic.confirmed = False
            topic.num_sent = 0
        self._queue.clear()
        self._sent.clear()
        self._sent_at = None
        for topic in topics:
            self._settle(topic)
        self._missing.clear()
        self._lost.update(newly_lost)
        if newly_lost:
            self.tell_lost(newly_lost, self.unavailable())

    def resume(self) -> None:
        self._write()

    @property
    def waiting_since(self) -> float | None:
        return self._sent_at

    def _found(self, topic: Topic, *, restored: bool) -> None:
        """``topic`` is confirmed again, or wanted no more."""
        if not restored:
            self._lost.discard(topic)
        if topic in self._missing:
            self._missing.discard(topic)
            self._tell_if_whole()

    def _tell_if_whole(self) -> None:
        if self.wire is None or not self._lost or self._missing:
            return
        lost, self._lost = self._lost, set()
        self._tell(self._tell_restored, _channels(lost))

    def tell_lost(self, topics: Iterable[Topic], error: Exception) -> None:
        self._tell(self._tell_lost, _channels(topics), error)

    def _tell(self, event: Callable[..., object], *arguments: object) -> None:
        try:
            event(*arguments)
        except Exception as error:
            self._loop.call_exception_handler(
                {"message": "fanout: an event of the engine raised", "exception": error})


def _channels(topics: Iterable[Topic]) -> list[str]:
    return [topic.channel for topic in topics if topic.channel is not None]


def _finish(futures: list[asyncio.Future[None]]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)
    futures.clear()


def _fail(futures: list[asyncio.Future[None]], error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
            # Asked for here, so that nobody is blamed for not asking.
            future.exception()
    futures.clear()
