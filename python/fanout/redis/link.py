"""A connection to one server that comes back after it broke."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from typing import Any

import hiredis

from fanout.errors import EngineError, EngineUnavailableError
from fanout.failures import Failures
from fanout.redis.dial import Dialer
from fanout.redis.script import words

__all__ = ["PING", "SECOND_LOOK", "Link", "LinkSettings", "Refusal", "pack", "reason"]

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 5.0
"""Seconds before another attempt to connect, at most: what is waited is random.

Never more than the time limit of operations, which wait for the attempt.
"""
_LATE = 0.05
"""Seconds by which a timer is late when the loop was busy with something else."""
SECOND_LOOK = 0.1
"""Seconds after which a late timer looks again; that one is late at most once more."""
_WRITE_BUFFER = 256 * 1024
"""Bytes that a transport may hold before the link keeps back what follows."""


class Refusal(Exception):
    """An error reply; its text is the server's."""


class LinkSettings:
    """What the links of one engine have in common; times in seconds."""

    def __init__(
        self, *, timeout: float, ping_interval: float, max_pending: int, max_pending_bytes: int
    ) -> None:
        self.timeout = timeout
        self.failures = Failures(logging.getLogger("fanout.redis"))
        self.ping_interval = ping_interval
        self.max_pending = max_pending
        self.max_pending_bytes = max_pending_bytes


def pack(*arguments: bytes) -> bytes:
    """A command as the server reads it."""
    return b"*%d\r\n%b" % (len(arguments), words(*arguments))


PING = pack(b"PING")


class Wire(asyncio.Protocol):
    """One connection of a link: what the transport tells goes there, while it is its own."""

    def __init__(self, link: Link, writer: asyncio.StreamWriter) -> None:
        self._link = link
        # Its finalizer would close the transport.
        self._writer = writer
        self.transport: asyncio.WriteTransport = writer.transport
        self.reader: Any = hiredis.Reader(protocolError=ValueError, replyError=Refusal)
        self.paused = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER)
        self.transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        if self._link.wire is self:
            self._link.data_received(self, data)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self._link.wire is self:
            self._link.resume()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        if self._link.wire is self:
            self._link.break_off(error or ConnectionError("the server closed the connection"))


