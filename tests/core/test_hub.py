"""Hub: who is on which channel; what happens to those nobody holds."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from fanout.types import HubStats, Message, Overflow
from tests.core.implementations import CORE, Implementation
from tests.core.objects import fresh_str, references


@pytest.fixture
def vacated() -> list[list[str]]:
    return []


@pytest.fixture
async def hub(impl: Implementation, vacated: list[list[str]]) -> Any:
    return impl.Hub(asyncio.get_running_loop(), vacated.append)


@pytest.fixture
def queue(impl: Implementation, hub: Any) -> Callable[..., Any]:
    def make(*channels: str) -> Any:
        queue = impl.LocalQueue(hub, 4, Overflow.DROP_OLDEST)
        for channel in channels:
            hub.subscribe(queue, channel)
        return queue

    return make


@pytest.fixture
async def core_hub(vacated: list[list[str]]) -> Any:
    return CORE.Hub(asyncio.get_running_loop(), vacated.append)


def core_queue(hub: Any, *channels: str) -> Any:
    queue = CORE.LocalQueue(hub, 4, Overflow.DROP_OLDEST)
    for channel in channels:
        hub.subscribe(queue, channel)
    return queue


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_subscribe_tells_the_first_and_unsubscribe_the_last(hub: Any, queue: Any) -> None:
    one, two = queue(), queue()
    assert hub.subscribe(one, "ch") is True
    assert hub.subscribe(two, "ch") is False
    assert hub.subscribe(one, "ch") is False
    assert hub.num_subscribers("ch") == 2
    assert hub.unsubscribe(one, "ch") is False
    assert hub.unsubscribe(one, "ch") is False
    assert hub.unsubscribe(two, "never") is False
    assert hub.unsubscribe(two, "ch") is True
    assert hub.num_subscribers("ch") == 0
    assert hub.channels() == []
    assert hub.subscribe(one, "ch") is True


async def test_the_subscribers_of_a_channel(core_hub: Any) -> None:
    one, two = core_queue(core_hub, "a", "b"), core_queue(core_hub, "b")
    assert core_hub.subscribers("a") == [one]
    assert sorted(core_hub.subscribers("b"), key=id) == sorted([one, two], key=id)
    assert core_hub.subscribers("never") == []
    core_hub.subscribers("a").clear()
    assert core_hub.subscribers("a") == [one]


async def test_the_list_of_subscribers_keeps_them(core_hub: Any) -> None:
    """It may be walked while they leave, and are freed."""
    queues = [core_queue(core_hub, "ch") for _ in range(20)]
    listed = core_hub.subscribers("ch")
    del queues
    assert core_hub.num_subscribers("ch") == 20
    for subscriber in listed:
        core_hub.unsubscribe(subscriber, "ch")
    assert core_hub.num_subscribers("ch") == 0


async def test_who_is_subscribed_to_what(hub: Any, queue: Any) -> None:
    one, two = queue("a", "b"), queue("b", "c")
    assert sorted(hub.channels()) == ["a", "b", "c"]
    assert sorted(hub.subscriptions(one)) == ["a", "b"]
    assert (one.num_channels, two.num_channels) == (2, 2)
    assert hub.is_subscribed(one, "a")
    assert not hub.is_subscribed(two, "a")
    assert not hub.is_subscribed(two, "never")
    assert [hub.num_subscribers(channel) for channel in "abcd"] == [1, 2, 1, 0]


async def test_remove_gives_the_channels_left_empty(hub: Any, queue: Any) -> None:
    one, two = queue("a", "b", "c"), queue("b")
    assert sorted(hub.remove(one)) == ["a", "c"]
    assert hub.remove(one) == []
    assert hub.channels() == ["b"]
    assert one.num_channels == 0
    assert hub.subscriptions(two) == ["b"]


async def test_broadcast_reaches_the_channel_and_no_other(hub: Any, queue: Any) -> None:
    on_a, on_b, on_both = queue("a"), queue("b"), queue("a", "b")
    message = Message("a", b"")
    assert hub.broadcast("a", message) == 2
    assert hub.broadcast("never", message) == 0
    assert [len(each) for each in (on_a, on_b, on_both)] == [1, 0, 1]
    hub.unsubscribe(on_a, "a")
    assert hub.broadcast("a", message) == 1
    assert [len(each) for each in (on_a, on_b, on_both)] == [1, 0, 2]


async def test_random_churn(hub: Any, queue: Any) -> None:
    """Long lists of both kinds, so that arrays and indexes grow, shrink and move."""
    rng = random.Random(3)
    queues = [queue() for _ in range(60)]
    names = [f"ch{number}" for number in range(60)]
    there: set[tuple[int, str]] = set()
    for step in range(20_000):
        at, name = rng.randrange(60), rng.choice(names)
        # First mostly in, then mostly out.
        if rng.random() < (0.8 if step < 8000 else 0.2):
            assert hub.subscribe(queues[at], name) is not any(n == name for _, n in there)
            there.add((at, name))
        else:
            others = any(a != at and n == name for a, n in there)
            assert hub.unsubscribe(queues[at], name) is ((at, name) in there and not others)
            there.discard((at, name))
    for at, each in enumerate(queues):
        assert sorted(hub.subscriptions(each)) == sorted(n for a, n in there if a == at)
    for name in names:
        expected = [at for at in range(60) if (at, name) in there]
        assert hub.broadcast(name, Message(name, b"")) == len(expected)
        assert [at for at, each in enumerate(queues) if each.get_nowait()] == expected


async def test_turn_size_counts_the_broadcasts_of_a_tick(hub: Any, queue: Any) -> None:
    held = queue("ch")
    assert hub.turn_size == 0
    for count in range(1, 4):
        hub.broadcast("ch", Message("ch", b""))
        assert hub.turn_size == count
    await turn()
    assert hub.turn_size == 0
    assert len(held) == 3


async def test_stats(hub: Any, queue: Any) -> None:
    one, two = queue("a", "b"), queue("b")
    hub.broadcast("a", Message("a", b""))
    hub.broadcast("b", Message("b", b""))
    hub.broadcast("never", Message("never", b""))
    stats = hub.stats()
    assert type(stats) is HubStats
    assert stats.num_channels == 2
    assert stats.num_subscriptions == 3
    assert stats.num_published == 3
    assert stats.num_delivered == 3
    assert stats.num_dropped == stats.num_sends == stats.bytes_sent == 0
    await turn()
    assert hub.stats().num_ticks == 1
    await turn()
    assert hub.stats().num_ticks == 1
    assert (len(one), len(two)) == (2, 1)


async def test_a_subscriber_nobody_holds_leaves(
    hub: Any, queue: Any, vacated: list[list[str]]
) -> None:
    stays, goes = queue("shared", "own"), queue("shared", "gone")
    del goes
    assert sorted(hub.channels()) == ["own", "shared"]
    assert hub.num_subscribers("shared") == 1
    assert hub.broadcast("shared", Message("shared", b"")) == 1
    assert vacated == []        # told at the end of the tick
    await turn()
    assert vacated == [["gone"]]
    await turn()
    assert vacated == [["gone"]]
    assert stays.num_channels == 2


async def test_channels_vacated_in_one_tick_are_told_together(
    hub: Any, queue: Any, vacated: list[list[str]]
) -> None:
    for number in range(10):
        queue(f"a{number}", f"b{number}")
    await turn()
    assert len(vacated) == 1
    assert sorted(vacated[0]) == sorted(f"{k}{number}" for k in "ab" for number in range(10))


async def test_a_channel_that_has_a_subscriber_again_was_not_vacated(
    hub: Any, queue: Any, vacated: list[list[str]]
) -> None:
    queue("ch", "other")
    again = queue("ch")
    await turn()
    assert vacated == [["other"]]
    assert again.num_channels == 1


async def test_leaving_by_hand_vacates_nothing(
    hub: Any, queue: Any, vacated: list[list[str]]
) -> None:
    one = queue("a", "b")
    hub.unsubscribe(one, "a")
    hub.remove(one)
    await turn()
    assert vacated == []


async def test_a_subscriber_freed_with_messages_waiting(
    hub: Any, queue: Any, vacated: list[list[str]]
) -> None:
    goes, stays = queue("ch"), queue("ch")
    hub.broadcast("ch", Message("ch", b""))
    del goes
    await turn()
    assert hub.num_subscribers("ch") == 1
    assert hub.broadcast("ch", Message("ch", b"")) == 1
    assert len(stays) == 2


async def test_a_subscriber_freed_in_another_thread(
    core_hub: Any, vacated: list[list[str]]
) -> None:
    """The collector runs in whatever thread allocates; on_vacated belongs to the loop's."""
    told = asyncio.Event()
    threads: list[int] = []
    hub = CORE.Hub(
        asyncio.get_running_loop(),
        lambda names: (vacated.append(names), threads.append(threading.get_ident()), told.set()))
    held = [core_queue(hub, "ch")]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert hub.num_subscribers("ch") == 0
    async with asyncio.timeout(10):
        await told.wait()
    assert vacated == [["ch"]]
    assert threads == [threading.get_ident()]


