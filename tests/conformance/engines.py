"""The engines that the suite takes, and how it handles each.

To add one: write an :class:`EngineFactory` and put it into ``FACTORIES``.
Every test that needs no more than its capabilities then runs on it.
"""

from __future__ import annotations

import abc
import asyncio
import enum
import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from fanout import Engine, MemoryEngine, NatsEngine, RedisEngine
from tests.brokers.cluster import Cluster
from tests.brokers.nats import NatsServer
from tests.brokers.publishing import PATIENCE
from tests.brokers.valkey import ValkeyServer, redis_binary, valkey_binary
from tests.conformance.reference_engine import Bus, ReferenceEngine
from tests.model.clock import ManualClock
from tests.nats.store import count_results, count_stored, remove_streams

__all__ = ["FACTORIES", "PATIENCE", "Capability", "EngineFactory"]



class Capability(enum.Flag):
    HISTORY = enum.auto()
    """Keeps history and numbers its streams."""
    PRESENCE = enum.auto()
    MULTI_NODE = enum.auto()
    """Engines that one factory creates are nodes of one system."""
    NO_WILDCARDS = enum.auto()
    """A channel's name is only ever itself."""
    OWN_STORAGE = enum.auto()
    """What engines store ends with the last of them."""
    FAILURES = enum.auto()
    """``fail_publishes`` can make publishing fail."""


class EngineFactory(abc.ABC):
    """Makes engines of one kind and knows how time passes for them.

    Tests say lifetimes in their own seconds; ``seconds`` turns them into the
    engine's, so that an engine on real time need not be waited for long.
    """

    name: ClassVar[str]
    capabilities: ClassVar[Capability]
    second: ClassVar[float] = 1.0
    """A test's second, in seconds of the engine."""
    resolution: ClassVar[float] = 0.0
    """How many seconds the engine may be early or late in ending something."""

    def __init__(self) -> None:
        self._engines: list[Engine] = []

    async def start(self) -> None:  # noqa: B027 - most engines need no server
        """Start what the engines need, before the first ``create``."""

    async def create(
        self, *, presence_lifetime: float = 60.0, history_meta_lifetime: float = 3600.0,
        idempotency_lifetime: float = 300.0,
    ) -> Engine:
        """A new engine, not running; lifetimes in seconds of the engine."""
        engine = self._make(
            presence_lifetime=presence_lifetime, history_meta_lifetime=history_meta_lifetime,
            idempotency_lifetime=idempotency_lifetime)
        self._engines.append(engine)
        return engine

    async def close(self) -> None:
        """Close every engine that was created and stop what ``start`` started."""
        for engine in self._engines:
            await engine.close()

    @abc.abstractmethod
    def _make(self, **lifetimes: float) -> Any:
        """An engine with the three lifetimes that ``create`` takes."""

    @abc.abstractmethod
    def num_stored(self, engine: Any) -> int:
        """How many messages and presence entries the storage holds.

        Found out without a call of the engine's interface, which would be
        "somebody asking".
        """

    @abc.abstractmethod
    def num_results(self, engine: Any) -> int:
        """How many results of publishes with a key are kept, found out in the same way."""

    @abc.abstractmethod
    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        """Let the engine give back what has ended, without asking it for anything.

        Fails when ``condition`` does not come true.
        """

    async def in_order(self) -> None:  # noqa: B027 - one server has one order
        """Until what was published has arrived, where no order holds between servers."""

    async def fail_publishes(self, engine: Any, events: Any) -> None:
        """Make every ``publish_*`` fail from now on; see ``Capability.FAILURES``."""
        raise NotImplementedError

    def seconds(self, count: float) -> float:
        return count * self.second

    def now(self) -> float:
        """Seconds on a clock that goes as the engine's does."""
        return time.monotonic()

    async def elapse(self, seconds: float) -> None:
        """Let engine seconds pass; what ends need not be given back yet."""
        end = self.now() + seconds
        # Again, for a timer may come a little early.
        while (left := end - self.now()) > 0:  # noqa: ASYNC110 - no event tells the time
            await asyncio.sleep(left)

    async def assert_ends(
        self, read: Callable[[], Awaitable[object]], started: float, finished: float,
        lifetime: float,
    ) -> None:
        """Check that ``read`` gives something true for ``lifetime``, then nothing more.

        ``started`` and ``finished`` tell when the operation that gave it its
        lifetime was called and was done. Both bounds hold however long the
        test itself is kept from running.
        """
        while True:
            asked = self.now()
            found = await read()
            answered = self.now()
            if not found:
                assert answered >= started + lifetime - self.resolution, "ended too early"
                return
            assert asked < finished + lifetime + self.resolution, f"still there: {found!r}"
            await self.elapse(lifetime / 8)

    @staticmethod
    async def poll(condition: Callable[[], bool]) -> bool:
        """Wait until ``condition`` holds; false when it did not within ``PATIENCE``."""
        give_up = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > give_up:
                return False
            await asyncio.sleep(0.005)      # storage tells nobody when it gives back
        return True


