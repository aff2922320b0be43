"""In-process subscriptions: reading, callbacks, full queues, and their end."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    Message,
    MessageTooLargeError,
    Node,
    Overflow,
    SlowConsumerError,
    Subscription,
    UnknownChannelError,
)
from tests.node.engines import eventually


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    async with Node() as running:
        yield running


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.data) for message in messages]


def publish(node: Node, *values: int, channel: str = "a") -> None:
    for value in values:
        node.publish(channel, b"%d" % value)


@pytest.mark.parametrize(("arguments", "keywords", "error"), [
    ((), {}, TypeError),
    ((5,), {}, TypeError),
    ((b"a",), {}, TypeError),
    (("",), {}, ValueError),
    (("x" * 256,), {}, ValueError),
    (("é" * 128,), {}, ValueError),
    (("\ud800",), {}, ValueError),
    (("a", ""), {}, ValueError),
    (("a",), {"size": 0}, ValueError),
    (("a",), {"size": -1}, ValueError),
    (("a",), {"size": 1 << 32}, ValueError),
    (("a",), {"size": "10"}, TypeError),
    (("a",), {"size": True}, TypeError),
    (("a",), {"overflow": "drop_oldest"}, TypeError),
    (("a",), {"callback": 5}, TypeError),
])
async def test_bad_arguments(
    node: Node, arguments: tuple[Any, ...], keywords: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        node.subscribe(*arguments, **keywords)
    assert node.stats().num_subscriptions == 0
    assert await node.channels() == []
    assert not node.interest._holds


async def test_a_coroutine_function_is_no_callback(node: Node) -> None:
    async def callback(message: Message) -> None:
        pass

    with pytest.raises(TypeError, match="async for"):
        node.subscribe("a", callback=callback)


async def test_an_unknown_channel() -> None:
    async with Node(options=lambda channel: ChannelOptions() if channel == "a" else None) as node:
        for channels in (("b",), ("a", "b")):
            with pytest.raises(UnknownChannelError, match="'b'"):
                node.subscribe(*channels)
        with pytest.raises(UnknownChannelError, match="'b'"):
            node.publish("b", b"1")
        assert node.stats().num_subscriptions == 0


# Reading


async def test_reading_with_async_for(node: Node) -> None:
    async def read() -> list[int]:
        got = []
        async with node.subscribe("a") as subscription:
            ready.set()
            async for message in subscription:
                got.append(int(message.data))
                if len(got) == 100:
                    break
        assert subscription.closed
        return got

    ready = asyncio.Event()
    reading = asyncio.create_task(read())
    await ready.wait()
    for start in range(0, 100, 10):
        publish(node, *range(start, start + 10))
        await asyncio.sleep(0)
    assert await asyncio.wait_for(reading, 10) == list(range(100))
    assert node.stats().num_subscriptions == 0


async def test_what_a_message_is(node: Node) -> None:
    async with node.subscribe("a", "b") as subscription:
        node.publish("b", b"\x00\xff any bytes", tags={"k": "v"}, client="c1")
        message = subscription.get_nowait()
        assert message is not None
        assert (message.channel, message.data, message.client, message.tags) == (
            "b", b"\x00\xff any bytes", "c1", {"k": "v"})
        assert message.uid
        assert subscription.get_nowait() is None


async def test_reading_in_batches(node: Node) -> None:
    subscription = await node.subscribe("a")
    publish(node, *range(10))
    assert subscription.num_queued == 10
    assert numbers(await subscription.get_batch(3)) == [0, 1, 2]
    assert numbers(await subscription.get_batch()) == [3, 4, 5, 6, 7, 8, 9]
    reading = asyncio.create_task(subscription.get_batch())
    await asyncio.sleep(0)
    publish(node, 10, 11)
    assert numbers(await reading) == [10, 11]
    with pytest.raises(ValueError, match="limit"):
        await subscription.get_batch(-1)
    publish(node, 12)
    subscription.close()
    assert numbers(await subscription.get_batch()) == [12]
    assert await subscription.get_batch() == []
    assert await subscription.get_batch() == []


async def test_a_reader_wakes_once_for_a_batch(node: Node) -> None:
    async with node.subscribe("a") as subscription:
        for _ in range(5):
            reading = asyncio.create_task(subscription.get_batch())
            await asyncio.sleep(0)
            publish(node, *range(200))
            assert len(await reading) == 200
        assert subscription.num_wakeups == 5
        assert subscription.num_received == 1000
        assert subscription.num_dropped == 0


async def test_one_reader_at_a_time(node: Node) -> None:
    async with node.subscribe("a") as subscription:
        first = asyncio.create_task(subscription.get_batch())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="being read already"):
            await subscription.get_batch()
        with pytest.raises(RuntimeError, match="being read already"):
            await anext(aiter(subscription))
        publish(node, 1)
        assert numbers(await first) == [1]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_cancelled_reader_loses_nothing(node: Node, when: str) -> None:
    async with node.subscribe("a") as subscription:
        reading = asyncio.create_task(subscription.get_batch())
        await asyncio.sleep(0)
        if when == "after":
            publish(node, 1)
            await asyncio.sleep(0)      # it was woken, and did not run yet
        reading.cancel()
        publish(node, 2)
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert numbers(await subscription.get_batch()) == ([1, 2] if when == "after" else [2])


async def test_messages_come_from_the_moment_it_is_made(node: Node) -> None:
    subscription = node.subscribe("a")
    publish(node, 1)
    await subscription
    publish(node, 2)
    assert numbers(await subscription.get_batch()) == [1, 2]


async def test_the_same_channel_twice(node: Node) -> None:
    """In one subscription it counts once; two subscriptions each get it."""
    once = node.subscribe("a", "a")
    again = node.subscribe("a")
    publish(node, 1)
    assert numbers(await once.get_batch()) == [1]
    assert numbers(await again.get_batch()) == [1]
    assert not node.interest._holds
    once.close()
    again.close()
    assert node.stats().num_subscriptions == 0
    assert await node.channels() == []


async def test_several_channels_keep_their_order(node: Node) -> None:
    async with node.subscribe(*"abc") as subscription:
        assert subscription.channels == ("a", "b", "c")
        sent = [("abc"[number % 3], number) for number in range(60)]
        for channel, number in sent:
            publish(node, number, channel=channel)
        publish(node, 99, channel="d")
        got = await subscription.get_batch()
        assert [(message.channel, int(message.data)) for message in got] == sent


# Callbacks


async def test_a_callback(node: Node) -> None:
    got: list[int] = []
    subscription = node.subscribe("a", callback=lambda message: got.append(int(message.data)))
    publish(node, 1, 2, 3)
    assert got == []            # not inside of the publish
    await eventually(lambda: got)
    assert got == [1, 2, 3]
    assert subscription.num_wakeups == 1
    with pytest.raises(RuntimeError, match="callback"):
        await subscription.get_batch()
    with pytest.raises(RuntimeError, match="callback"):
        subscription.get_nowait()
    with pytest.raises(RuntimeError, match="callback"):
        aiter(subscription)
    subscription.close()
    publish(node, 4)
    await asyncio.sleep(0)
    assert got == [1, 2, 3]


async def test_a_callback_lives_until_it_is_closed(node: Node) -> None:
    got: list[int] = []
    node.subscribe("a", callback=lambda message: got.append(int(message.data)))
    gc.collect()
    publish(node, 1)
    await eventually(lambda: got == [1])


async def test_a_callback_that_publishes(node: Node) -> None:
    """What it publishes itself comes in a later turn, so others get theirs."""
    got: list[int] = []

    def again(message: Message) -> None:
        got.append(int(message.data))
        if len(got) < 500:
            publish(node, int(message.data) + 1)

    subscription = node.subscribe("a", callback=again)
    publish(node, 0)
    turns = 0
    while len(got) < 500:
        turns += 1
        await asyncio.sleep(0)
    assert got == list(range(500))
    assert turns >= 400
    subscription.close()


async def test_a_callback_that_closes_itself_and_others(node: Node) -> None:
    got: list[str] = []
    subscriptions: list[Subscription] = []

    def close_all(message: Message) -> None:
        got.append(message.data.decode())
        for subscription in subscriptions:
            subscription.close()

    subscriptions += [node.subscribe("a", callback=close_all) for _ in range(5)]
    publish(node, 1)
    await eventually(lambda: got)
    for _ in range(3):
        await asyncio.sleep(0)
    # All of them had it queued before the first one ran.
    assert got == ["1"] * 5
    publish(node, 2)
    await asyncio.sleep(0)
    assert got == ["1"] * 5
    assert node.stats().num_subscriptions == 0


async def test_a_callback_that_fails(node: Node) -> None:
    """The loop hears of it; the next message, and the next subscriber, do not suffer."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, what: reported.append(what))
    got: list[int] = []

    def fail(message: Message) -> None:
        raise RuntimeError(message.data)

    failing = node.subscribe("a", callback=fail)
    node.subscribe("a", callback=lambda message: got.append(int(message.data)))
    publish(node, 1, 2)
    await eventually(lambda: got == [1, 2])
    await eventually(lambda: len(reported) == 2)
    assert [str(what["exception"]) for what in reported] == ["b'1'", "b'2'"]
    assert "'a'" in reported[0]["message"]
    assert not failing.closed
    failing.close()


