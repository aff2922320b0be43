"""LocalQueue: a bounded queue with a policy, its readers and its callback."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from fanout import SlowConsumerError
from fanout.types import Message, Overflow
from tests.core.implementations import CORE, Implementation
from tests.core.objects import fresh_bytes, message_with, references


@pytest.fixture
async def reports() -> AsyncIterator[list[dict[str, Any]]]:
    """What the loop's exception handler was told."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    yield told
    # A report's traceback keeps what a test may want to see freed.
    told.clear()


@pytest.fixture
async def hub(impl: Implementation) -> Any:
    return impl.Hub(asyncio.get_running_loop())


@pytest.fixture
def queue(impl: Implementation, hub: Any) -> Callable[..., Any]:
    """Makes a queue that is subscribed to "ch"."""

    def make(
        size: int = 4, overflow: Overflow = Overflow.DROP_OLDEST,
        callback: Callable[[Message], object] | None = None,
    ) -> Any:
        queue = impl.LocalQueue(hub, size, overflow, callback)
        hub.subscribe(queue, "ch")
        return queue

    return make


@pytest.fixture
async def core_hub() -> Any:
    return CORE.Hub(asyncio.get_running_loop())


def send(hub: Any, *numbers: int) -> None:
    for number in numbers:
        hub.broadcast("ch", Message("ch", b"%d" % number))


def drain(queue: Any) -> list[int]:
    found = []
    while (message := queue.get_nowait()) is not None:
        found.append(int(message.data))
    return found


async def turn(count: int = 3) -> None:
    """Let the loop end its tick, and what that wakes run."""
    for _ in range(count):
        await asyncio.sleep(0)


# -- the queue and its policies


async def test_messages_come_in_order_and_are_the_ones_sent(hub: Any, queue: Any) -> None:
    it = queue(100)
    sent = [Message("ch", b"%d" % number) for number in range(100)]
    for message in sent:
        assert hub.broadcast("ch", message) == 1
    assert len(it) == 100
    for message in sent:
        assert it.get_nowait() is message
    assert it.get_nowait() is None
    assert (it.num_received, it.num_dropped) == (100, 0)


async def test_reading_and_writing_go_round_the_ring(hub: Any, queue: Any) -> None:
    it = queue(5)
    number = read = 0
    for step in range(200):
        for _ in range(step % 5):
            if len(it) < 5:
                send(hub, number)
                number += 1
        for _ in range(step % 3):
            if len(it):
                assert int(it.get_nowait().data) == read
                read += 1
    assert drain(it) == list(range(read, number))
    assert it.num_dropped == 0


async def test_drop_newest(hub: Any, queue: Any) -> None:
    it = queue(3, Overflow.DROP_NEWEST)
    send(hub, *range(10))
    assert len(it) == 3
    assert drain(it) == [0, 1, 2]
    assert (it.num_received, it.num_dropped) == (3, 7)
    assert not it.closed
    send(hub, 10)
    assert drain(it) == [10]


async def test_drop_oldest(hub: Any, queue: Any) -> None:
    it = queue(3, Overflow.DROP_OLDEST)
    send(hub, *range(10))
    assert len(it) == 3
    assert drain(it) == [7, 8, 9]
    assert (it.num_received, it.num_dropped) == (10, 7)
    assert not it.closed


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_keep_latest_keeps_one_whatever_the_size(hub: Any, queue: Any, size: int) -> None:
    it = queue(size, Overflow.KEEP_LATEST)
    for number in range(10):
        send(hub, number)
        assert len(it) == 1
    assert drain(it) == [9]
    assert (it.num_received, it.num_dropped) == (10, 9)


async def test_close_on_overflow(hub: Any, queue: Any) -> None:
    it = queue(3, Overflow.CLOSE)
    send(hub, *range(3))
    assert not it.closed
    send(hub, *range(3, 10))
    assert it.closed
    assert (it.num_received, it.num_dropped) == (3, 1)
    got = []
    with pytest.raises(SlowConsumerError):
        async for message in it:
            got.append(int(message.data))
    assert got == [0, 1, 2]
    assert [message async for message in it] == []      # the error comes once


