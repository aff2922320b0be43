"""The core suite: what publish, subscribe, history and presence cost in one process.

    pytest benches/bench_core.py            # two to three minutes
    pytest benches/bench_core.py --quick    # everything once; the numbers mean nothing

Every operation is measured for fanout and, beside it, for whatever else does
the same thing (``core/contenders.py``). The contenders of one operation run one
after the other, so a ratio compares what was measured within seconds. All run
on uvloop. A round is a batch of operations inside one ``run_until_complete``,
whose own cost is thereby spread over the batch and the same for all.
``extra_info`` says how many operations a round has (``operations``).
"""

import asyncio
import gc
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from benches.core.contenders import CHANNEL, CONTENDERS, PAYLOAD, Contender

SECONDS = 1.0
"""About how long one benchmark is measured, without its setup."""
MIN_ROUNDS, MAX_ROUNDS = 5, 200
PUBLISH_BATCH = {1: 100, 100: 50, 1_000: 10, 10_000: 2}
"""Messages of one round, by the number of subscribers."""
WAVES = {1: 100, 100: 20, 1_000: 5, 10_000: 1}
QUICK_SIZES = (1, 100)
CORE = ("fanout", "reference")
"""Those that have a core of the same classes and methods."""


class Bench:
    """Runs one benchmark in a loop of its own."""

    def __init__(self, benchmark: BenchmarkFixture, quick: bool) -> None:
        self._benchmark = benchmark
        self._quick = quick
        self.loop = uvloop.new_event_loop()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(awaitable)

    def measure(
        self,
        operation: str,
        size: int,
        contender: str,
        operations: int,
        target: Callable[[], object],
        setup: Callable[[], object] | None = None,
    ) -> None:
        """Time ``target``, which does ``operations``, after an untimed ``setup``.

        ``target`` is a function or a coroutine function.
        """
        is_coroutine = asyncio.iscoroutinefunction(target)

        def once() -> None:
            if is_coroutine:
                self.run(target())  # type: ignore[arg-type]
            else:
                target()

        def prepare() -> None:
            if setup is not None:
                result = setup()
                if asyncio.iscoroutine(result):
                    self.run(result)

        prepare()
        started = time.perf_counter()
        once()
        elapsed = time.perf_counter() - started
        rounds = min(MAX_ROUNDS, max(MIN_ROUNDS, int(SECONDS / elapsed)))
        self._benchmark.group = f"{operation}, {size:,}"
        self._benchmark.extra_info.update(
            operation=operation, size=size, contender=contender, operations=operations)
        self._benchmark.pedantic(  # type: ignore[no-untyped-call]
            once, setup=prepare, rounds=1 if self._quick else rounds)

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.run(asyncio.sleep(0))
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()
        gc.collect()  # what one contender leaves behind is not another's to collect


@pytest.fixture
def bench(benchmark: BenchmarkFixture, quick: bool) -> Iterator[Bench]:
    bench = Bench(benchmark, quick)
    yield bench
    bench.close()


def make(name: str) -> Contender:
    try:
        return CONTENDERS[name]()
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")


def skip_large(size: int, quick: bool) -> None:
    if quick and size not in QUICK_SIZES:
        pytest.skip("a quick run has only small sizes")


all_contenders = pytest.mark.parametrize("name", CONTENDERS)
both_cores = pytest.mark.parametrize("name", CORE)


# -- publish and subscribe ------------------------------------------------------------


@all_contenders
@pytest.mark.parametrize("subscribers", PUBLISH_BATCH)
def test_publish(bench: Bench, quick: bool, subscribers: int, name: str) -> None:
    """A message is made and put into the queue of every subscriber; nobody reads."""
    skip_large(subscribers, quick)
    contender = make(name)
    messages = PUBLISH_BATCH[subscribers]

    async def publish() -> None:
        await contender.publish(messages)
        await contender.settle(messages)

    bench.run(contender.open(subscribers))
    bench.run(contender.join())
    bench.measure("publish", subscribers, name, messages, publish, contender.drain)
    bench.run(contender.close())


@all_contenders
@pytest.mark.parametrize("readers", WAVES)
def test_end_to_end(bench: Bench, quick: bool, readers: int, name: str) -> None:
    """A message is published, and every one of so many waiting tasks has read it."""
    skip_large(readers, quick)
    if name == "channels" and readers > 1_000:
        pytest.skip("each receive walks all queues: the time grows with the readers' square")
    contender = make(name)
    waves = WAVES[readers]
    missing = 0
    everybody = asyncio.Event()

    def got() -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            everybody.set()

    async def start() -> list[asyncio.Task[None]]:
        await contender.open(readers)
        await contender.join()
        tasks = [asyncio.create_task(contender.read(at, got)) for at in range(readers)]
        await asyncio.sleep(0)
        return tasks

    async def deliver() -> None:
        nonlocal missing
        for _ in range(waves):
            missing = readers
            everybody.clear()
            await contender.publish(1)
            await everybody.wait()

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await contender.close()

    tasks = bench.run(start())
    bench.measure("end to end", readers, name, waves, deliver)
    bench.run(stop())


@all_contenders
def test_subscribe(bench: Bench, name: str) -> None:
    """Subscribers join a channel until it has a thousand."""
    contender = make(name)
    bench.run(contender.open(1_000))
    bench.measure("subscribe", 1_000, name, 1_000, contender.join, contender.leave)
    bench.run(contender.close())


