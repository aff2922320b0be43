"""What is to be sent: gathered by loop tick, answered by tick, bounded in number and time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from fanout.errors import (
    BackpressureError,
    ClosedError,
    EngineUnavailableError,
    MessageTooLargeError,
)
from fanout.failures import Failures
from fanout.nats.alarm import Alarm
from fanout.nats.outcome import Outcome
from fanout.nats.sink import ChannelSink, Sink

__all__ = ["Batch", "Operation", "Pipe", "Post", "too_large"]

Headers: TypeAlias = Mapping[str, str]

OVERHEAD = 64       # bytes of a message beside its subject and payload, about


class Post(NamedTuple):
    """A message on its way to the server."""

    subject: str
    payload: bytes
    reply: str
    headers: Headers | None

    @property
    def size(self) -> int:
        """Bytes that count against what the server takes of one message."""
        return len(self.payload) + headers_size(self.headers)


Operation: TypeAlias = Post | ChannelSink | Sink
"""A message to publish, a channel whose subscription changed, or a further subject."""


def headers_size(headers: Headers | None) -> int:
    if not headers:
        return 0
    return len("NATS/1.0\r\n\r\n") + sum(
        len(name) + len(value.encode()) + len(": \r\n") for name, value in headers.items())


def too_large(size: int, limit: int) -> MessageTooLargeError:
    return MessageTooLargeError(
        f"a message must be at most {limit} bytes for the NATS server, not {size}")


class Batch(Outcome[None]):
    """The operations of one tick, which the server answers together."""

    __slots__ = ("deadline", "num_bytes", "num_counted", "number", "operations", "sent")

    def __init__(self, number: int, deadline: float) -> None:
        super().__init__()
        self.number = number
        self.deadline = deadline
        self.operations: list[Operation] = []
        self.num_counted = 0
        self.num_bytes = 0
        self.sent = False

    def withdraw(self, reply: str) -> None:
        """Do not send the message with this reply subject, which was not counted."""
        self.operations = [
            operation for operation in self.operations
            if not (isinstance(operation, Post) and operation.reply == reply)
        ]


class Pipe:
    """Batches that wait to be sent, and those that wait for their answer.

    Everything takes effect in the order of the calls. What is not sent stays
    while there is no link; what was sent when a link broke has failed, for
    nobody can tell whether the server got it, and is never sent again.

    timeout
        Seconds within which an operation is answered or has failed.
    max_pending, max_pending_bytes
        How many operations may wait, and with how many bytes.
    where
        Says which server it is about, for errors.
    """

    def __init__(
        self, timeout: float, max_pending: int, max_pending_bytes: int,
        where: Callable[[], str], failures: Failures,
    ) -> None:
        self.timeout = timeout
        self.trouble = "not connected"
        """What is wrong with the link, for errors."""
        self.failures = failures
        self._max_pending = max_pending
        self._max_pending_bytes = max_pending_bytes
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._numbers = 0
        self._current: Batch | None = None
        self._unsent: deque[Batch] = deque()
        self._sent: deque[Batch] = deque()
        self._num_pending = 0
        self._num_bytes = 0
        self._alarm = Alarm(self._expire)
        self._wake = asyncio.Event()
        self._closed = False

    # ---- filling -------------------------------------------------------

    def post(
        self,
        subject: str,
        payload: bytes,
        reply: str = "",
        headers: Headers | None = None,
        *,
        counted: bool = True,
    ) -> Batch:
        """Publish a message; the batch's outcome is that the server has it.

        Raises :exc:`fanout.BackpressureError`, unless it is not ``counted``:
        the engine's own, or what was counted before.
        """
        size = len(subject) + len(payload) + OVERHEAD
        if counted:
            self.reserve(size)
        batch = self._add(Post(subject, payload, reply, headers))
        if counted:
            batch.num_counted += 1
            batch.num_bytes += size
        return batch

    def change(self, sink: ChannelSink) -> Batch:
        """Tell the server what became of a channel's subscription."""
        return self._add(sink)

    def listen(self, sink: Sink) -> Batch:
        """Subscribe to a further subject, on the connection that there is."""
        return self._add(sink)

    def reserve(self, num_bytes: int) -> None:
        """Count an operation that is held back elsewhere; :meth:`release` it later.

        Raises :exc:`fanout.BackpressureError`.
        """
        if (
            self._num_pending >= self._max_pending
            or self._num_bytes + num_bytes > self._max_pending_bytes
        ):
            raise BackpressureError(
                f"{self._num_pending} operations of {self._num_bytes} bytes wait for "
                f"{self._where()}; with {num_bytes} bytes more that is above the bound of "
                f"{self._max_pending} operations and {self._max_pending_bytes} bytes")
        self._num_pending += 1
        self._num_bytes += num_bytes

    def release(self, num_bytes: int) -> None:
        self._num_pending -= 1
        self._num_bytes -= num_bytes

    def _add(self, operation: Operation) -> Batch:
        batch = self._current
        if batch is None:
            self._numbers += 1
            batch = Batch(self._numbers, self._loop.time() + self.timeout)
            self._current = batch
            self._loop.call_soon(self._end_tick, batch)
        batch.operations.append(operation)
        return batch

    def _end_tick(self, batch: Batch) -> None:
        if self._current is not batch:
            return
        self._current = None
        self._unsent.append(batch)
        self._wake.set()
        if not self._alarm.is_set:
            self._arm()

    # ---- emptying ------------------------------------------------------

    async def wait(self) -> None:
        """Until there is something to send."""
        await self._wake.wait()

    def next(self) -> Batch | None:
        """The next batch, which counts as sent from now on."""
        if not self._unsent:
            self._wake.clear()
            return None
        batch = self._unsent.popleft()
        batch.sent = True
        self._sent.append(batch)
        return batch

    def answered(self, number: int) -> None:
        """The server got everything up to the batch of this number."""
        while self._sent and self._sent[0].number <= number:
            batch = self._sent.popleft()
            self._forget(batch)
            for operation in batch.operations:
                if isinstance(operation, ChannelSink):
                    operation.answered()
            batch.succeed(None)

    def refused(self, text: str, error: Exception) -> None:
        """The server refused a message of what was sent, and ``text`` is what it said."""
        self.trouble = str(error)
        found = [batch for batch in self._sent if any(
            isinstance(operation, Post) and f'"{operation.subject.lower()}"' in text
            for operation in batch.operations)]
        for batch in found or self._sent:
            self._fail(batch, error)

    def broke(self, trouble: str) -> None:
        """The link broke: what was sent on it has failed."""
        self.trouble = trouble
        while self._sent:
            batch = self._sent.popleft()
            self._forget(batch)
            self._fail(batch, self.unavailable(maybe_done=True))

    async def drain(self) -> None:
        """Until everything has its answer or has failed."""
        while last := (self._current or (self._unsent or self._sent or [None])[-1]):
            try:
                await last
            except Exception:       # whoever it concerns is told
                continue

    def close(self) -> None:
        self._closed = True
        self._alarm.cancel()
        left = [*self._sent, *self._unsent]
        if self._current is not None:
            left.append(self._current)
        self._current = None
        self._sent.clear()
        self._unsent.clear()
        for batch in left:
            self._forget(batch)
            batch.fail(ClosedError("the engine is closed"))

    # ---- the time limit ------------------------------------------------

    def unavailable(self, *, maybe_done: bool = False) -> EngineUnavailableError:
        return EngineUnavailableError(f"{self._where()}: {self.trouble}", maybe_done=maybe_done)

    def _fail(self, batch: Batch, error: Exception) -> None:
        if not batch.settled:
            self.failures.note(error, batch.num_counted)
        batch.fail(error)

    def _forget(self, batch: Batch) -> None:
        self._num_pending -= batch.num_counted
        self._num_bytes -= batch.num_bytes

    def _arm(self) -> None:
        oldest = self._sent[0] if self._sent else self._unsent[0] if self._unsent else None
        if oldest is not None and not self._closed:
            self._alarm.set(oldest.deadline)

    def _expire(self) -> None:
        now = self._loop.time()
        for batches in (self._sent, self._unsent):
            while batches and batches[0].deadline <= now:
                batch = batches.popleft()
                self._forget(batch)
                self._fail(batch, self.unavailable(maybe_done=batch.sent))
        self._arm()