async def test_an_overflow_reaches_nobody_else(hub: Any, queue: Any) -> None:
    full = [queue(2, overflow) for overflow in Overflow]
    roomy = queue(50, Overflow.CLOSE)
    send(hub, *range(20))
    assert drain(roomy) == list(range(20))
    assert roomy.num_dropped == 0
    assert [each.num_dropped > 0 for each in full] == [True] * 4
    assert hub.stats().num_dropped == sum(each.num_dropped for each in full)
    assert hub.stats().num_delivered == sum(each.num_received for each in [*full, roomy])


async def test_every_subscriber_sees_publish_order(
    hub: Any, queue: Any, impl: Implementation
) -> None:
    queues = [queue(100) for _ in range(20)]
    for each in queues[::2]:
        hub.subscribe(each, "second")
    expected: list[tuple[str, bytes]] = []
    for number in range(40):
        channel = ("ch", "second")[number % 2]
        expected.append((channel, b"%d" % number))
        hub.broadcast(channel, Message(channel, b"%d" % number))
    for at, each in enumerate(queues):
        got = [(message.channel, message.data) for message in iter(each.get_nowait, None)]
        assert got == (expected if at % 2 == 0 else expected[::2])


# -- reading


async def test_async_for_ends_when_the_queue_is_closed(hub: Any, queue: Any) -> None:
    it = queue()
    send(hub, 1, 2)
    it.close()
    assert it.closed
    send(hub, 3)
    assert [int(message.data) async for message in it] == [1, 2]
    assert await it.get_batch() == []


async def test_an_error_comes_after_what_is_queued_and_once(hub: Any, queue: Any) -> None:
    it = queue()
    send(hub, 1, 2)
    it.close(LookupError("the test's end"))
    it.close(ValueError("too late"))
    assert [int(message.data) for message in await it.get_batch()] == [1, 2]
    with pytest.raises(LookupError, match="the test's end"):
        await it.get_batch()
    assert await it.get_batch() == []
    assert it.get_nowait() is None


async def test_get_batch_gives_what_is_there_up_to_the_limit(hub: Any, queue: Any) -> None:
    it = queue(10)
    send(hub, *range(10))
    assert [int(message.data) for message in await it.get_batch(3)] == [0, 1, 2]
    assert [int(message.data) for message in await it.get_batch(100)] == list(range(3, 10))
    send(hub, 10, 11)
    assert [int(message.data) for message in await it.get_batch()] == [10, 11]


async def test_a_waiting_reader_is_woken_once_per_tick(hub: Any, queue: Any) -> None:
    it = queue(200)
    reader = asyncio.create_task(it.get_batch())
    await turn()
    send(hub, *range(100))
    assert it.num_wakeups == 0      # not before the tick ends
    batch = await reader
    assert [int(message.data) for message in batch] == list(range(100))
    assert it.num_wakeups == 1


async def test_async_for_takes_a_batch_per_wake_up(hub: Any, queue: Any) -> None:
    it = queue(200)
    got: list[int] = []

    async def read() -> None:
        async for message in it:
            got.append(int(message.data))

    reader = asyncio.create_task(read())
    await turn()
    for batch in range(3):
        send(hub, *range(batch * 50, batch * 50 + 50))
        await turn()
        assert it.num_wakeups == batch + 1
    it.close()
    await reader
    assert got == list(range(150))


async def test_flush_wakes_at_once(hub: Any, queue: Any) -> None:
    it = queue()
    reader = asyncio.create_task(it.get_batch())
    await turn()
    send(hub, 1)
    hub.flush()
    assert it.num_wakeups == 1
    assert len(await reader) == 1


async def test_closing_wakes_a_waiting_reader(hub: Any, queue: Any) -> None:
    ended, failed = queue(), queue()
    readers = [asyncio.create_task(each.get_batch()) for each in (ended, failed)]
    await turn()
    ended.close()
    failed.close(LookupError())
    async with asyncio.timeout(10):
        assert await readers[0] == []
        with pytest.raises(LookupError):
            await readers[1]