@pytest.mark.parametrize(
    "call",
    [
        lambda hub, queue: hub.subscribe(queue, "other"),
        lambda hub, queue: hub.unsubscribe(queue, "ch"),
        lambda hub, queue: hub.remove(queue),
        lambda hub, queue: hub.is_subscribed(queue, "ch"),
        lambda hub, queue: hub.subscriptions(queue),
        lambda hub, queue: hub.num_subscribers("ch"),
        lambda hub, queue: hub.channels(),
        lambda hub, queue: hub.broadcast("ch", Message("ch", b"")),
        lambda hub, queue: hub.broadcast_join("ch", None),
        lambda hub, queue: hub.broadcast_leave("ch", None),
        lambda hub, queue: hub.flush(),
        lambda hub, queue: hub.stats(),
        lambda hub, queue: queue.close(),
    ],
    ids=["subscribe", "unsubscribe", "remove", "is_subscribed", "subscriptions",
         "num_subscribers", "channels", "broadcast", "broadcast_join", "broadcast_leave",
         "flush", "stats", "close"],
)
async def test_a_call_from_another_thread_is_refused(
    core_hub: Any, call: Callable[[Any, Any], object]
) -> None:
    queue = core_queue(core_hub, "ch")
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(call, core_hub, queue)
    assert core_hub.channels() == ["ch"]
    assert len(queue) == 0
    assert not queue.closed


