"""A run: connect, publish, wait for what is under way, and count."""

from __future__ import annotations

import asyncio
import math
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import jwt

from fanout.bench.connection import Connection, ConnectionRefused
from fanout.bench.dialects import dialect
from fanout.bench.ledger import Ledger, Subscription
from fanout.bench.marks import Mark, mark_of, marked_data
from fanout.bench.plan import Plan
from fanout.bench.publishers import APIPublisher, ClientPublisher, Publisher
from fanout.bench.summary import Summary

__all__ = ["Run"]

_KNOWN = 4096           # messages whose reading is remembered for the other subscribers
_PAUSE = 0.005          # seconds between two looks at the clock of the publishing loop
_TOKEN_MARGIN = 3600    # seconds that a made token is valid beyond the run


class Run:
    """One run of a plan.

    ``phase`` and ``ledger`` are for whoever shows the progress. ``stop`` ends
    it early: what was published until then is still waited for.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ledger = Ledger()
        self.phase = "connecting"
        self.elapsed = 0.0          # seconds of publishing
        self._name = secrets.token_hex(4)
        self._dialect = dialect(plan.format)
        self._tls = ssl.create_default_context() if plan.target.secure else None
        self._connections: list[Connection] = []
        self._subscriptions: dict[tuple[int, str], Subscription] = {}
        # Every subscriber gets the same bytes: they are read once.
        self._known: dict[bytes, list[tuple[str, Mark]]] = {}
        self._stop: asyncio.Event = asyncio.Event()
        self._cpu = 0.0
        self._held = False          # the publishers could not keep to the rate

    def stop(self) -> None:
        self._stop.set()

    @property
    def sockets(self) -> int:
        """Connections that it opens: those that subscribe, and those of its publishers."""
        plan = self.plan
        return plan.connections + (plan.publishers if plan.rate and not plan.api_url else 0)

    @property
    def stopped(self) -> bool:
        """True when it was ended early."""
        return self._stop.is_set()

    async def run(self) -> Summary:
        """Do it all; what came of it."""
        ledger = self.ledger
        publishing = 0.0
        try:
            async with self._publishers() as publishers:
                await self._connect_all(publishers)
                self.phase = "publishing"
                before, started = time.process_time(), time.monotonic()
                await self._publish(publishers)
                publishing = time.monotonic() - started
                self.phase = "waiting"
                await self._settle()
                self._cpu = time.process_time() - before
                busy = time.monotonic() - started
        finally:
            self.phase = "closing"
            for connection in self._connections:
                ledger.bytes_received += connection.bytes_received
            await self._close()
        return Summary.of(
            self.plan, ledger, publishing=publishing, measured=busy, cpu=self._cpu,
            behind=self._held, interrupted=self.stopped)

    # ---- ConnectionUser ------------------------------------------------

    def on_message(self, connection: Connection, payload: bytes) -> None:
        now = time.monotonic_ns()
        known = self._known.get(payload)
        if known is None:
            known = self._read(connection, payload)
        for channel, mark in known:
            subscription = self._subscriptions.get((connection.number, channel))
            if subscription is not None:
                self.ledger.deliver(subscription, mark, now)

    def on_lost(self, connection: Connection, reason: str) -> None:
        self.ledger.lost[reason] += 1
        for channel in self.plan.channels_of(connection.number):
            subscription = self._subscriptions.get(
                (connection.number, self.plan.channel(channel)))
            if subscription is not None:
                subscription.cut = True

    # ---- connecting ----------------------------------------------------

    @asynccontextmanager
    async def _publishers(self) -> AsyncIterator[list[Publisher]]:
        """Where publishers go; those of the API share a session that ends with it."""
        publishers: list[Publisher] = []
        if not self.plan.api_url:
            yield publishers
            return
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.plan.publishers),
            timeout=aiohttp.ClientTimeout(total=self.plan.timeout),
        ) as session:
            for number in range(self.plan.publishers):
                publishers.append(APIPublisher(
                    number, session, self.plan.api_url, self.plan.api_key))
            yield publishers
            for publisher in publishers:
                assert isinstance(publisher, APIPublisher)
                await publisher.close()

    async def _connect_all(self, publishers: list[Publisher]) -> None:
        """Open all connections, at the plan's pace."""
        plan = self.plan
        slots = asyncio.Semaphore(plan.connect_concurrency)
        loop = asyncio.get_running_loop()
        started = loop.time()

        async def one(number: int) -> None:
            try:
                connection = await self._connect(number)
            finally:
                slots.release()
            if connection is not None and number >= plan.connections:
                publishers.append(ClientPublisher(connection, plan.in_flight))

        async with asyncio.TaskGroup() as tasks:
            for number in range(self.sockets):
                wait = started + number / plan.connect_rate - loop.time()
                if await self._pause(wait):
                    break
                await slots.acquire()
                tasks.create_task(one(number))
        publishers.sort(key=lambda publisher: publisher.number)

    async def _connect(self, number: int) -> Connection | None:
        plan = self.plan
        subscribes = number < plan.connections
        channels = plan.channels_of(number) if subscribes else []
        connection = Connection(number, self._dialect, self)
        for channel in channels:
            self._subscriptions[number, plan.channel(channel)] = Subscription(channel)
        failed = self.ledger.failed if subscribes else self.ledger.publishers_failed
        began = time.monotonic_ns()
        try:
            async with asyncio.timeout(plan.timeout):
                await connection.open(
                    plan.target, self._tls, self._token(number),
                    [plan.channel(channel) for channel in channels], plan.origin)
        except TimeoutError:
            failed[f"no answer in {plan.timeout:g} s"] += 1
        except ConnectionRefused as error:
            failed[str(error)] += 1
        else:
            self.ledger.connect_times.add(time.monotonic_ns() - began)
            self._connections.append(connection)
            if subscribes:
                self.ledger.connected += 1
            else:
                self.ledger.publishers_connected += 1
            for channel in channels:
                self.ledger.subscriptions.append(
                    self._subscriptions[number, plan.channel(channel)])
            return connection
        for channel in channels:
            del self._subscriptions[number, plan.channel(channel)]
        return None

    def _token(self, number: int) -> str:
        plan = self.plan
        if not plan.token_secret:
            return plan.token
        claims = {
            "sub": f"bench-{number}",
            "exp": int(time.time() + plan.duration + _TOKEN_MARGIN),
        }
        return jwt.encode(claims, plan.token_secret, "HS256")

    # ---- publishing ----------------------------------------------------

    async def _publish(self, publishers: list[Publisher]) -> None:
        """Publish at the plan's rate until the time is up, or nobody is left to do it."""
        plan, ledger = self.plan, self.ledger
        loop = asyncio.get_running_loop()
        started = loop.time()
        if not plan.rate or not ledger.connected:
            while ledger.connected and self.elapsed < plan.duration and self._anybody():
                if await self._pause(min(0.1, plan.duration - self.elapsed)):
                    break
                self.elapsed = loop.time() - started
            return
        turns = self._turns(publishers)
        count = math.ceil(plan.rate * plan.duration)
        while ledger.sent < count and not self.stopped:
            self.elapsed = loop.time() - started
            due = min(count, int(self.elapsed * plan.rate) + 1)
            while ledger.sent < due:
                turn = next(turns, None)
                if turn is None:
                    break
                self._publish_one(*turn)
            if self.elapsed >= plan.duration or not self._anybody():
                break
            if not any(publisher.is_open for publisher in publishers):
                break
            await asyncio.sleep(
                max(0.0, min(_PAUSE, started + ledger.sent / plan.rate - loop.time()))
                if ledger.sent >= due else _PAUSE)
        self.elapsed = min(plan.duration, loop.time() - started)
        # A run that ends on time but did not publish all it should was held up; one that
        # ends before has lost its publishers.
        self._held = (
            ledger.sent < count and self.elapsed >= plan.duration and not self.stopped)

    def _turns(self, publishers: list[Publisher]) -> Iterator[tuple[Publisher, int] | None]:
        """Who publishes next, and into which channel; None when all are busy."""
        turn = 0
        while True:
            for _ in range(len(publishers)):
                publisher = publishers[turn % len(publishers)]
                channel = turn // len(publishers) % self.plan.channels
                turn += 1
                if publisher.ready:
                    yield publisher, channel
                    break
            else:
                yield None

    def _publish_one(self, publisher: Publisher, channel: int) -> None:
        ledger = self.ledger
        stream = ledger.stream(channel, publisher.number)
        number = stream.take()
        mark = Mark(self._name, publisher.number, number, time.monotonic_ns())

        def answered(refusal: str | None) -> None:
            if refusal is not None:
                stream.answer(number, accepted=not refusal)
            if refusal:
                ledger.refused[refusal] += 1

        ledger.sent += 1
        publisher.publish(
            self.plan.channel(channel), marked_data(mark, self.plan.size), answered)

    async def _settle(self) -> None:
        """Wait for what is under way, as long as something comes."""
        ledger, loop = self.ledger, asyncio.get_running_loop()
        last, seen = loop.time(), (-1, -1)
        while loop.time() - last < self.plan.settle and self._anybody():
            began = loop.time()
            unanswered = ledger.unanswered
            if not unanswered and not ledger.missing()[0]:
                return
            if (now := (ledger.delivered, unanswered)) != seen:
                last, seen = loop.time(), now
            # The count of many subscriptions takes a while; most of the time is for them.
            await asyncio.sleep(max(4 * _PAUSE, 4 * (loop.time() - began)))

    def _anybody(self) -> bool:
        """Whether any connection is left."""
        return any(connection.is_open for connection in self._connections)

    # ---- helpers -------------------------------------------------------

    def _read(self, connection: Connection, payload: bytes) -> list[tuple[str, Mark]]:
        """The publications of a message that are this run's; the rest is dealt with."""
        known: list[tuple[str, Mark]] = []
        shared = True
        for reply in self._dialect.decode(payload):
            push = reply.push
            if push is None or push.pub is None:
                shared = False
                connection.handle(reply)
                continue
            mark = mark_of(bytes(push.pub.data))
            if mark is None or mark.run != self._name:
                self.ledger.foreign += 1
            else:
                known.append((push.channel, mark))
        if shared and known:
            if len(self._known) >= _KNOWN:
                self._known.clear()
            self._known[payload] = known
        return known

    async def _pause(self, seconds: float) -> bool:
        """Wait so long, or until the run is stopped: then True."""
        if seconds > 0 and not self.stopped:
            try:
                async with asyncio.timeout(seconds):
                    await self._stop.wait()
            except TimeoutError:
                return False
        return self.stopped

    async def _close(self) -> None:
        """Close the connections; one that does not answer is cut."""
        if not self._connections:
            return
        closing = [
            asyncio.create_task(connection.close()) for connection in self._connections]
        _, late = await asyncio.wait(closing, timeout=self.plan.settle)
        for connection in self._connections:
            connection.abort()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