@pytest.mark.parametrize("first", ["message", "cancellation"])
async def test_a_cancelled_reader_loses_nothing(hub: Any, queue: Any, first: str) -> None:
    it = queue()
    reader = asyncio.create_task(it.get_batch())
    await turn()
    if first == "cancellation":
        reader.cancel()
    send(hub, 1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert drain(it) == [1]


async def test_a_reader_cancelled_as_it_is_woken_loses_nothing(hub: Any, queue: Any) -> None:
    it = queue()
    reader = asyncio.create_task(anext(it))
    await turn()
    send(hub, 1)
    hub.flush()
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert drain(it) == [1]


async def test_one_reader_at_a_time(hub: Any, queue: Any) -> None:
    it = queue()
    reader = asyncio.create_task(it.get_batch())
    await turn()
    with pytest.raises(RuntimeError):
        await it.get_batch()
    with pytest.raises(RuntimeError):
        await anext(it)
    send(hub, 1)
    assert len(await reader) == 1


async def test_a_closed_queue_leaves_its_channels(
    impl: Implementation, reports: list[Any]
) -> None:
    vacated: list[str] = []
    hub = impl.Hub(asyncio.get_running_loop(), vacated.extend)
    by_hand = impl.LocalQueue(hub, 2, Overflow.CLOSE)
    by_overflow = impl.LocalQueue(hub, 1, Overflow.CLOSE)
    stays = impl.LocalQueue(hub, 10, Overflow.CLOSE)
    hub.subscribe(by_hand, "a")
    hub.subscribe(by_overflow, "b")
    for each in (by_hand, by_overflow, stays):
        hub.subscribe(each, "shared")
    by_hand.close()
    for _ in range(2):
        hub.broadcast("b", Message("b", b""))
    await turn()
    assert hub.channels() == ["shared"]
    assert hub.num_subscribers("shared") == 1
    assert by_hand.num_channels == by_overflow.num_channels == 0
    assert sorted(vacated) == ["a", "b"]


# -- callbacks


async def test_a_callback_gets_messages_at_the_end_of_the_tick(hub: Any, queue: Any) -> None:
    got: list[int] = []
    it = queue(10, callback=lambda message: got.append(int(message.data)))
    send(hub, 1, 2, 3)
    assert got == []
    await turn()
    assert got == [1, 2, 3]
    assert len(it) == 0
    assert it.num_wakeups == 1


async def test_a_failing_callback_is_reported_and_goes_on(
    hub: Any, queue: Any, reports: list[Any]
) -> None:
    got: list[int] = []

    def call(message: Message) -> None:
        got.append(int(message.data))
        if int(message.data) == 2:
            raise LookupError("the test's callback")

    other: list[int] = []
    held = queue(10, callback=call), queue(10, callback=lambda m: other.append(int(m.data)))
    send(hub, 1, 2, 3)
    await turn()
    send(hub, 4)
    await turn()
    assert got == other == [1, 2, 3, 4]
    assert [type(report["exception"]) for report in reports] == [LookupError]
    assert not any(each.closed for each in held)


async def test_a_callback_that_fell_behind_is_reported(
    hub: Any, queue: Any, reports: list[Any]
) -> None:
    got: list[int] = []
    it = queue(2, Overflow.CLOSE, lambda message: got.append(int(message.data)))
    send(hub, 1, 2, 3)
    await turn()
    assert got == [1, 2]
    assert it.closed
    assert [type(report["exception"]) for report in reports] == [SlowConsumerError]


async def test_what_a_callback_publishes_comes_a_tick_later(hub: Any, queue: Any) -> None:
    got: list[int] = []

    def call(message: Message) -> None:
        got.append(int(message.data))
        if got[-1] < 5:
            send(hub, got[-1] + 1)

    it = queue(10, callback=call)
    send(hub, 1)
    for count in range(1, 6):
        hub.flush()
        assert got == list(range(1, count + 1))
    assert len(it) == 0


async def test_a_callback_may_close_unsubscribe_and_free(
    impl: Implementation, hub: Any, queue: Any
) -> None:
    held: dict[str, Any] = {}
    got: list[str] = []

    def close(message: Message) -> None:
        got.append("close")
        held["close"].close()

    def leave(message: Message) -> None:
        got.append("leave")
        hub.unsubscribe(held["leave"], "ch")

    def free(message: Message) -> None:
        got.append("free")
        del held["free"]

    for name, callback in (("close", close), ("leave", leave), ("free", free)):
        held[name] = queue(10, callback=callback)
    other = queue(10)
    send(hub, 1)
    await turn()
    send(hub, 2)
    await turn()
    assert sorted(got) == ["close", "free", "leave"]
    assert drain(other) == [1, 2]
    assert hub.num_subscribers("ch") == 1


async def test_a_callback_queue_cannot_be_read(queue: Any) -> None:
    it = queue(callback=lambda message: None)
    with pytest.raises(RuntimeError):
        aiter(it)
    with pytest.raises(RuntimeError):
        await it.get_batch()
    with pytest.raises(RuntimeError):
        it.get_nowait()


async def test_a_coroutine_function_is_no_callback(core_hub: Any) -> None:
    async def call(message: Message) -> None: ...

    with pytest.raises(TypeError, match="async for"):
        CORE.LocalQueue(core_hub, 4, Overflow.CLOSE, call)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0, Overflow.CLOSE), ValueError),
        ((-1, Overflow.CLOSE), ValueError),
        ((2**32, Overflow.CLOSE), ValueError),
        (("4", Overflow.CLOSE), TypeError),
        ((4.0, Overflow.CLOSE), TypeError),
        ((True, Overflow.CLOSE), TypeError),
        ((None, Overflow.CLOSE), TypeError),
        ((4, "close"), TypeError),
        ((4, None), TypeError),
        ((4, []), TypeError),
        ((4, Overflow.CLOSE, "print"), TypeError),
        ((4, Overflow.CLOSE, 5), TypeError),
    ],
)
async def test_bad_arguments(
    core_hub: Any, arguments: tuple[Any, ...], error: type[Exception]
) -> None:
    before = references(core_hub)
    with pytest.raises(error):
        CORE.LocalQueue(core_hub, *arguments)
    with pytest.raises(TypeError):
        CORE.LocalQueue(None, *arguments)
    assert references(core_hub) == before