class _ManualTime(EngineFactory):
    """Engines in this process, on a clock that only the test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()

    def now(self) -> float:
        return self.clock()

    async def elapse(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        engine.expiry.advance()
        assert condition()


class MemoryFactory(_ManualTime):
    name = "memory"
    capabilities = (
        Capability.HISTORY | Capability.PRESENCE | Capability.FAILURES
        | Capability.NO_WILDCARDS | Capability.OWN_STORAGE
    )

    def _make(self, **lifetimes: float) -> MemoryEngine:
        return MemoryEngine(**lifetimes, clock=self.clock)

    def num_stored(self, engine: MemoryEngine) -> int:
        return engine._history.num_messages + engine._presence.num_entries

    def num_results(self, engine: MemoryEngine) -> int:
        return len(engine._results)

    async def fail_publishes(self, engine: Any, events: Any) -> None:
        events.error = ConnectionError("the test lets every delivery fail")


class MemoryRealTimeFactory(EngineFactory):
    """The same engine on the system's clock, with the loop's timer."""

    name = "memory-real-time"
    capabilities = MemoryFactory.capabilities
    second = 0.05

    def _make(self, **lifetimes: float) -> MemoryEngine:
        return MemoryEngine(**lifetimes)

    num_stored = MemoryFactory.num_stored
    num_results = MemoryFactory.num_results
    fail_publishes = MemoryFactory.fail_publishes

    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        assert await self.poll(condition)


class ReferenceFactory(_ManualTime):
    """Several nodes in plain Python: it keeps the suite true for more than one engine."""

    name = "reference"
    capabilities = (
        Capability.HISTORY | Capability.PRESENCE | Capability.MULTI_NODE | Capability.FAILURES
        | Capability.NO_WILDCARDS | Capability.OWN_STORAGE
    )

    def __init__(self) -> None:
        super().__init__()
        self._bus: Bus | None = None

    def _make(self, **lifetimes: float) -> ReferenceEngine:
        if self._bus is None:
            self._bus = Bus(**lifetimes, clock=self.clock)
        return ReferenceEngine(self._bus)

    def num_stored(self, engine: ReferenceEngine) -> int:
        bus = engine.bus
        return bus.history.num_messages + bus.presence.num_entries

    def num_results(self, engine: ReferenceEngine) -> int:
        return len(engine.bus.results)

    async def fail_publishes(self, engine: ReferenceEngine, events: Any) -> None:
        engine.bus.error = ConnectionError("the test cut the bus")


class ValkeyFactory(EngineFactory):
    """Nodes on one server, which all tests of the session share; each has its own prefix."""

    name = "valkey"
    capabilities = (
        Capability.HISTORY | Capability.PRESENCE | Capability.MULTI_NODE | Capability.FAILURES
        | Capability.NO_WILDCARDS
    )
    second = 0.05
    resolution = 0.02
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        super().__init__()
        self._prefix = uuid.uuid4().hex
        self._paused = False

    @staticmethod
    def _binary() -> Path | None:
        return valkey_binary()

    async def start(self) -> None:
        binary = self._binary()
        if binary is None:
            pytest.skip("Debian's redis-server is not installed")
        self._server, client = _shared_server(binary)
        self._clients = [client]

    async def close(self) -> None:
        if self._paused:
            # First: engines wait for the answers that are due.
            for broker in self._brokers:
                broker.resume()
        try:
            await super().close()
        finally:
            for client in self._clients:
                client.flushall()

    @property
    def _url(self) -> str:
        return self._server.url

    @property
    def _brokers(self) -> list[ValkeyServer]:
        return [self._server]

    def _make(self, **lifetimes: float) -> Any:
        return RedisEngine(self._url, prefix=self._prefix, **lifetimes, **self.options)

    def num_stored(self, engine: Any) -> int:
        return sum(
            self._size(client, key)
            for client in self._clients
            for key in client.scan_iter(f"{self._prefix}.*", count=1000)
        )

    def num_results(self, engine: Any) -> int:
        return sum(
            len(list(client.scan_iter(f"{self._prefix}.result.*", count=1000)))
            for client in self._clients
        )

    def _size(self, client: Any, key: bytes) -> int:
        match key.removeprefix(self._prefix.encode()).partition(b".{")[0]:
            case b".stream":
                return client.xlen(key)
            case b".list":
                return client.llen(key)
            case b".presence.data":
                return client.hlen(key)
        return 0

    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        assert await self.poll(condition)

    async def fail_publishes(self, engine: Any, events: Any) -> None:
        for link in engine._servers.commands:
            link.settings.timeout = 0.1
        for broker in self._brokers:
            broker.pause()
        self._paused = True


class ValkeyListsFactory(ValkeyFactory):
    """The same with the history in lists."""

    name = "valkey-lists"
    options: ClassVar[dict[str, Any]] = {"history_lists": True}


class RedisFactory(ValkeyFactory):
    """The same on Redis."""

    name = "redis"

    @staticmethod
    def _binary() -> Path | None:
        return redis_binary()


_MANY = [f"in order {number}" for number in range(50)]
"""Channels enough that each server has one of them."""


class ValkeyClusterFactory(ValkeyFactory):
    """The same on a cluster of three."""

    name = "valkey-cluster"

    async def start(self) -> None:
        self._cluster = _shared_cluster()
        self._clients = [node.client() for node in self._cluster.nodes]

    async def in_order(self) -> None:
        # The answer to a subscription comes behind all that its server sent before.
        for engine in self._engines:
            names = {engine._servers.shard(name.encode()).subscriptions: name for name in _MANY}
            assert len(names) == len(self._brokers)
            await asyncio.gather(*[engine.subscribe(name) for name in names.values()])
            await asyncio.gather(*[engine.unsubscribe(name) for name in names.values()])

    @property
    def _url(self) -> str:
        hosts = ",".join(f"{host}:{port}" for host, port in self._cluster.addresses)
        return f"redis+cluster://{hosts}"

    @property
    def _brokers(self) -> list[ValkeyServer]:
        return [*self._cluster.nodes]


@functools.cache
def _shared_cluster() -> Cluster:
    """A cluster that ends with this process."""
    cluster = Cluster()
    cluster.start()
    return cluster


@functools.cache
def _shared_server(binary: Path) -> tuple[ValkeyServer, Any]:
    """A server that ends with this process, and a client of it."""
    server = ValkeyServer(binary)
    server.start()
    return server, server.client()


class NatsFactory(EngineFactory):
    """Nodes on one server, which all tests of the session share; each has its own prefix."""

    name = "nats"
    capabilities = Capability.MULTI_NODE | Capability.FAILURES
    second = 0.1
    resolution = 0.02

    def __init__(self) -> None:
        super().__init__()
        self._prefix = uuid.uuid4().hex
        self._paused = False

    async def start(self) -> None:
        self._server = _shared_nats_server()

    async def close(self) -> None:
        if self._paused:
            # First: engines wait for the answers that are due.
            self._server.resume()
        await super().close()

    def _make(self, **lifetimes: float) -> Any:
        return NatsEngine(
            self._server.url, prefix=self._prefix,
            idempotency_lifetime=lifetimes["idempotency_lifetime"])

    def num_stored(self, engine: Any) -> int:
        return 0

    def num_results(self, engine: Any) -> int:
        return len(engine._results)

    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        assert condition()

    async def fail_publishes(self, engine: Any, events: Any) -> None:
        pipe = engine._pipe
        pipe.timeout = 0.1
        # It is set for what was sent before, with the engine's own limit.
        pipe._alarm.cancel()
        self._server.pause()
        self._paused = True


class JetStreamFactory(NatsFactory):
    """The same with JetStream on."""

    name = "nats-jetstream"
    capabilities = NatsFactory.capabilities | Capability.HISTORY | Capability.PRESENCE

    async def close(self) -> None:
        await super().close()
        await remove_streams(self._server.url, self._prefix)

    def _make(self, **lifetimes: float) -> Any:
        return NatsEngine(self._server.url, prefix=self._prefix, jetstream=True, **lifetimes)

    def num_stored(self, engine: Any) -> int:
        # A loop of its own: the test's waits for this.
        with ThreadPoolExecutor() as executor:
            return executor.submit(
                asyncio.run, count_stored(self._server.url, self._prefix)).result()

    def num_results(self, engine: Any) -> int:
        with ThreadPoolExecutor() as executor:
            return executor.submit(
                asyncio.run, count_results(self._server.url, self._prefix)).result()

    async def give_back(self, engine: Any, condition: Callable[[], bool]) -> None:
        assert await self.poll(condition)


@functools.cache
def _shared_nats_server() -> NatsServer:
    """A server that ends with this process."""
    server = NatsServer(jetstream=True)
    server.start()
    return server


FACTORIES: list[type[EngineFactory]] = [
    MemoryFactory, MemoryRealTimeFactory, ReferenceFactory,
    ValkeyFactory, ValkeyListsFactory, ValkeyClusterFactory, RedisFactory,
    NatsFactory, JetStreamFactory,
]