@pytest.mark.parametrize(
    "call",
    [
        lambda hub, queue: hub.subscribe(None, "ch"),
        lambda hub, queue: hub.subscribe("queue", "ch"),
        lambda hub, queue: hub.subscribe(queue, None),
        lambda hub, queue: hub.subscribe(queue, b"ch"),
        lambda hub, queue: hub.subscribe(queue, "ch", "1"),
        lambda hub, queue: hub.unsubscribe(queue, 5),
        lambda hub, queue: hub.unsubscribe(None, "ch"),
        lambda hub, queue: hub.remove(None),
        lambda hub, queue: hub.is_subscribed(queue, None),
        lambda hub, queue: hub.subscriptions(5),
        lambda hub, queue: hub.num_subscribers(None),
        lambda hub, queue: hub.broadcast(None, Message("ch", b"")),
        lambda hub, queue: hub.broadcast("ch", None),
        lambda hub, queue: hub.broadcast("ch", b"data"),
        lambda hub, queue: hub.subscribe(queue, "ch", 0, "0"),
    ],
)
async def test_bad_arguments(core_hub: Any, call: Callable[[Any, Any], object]) -> None:
    queue = core_queue(core_hub, "ch")
    with pytest.raises(TypeError):
        call(core_hub, queue)
    assert core_hub.channels() == ["ch"]
    assert len(queue) == 0


@pytest.mark.parametrize("slow", [-1, 3, 100])
async def test_a_bad_slow_policy(core_hub: Any, slow: int) -> None:
    queue = core_queue(core_hub)
    with pytest.raises(ValueError):
        core_hub.subscribe(queue, "ch", 0, slow)
    assert core_hub.channels() == []


# -- who owns what


async def test_exact_references_of_channel_names(
    core_hub: Any, vacated: list[list[str]]
) -> None:
    name = fresh_str("channel")
    before = references(name)
    one, two = core_queue(core_hub, name), core_queue(core_hub, name)
    core_hub.subscribe(one, name)
    assert references(name) == before + 1
    assert core_hub.channels()[0] is name
    core_hub.unsubscribe(one, name)
    assert references(name) == before + 1
    core_hub.unsubscribe(two, name)
    assert references(name) == before
    core_hub.subscribe(one, name)
    assert core_hub.remove(one) == [name]
    assert references(name) == before
    core_hub.subscribe(two, name)
    del two
    await turn()
    assert vacated.pop() == [name]
    assert references(name) == before


async def test_exact_references_of_the_hub_s_parts() -> None:
    loop = asyncio.get_running_loop()

    def on_vacated(names: list[str]) -> None: ...

    class Encoder:
        def publication(self, channel: str, message: Message) -> bytes | None: ...

    encoder = Encoder()
    before = references(on_vacated), references(encoder)
    hub = CORE.Hub(loop, on_vacated)
    hub.add_encoder(encoder)
    assert (references(on_vacated), references(encoder)) == (before[0] + 1, before[1] + 1)
    queue = core_queue(hub, "ch")
    hub.broadcast("ch", Message("ch", b""))
    del hub
    await turn()
    assert (references(on_vacated), references(encoder)) == (before[0] + 1, before[1] + 1)
    del queue       # the last that held the hub
    await turn()
    assert (references(on_vacated), references(encoder)) == before