async def test_a_bad_limit(core_hub: Any) -> None:
    it = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE)
    core_hub.subscribe(it, "ch")
    send(core_hub, 1)
    with pytest.raises(ValueError):
        await it.get_batch(-1)
    with pytest.raises(TypeError):
        await it.get_batch("1")
    assert drain(it) == [1]


# -- who owns what


@pytest.mark.parametrize("overflow", Overflow)
async def test_exact_references_of_messages(core_hub: Any, overflow: Overflow) -> None:
    it = CORE.LocalQueue(core_hub, 2, overflow)
    other = CORE.LocalQueue(core_hub, 50, Overflow.CLOSE)
    for each in (it, other):
        core_hub.subscribe(each, "ch")
    data = fresh_bytes(b"data")
    before = references(data)
    for _ in range(10):
        core_hub.broadcast("ch", Message("ch", data))
    # One message object per broadcast, which lives as long as a queue has it.
    assert references(data) == before + 10
    kept = {Overflow.KEEP_LATEST: 1}.get(overflow, 2)
    assert len(it) == kept
    assert len(await other.get_batch()) == 10
    assert references(data) == before + kept
    message = it.get_nowait()
    assert references(message) == 0
    del message
    assert references(data) == before + kept - 1
    core_hub.flush()
    del it
    assert references(data) == before


async def test_a_message_is_shared_not_copied(core_hub: Any) -> None:
    queues = [CORE.LocalQueue(core_hub, 4, Overflow.CLOSE) for _ in range(10)]
    for each in queues:
        core_hub.subscribe(each, "ch")
    message = Message("ch", b"")
    core_hub.broadcast("ch", message)
    assert references(message) == 10
    for each in queues[:4]:
        assert each.get_nowait() is message
    del each
    assert references(message) == 6
    core_hub.flush()
    queues.clear()
    assert references(message) == 0