@all_contenders
def test_unsubscribe(bench: Bench, name: str) -> None:
    """The thousand subscribers of a channel leave it."""
    contender = make(name)
    bench.run(contender.open(1_000))
    bench.measure("unsubscribe", 1_000, name, 1_000, contender.leave, contender.join)
    bench.run(contender.close())


# -- look-up --------------------------------------------------------------------------


@both_cores
@pytest.mark.parametrize("channels", [1, 1_000, 1_000_000])
def test_look_up(bench: Bench, quick: bool, channels: int, name: str) -> None:
    """A channel is found by a name that comes from outside, so its hash is not known yet."""
    skip_large(channels, quick)
    contender: Any = make(name)
    bench.run(contender.open(1))
    hub, queue = contender._hub, contender._queues[0]
    for at in range(channels):
        hub.subscribe(queue, f"channel:{at}")
    asked: list[str] = []

    def fresh_names() -> None:
        asked[:] = [f"channel:{at}" for at in random.choices(range(channels), k=1_000)]

    def look_up() -> None:
        find = hub.num_subscribers
        for channel in asked:
            find(channel)

    bench.measure("look up", channels, name, 1_000, look_up, fresh_names)
    bench.run(contender.close())


# -- history --------------------------------------------------------------------------


def history(name: str, size: int) -> tuple[Any, Any]:
    """A store with a full stream of ``size`` messages, and the message that they are."""
    from fanout.types import Message

    module: Any
    if name == "fanout":
        from fanout import _expiry, _ring

        store: Any = _ring.HistoryStore(_expiry.Expiry(), 3600.0)
    else:
        from tests.model import reference as module

        store = module.HistoryStore(module.Expiry(), 3600.0)
    message = Message(CHANNEL, b"x" * PAYLOAD)
    for _ in range(size):
        store.append(CHANNEL, message, size, 3600.0)
    return store, message


@both_cores
def test_history_append(bench: Bench, name: str) -> None:
    """A message is appended to a stream that keeps the last hundred, and is full."""
    store, message = history(name, 100)

    def append() -> None:
        for _ in range(1_000):
            store.append(CHANNEL, message, 100, 3600.0)

    bench.measure("history append", 100, name, 1_000, append)


@both_cores
@pytest.mark.parametrize("limit", [10, 100])
def test_history_newest(bench: Bench, limit: int, name: str) -> None:
    """The newest messages of a stream of a hundred are read."""
    store, _ = history(name, 100)

    def read() -> None:
        for _ in range(100):
            store.newest(CHANNEL, limit)

    bench.measure("history newest", limit, name, 100, read)


@both_cores
def test_history_since(bench: Bench, name: str) -> None:
    """What came after a position ten messages ago is read, as a client that recovers does."""
    from fanout.types import StreamPosition

    store, _ = history(name, 100)
    top = store.position(CHANNEL)
    since = StreamPosition(top.offset - 10, top.epoch)

    def read() -> None:
        for _ in range(100):
            store.read(CHANNEL, since, -1, False)

    bench.measure("history since", 10, name, 100, read)


# -- presence -------------------------------------------------------------------------


def presence(name: str, size: int) -> tuple[Any, list[tuple[str, Any]]]:
    """A store, and ``size`` entries that are not in it."""
    from fanout.types import ClientInfo

    module: Any
    if name == "fanout":
        from fanout import _expiry, _presence

        store: Any = _presence.PresenceStore(_expiry.Expiry(), 60.0)
    else:
        from tests.model import reference as module

        store = module.PresenceStore(module.Expiry(), 60.0)
    names = [f"{at:032x}" for at in range(size)]
    return store, [(conn_id, ClientInfo(f"user-{conn_id}", conn_id)) for conn_id in names]


@both_cores
def test_presence_add(bench: Bench, name: str) -> None:
    """Connections become present in a channel until it has a thousand."""
    store, entries = presence(name, 1_000)

    def add() -> None:
        for conn_id, info in entries:
            store.add(CHANNEL, conn_id, info)

    bench.measure("presence add", 1_000, name, 1_000, add, lambda: store.clear())


@both_cores
def test_presence_refresh(bench: Bench, name: str) -> None:
    """The presence of a thousand connections is renewed."""
    store, entries = presence(name, 1_000)

    def refresh() -> None:
        for conn_id, info in entries:
            store.add(CHANNEL, conn_id, info)

    bench.measure("presence refresh", 1_000, name, 1_000, refresh)


@pytest.mark.parametrize("name", [*CORE, "socketio"])
@pytest.mark.parametrize("size", [10, 1_000])
def test_presence_read(bench: Bench, size: int, name: str) -> None:
    """Everybody who is present in a channel is listed."""
    read: Callable[[], object]
    if name == "socketio":
        contender: Any = make(name)
        bench.run(contender.open(size))
        bench.run(contender.join())
        read = contender.members
    else:
        store, entries = presence(name, size)
        for conn_id, info in entries:
            store.add(CHANNEL, conn_id, info)

        def read() -> object:
            return store.get(CHANNEL)

    def repeat() -> None:
        for _ in range(10):
            read()

    bench.measure("presence read", size, name, 10, repeat)
