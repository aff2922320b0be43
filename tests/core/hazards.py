"""Situations in which a mistake of the core is a crash, not a failed assertion.

Each is run in a process of its own, by ``python -m tests.core.hazards NAME``,
so that the other tests are still heard of. See ``test_hazards.py``.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from fanout import _memory
from fanout._expiry import Expiry
from fanout._hub import Hub
from fanout._presence import PresenceStore
from fanout._ring import HistoryStore
from fanout._subscription import LocalQueue
from fanout.types import ClientInfo, Message, Overflow, StreamPosition
from tests.core.objects import Bomb, fresh_str, message_with, references

__all__ = ["HAZARDS"]

HAZARDS: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}


def hazard(scenario: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    HAZARDS[scenario.__name__] = scenario
    return scenario


async def turn() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def make_queue(hub: Hub, size: int = 500, callback: Any = None) -> LocalQueue:
    queue = LocalQueue(hub, size, Overflow.CLOSE, callback)
    hub.subscribe(queue, "ch")
    return queue


def send(hub: Hub) -> None:
    hub.broadcast("ch", Message("ch", b"1"))


@hazard
async def a_freed_callback_calls_the_hub() -> None:
    """A queue frees its callback while it is freed itself: it must have left by then."""
    hub = Hub(asyncio.get_running_loop())
    other = make_queue(hub)
    seen: list[int] = []
    for action in (send, Hub.flush, Hub.channels, lambda hub: hub.remove(other)):
        hub.subscribe(other, "ch")

        def act(action: Any = action) -> None:
            seen.append(hub.num_subscribers("ch"))
            action(hub)

        bomb = Bomb(act)
        queue = make_queue(hub, callback=lambda message, bomb=bomb: None)
        del bomb, act
        del queue
        await turn()
    assert seen == [1] * 4, seen
    assert len(other) == 1


@hazard
async def messages_of_a_freed_queue_call_the_hub() -> None:
    hub = Hub(asyncio.get_running_loop())
    other, queue = make_queue(hub), make_queue(hub)
    seen: list[int] = []

    def act() -> None:
        seen.append(hub.num_subscribers("ch"))
        send(hub)

    for _ in range(5):
        hub.broadcast("ch", message_with("ch", act))
    assert len(await other.get_batch()) == 5
    hub.flush()
    del queue
    assert seen == [1] * 5, seen
    await turn()
    assert len(other) == 5


@hazard
async def a_subscriber_of_another_hub_is_refused() -> None:
    loop = asyncio.get_running_loop()
    hub, another = Hub(loop), Hub(loop)
    foreign = make_queue(another)
    for there_is_the_channel in (False, True):
        if there_is_the_channel:
            own = make_queue(hub)
        for call in (
            lambda: hub.subscribe(foreign, "ch"),
            lambda: hub.unsubscribe(foreign, "ch"),
            lambda: hub.remove(foreign),
        ):
            try:
                call()
            except ValueError:
                continue
            raise AssertionError("it was accepted")
    assert another.num_subscribers("ch") == hub.num_subscribers("ch") == 1
    assert another.subscriptions(foreign) == ["ch"]
    send(another)
    assert (len(foreign), len(own)) == (1, 0)


@hazard
async def a_hub_in_a_garbage_cycle_with_its_subscribers() -> None:
    """As when an application drops a node without closing it.

    The collector clears the hub while it has subscribers that have yet to leave.
    """
    loop = asyncio.get_running_loop()

    class Owner:
        def __init__(self) -> None:
            self.parts: list[Any] = []

    def make(owner_first: bool, name: str) -> None:
        owners = [Owner()] if owner_first else []
        hub = Hub(loop, lambda names: owners)
        queues = [LocalQueue(hub, 4, Overflow.CLOSE) for _ in range(3)]
        for queue in queues:
            hub.subscribe(queue, name)
        owners = owners or [Owner()]
        owners[0].parts += [hub, queues, owners]

    for owner_first in (False, True):
        name = fresh_str("channel")
        before = references(name)
        make(owner_first, name)
        assert references(name) == before + 1
        gc.collect()
        await turn()
        assert references(name) == before


class ClearingLoop:
    """Setting a deadline calls the loop, and the loop may run anything."""

    store: Any = None

    def call_later(self, delay: float, callback: object, *args: object) -> ClearingLoop:
        self.store.clear()
        return self

    def cancel(self) -> None: ...


@hazard
async def a_loop_that_clears_the_history_as_it_is_called() -> None:
    loop, expiry = ClearingLoop(), Expiry()
    loop.store = store = HistoryStore(expiry, 100.0)
    expiry.start(loop)
    message = Message("ch", b"1")
    for _ in range(3):
        store.append("ch", message, 3, 10.0)
        store.append("ch", message, 3, 1.0)
        store.read("ch", None, -1, False)
        store.read("ch", StreamPosition(0, ""), 5, True)
        store.position("other")
        store.remove("ch")
    expiry.stop()
    store.clear()
    assert (store.num_streams, store.num_messages, len(expiry)) == (0, 0, 0)


@hazard
async def a_loop_that_clears_the_presence_as_it_is_called() -> None:
    loop, expiry = ClearingLoop(), Expiry()
    loop.store = store = PresenceStore(expiry, 10.0)
    expiry.start(loop)
    for _ in range(3):
        for number in range(3):
            store.add("ch", str(number), ClientInfo("u"))
            store.add("ch", str(number), ClientInfo("v"))
        store.remove("ch", "1")
    expiry.stop()
    store.clear()
    assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)


def main(name: str) -> None:
    faulthandler.enable()
    problems: list[object] = []
    sys.unraisablehook = problems.append
    before = _memory.counts()
    asyncio.run(HAZARDS[name]())
    gc.collect()
    assert problems == [], problems
    assert _memory.counts() == before, (before, _memory.counts())


if __name__ == "__main__":
    main(sys.argv[1])
