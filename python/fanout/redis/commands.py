"""Commands and their answers: everything but subscriptions goes this way."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

from fanout.errors import BackpressureError, ClosedError, EngineError
from fanout.redis.dial import Dialer
from fanout.redis.link import PING, Link, LinkSettings, Refusal
from fanout.redis.script import Script

__all__ = ["Command", "CommandLink"]

T = TypeVar("T")

_CHUNK = 1 << 20
"""Bytes that leave in one write, about; what is more follows when the transport has room."""
_CHECK_PAUSE = 0.01
"""Seconds between two looks for what is overdue, at least."""

NO_PLACE = frozenset({"LOADING", "READONLY", "MASTERDOWN"})
"""Refusals of a server that should not have been connected to."""
_IN_SCRIPT = re.compile(f": -?({'|'.join(sorted(NO_PLACE))}) ")


class Command(NamedTuple):
    """One command, from the call until its answer."""

    future: asyncio.Future[Any]
    convert: Callable[[Any], Any]
    """Makes the future's result of the reply."""
    channel: str | bytes
    """Commands of one channel are carried out in their order; bytes are a topic that
    is no channel's, and ``""`` is for no matter which."""
    script: Script | None
    """What it calls, with these keys and arguments."""
    keys: bytes
    body: bytes
    """The arguments of the call, or else the whole command."""
    deadline: float
    """In loop time."""


Sent: TypeAlias = Command | list[Command]
"""What gets one reply: a command, or calls of one script, whose reply has one for each."""


