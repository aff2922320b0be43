"""The core in plain Python: dicts, deques and a heap.

It is the model that the property tests compare the compiled core with, and
what the benchmarks measure it against. It says what the core does, briefly;
it takes its values (messages, positions) from :mod:`fanout` and has the same
classes and methods as the core's ``.pyi`` files, without encoders, outboxes
and the check of the calling thread.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import random
import string
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fanout.errors import SlowConsumerError
from fanout.types import (
    ClientInfo,
    HistoryPage,
    HubStats,
    Message,
    Overflow,
    PresenceStats,
    StreamPosition,
)

__all__ = [
    "Expiry",
    "HistoryStore",
    "Hub",
    "LocalQueue",
    "PresenceStore",
    "Subscriber",
    "Timer",
]


# -- expiry ---------------------------------------------------------------------------


class Deadline:
    """Something that ends: ``callback`` is called when ``at`` has come."""

    __slots__ = ("at", "callback", "queued")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.at: float | None = None        # None: not set
        self.queued: float | None = None    # the key of its entry in the heap


class Expiry:
    """Deadlines in one heap.

    A deadline that moves later keeps its entry, which is put right when its
    old time comes; one that moves earlier gets a second entry, and the first
    is recognised as stale.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.now = time.monotonic if clock is None else clock
        self._heap: list[tuple[float, int, Deadline]] = []
        self._entries = 0       # orders entries of one time; deadlines do not compare
        self._pending = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._arm()

    def stop(self) -> None:
        self._loop = None
        self._arm()

    def set(self, deadline: Deadline, at: float) -> None:
        if math.isnan(at):
            raise ValueError("a deadline must be a number of seconds, not nan")
        if deadline.at is None:
            self._pending += 1
        deadline.at = at
        if deadline.queued is None or at < deadline.queued:
            self._push(deadline)
            self._arm()

    def drop(self, deadline: Deadline) -> None:
        if deadline.at is not None:
            deadline.at = None
            self._pending -= 1

    def advance(self) -> int:
        now = self.now()
        due: deque[Deadline] = deque()
        while self._heap and self._heap[0][0] <= now:
            key, _, deadline = heapq.heappop(self._heap)
            if deadline.queued == key:
                deadline.queued = None
                due.append(deadline)
        fired = 0
        try:
            while due:
                deadline = due.popleft()
                if deadline.at is None or deadline.queued is not None:
                    continue    # cancelled or set again, maybe by another's callback
                if deadline.at > now:
                    self._push(deadline)
                    continue
                self.drop(deadline)
                fired += 1
                deadline.callback()
        finally:
            for deadline in due:        # what a failing callback has kept from its turn
                if deadline.at is not None and deadline.queued is None:
                    self._push(deadline)
            self._arm()
        return fired

    def __len__(self) -> int:
        return self._pending

    def _push(self, deadline: Deadline) -> None:
        assert deadline.at is not None
        self._entries += 1
        deadline.queued = deadline.at
        heapq.heappush(self._heap, (deadline.at, self._entries, deadline))

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._loop is not None and self._pending:
            delay = max(0.0, self._heap[0][0] - self.now())
            self._handle = self._loop.call_later(delay, self.advance)


class Timer:
    def __init__(self, expiry: Expiry, callback: Callable[[], object]) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        self._expiry = expiry
        self._callback = callback
        # Weak: a timer nobody holds is freed, and does not fire any more.
        this = weakref.ref(self)
        self._deadline = Deadline(lambda: this()._callback())

    def start(self, delay: float) -> None:
        self._expiry.set(self._deadline, self._expiry.now() + delay)

    def cancel(self) -> None:
        self._expiry.drop(self._deadline)

    def __del__(self) -> None:
        if hasattr(self, "_deadline"):      # not when the constructor refused its arguments
            self.cancel()

    @property
    def active(self) -> bool:
        return self._deadline.at is not None


# -- history --------------------------------------------------------------------------