class Link(abc.ABC):
    """Keeps one connection to a server, opening it again when it breaks.

    ``wire`` is the connection while there is one.
    """

    def __init__(self, dialer: Dialer, settings: LinkSettings) -> None:
        self.dialer = dialer
        self.settings = settings
        self.wire: Wire | None = None
        self._loop = asyncio.get_running_loop()
        self._keeper: asyncio.Task[None] | None = None
        self._is_ending = False
        self._broken: asyncio.Future[None] = self._loop.create_future()
        self._pulse: asyncio.TimerHandle | None = None
        self._longest_pause = min(_LONGEST_PAUSE, settings.timeout)
        self.last_received = 0.0
        self.trouble = "not connected yet"
        """Why there is no connection, as the last attempt told."""
        self.on_up: Callable[[], object] | None = None
        """Called after each new connection was made."""

    # ---- for those who use the link ------------------------------------

    async def open(self) -> None:
        """Connect for the first time.

        Raises :exc:`fanout.EngineUnavailableError` when that does not succeed
        within the time limit, and :exc:`fanout.EngineError` when the server
        refuses.
        """
        until = self._loop.time() + self.settings.timeout
        pause = _FIRST_PAUSE
        tried = False
        while True:
            try:
                async with asyncio.timeout_at(until):
                    writer = await self.dialer.dial()
                break
            except EngineError:
                raise
            except Exception as error:
                # An attempt that the end of the time cut short tells less than one before.
                if not tried or self._loop.time() < until:
                    self.trouble = reason(error)
                tried = True
                pause = min(2 * pause, self._longest_pause)
                wait = random.uniform(0, pause)
                if self._loop.time() + wait >= until:
                    raise self.unavailable() from error
                await asyncio.sleep(wait)
        self._connected(writer)
        self._keeper = asyncio.create_task(self._keep())

    def start(self) -> None:
        """Connect as soon as that is possible, and do not wait for it."""
        self._broken.set_result(None)
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the connection and never open it again."""
        self._is_ending = True
        if self._keeper is not None:
            self._keeper.cancel()
            # It has been told to end, whatever it was at.
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        wire, self.wire = self.wire, None
        if wire is not None:
            wire.transport.abort()
            await wire.closed

    def unavailable(self, *, maybe_done: bool = False) -> EngineUnavailableError:
        """The error for an operation that this link could not carry out."""
        if maybe_done:
            text = f"{self.dialer.label} did not answer: {self.trouble}"
        else:
            text = f"{self.dialer.label} cannot be reached: {self.trouble}"
        return EngineUnavailableError(text, maybe_done=maybe_done)

    def break_off(self, error: Exception) -> None:
        """Give up the present connection, if there is one, for a new one."""
        wire, self.wire = self.wire, None
        if wire is None:
            return
        wire.transport.abort()
        self.trouble = reason(error)
        if self._pulse is not None:
            self._pulse.cancel()
            self._pulse = None
        if not self._broken.done():
            self._broken.set_result(None)
        self.went_down(error)

    @property
    def peer(self) -> object:
        """Where the present connection leads; None without one."""
        return None if self.wire is None else self.wire.transport.get_extra_info("peername")

    # ---- what a kind of link does -----------------------------------------

    @abc.abstractmethod
    def came_up(self) -> None:
        """There is a new connection; nothing was sent on it."""

    @abc.abstractmethod
    def went_down(self, error: Exception) -> None:
        """The connection is gone, and so is what was sent and not answered."""

    @abc.abstractmethod
    def resume(self) -> None:
        """The transport takes more again."""

    @abc.abstractmethod
    def take(self, reader: Any) -> None:
        """Take all whole replies out of ``reader``; ``ValueError`` when they make no sense."""

    @abc.abstractmethod
    def send_ping(self) -> None: ...

    @property
    @abc.abstractmethod
    def waiting_since(self) -> float | None:
        """When that was sent of whose answer nothing has come, in loop time."""

    # ---- the connection ------------------------------------------------

    def data_received(self, wire: Wire, data: bytes) -> None:
        self.last_received = self._loop.time()
        wire.reader.feed(data)
        try:
            self.take(wire.reader)
        except ValueError as error:
            self.break_off(ConnectionError(f"a reply that makes no sense: {error}"))

    def _connected(self, writer: asyncio.StreamWriter) -> None:
        wire = Wire(self, writer)
        self.wire = wire
        self.last_received = self._loop.time()
        self._broken = self._loop.create_future()
        self._watch()
        self.came_up()
        if self.on_up is not None:
            self.on_up()

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            up_since = self._loop.time()
            await self._broken
            if self._loop.time() - up_since > self._longest_pause:
                pause = _FIRST_PAUSE
            writer = None
            while writer is None:
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(2 * pause, self._longest_pause)
                try:
                    async with asyncio.timeout(self.settings.timeout):
                        writer = await self.dialer.dial()
                except Exception as error:
                    self.trouble = reason(error)
                # A cancellation may get lost where an answer comes at the same time.
                if self._is_ending:
                    if writer is not None:
                        writer.transport.abort()
                    return
            try:
                self._connected(writer)
            except Exception as error:
                # Whatever it was, there must be a next attempt.
                self._loop.call_exception_handler(
                    {"message": "fanout: a new connection cannot be used", "exception": error})
                self.break_off(error)

    def _watch(self) -> None:
        """See whether the other side is still there; ask when it is quiet."""
        now = self._loop.time()
        if self.is_late(now, self._pulse):
            self._pulse = self._loop.call_later(SECOND_LOOK, self._watch)
            return
        interval, timeout = self.settings.ping_interval, self.settings.timeout
        self._pulse = None
        if self.break_if_dead(now):
            return
        waiting = self.waiting_since
        if waiting is not None:
            due = max(waiting, self.last_received) + timeout
        elif now >= self.last_received + interval:
            self.send_ping()
            due = now + timeout
        else:
            due = self.last_received + interval
        self._pulse = self._loop.call_at(min(due, now + min(interval, timeout)), self._watch)

    def break_if_dead(self, now: float) -> bool:
        """Break the connection off if an answer is due and nothing has come for too long."""
        waiting = self.waiting_since
        timeout = self.settings.timeout
        if waiting is None or now < max(waiting, self.last_received) + timeout:
            return False
        self.break_off(TimeoutError(f"nothing came for {timeout:g} s"))
        return True

    @staticmethod
    def is_late(now: float, timer: asyncio.TimerHandle | None) -> bool:
        """Whether the loop was kept from running when ``timer`` should have fired.

        What came meanwhile may lie unread: loops look at timers first.
        """
        # What was due when it was asked for has no time with uvloop.
        when = getattr(timer, "when", None)
        return when is not None and now > when() + _LATE


def reason(error: BaseException) -> str:
    """An exception in words, also one that has none of its own."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    # Some versions of redis-py keep it to themselves what is wrong with a certificate.
    if isinstance(error.__context__, ssl.SSLError):
        return str(error.__context__)
    return str(error) or type(error).__name__