# Full queues


async def test_close_on_overflow(node: Node) -> None:
    async with node.subscribe("a", size=3) as subscription:
        publish(node, 1, 2, 3, 4, 5)
        assert subscription.closed
        assert subscription.num_dropped == 1
        got = []
        with pytest.raises(SlowConsumerError, match="3 messages"):
            async for message in subscription:
                got.append(int(message.data))
        assert got == [1, 2, 3]
        # It is raised once; then the end is an ordinary one.
        assert await subscription.get_batch() == []
    assert node.stats().num_subscriptions == 0
    await eventually(lambda: not node.interest._moves)
    assert await node.channels() == []


async def test_close_on_overflow_wakes_a_waiting_reader(node: Node) -> None:
    async with node.subscribe("a", size=2) as subscription:
        reading = asyncio.create_task(subscription.get_batch())
        await asyncio.sleep(0)
        publish(node, 1, 2, 3)
        assert numbers(await reading) == [1, 2]
        with pytest.raises(SlowConsumerError):
            await subscription.get_batch()


@pytest.mark.parametrize(("overflow", "kept"), [
    (Overflow.DROP_NEWEST, [1, 2, 3]),
    (Overflow.DROP_OLDEST, [8, 9, 10]),
    (Overflow.KEEP_LATEST, [10]),
])
async def test_dropping(node: Node, overflow: Overflow, kept: list[int]) -> None:
    async with node.subscribe("a", size=3, overflow=overflow) as subscription:
        publish(node, *range(1, 11))
        assert not subscription.closed
        assert subscription.num_dropped == 10 - len(kept)
        assert node.stats().num_dropped == 10 - len(kept)
        assert numbers(await subscription.get_batch()) == kept
        publish(node, 11)
        assert numbers(await subscription.get_batch()) == [11]


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_full_queue_is_no_matter_of_others(node: Node, overflow: Overflow) -> None:
    async with (
        node.subscribe("a", size=2, overflow=overflow),
        node.subscribe("a", size=1000) as other,
    ):
        publish(node, *range(500))
        assert numbers(await other.get_batch()) == list(range(500))


