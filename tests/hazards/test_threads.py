"""The core belongs to one loop's thread; publish_threadsafe is the one door from others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from fanout import Node
from fanout._hub import Hub
from fanout._outbox import Outbox
from tests.hazards.connections import (
    Frames,
    MadeTransport,
    connect,
    frame,
    frames_in,
    publish,
    turn,
)


@pytest.mark.parametrize(
    "call",
    [
        lambda outbox: outbox.write(frame(b"")),
        lambda outbox: outbox.write_last(frame(b"")),
        Outbox.pause,
        Outbox.resume,
        Outbox.detach,
        Outbox.shrink,
    ],
    ids=["write", "write_last", "pause", "resume", "detach", "shrink"],
)
async def test_an_outbox_refuses_another_thread(
    hub: Hub, call: Callable[[Outbox], object]
) -> None:
    connection = await connect(hub, "ch")
    publish(hub, "ch", b"queued")
    with pytest.raises(RuntimeError, match="thread"):
        await asyncio.to_thread(call, connection.outbox)
    assert not connection.outbox.blocked
    assert frames_in(await connection.close()) == [b"queued"]


async def test_publish_threadsafe_from_many_threads() -> None:
    """Nothing is lost, and each thread's publishes stay in its order."""
    threads, each = 8, 300
    async with Node() as node:
        subscription = node.subscribe("ch", size=threads * each)
        start = threading.Barrier(threads)

        def work(name: int) -> None:
            start.wait()
            for number in range(each):
                node.publish_threadsafe("ch", struct.pack("!HI", name, number)).result(30)

        loop = asyncio.get_running_loop()
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            await asyncio.gather(
                *(loop.run_in_executor(pool, work, name) for name in range(threads)))
        got = [struct.unpack("!HI", message.data) for message in await subscription.get_batch()]
    assert len(got) == threads * each
    for name in range(threads):
        assert [number for other, number in got if other == name] == list(range(each))


async def test_a_finalizer_may_publish_threadsafe_at_any_moment() -> None:
    """The collector may run it in the middle of another publish_threadsafe."""
    async with Node() as node:
        subscription = node.subscribe("ch", size=10_000)

        class Garbage:
            def __init__(self) -> None:
                self.myself = self

            def __del__(self) -> None:
                node.publish_threadsafe("ch", b"from a finalizer")

        count = 2000

        def work() -> None:
            for _ in range(count):
                Garbage()
                node.publish_threadsafe("ch", b"from the thread")

        threshold = gc.get_threshold()
        gc.set_threshold(5)
        try:
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            await asyncio.to_thread(thread.join, 30)
            assert not thread.is_alive()
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        await turn()
        got = [message.data for message in await subscription.get_batch()]
    assert got.count(b"from the thread") == count
    assert got.count(b"from a finalizer") == count


async def test_an_outbox_freed_in_another_thread(hub: Hub) -> None:
    held = [Outbox(hub, MadeTransport(), None, 0, 1000) for _ in range(50)]
    for outbox in held:
        hub.subscribe(outbox, "ch")
        outbox.pause()
    publish(hub, "ch", b"waits in each of them")
    hub.flush()
    del outbox
    thread = threading.Thread(target=held.clear)
    thread.start()
    while thread.is_alive():        # they leave in the middle of our publishes
        publish(hub, "ch", b"more")
        await turn(1)
    thread.join()
    hub.flush()
    assert hub.num_subscribers("ch") == 0


def test_two_hubs_on_two_threads() -> None:
    """Sends release the interpreter: what one thread joins must not be the other's to send."""
    errors: list[BaseException] = []
    start = threading.Barrier(2)

    async def scenario(name: bytes) -> None:
        hub = Hub(asyncio.get_running_loop())
        hub.add_encoder(Frames())
        connections = [await connect(hub, "ch", f"own{number}") for number in range(60)]
        start.wait()
        try:
            for _ in range(150):
                publish(hub, "ch", name * 400)
                for number in range(60):
                    publish(hub, f"own{number}", name * (number + 1))
                hub.flush()
                for connection in connections:
                    for payload in frames_in(connection.received_now()):
                        assert payload == name * len(payload), "the other thread's bytes"
                await turn(1)
        finally:
            for connection in connections:
                await connection.abort()

    def work(name: bytes) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(scenario(name))
        except BaseException as error:
            errors.append(error)
            start.abort()

    workers: list[Any] = [
        threading.Thread(target=work, args=(name,)) for name in (b"a", b"b")]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert errors == []
