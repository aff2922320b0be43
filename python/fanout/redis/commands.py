"""Commands and their answers: everything but subscriptions goes this way."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, NamedTuple, TypeVar

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

_NOT_DONE = (
    "NOSCRIPT", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK",
)
"""Refusals of a command that was not begun, and can be sent again."""
_ELSEWHERE = ("LOADING", "READONLY", "MASTERDOWN")
"""Those of a server that should not have been connected to."""


class Command(NamedTuple):
    """One command, from the call until its answer."""

    future: asyncio.Future[Any]
    convert: Callable[[Any], Any]
    """Makes the future's result of the reply."""
    channel: str
    """Commands of one channel are carried out in their order; ``""`` for no matter which."""
    script: Script | None
    body: bytes
    """As it is sent; what comes behind the script, if that is what it calls."""
    deadline: float
    """In loop time."""


class CommandLink(Link):
    """Sends commands, all of one loop tick together, and hands out their answers.

    Commands wait while there is no connection. One that was sent fails when
    the connection breaks, and is never sent again, for it may have been
    carried out; the others wait on until their time is over.
    """

    def __init__(self, dialer: Dialer, settings: LinkSettings) -> None:
        super().__init__(dialer, settings)
        self._unsent: deque[Command] = deque()
        self._sent: deque[Command] = deque()
        self._num_bytes = 0
        self._num_overdue = 0       # of those sent, the first: they have failed already
        self._sent_at: float | None = None
        self._scheduled = False
        self._tick_deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._mixed = False         # the unsent ones are not in the order of their deadlines
        self._refused: list[Command] | None = None
        self._reconnect = False
        self._idle: asyncio.Future[None] | None = None
        self._closed = False
        self._create_future = self._loop.create_future

    def execute(
        self, body: bytes, convert: Callable[[Any], T], channel: str = "",
        script: Script | None = None,
    ) -> asyncio.Future[T]:
        """Send a command with all others of this tick.

        The future's exception is :exc:`fanout.EngineUnavailableError` or
        :exc:`fanout.EngineError`; nobody need ask for it.
        """
        unsent = self._unsent
        settings = self.settings
        if (
            len(unsent) + len(self._sent) >= settings.max_pending
            or self._num_bytes + len(body) > settings.max_pending_bytes
        ):
            self._refuse_more(len(body))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
            self._tick_deadline = self._loop.time() + settings.timeout
        future = self._create_future()
        unsent.append(Command(future, convert, channel, script, body, self._tick_deadline))
        self._num_bytes += len(body)
        return future

    async def drain(self) -> None:
        """Wait until all that was called for has its answer, or the connection is gone."""
        while self.wire is not None and (self._unsent or self._sent or self._refused):
            if self._idle is None:
                self._idle = self._create_future()
            await self._idle

    async def close(self) -> None:
        self._closed = True
        await super().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for command in (*self._sent, *(self._refused or ()), *self._unsent):
            self._fail(command, ClosedError("the engine is closed"))
        self._sent.clear()
        self._unsent.clear()
        self._refused = None
        self._num_bytes = 0

    # ---- sending -------------------------------------------------------

    def _refuse_more(self, size: int) -> None:
        settings = self.settings
        num_commands = len(self._unsent) + len(self._sent)
        raise BackpressureError(
            f"{num_commands} operations of {self._num_bytes} bytes wait for {self.dialer.label}; "
            f"with {size} bytes more that is above the bound of {settings.max_pending} operations "
            f"and {settings.max_pending_bytes} bytes")

    def _flush(self) -> None:
        self._scheduled = False
        self._arm()
        self._write()

    def _write(self) -> None:
        """Send what waits, as far as the transport takes it."""
        wire = self.wire
        # While some are to be sent again, those behind them must not overtake.
        if wire is None or self._refused is not None:
            return
        unsent = self._unsent
        while unsent and not wire.paused and self.wire is wire:
            if not self._sent:
                self._sent_at = self._loop.time()
            parts: list[bytes] = []
            loaded: set[Script] = set()
            size = 0
            num_commands = 0
            for command in unsent:
                script = command.script
                if script is not None:
                    # With its source the first time in each write: the server may
                    # have lost it, and what comes behind must not be refused then.
                    if script in loaded:
                        parts.append(script.by_digest)
                    else:
                        loaded.add(script)
                        parts.append(script.by_source)
                body = command.body
                parts.append(body)
                num_commands += 1
                size += len(body)
                if size >= _CHUNK:
                    break
            if num_commands == len(unsent):
                self._sent.extend(unsent)
                unsent.clear()
            else:
                self._sent.extend(islice(unsent, num_commands))
                for _ in range(num_commands):
                    unsent.popleft()
            wire.transport.write(b"".join(parts))
        if not unsent:
            self._mixed = False

    def send_ping(self) -> None:
        self.execute(PING, _nothing)

    # ---- answers -------------------------------------------------------

    def take(self, reader: Any) -> None:
        gets = reader.gets
        sent = self._sent
        while (reply := gets()) is not False:
            if not sent:
                raise ValueError("an answer to nothing that was asked")
            command = sent.popleft()
            future, convert, channel, _, body, _ = command
            self._num_bytes -= len(body)
            if self._num_overdue:
                self._num_overdue -= 1
            if type(reply) is Refusal:
                self._was_refused(command, str(reply))
                continue
            if self._refused is not None and channel:
                self._overtaken(channel)
            # Overdue, or nobody wants it any more.
            if future.done():
                continue
            try:
                future.set_result(convert(reply))
            except Exception as error:
                self._fail(command, EngineError(
                    f"{self.dialer.label}: an answer that makes no sense: {error!r}"))
        if not sent:
            self._all_answered()

    def _was_refused(self, command: Command, text: str) -> None:
        code = _code(text)
        if code not in _NOT_DONE:
            self._fail(command, EngineError(f"{self.dialer.label}: {text}"))
            return
        if code in _ELSEWHERE:
            self._reconnect = True
            self.trouble = text
        if self._refused is None:
            self._refused = []
        self._refused.append(command)
        self._num_bytes += len(command.body)
        self.was_not_done(code, text)

    def was_not_done(self, code: str, text: str) -> None:
        """A command was refused before it began; ``text`` is the server's."""

    def _overtaken(self, channel: str) -> None:
        """A later command of ``channel`` was carried out, so those refused came too late."""
        for command in self._refused or ():
            if command.channel == channel and not command.future.done():
                self._fail(command, EngineError(
                    f"{self.dialer.label}: refused at first, and then a later operation of the "
                    "channel was carried out, which this one may not follow"))

    def _all_answered(self) -> None:
        self._sent_at = None
        if self._refused is not None:
            # Nothing is under way, so the order is that of the calls again.
            again, self._refused = self._refused, None
            self.send_again(again)
        if self._idle is not None:
            # Whoever waits looks again for himself.
            self._idle.set_result(None)
            self._idle = None

    def send_again(self, commands: list[Command]) -> None:
        """Carry out ``commands``, which were refused, and then those that wait."""
        self.put_back(commands)
        if self._reconnect:
            self._reconnect = False
            self.break_off(ConnectionError(self.trouble))
        else:
            self._write()

    def put_back(self, commands: Iterable[Command]) -> None:
        """Have ``commands`` wait in front of all others."""
        alive = []
        for command in commands:
            if command.future.done():
                self._num_bytes -= len(command.body)
            else:
                alive.append(command)
        self._unsent.extendleft(reversed(alive))
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._arm()

    # ---- failing -------------------------------------------------------

    def _fail(self, command: Command, error: Exception) -> None:
        future = command.future
        if not future.done():
            future.set_exception(error)
            # Asked for here, so that nobody is blamed for not asking.
            future.exception()

    def _arm(self) -> None:
        """Have the timer look when the oldest command's time is over."""
        if self._timer is not None or self._closed:
            return
        oldest = min(
            (commands[at].deadline
             for commands, at in ((self._sent, self._num_overdue), (self._unsent, 0))
             if at < len(commands)),
            default=None,
        )
        if oldest is not None:
            earliest = self._loop.time() + _CHECK_PAUSE
            self._timer = self._loop.call_at(max(oldest, earliest), self._check)

    def _check(self) -> None:
        now = self._loop.time()
        if self.is_late(now, self._timer):
            self._timer = self._loop.call_later(_CHECK_PAUSE, self._check)
            return
        self._timer = None
        self.break_if_dead(now)
        timeout = self.settings.timeout
        for command in islice(self._sent, self._num_overdue, None):
            if command.deadline > now:
                break
            self.trouble = f"no answer within {timeout:g} s"
            self._fail(command, self.unavailable(maybe_done=True))
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
        self._num_bytes -= len(command.body)
        self._fail(command, self.unavailable())
        return True

    # ---- the connection ------------------------------------------------

    def came_up(self) -> None:
        self._write()

    def resume(self) -> None:
        self._write()

    def went_down(self, error: Exception) -> None:
        refused, self._refused = self._refused, None
        for command in self._sent:
            self._num_bytes -= len(command.body)
            self._fail(command, self.unavailable(maybe_done=True))
        self._sent.clear()
        self._num_overdue = 0
        self._reconnect = False
        if refused is not None:
            self.put_back(refused)
        self._all_answered()

    @property
    def waiting_since(self) -> float | None:
        return self._sent_at


def _code(text: str) -> str:
    """The first word of a refusal; an old server has it inside a script's error."""
    if text.startswith("ERR Error running script"):
        for code in _NOT_DONE:
            if f": -{code} " in text:
                return code
    return text.partition(" ")[0]


def _nothing(reply: object) -> None:
    return None