class CommandLink(Link):
    """Sends commands, all of one loop tick together, and hands out their answers.

    Commands wait while there is no connection. One that was sent fails when
    the connection breaks, and is never sent again, for it may have been
    carried out; the others wait on until their time is over.

    A command that the server refused to begin is sent again, but only when
    all that is under way has its answer: nothing of its channel overtakes it.
    """

    not_done = NO_PLACE
    """Refusals of a command that was not begun, and can be sent again."""

    def __init__(self, dialer: Dialer, settings: LinkSettings) -> None:
        super().__init__(dialer, settings)
        self._unsent: deque[Command] = deque()
        self._sent: deque[Sent] = deque()
        self._num_pending = 0
        self._num_bytes = 0
        self._num_overdue = 0       # of those sent, the first: they have failed already
        self._sent_at: float | None = None
        self._scheduled = False
        self._tick_deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._mixed = False         # the unsent ones are not in the order of their deadlines
        self.held = False
        """Nothing is sent, until ``write`` is called after this was set false."""
        self._refused: list[Command] = []
        self._refused_of: dict[str | bytes, list[Command]] = {}
        self.must_reconnect = False
        """The server should not have been connected to."""
        self._idle: asyncio.Future[None] | None = None
        self.is_closed = False
        self._create_future = self._loop.create_future

    def execute(
        self, body: bytes, convert: Callable[[Any], T], channel: str | bytes = "",
        script: Script | None = None, keys: bytes = b"",
    ) -> asyncio.Future[T]:
        """Send a command, or call a script, with all others of this tick.

        The future's exception is :exc:`fanout.EngineUnavailableError` or
        :exc:`fanout.EngineError`; nobody need ask for it.
        """
        settings = self.settings
        size = len(body) + len(keys)
        if (
            self._num_pending >= settings.max_pending
            or self._num_bytes + size > settings.max_pending_bytes
        ):
            self._refuse_more(size)
        if not self._scheduled:
            if self.is_closed:
                raise ClosedError("the engine is closed")
            self._scheduled = True
            self._loop.call_soon(self._flush)
            self._tick_deadline = self._loop.time() + settings.timeout
        future = self._create_future()
        self._unsent.append(
            Command(future, convert, channel, script, keys, body, self._tick_deadline))
        self._num_pending += 1
        self._num_bytes += size
        return future

    async def drain(self) -> None:
        """Wait until all that was called for has its answer, or the connection is gone."""
        while self.wire is not None and (self._unsent or self._sent or self._refused):
            if self._idle is None:
                self._idle = self._create_future()
            await self._idle

    async def close(self) -> None:
        self.is_closed = True
        self._scheduled = False
        await super().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for command in (*_each(self._sent), *self._refused, *self._unsent):
            self._drop(command, ClosedError("the engine is closed"))
        self._sent.clear()
        self._unsent.clear()
        self._refused.clear()

    # ---- sending -------------------------------------------------------

    def _refuse_more(self, size: int) -> None:
        settings = self.settings
        raise BackpressureError(
            f"{self._num_pending} operations of {self._num_bytes} bytes wait for "
            f"{self.dialer.label}; with one more of {size} bytes that is above the bound of "
            f"{settings.max_pending} operations and {settings.max_pending_bytes} bytes")

    def _flush(self) -> None:
        self._scheduled = False
        self._arm()
        self.write()

    def write(self) -> None:
        """Send what waits, as far as the transport takes it."""
        wire = self.wire
        # While some are to be sent again, those behind them must not overtake.
        if wire is None or self._refused or self.held:
            return
        unsent = self._unsent
        while unsent and not wire.paused and self.wire is wire:
            if not self._sent:
                self._sent_at = self._loop.time()
            parts: list[bytes] = []
            calls: list[Command] = []
            size = 0
            num_commands = 0
            for command in unsent:
                script = command.script
                if calls and (
                    script is None or script is not calls[0].script
                    or len(calls) == script.most or not self.go_together(calls[0], command)
                ):
                    self._add_calls(parts, calls)
                    calls = []
                if script is None:
                    parts.append(command.body)
                    self._sent.append(command)
                else:
                    calls.append(command)
                num_commands += 1
                size += len(command.body) + len(command.keys)
                if size >= _CHUNK:
                    break
            if calls:
                self._add_calls(parts, calls)
            if num_commands == len(unsent):
                unsent.clear()
            else:
                for _ in range(num_commands):
                    unsent.popleft()
            wire.transport.write(b"".join(parts))
        if not unsent:
            self._mixed = False

    def _add_calls(self, parts: list[bytes], calls: list[Command]) -> None:
        script = calls[0].script
        assert script is not None
        parts.append(script.head(len(calls)))
        parts += [call.keys for call in calls]
        parts += [call.body for call in calls]
        self._sent.append(calls)

    def go_together(self, one: Command, other: Command) -> bool:
        """Whether the server takes both in one call of their script."""
        return True

    def send_ping(self) -> None:
        self.execute(PING, _nothing)

    # ---- answers -------------------------------------------------------

    def take(self, reader: Any) -> None:
        gets = reader.gets
        sent = self._sent
        while (reply := gets()) is not False:
            if not sent:
                raise ValueError("an answer to nothing that was asked")
            if self._num_overdue:
                self._num_overdue -= 1
            asked = sent.popleft()
            if type(asked) is not list:
                self._answer(asked, reply)  # type: ignore[arg-type]
            elif type(reply) is list and len(reply) == len(asked):
                for command, each in zip(asked, reply, strict=True):
                    self._answer(command, each)
            else:
                for command in asked:
                    self._answer(command, reply)
        if not sent:
            self._all_answered()

    def _answer(self, command: Command, reply: Any) -> None:
        future, convert, channel, _, keys, body, _ = command
        self._num_pending -= 1
        self._num_bytes -= len(body) + len(keys)
        if type(reply) is Refusal:
            self._was_refused(command, str(reply))
            return
        if self._refused_of and channel in self._refused_of:
            self._overtook(channel)
        # Overdue, or nobody wants it any more.
        if future.done():
            return
        try:
            future.set_result(convert(reply))
        except Exception as error:
            self._fail(command, EngineError(
                f"{self.dialer.label}: an answer that makes no sense: {error!r}"))

    def _was_refused(self, command: Command, text: str) -> None:
        code = _code(text)
        if code not in self.not_done:
            self._fail(command, EngineError(f"{self.dialer.label}: {text}"))
            return
        if code in NO_PLACE:
            self.must_reconnect = True
            self.trouble = text
        self._refused.append(command)
        if command.channel:
            self._refused_of.setdefault(command.channel, []).append(command)
        self._num_pending += 1
        self._num_bytes += len(command.body) + len(command.keys)
        self.was_not_done(command, code, text)

    def was_not_done(self, command: Command, code: str, text: str) -> None:
        """The server, in these words, refused a command before it began."""

    def _overtook(self, channel: str | bytes) -> None:
        """A command of ``channel`` was carried out, so those refused before it come too late."""
        for command in self._refused_of.pop(channel):
            self._fail(command, EngineError(
                f"{self.dialer.label}: refused at first, and then a later operation of the "
                "channel was carried out, which this one may not follow"))

    def _all_answered(self) -> None:
        self._sent_at = None
        if self._refused:
            # Nothing is under way, so their order is that of the calls again.
            again, self._refused = self._refused, []
            self._refused_of = {}
            self._put_back(again)
        self.settled()
        self._wake()

    def _wake(self) -> None:
        """Whoever waits for the end of something looks again."""
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None

    def settled(self) -> None:
        """Nothing is under way; what was refused waits in front of all others."""
        if self.must_reconnect:
            self.must_reconnect = False
            self.break_off(ConnectionError(self.trouble))
        elif self._unsent:
            self.write()

    def _put_back(self, commands: Iterable[Command]) -> None:
        """Have ``commands`` wait in front of all others."""
        alive = []
        for command in commands:
            if command.future.done():
                self._drop(command, None)
            else:
                alive.append(command)
        self._unsent.extendleft(reversed(alive))
        self._rearm()

    # ---- commands of other links ----------------------------------------

    @property
    def num_sent(self) -> int:
        """Commands under way, or calls together."""
        return len(self._sent)

    def take_unsent(self) -> list[Command]:
        """All that wait, which then do so elsewhere; not those that nobody wants any more."""
        unsent, self._unsent = self._unsent, deque()
        for command in unsent:
            self._drop(command, None)
        self._wake()
        return [command for command in unsent if not command.future.done()]

    def accept(self, commands: Iterable[Command]) -> None:
        """Carry out commands that waited elsewhere, behind those that wait here."""
        for command in commands:
            self._unsent.append(command)
            self._num_pending += 1
            self._num_bytes += len(command.body) + len(command.keys)
        self._mixed = True
        self._rearm()
        self.write()

    # ---- failing -------------------------------------------------------

    def _fail(self, command: Command, error: Exception) -> None:
        future = command.future
        if not future.done():
            future.set_exception(error)
            self.settings.failures.note(error)
            # Asked for here, so that nobody is blamed for not asking.
            future.exception()

    def _drop(self, command: Command, error: Exception | None) -> None:
        """A command waits no more; it fails with ``error``, unless it is done."""
        self._num_pending -= 1
        self._num_bytes -= len(command.body) + len(command.keys)
        if error is not None:
            self._fail(command, error)

    def _arm(self) -> None:
        """Have the timer look when the oldest command's time is over."""
        if self._timer is not None or self.is_closed:
            return
        deadlines = [
            command.deadline for command in islice(self._unsent, None if self._mixed else 1)]
        if self._num_overdue < len(self._sent):
            deadlines.append(_due(self._sent[self._num_overdue]))
        if deadlines:
            earliest = self._loop.time() + _CHECK_PAUSE
            self._timer = self._loop.call_at(max(min(deadlines), earliest), self._check)

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm()

    def _check(self) -> None:
        now = self._loop.time()
        if self.is_late(now, self._timer):
            self._timer = self._loop.call_later(_CHECK_PAUSE, self._check)
            return
        self._timer = None
        self.break_if_dead(now)
        timeout = self.settings.timeout
        for asked in islice(self._sent, self._num_overdue, None):
            for command in _each([asked]):
                if command.deadline <= now:
                    self.trouble = f"no answer within {timeout:g} s"
                    self._fail(command, self.unavailable(maybe_done=True))
            if _due(asked) > now:
                break
            self._num_overdue += 1
        if self._mixed:
            waiting = [command for command in self._unsent if not self._is_over(command, now)]
            self._unsent = deque(waiting)
        else:
            while self._unsent and self._is_over(self._unsent[0], now):
                self._unsent.popleft()
        if not self._sent and not self._unsent:
            self._all_answered()
        self._arm()

    def _is_over(self, command: Command, now: float) -> bool:
        """Whether an unsent command's time is over; it then has failed."""
        if command.deadline > now:
            return False
        self._drop(command, self.unavailable())
        return True

    # ---- the connection ------------------------------------------------

    def came_up(self) -> None:
        self.write()

    def resume(self) -> None:
        self.write()

    def went_down(self, error: Exception) -> None:
        for command in _each(self._sent):
            self._drop(command, self.unavailable(maybe_done=True))
        self._sent.clear()
        self._num_overdue = 0
        self.must_reconnect = False
        self._all_answered()

    @property
    def waiting_since(self) -> float | None:
        return self._sent_at


def _each(sent: Iterable[Sent]) -> Iterator[Command]:
    for asked in sent:
        if isinstance(asked, list):
            yield from asked
        else:
            yield asked


def _due(asked: Sent) -> float:
    """The earliest time at which one of these fails; 0 when none can any more."""
    return min((each.deadline for each in _each([asked]) if not each.future.done()), default=0.0)


def _code(text: str) -> str:
    """The first word of a refusal; servers before version 7 have it inside a script's error."""
    inside = _IN_SCRIPT.search(text)
    return inside[1] if inside else text.partition(" ")[0]


def _nothing(reply: object) -> None:
    return None