# The end


async def test_what_is_queued_can_be_read_after_the_end(node: Node) -> None:
    subscription = node.subscribe("a")
    publish(node, 1, 2)
    subscription.close()
    subscription.close()
    publish(node, 3)
    assert numbers([message async for message in subscription]) == [1, 2]
    assert [message async for message in subscription] == []


async def test_close_wakes_a_waiting_reader(node: Node) -> None:
    subscription = node.subscribe("a")
    reading = asyncio.create_task(subscription.get_batch())
    await asyncio.sleep(0)
    subscription.close()
    assert await asyncio.wait_for(reading, 5) == []


async def test_one_that_nobody_refers_to_ends(node: Node) -> None:
    subscription = node.subscribe("a", "b")
    gone = weakref.ref(subscription)
    publish(node, 1)
    assert node.stats().num_subscriptions == 2
    del subscription
    gc.collect()
    assert gone() is None
    await eventually(lambda: node.stats().num_subscriptions == 0)
    for _ in range(3):
        await asyncio.sleep(0)
    assert await node.channels() == []
    publish(node, 2)


async def test_thousands_come_and_go(node: Node) -> None:
    for _ in range(5):
        subscriptions = [node.subscribe(f"c{number % 50}", "all") for number in range(1000)]
        node.publish("all", b"1")
        assert all(one.num_queued == 1 for one in subscriptions)
        for one in subscriptions[::2]:
            one.close()
        del subscriptions, one
        gc.collect()
        await eventually(lambda: node.stats().num_subscriptions == 0)
        await asyncio.sleep(0)
        assert await node.channels() == []
        assert len(node._readers._queues) == 0