async def test_exact_references_of_a_queue_and_its_parts(core_hub: Any) -> None:
    def callback(message: Message) -> None: ...

    before = references(core_hub), references(callback)
    it = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE, callback)
    assert (references(core_hub), references(callback)) == (before[0] + 1, before[1] + 1)
    assert references(it) == 0
    core_hub.subscribe(it, "ch")
    core_hub.subscribe(it, "ch")
    assert references(it) == 0      # the hub borrows its subscribers
    send(core_hub, 1, 2)
    assert references(it) == 1      # until the tick ends it is in the backlog
    core_hub.flush()
    assert references(it) == 0
    del it
    await turn()                    # until then the loop has the hub
    assert (references(core_hub), references(callback)) == before


async def test_exact_references_of_the_closing_error(core_hub: Any) -> None:
    error = LookupError()
    before = references(error)
    it = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE)
    it.close(error)
    core_hub.flush()
    assert references(error) == before + 1
    with pytest.raises(LookupError) as caught:
        await it.get_batch()
    assert caught.value is error
    del caught
    error.__traceback__ = None
    assert references(error) == before
    again = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE)
    again.close(error)
    core_hub.flush()
    del again
    assert references(error) == before


async def test_a_reader_keeps_no_reference_to_what_it_read(core_hub: Any) -> None:
    it = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE)
    core_hub.subscribe(it, "ch")
    message = Message("ch", b"")

    async def read() -> None:
        assert await anext(it) is message
        assert await it.get_batch() == [message]

    reader = asyncio.create_task(read())
    for _ in range(2):
        await turn()
        core_hub.broadcast("ch", message)
    await reader
    del reader
    await turn()
    assert references(message) == 0
    assert references(it) == 0


async def test_a_queue_in_a_cycle_is_collected(core_hub: Any) -> None:
    data = fresh_bytes(b"data")
    before = references(data)

    class Owner:
        def __init__(self) -> None:
            self.queue = CORE.LocalQueue(core_hub, 4, Overflow.CLOSE, self.call)
            core_hub.subscribe(self.queue, "ch")

        def call(self, message: Message) -> None: ...

    owner = Owner()
    core_hub.broadcast("ch", Message("ch", data))
    assert references(data) == before + 1
    core_hub.flush()
    del owner
    gc.collect()
    assert core_hub.channels() == []
    assert references(data) == before


# -- dropping a message may run anything, also on the queue and hub that drop it

ACTIONS: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "broadcast": lambda hub, held: send(hub, 1, 2, 3),
    "unsubscribe": lambda hub, held: held and hub.unsubscribe(held["it"], "ch"),
    "remove": lambda hub, held: held and hub.remove(held["it"]),
    "close": lambda hub, held: held and held["it"].close(),
    "free": lambda hub, held: held.clear(),
    "read": lambda hub, held: held and held["it"].get_nowait(),
    "flush": lambda hub, held: hub.flush(),
    "subscribe-many": lambda hub, held: held and [
        hub.subscribe(held["it"], f"other{number}") for number in range(100)],
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("overflow", Overflow)
async def test_a_dropped_message_may_call_queue_and_hub(
    core_hub: Any, reports: list[Any], overflow: Overflow, action: str
) -> None:
    others = [CORE.LocalQueue(core_hub, 500, Overflow.CLOSE) for _ in range(3)]
    held = {"it": CORE.LocalQueue(core_hub, 2, overflow)}
    core_hub.subscribe(others[0], "ch")
    core_hub.subscribe(held["it"], "ch")
    core_hub.subscribe(others[1], "ch")
    calls = []

    def act() -> None:
        calls.append(1)
        ACTIONS[action](core_hub, held)

    for _ in range(5):
        core_hub.broadcast("ch", message_with("ch", act))
    for each in others:     # else they keep the messages
        for _ in range(5):
            each.get_nowait()
    send(core_hub, 7, 8, 9)
    await turn()
    held.clear()
    del each
    await turn()
    assert len(calls) == 5
    for each in others[:2]:
        got = [int(message.data) for message in await each.get_batch()]
        assert [number for number in got if number > 3] == [7, 8, 9]
    assert core_hub.num_subscribers("ch") == 2
