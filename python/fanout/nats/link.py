"""The connection to a NATS system, which comes back whenever it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import TYPE_CHECKING, Protocol

from fanout.errors import EngineError, EngineUnavailableError
from fanout.nats.address import Login, Server
from fanout.nats.connection import Connection
from fanout.nats.pipe import Batch, Pipe, too_large
from fanout.nats.sink import ChannelSink, Sink
from fanout.nats.subscriptions import Subscriptions

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Link", "LinkUser"]

log = logging.getLogger("fanout")

FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds before another attempt to connect, at most: what is waited is random."""
CHUNK, CHUNK_BYTES = 256, 1 << 20
"""Operations that are handed over before anything else has a turn, and their bytes."""
MOST_PAYLOAD = 1 << 20
"""Bytes of a message before a server has said how many it takes."""


class LinkUser(Protocol):
    """Who is told of the link."""

    def link_up(self) -> None:
        """There is a connection; what is posted is sent."""

    def link_down(self) -> None:
        """The connection is gone, and with it what waited for an answer on it."""

    def on_link_lost(self, channels: Collection[str], error: Exception) -> None: ...
    def on_link_restored(self, channels: Collection[str]) -> None: ...


class Link:
    """Keeps one connection to one of the servers.

    Each batch of the pipe is followed by a message to the engine itself, the
    mark. Its arrival answers the batch, and everything that the server sent
    before has arrived then as well. (A PING would not do: nats-py sends it
    past what it holds.) Marks are also how it is found out that a server does
    not answer any more.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        login: Login,
        name: str,
        inbox: str,
        sinks: Sequence[Sink],
        pipe: Pipe,
        subscriptions: Subscriptions,
        user: LinkUser,
    ) -> None:
        self.max_payload = MOST_PAYLOAD
        self.up = False
        """All subscriptions are in place."""
        self._servers = list(servers)
        random.shuffle(self._servers)   # so that many nodes spread over them
        self._login = login
        self._name = name
        self._mark_subject = f"{inbox}mark"
        self._sinks = [Sink(self._mark_subject, self._take_mark), *sinks]
        self._pipe = pipe
        self._subscriptions = subscriptions
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._marks = 0
        self._answered = 0
        self._sent_at: float | None = None      # when the oldest unanswered mark was sent
        self._mark_arrived: asyncio.Event = asyncio.Event()
        self._closing = False
        self._stopping = False
        self._refusal: EngineError | None = None

    # ---- life ----------------------------------------------------------

    @property
    def label(self) -> str:
        return self._servers[0].label

    @property
    def version(self) -> tuple[int, int]:
        return self._connection.version if self._connection is not None else (0, 0)

    async def open(self) -> None:
        """Connect for the first time.

        Raises :exc:`fanout.EngineUnavailableError` when that does not succeed
        within the time limit, and :exc:`fanout.EngineError` when the server
        does not let the engine in.
        """
        until = self._loop.time() + self._pipe.timeout
        pause = FIRST_PAUSE
        while True:
            try:
                connection = await self._connect()
                break
            except ConnectionError as error:
                # Wrong passwords do not get right by trying; a server that is
                # starting is worth a wait.
                if "authorization" in str(error).lower():
                    raise EngineError(f"{self.label}: {error}") from None
                if until - self._loop.time() < pause:
                    raise EngineUnavailableError(f"{self.label}: {error}") from None
                await asyncio.sleep(random.uniform(pause / 2, pause))
                pause = min(pause * 2, LONGEST_PAUSE)
                self._servers.append(self._servers.pop(0))
        try:
            async with asyncio.timeout_at(until):
                await self._while_alive(connection, self._establish(connection))
        except (TimeoutError, ConnectionError) as error:
            await connection.abort()
            raise EngineUnavailableError(
                f"{self.label}: {str(error) or 'no answer in time'}") from None
        except BaseException:
            await connection.abort()
            raise
        self._keeper = asyncio.create_task(self._keep(connection))

    async def close(self) -> None:
        """Send what there is to send, as long as the time limit allows, and disconnect."""
        if self._keeper is None:
            return
        self._closing = True
        if self.up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pipe.timeout):
                    await self._pipe.drain()
        self.up = False
        keeper, self._keeper = self._keeper, None
        # Before Python 3.12 a cancellation may get lost in asyncio.wait_for, which
        # nats-py uses, so the keeper looks for itself too.
        self._stopping = True
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)

    # ---- connecting ----------------------------------------------------

    async def _connect(self) -> Connection:
        connection = Connection(self._servers[0], self._login, self._refused)
        # One that says nothing must not take the time of all the others.
        share = max(1 / len(self._servers), 1 / 4)
        await connection.open(self._name, self._pipe.timeout * share)
        return connection

    async def _establish(self, connection: Connection) -> None:
        """Subscribe to all there is, and wait until the server has done it."""
        self._connection = connection
        self.max_payload = connection.max_payload
        self._pipe.trouble = f"no answer within {self._pipe.timeout:g} s"
        self._sent_at = None
        self._answered = self._marks
        sinks: list[Sink | ChannelSink] = [*self._sinks, *self._subscriptions.wanted]
        done: list[ChannelSink] = []
        for start in range(0, len(sinks), CHUNK):
            for sink in sinks[start:start + CHUNK]:
                if isinstance(sink, Sink):
                    await connection.subscribe(sink)
                elif sink.wanted:
                    await connection.add(sink)
                    done.append(sink)
            await connection.flow()
            self._raise_if_lost(connection)
        mark = await self._send_mark(connection, 0)
        while self._answered < mark and self._refusal is None:
            self._mark_arrived.clear()
            await self._mark_arrived.wait()
        if self._refusal is not None:
            # Without what the engine itself says and listens to it is deaf and dumb.
            error, self._refusal = self._refusal, None
            raise error
        for sink in done:
            sink.answered()
        self.up = True
        self._user.link_up()

    async def _keep(self, connection: Connection) -> None:
        """Use the connection until it breaks, and get another one, forever."""
        while True:
            error = await self._use(connection)
            await self._went_down(connection, error)
            connection = await self._reconnect()

    async def _reconnect(self) -> Connection:
        pause = FIRST_PAUSE
        while True:
            self._raise_if_stopping()
            # Not all nodes of a system at the same moment.
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(pause * 2, LONGEST_PAUSE)
            self._servers.append(self._servers.pop(0))
            connection: Connection | None = None
            try:
                connection = await self._connect()
                await self._while_alive(connection, self._establish(connection))
            except Exception as error:
                if not isinstance(error, (ConnectionError, EngineError)):
                    log.exception("connecting to %s failed", self.label)
                self._pipe.trouble = f"not connected: {error}"
                if connection is not None:
                    self._forget(connection)
                    await connection.abort()
                continue
            except BaseException:
                if connection is not None:
                    await connection.abort()
                raise
            self._tell(self._user.on_link_restored, self._subscriptions.restored())
            return connection

    async def _use(self, connection: Connection) -> Exception:
        try:
            await self._while_alive(connection, self._write(connection))
        except ConnectionError as error:
            return error
        except Exception as error:
            log.exception("writing to %s failed", connection.server.label)
            return error
        except BaseException:
            # The engine is closed.
            self._connection = None
            await connection.close()
            raise
        raise AssertionError("unreachable: writing does not end by itself")

    async def _while_alive(
        self, connection: Connection, work: Coroutine[object, object, None]
    ) -> None:
        """Do ``work``; raises ``ConnectionError`` when the connection is lost meanwhile."""
        task = asyncio.ensure_future(work)
        if self._stopping:
            task.cancel()
        watch = asyncio.ensure_future(self._watch(connection))
        try:
            await asyncio.wait(
                (task, connection.lost), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
                return
            self._raise_if_lost(connection)
        finally:
            task.cancel()
            watch.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    def _forget(self, connection: Connection) -> list[str]:
        self.up = False
        if self._connection is connection:
            self._connection = None
        return self._subscriptions.broke()

    async def _went_down(self, connection: Connection, error: Exception) -> None:
        lost = self._forget(connection)
        log.info("the connection to %s broke: %s", connection.server.label, error)
        self._pipe.broke(f"not connected: {error}")
        if self._closing:
            # Nobody waits for another connection.
            self._pipe.close()
        self._user.link_down()
        self._tell(self._user.on_link_lost, lost, self._pipe.unavailable())
        await connection.abort()

    def _raise_if_stopping(self) -> None:
        if self._stopping:
            raise asyncio.CancelledError

    def _raise_if_lost(self, connection: Connection) -> None:
        if connection.lost.done():
            error = connection.lost.result()
            raise error if isinstance(error, ConnectionError) else ConnectionError(str(error))

    # ---- writing -------------------------------------------------------

    async def _write(self, connection: Connection) -> None:
        while True:
            await self._pipe.wait()
            batch: Batch | None = None
            while (following := self._pipe.next()) is not None:
                batch = following
                await self._write_batch(connection, batch)
            if batch is not None:
                await self._send_mark(connection, batch.number)

    async def _write_batch(self, connection: Connection, batch: Batch) -> None:
        count = size = 0
        for operation in batch.operations:
            count += 1
            if count == CHUNK or size > CHUNK_BYTES:
                await connection.flow()
                count = size = 0
            if isinstance(operation, ChannelSink):
                if operation.wanted:
                    await connection.add(operation)
                else:
                    await connection.remove(operation)
            elif isinstance(operation, Sink):
                await connection.subscribe(operation)
            elif operation.size <= connection.max_payload:
                size += operation.size
                await connection.publish(*operation)
            else:
                # This server takes less than the one that was there at the call.
                batch.fail(too_large(operation.size, connection.max_payload))

    async def _send_mark(self, connection: Connection, batch: int) -> int:
        self._marks += 1
        if self._sent_at is None:
            self._sent_at = self._loop.time()
        await connection.publish(self._mark_subject, b"%d %d" % (self._marks, batch))
        return self._marks

    def _take_mark(self, message: Msg) -> None:
        mark, batch = map(int, message.data.split())
        if mark <= self._answered:
            return
        self._answered = mark
        self._sent_at = None if mark == self._marks else self._loop.time()
        self._mark_arrived.set()
        if batch:
            self._pipe.answered(batch)

    def _refused(self, trouble: Exception) -> None:
        """The server does not allow something, and says so before it answers what follows."""
        log.error("%s: %s", self.label, trouble)
        error = EngineError(f"{self.label}: {trouble}")
        # nats-py has made small letters of it.
        text = str(trouble)
        if "subscription" in text and self._subscriptions.refused(text, error):
            return
        if self.up:
            self._pipe.refused(text, error)
        else:
            self._refusal = error
            self._mark_arrived.set()

    # ---- whether the server answers ------------------------------------

    async def _watch(self, connection: Connection) -> None:
        """Have the server say something all the time, and give it up when it does not.

        It is found out within the time limit: after three quarters of it
        without an answer to a mark, which is sent in the remaining quarter.
        """
        pause = self._pipe.timeout / 4
        while True:
            wake = self._loop.time() + pause
            await asyncio.sleep(pause)
            now = self._loop.time()
            if now - wake > pause / 2:
                continue    # the loop was busy: what came in the meantime is read first
            if self._sent_at is None:
                await self._send_mark(connection, 0)
            elif now - self._sent_at >= 3 * pause:
                connection.fail(ConnectionError(f"no answer in {3 * pause:g} s"))

    def _tell(self, event: Callable[..., object], *arguments: object) -> None:
        try:
            event(*arguments)
        except Exception:
            log.exception("an event of the engine raised")