# Publishing


@pytest.mark.parametrize(("arguments", "keywords", "error"), [
    (("a", "text"), {}, TypeError),
    (("a", None), {}, TypeError),
    (("a", bytearray(b"1")), {}, TypeError),
    (("a", memoryview(b"1")), {}, TypeError),
    ((b"a", b"1"), {}, TypeError),
    ((None, b"1"), {}, TypeError),
    (("", b"1"), {}, ValueError),
    (("x" * 256, b"1"), {}, ValueError),
    (("\ud800", b"1"), {}, ValueError),
    (("a", b"1"), {"tags": 5}, TypeError),
    (("a", b"1"), {"tags": {"k": 1}}, TypeError),
    (("a", b"1"), {"tags": {1: "v"}}, TypeError),
    (("a", b"1"), {"client": 5}, TypeError),
    (("a", b"1"), {"info": {"user": "42"}}, TypeError),
])
async def test_bad_publishes(
    node: Node, arguments: Any, keywords: Any, error: type[Exception]
) -> None:
    async with node.subscribe("a") as subscription:
        with pytest.raises(error):
            node.publish(*arguments, **keywords)
        assert subscription.num_queued == 0
        assert node.stats().num_published == 0


async def test_a_message_beyond_the_limit() -> None:
    async with Node(max_message_size=10) as node, node.subscribe("a") as subscription:
        node.publish("a", b"x" * 10)
        with pytest.raises(MessageTooLargeError, match="at most 10 bytes, not 11"):
            node.publish("a", b"x" * 11)
        assert issubclass(MessageTooLargeError, ValueError)
        assert subscription.num_queued == 1


async def test_not_awaiting_a_publish_warns_of_nothing(
    node: Node, recwarn: pytest.WarningsRecorder
) -> None:
    async with node.subscribe("a"):
        for _ in range(200):
            node.publish("a", b"1")
        gc.collect()
    assert not recwarn.list


@pytest.mark.parametrize("channel", ["a", "nobody"])
async def test_a_publishing_loop_does_not_starve_its_readers(node: Node, channel: str) -> None:
    """Its await must give the others a turn now and then."""
    async with node.subscribe("a", size=10_000) as subscription:
        got = 0

        async def read() -> None:
            nonlocal got
            async for _ in subscription:
                got += 1

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        for number in range(2000):
            await node.publish("a", b"1")
            if channel == "nobody":
                await node.publish(channel, b"1")
            assert number - got < 300, "the reader gets no turn"
        reading.cancel()
