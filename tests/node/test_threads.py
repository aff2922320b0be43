"""Publishing from other threads."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections import defaultdict

import pytest

from fanout import (
    BackpressureError,
    ChannelOptions,
    ClosedError,
    MemoryEngine,
    Message,
    MessageTooLargeError,
    Node,
    StreamPosition,
)

HISTORY = ChannelOptions(history_size=10, history_lifetime=60)


async def test_one_publish() -> None:
    async with Node(options=HISTORY) as node, node.subscribe("a") as subscription:
        position = await asyncio.to_thread(
            lambda: node.publish_threadsafe("a", b"1", tags={"k": "v"}).result(10))
        assert position == (await node.history_stream("a")).position
        (message,) = await subscription.get_batch()
        assert (message.data, message.tags) == (b"1", {"k": "v"})


async def test_all_that_a_publish_takes() -> None:
    async with Node(options=HISTORY) as node, node.subscribe("a") as subscription:
        def publish() -> list[StreamPosition]:
            return [
                node.publish_threadsafe("a", b"1", idempotency_key="k", delta=True).result(10),
                node.publish_threadsafe("a", b"again", idempotency_key="k").result(10),
                node.publish_threadsafe("a", b"2", version=2, version_epoch="e").result(10),
                node.publish_threadsafe("a", b"old", version=1, version_epoch="e").result(10),
                node.publish_threadsafe("a", b"unkept", skip_history=True).result(10),
            ]

        positions = await asyncio.to_thread(publish)
        assert [position.offset for position in positions] == [1, 1, 2, 2, 0]
        messages = await subscription.get_batch()
        assert [(message.data, message.delta) for message in messages] == [
            (b"1", True), (b"2", False), (b"unkept", False)]
        assert [message.data for message in await node.history("a")] == [b"2", b"1"]


async def test_from_the_loops_own_thread() -> None:
    async with Node() as node, node.subscribe("a") as subscription:
        future = node.publish_threadsafe("a", b"1")
        assert not future.done()
        assert await asyncio.wrap_future(future) == StreamPosition()
        assert subscription.num_queued == 1


async def test_many_threads_keep_their_order() -> None:
    threads, each = 8, 2000
    async with (
        Node(threadsafe_limit=threads * each) as node,
        node.subscribe("a", size=threads * each) as subscription,
    ):
        def publish(thread: int) -> list[concurrent.futures.Future[StreamPosition]]:
            return [node.publish_threadsafe("a", b"%d %d" % (thread, number))
                    for number in range(each)]

        futures = await asyncio.gather(
            *(asyncio.to_thread(publish, thread) for thread in range(threads)))
        got: defaultdict[int, list[int]] = defaultdict(list)
        async with asyncio.timeout(20):
            while sum(len(one) for one in got.values()) < threads * each:
                for message in await subscription.get_batch():
                    thread, number = map(int, message.data.split())
                    got[thread].append(number)
        assert got == {thread: list(range(each)) for thread in range(threads)}
        assert all(future.done() for several in futures for future in several)


async def test_too_many_wait() -> None:
    async with Node(threadsafe_limit=10) as node, node.subscribe("a") as subscription:
        # In the loop's own thread, so that it cannot carry any of them meanwhile.
        futures = [node.publish_threadsafe("a", b"%d" % number) for number in range(10)]
        with pytest.raises(BackpressureError, match="threadsafe_limit"):
            node.publish_threadsafe("a", b"one more")
        await asyncio.gather(*map(asyncio.wrap_future, futures))
        assert await asyncio.wrap_future(node.publish_threadsafe("a", b"10")) == StreamPosition()
        assert [int(message.data) for message in await subscription.get_batch()] == list(range(11))


async def test_backpressure_in_many_threads() -> None:
    """Whatever was not refused is delivered."""
    async with Node(threadsafe_limit=50) as node:
        got: list[bytes] = []
        node.subscribe("a", callback=lambda message: got.append(message.data), size=100_000)

        def publish(thread: int) -> list[bytes]:
            taken = []
            for number in range(2000):
                data = b"%d %d" % (thread, number)
                try:
                    node.publish_threadsafe("a", data)
                except BackpressureError:
                    continue
                taken.append(data)
            return taken

        taken = await asyncio.gather(*(asyncio.to_thread(publish, thread) for thread in range(4)))
    assert sorted(got) == sorted(data for several in taken for data in several)


async def test_a_cancelled_publish() -> None:
    async with Node() as node, node.subscribe("a") as subscription:
        futures = [node.publish_threadsafe("a", b"%d" % number) for number in range(3)]
        assert futures[1].cancel()
        await asyncio.wrap_future(futures[2])
        assert [message.data for message in await subscription.get_batch()] == [b"0", b"2"]


async def test_bad_arguments_are_the_futures() -> None:
    async with Node(max_message_size=10) as node:
        for arguments, error in (
            (("", b"1"), ValueError), (("a", "text"), TypeError), ((5, b"1"), TypeError),
            (("a", b"x" * 11), MessageTooLargeError),
        ):
            future = node.publish_threadsafe(*arguments)
            with pytest.raises(error):
                await asyncio.wrap_future(future)
        await asyncio.wrap_future(node.publish_threadsafe("a", b"1"))


class LateEngine(MemoryEngine):
    """Publishes finish in a later turn."""

    async def publish_message(
        self, channel: str, message: Message, options: ChannelOptions | None = None
    ) -> StreamPosition:
        await asyncio.sleep(0)
        if message.data == b"bad":
            raise ConnectionError("no broker")
        return await super().publish_message(channel, message, options)


async def test_an_engine_that_takes_its_time() -> None:
    async with Node(LateEngine(), options=HISTORY) as node:
        futures = [node.publish_threadsafe("a", data) for data in (b"1", b"bad", b"2")]
        assert (await asyncio.wrap_future(futures[0])).offset == 1
        with pytest.raises(ConnectionError, match="no broker"):
            await asyncio.wrap_future(futures[1])
        assert (await asyncio.wrap_future(futures[2])).offset == 2
        last = node.publish_threadsafe("a", b"3")
    # The shutdown finishes what was accepted.
    assert last.result(0).offset == 3


async def test_threads_that_go_on_during_the_shutdown() -> None:
    """Each publish is either refused or done; none hangs."""
    node = Node(threadsafe_limit=1_000_000)
    await node.run()
    started = threading.Event()

    def publish() -> list[concurrent.futures.Future[StreamPosition]]:
        futures = []
        while True:
            try:
                futures.append(node.publish_threadsafe("a", b"1"))
            except ClosedError:
                return futures
            started.set()

    publishing = [asyncio.create_task(asyncio.to_thread(publish)) for _ in range(4)]
    await asyncio.to_thread(started.wait)
    await node.shutdown()
    for futures in await asyncio.gather(*publishing):
        assert all(future.done() and future.exception() is None for future in futures)