def _new_epoch() -> str:
    return "".join(random.choices(string.ascii_letters, k=8))


@dataclass(slots=True)
class _Stream:
    meta_lifetime: float
    deadline: Deadline
    epoch: str = field(default_factory=_new_epoch)
    top: int = 0
    messages: deque[Message] = field(default_factory=deque)
    messages_end: float = 0.0
    stream_end: float = 0.0
    version: int = 0
    version_epoch: str = ""

    @property
    def next_end(self) -> float:
        return self.messages_end if self.messages else self.stream_end


class HistoryStore:
    """A deque per channel.

    The messages end ``lifetime`` after the newest. The stream, which is its
    offset and epoch, ends ``meta_lifetime`` after its messages, or later when
    it is read without messages: then that long after the read. The newest
    message says how long both lifetimes are.
    """

    def __init__(self, expiry: Expiry, meta_lifetime: float) -> None:
        if not meta_lifetime > 0:
            raise ValueError(f"meta_lifetime must be above 0, not {meta_lifetime!r}")
        self._expiry = expiry
        self._meta_lifetime = meta_lifetime
        self._streams: dict[str, _Stream] = {}

    def append(
        self,
        channel: str,
        message: Message,
        size: int,
        lifetime: float,
        meta_lifetime: float = 0.0,
        only_if_alive: bool = False,
        version: int = 0,
        version_epoch: str = "",
    ) -> Message | None:
        if not 0 < size <= 0xFFFFFFFF:
            raise ValueError(f"size must be between 1 and 4294967295, not {size!r}")
        if not lifetime > 0:
            raise ValueError(f"lifetime must be above 0, not {lifetime!r}")
        stream = self._find(channel)
        if only_if_alive and (stream is None or not stream.messages):
            return None
        if stream is None:
            stream = self._create(channel)
        stream.top += 1
        stored = message.at(stream.top)
        stream.messages.append(stored)
        while len(stream.messages) > size:
            stream.messages.popleft()
        stream.meta_lifetime = meta_lifetime or self._meta_lifetime
        stream.messages_end = self._expiry.now() + lifetime
        stream.stream_end = stream.messages_end + stream.meta_lifetime
        self._expiry.set(stream.deadline, stream.messages_end)
        if version:
            stream.version, stream.version_epoch = version, version_epoch
        return stored

    def has_version(self, channel: str, version: int, version_epoch: str) -> bool:
        stream = self._find(channel)
        return (
            stream is not None and 0 < version <= stream.version
            and stream.version_epoch == version_epoch
        )

    def newest(self, channel: str, limit: int) -> list[Message]:
        if limit < 0:
            raise ValueError(f"limit must not be negative, not {limit!r}")
        stream = self._find(channel)
        if stream is None:
            return []
        count = len(stream.messages)
        return [stream.messages[-1 - at] for at in range(min(limit or count, count))]

    def read(
        self, channel: str, since: StreamPosition | None, limit: int, reverse: bool
    ) -> HistoryPage:
        stream = self._find(channel) or self._create(channel)
        self._renew(stream)
        top = StreamPosition(stream.top, stream.epoch)
        messages = list(stream.messages)
        recoverable = True
        if since is not None:
            if since.offset > stream.top or since.epoch not in ("", stream.epoch):
                return HistoryPage([], top, False)
            recoverable = stream.top - since.offset <= len(messages)
            messages = [
                message
                for message in messages
                if (message.offset < since.offset if reverse else message.offset > since.offset)
            ]
        if reverse:
            messages.reverse()
        return HistoryPage(messages if limit < 0 else messages[:limit], top, recoverable)

    def position(self, channel: str) -> StreamPosition:
        stream = self._find(channel) or self._create(channel)
        self._renew(stream)
        return StreamPosition(stream.top, stream.epoch)

    def remove(self, channel: str) -> None:
        stream = self._find(channel)
        if stream is not None and stream.messages:
            stream.messages.clear()
            self._expiry.set(stream.deadline, stream.stream_end)

    def clear(self) -> None:
        for stream in self._streams.values():
            self._expiry.drop(stream.deadline)
        self._streams.clear()

    @property
    def num_streams(self) -> int:
        return len(self._streams)

    @property
    def num_messages(self) -> int:
        return sum(len(stream.messages) for stream in self._streams.values())

    def _find(self, channel: str) -> _Stream | None:
        """The channel's stream, without what has ended by now."""
        stream = self._streams.get(channel)
        if stream is not None and stream.next_end <= self._expiry.now():
            self._end(channel)
        return self._streams.get(channel)

    def _create(self, channel: str) -> _Stream:
        stream = _Stream(self._meta_lifetime, Deadline(lambda: self._end(channel)))
        self._streams[channel] = stream
        self._renew(stream)
        return stream

    def _renew(self, stream: _Stream) -> None:
        """What is told to somebody who reads stays true for a while."""
        if not stream.messages:
            stream.stream_end = max(
                stream.stream_end, self._expiry.now() + stream.meta_lifetime)
            self._expiry.set(stream.deadline, stream.stream_end)

    def _end(self, channel: str) -> None:
        """Give back what has ended; called when something of the stream has."""
        stream = self._streams[channel]
        stream.messages.clear()
        if stream.stream_end <= self._expiry.now():
            self._expiry.drop(stream.deadline)
            del self._streams[channel]
        else:
            self._expiry.set(stream.deadline, stream.stream_end)


# -- presence -------------------------------------------------------------------------


class PresenceStore:
    """A dict of dicts; each entry has its own deadline."""

    def __init__(self, expiry: Expiry, lifetime: float) -> None:
        if not lifetime > 0:
            raise ValueError(f"lifetime must be above 0, not {lifetime!r}")
        self._expiry = expiry
        self._lifetime = lifetime
        self._channels: dict[str, dict[str, tuple[ClientInfo, Deadline]]] = {}

    def add(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        entries = self._channels.setdefault(channel, {})
        if conn_id in entries:
            deadline = entries[conn_id][1]
        else:
            deadline = Deadline(lambda: self.remove(channel, conn_id))
        entries[conn_id] = (info, deadline)
        self._expiry.set(deadline, self._expiry.now() + self._lifetime)

    def remove(self, channel: str, conn_id: str) -> None:
        entries = self._channels.get(channel, {})
        if conn_id in entries:
            self._expiry.drop(entries.pop(conn_id)[1])
            if not entries:
                del self._channels[channel]

    def get(self, channel: str) -> dict[str, ClientInfo]:
        now = self._expiry.now()
        return {
            conn_id: info
            for conn_id, (info, deadline) in self._channels.get(channel, {}).items()
            if deadline.at is not None and deadline.at > now
        }

    def stats(self, channel: str) -> PresenceStats:
        infos = self.get(channel).values()
        return PresenceStats(len(infos), len({info.user for info in infos}))

    def clear(self) -> None:
        for entries in self._channels.values():
            for _, deadline in entries.values():
                self._expiry.drop(deadline)
        self._channels.clear()

    @property
    def num_channels(self) -> int:
        return len(self._channels)

    @property
    def num_entries(self) -> int:
        return sum(map(len, self._channels.values()))


# -- hub ------------------------------------------------------------------------------


class _Inbox:
    """What the hub keeps of a subscriber.

    It is apart from the subscriber so that a subscriber nobody holds is
    collected although its subscriptions are still there.
    """

    __slots__ = (
        "callback", "channels", "closed", "dropped", "error", "marked", "overflow", "owner",
        "queue", "received", "size", "waiter", "wakeups",
    )

    def __init__(
        self,
        owner: Subscriber,
        size: int,
        overflow: Overflow,
        callback: Callable[[Message], object] | None,
    ) -> None:
        self.owner = weakref.ref(owner)
        self.queue: deque[Message] = deque()
        self.size = 1 if overflow is Overflow.KEEP_LATEST else size
        self.overflow = overflow
        self.callback = callback
        self.channels: dict[str, None] = {}
        self.closed = False
        self.error: BaseException | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.marked = False     # is in the hub's backlog
        self.received = 0
        self.dropped = 0
        self.wakeups = 0

    def put(self, message: Message) -> bool:
        """Queue a message; whether it was taken."""
        if len(self.queue) == self.size:
            self.dropped += 1
            if self.overflow is Overflow.CLOSE:
                self.closed = True
                self.error = SlowConsumerError()
                return False
            if self.overflow is Overflow.DROP_NEWEST:
                return False
            self.queue.popleft()
        self.queue.append(message)
        self.received += 1
        return True

    def take_error(self) -> BaseException:
        """What the end raises; it does so once."""
        error, self.error = self.error, None
        assert error is not None
        return error


class Subscriber:
    """Base of what can be subscribed."""

    _hub: Hub
    _inbox: _Inbox

    @property
    def num_channels(self) -> int:
        return len(self._inbox.channels)


class Hub:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_vacated: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.loop = loop
        self._on_vacated = on_vacated
        # A dict of inboxes leaves in O(1) and keeps its order, unlike a set.
        self._channels: dict[str, dict[_Inbox, int]] = {}
        self._backlog: list[_Inbox] = []
        self._kept: list[Subscriber | None] = []    # who is in it lives until it is flushed
        self._vacated: list[str] = []
        self._scheduled = False
        self.turn_size = 0
        self._published = 0
        self._delivered = 0
        self._dropped = 0
        self._ticks = 0

    def subscribe(
        self, subscriber: Subscriber, channel: str, flags: int = 0, slow: int = 0
    ) -> bool:
        inbox = self._inbox_of(subscriber)
        inboxes = self._channels.setdefault(channel, {})
        first = not inboxes
        inboxes[inbox] = flags
        inbox.channels[channel] = None
        return first

    def unsubscribe(self, subscriber: Subscriber, channel: str) -> bool:
        return self._leave(self._inbox_of(subscriber), channel)

    def remove(self, subscriber: Subscriber) -> list[str]:
        return self._remove(self._inbox_of(subscriber))

    def is_subscribed(self, subscriber: Subscriber, channel: str) -> bool:
        return channel in self._inbox_of(subscriber).channels

    def subscriptions(self, subscriber: Subscriber) -> list[str]:
        return list(self._inbox_of(subscriber).channels)

    def num_subscribers(self, channel: str) -> int:
        return len(self._channels.get(channel, ()))

    def channels(self) -> list[str]:
        return list(self._channels)

    def broadcast(self, channel: str, message: Message) -> int:
        self._published += 1
        self.turn_size += 1
        taken = 0
        for inbox in self._channels.get(channel, ()):
            if inbox.closed:
                continue
            dropped = inbox.dropped
            if inbox.put(message):
                taken += 1
            self._dropped += inbox.dropped - dropped
            self._mark(inbox)
        self._delivered += taken
        return taken

    def flush(self) -> None:
        backlog, self._backlog = self._backlog, []
        kept, self._kept = self._kept, []
        for inbox in backlog:
            inbox.marked = False
        for inbox in backlog:
            if inbox.closed:
                self._vacate(inbox)
            if inbox.callback is not None:
                self._call_back(inbox, inbox.callback)
            elif inbox.waiter is not None and not inbox.waiter.done():
                inbox.wakeups += 1
                inbox.waiter.set_result(None)
        kept.clear()

    def stats(self) -> HubStats:
        return HubStats(
            num_channels=len(self._channels),
            num_subscriptions=sum(map(len, self._channels.values())),
            num_published=self._published,
            num_delivered=self._delivered,
            num_dropped=self._dropped,
            num_sends=0,
            bytes_sent=0,
            num_ticks=self._ticks,
        )

    def _inbox_of(self, subscriber: Subscriber) -> _Inbox:
        if subscriber._hub is not self:
            raise ValueError("the subscriber belongs to another hub")
        return subscriber._inbox

    def _leave(self, inbox: _Inbox, channel: str) -> bool:
        if channel not in inbox.channels:
            return False
        del inbox.channels[channel]
        inboxes = self._channels[channel]
        del inboxes[inbox]
        if inboxes:
            return False
        del self._channels[channel]
        return True

    def _remove(self, inbox: _Inbox) -> list[str]:
        return [channel for channel in list(inbox.channels) if self._leave(inbox, channel)]

    def _vacate(self, inbox: _Inbox) -> None:
        """Leave all channels when nobody asks which became empty; they are told later."""
        vacated = self._remove(inbox)
        if vacated:
            self._vacated += vacated
            self._schedule()

    def _call_back(self, inbox: _Inbox, callback: Callable[[Message], object]) -> None:
        # No more than there are: what the callback publishes comes next tick.
        count = len(inbox.queue)
        inbox.wakeups += count > 0
        for _ in range(count):
            message = inbox.queue.popleft()
            try:
                callback(message)
            except Exception as error:
                self._report(error)
        if inbox.closed and not inbox.queue and inbox.error is not None:
            self._report(inbox.take_error())

    def _report(self, error: BaseException) -> None:
        self.loop.call_exception_handler(
            {"message": "a subscription's callback failed or it was closed", "exception": error})

    def _mark(self, inbox: _Inbox) -> None:
        if not inbox.marked:
            inbox.marked = True
            self._backlog.append(inbox)
            self._kept.append(inbox.owner())
            self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._scheduled = False
        self.turn_size = 0
        self._ticks += 1
        self.flush()
        vacated, self._vacated = self._vacated, []
        vacated = [channel for channel in vacated if channel not in self._channels]
        if vacated and self._on_vacated is not None:
            self._on_vacated(vacated)


class LocalQueue(Subscriber):
    def __init__(
        self,
        hub: Hub,
        size: int,
        overflow: Overflow,
        callback: Callable[[Message], object] | None = None,
    ) -> None:
        self._hub = hub
        self._inbox = _Inbox(self, size, overflow, callback)

    def __del__(self) -> None:
        self._hub._vacate(self._inbox)

    def __aiter__(self) -> AsyncIterator[Message]:
        self._check_reader()
        return self

    async def __anext__(self) -> Message:
        if not await self._wait():
            raise StopAsyncIteration
        return self._inbox.queue.popleft()

    async def get_batch(self, limit: int = 0) -> list[Message]:
        self._check_reader()
        await self._wait()
        queue = self._inbox.queue
        return [queue.popleft() for _ in range(min(len(queue), limit or len(queue)))]

    def get_nowait(self) -> Message | None:
        self._check_reader()
        return self._inbox.queue.popleft() if self._inbox.queue else None

    def close(self, error: BaseException | None = None) -> None:
        if not self._inbox.closed:
            self._inbox.closed = True
            self._inbox.error = error
            self._hub._mark(self._inbox)

    def _check_reader(self) -> None:
        if self._inbox.callback is not None:
            raise RuntimeError("a subscription with a callback cannot be read as well")

    async def _wait(self) -> bool:
        """Wait for a message; False at the end, whose error is raised once."""
        inbox = self._inbox
        while not inbox.queue:
            if inbox.closed:
                if inbox.error is not None:
                    # No local name: a traceback's frame would keep the queue.
                    raise inbox.take_error()
                return False
            if inbox.waiter is not None:
                raise RuntimeError("the subscription is being read already")
            inbox.waiter = self._hub.loop.create_future()
            try:
                await inbox.waiter
            finally:
                inbox.waiter = None
        return True

    def __len__(self) -> int:
        return len(self._inbox.queue)

    @property
    def closed(self) -> bool:
        return self._inbox.closed

    @property
    def num_dropped(self) -> int:
        return self._inbox.dropped

    @property
    def num_received(self) -> int:
        return self._inbox.received

    @property
    def num_wakeups(self) -> int:
        return self._inbox.wakeups
