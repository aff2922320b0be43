"""PresenceStore: entries with an expiry each, and exact ownership."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fanout.types import ClientInfo, PresenceStats
from tests.core.implementations import CORE, Implementation
from tests.core.objects import fresh_str, info_with, references
from tests.model.clock import ManualClock

LIFETIME = 10.0
ANN, BOB = ClientInfo("ann", "c1"), ClientInfo("bob", "c2")


@pytest.fixture
def expiry(impl: Implementation, clock: ManualClock) -> Any:
    return impl.Expiry(clock)


@pytest.fixture
def store(impl: Implementation, expiry: Any) -> Any:
    return impl.PresenceStore(expiry, LIFETIME)


@pytest.fixture
def core_expiry(clock: ManualClock) -> Any:
    return CORE.Expiry(clock)


@pytest.fixture
def core_store(core_expiry: Any) -> Any:
    return CORE.PresenceStore(core_expiry, LIFETIME)


def test_add_get_remove(store: Any) -> None:
    assert store.get("ch") == {}
    store.add("ch", "1", ANN)
    store.add("ch", "2", BOB)
    store.add("other", "1", BOB)
    assert store.get("ch") == {"1": ANN, "2": BOB}
    assert (store.num_channels, store.num_entries) == (2, 3)
    store.remove("ch", "1")
    assert store.get("ch") == {"2": BOB}
    store.remove("ch", "2")
    assert (store.num_channels, store.num_entries) == (1, 1)


def test_removing_what_is_not_there(store: Any) -> None:
    store.remove("ch", "1")
    store.add("ch", "1", ANN)
    store.remove("ch", "2")
    store.remove("other", "1")
    assert store.get("ch") == {"1": ANN}


def test_the_entry_s_own_info_is_given_back(store: Any) -> None:
    info = ClientInfo("u", "c")
    store.add("ch", "1", info)
    assert store.get("ch")["1"] is info
    again = ClientInfo("u", "c")
    store.add("ch", "1", again)
    assert store.get("ch")["1"] is again
    assert store.num_entries == 1


def test_the_map_is_a_copy(store: Any) -> None:
    store.add("ch", "1", ANN)
    present = store.get("ch")
    present["2"] = BOB
    assert store.get("ch") == {"1": ANN}
    store.remove("ch", "1")
    assert present == {"1": ANN, "2": BOB}


def test_stats(store: Any) -> None:
    assert store.stats("ch") == PresenceStats(0, 0)
    for number in range(12):
        store.add("ch", str(number), ClientInfo(f"user{number % 4}"))
    assert store.stats("ch") == PresenceStats(12, 4)
    assert type(store.stats("ch")) is PresenceStats


def test_entries_expire_each_for_itself(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.add("ch", "1", ANN)
    clock.advance(4)
    store.add("ch", "2", BOB)
    clock.advance(5.75)
    assert store.get("ch") == {"1": ANN, "2": BOB}
    clock.advance(0.25)
    assert store.get("ch") == {"2": BOB}    # though nothing was fired
    assert store.stats("ch") == PresenceStats(1, 1)
    expiry.advance()
    assert store.num_entries == 1
    clock.advance(4)
    expiry.advance()
    assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)


def test_adding_again_renews(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.add("ch", "1", ANN)
    for _ in range(10):
        clock.advance(8)
        expiry.advance()
        store.add("ch", "1", ANN)
    assert store.get("ch") == {"1": ANN}
    assert len(expiry) == 1
    clock.advance(10)
    assert store.get("ch") == {}


def test_an_expired_entry_that_nobody_fired_can_come_back(
    store: Any, expiry: Any, clock: ManualClock
) -> None:
    store.add("ch", "1", ANN)
    clock.advance(50)
    store.add("ch", "1", BOB)
    expiry.advance()
    assert store.get("ch") == {"1": BOB}


def test_many_channels_and_entries(store: Any, expiry: Any, clock: ManualClock) -> None:
    for channel in range(60):
        for conn in range(channel):
            store.add(f"ch{channel}", f"{conn}", ANN)
    assert (store.num_channels, store.num_entries) == (59, 60 * 59 // 2)
    for channel in range(0, 60, 2):
        for conn in range(channel):
            store.remove(f"ch{channel}", f"{conn}")
    for channel in range(60):
        expected = {f"{conn}" for conn in range(channel)} if channel % 2 else set()
        assert store.get(f"ch{channel}").keys() == expected
    clock.advance(LIFETIME)
    expiry.advance()
    assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)


def test_clear(store: Any, expiry: Any) -> None:
    for number in range(30):
        store.add(f"ch{number % 7}", str(number), ANN)
    store.clear()
    assert (store.num_channels, store.num_entries, len(expiry)) == (0, 0, 0)
    store.clear()
    store.add("ch0", "0", ANN)
    assert store.get("ch0") == {"0": ANN}


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.add(None, "1", ANN),
        lambda store: store.add(b"ch", "1", ANN),
        lambda store: store.add("ch", None, ANN),
        lambda store: store.add("ch", 1, ANN),
        lambda store: store.add("ch", "1", None),
        lambda store: store.add("ch", "1", "ann"),
        lambda store: store.add("ch", "1", {"user": "ann"}),
        lambda store: store.remove(None, "1"),
        lambda store: store.remove("ch", 1),
        lambda store: store.remove("ch", None),
        lambda store: store.get(None),
        lambda store: store.get(b"ch"),
        lambda store: store.stats(5),
    ],
)
def test_bad_arguments(
    core_store: Any, core_expiry: Any, call: Callable[[Any], object]
) -> None:
    with pytest.raises(TypeError):
        call(core_store)
    assert (core_store.num_channels, core_store.num_entries, len(core_expiry)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("lifetime", "error"),
    [(0.0, ValueError), (-1.0, ValueError), (float("nan"), ValueError), ("1", TypeError)],
)
def test_bad_lifetime(core_expiry: Any, lifetime: object, error: type[Exception]) -> None:
    before = references(core_expiry)
    with pytest.raises(error):
        CORE.PresenceStore(core_expiry, lifetime)
    assert references(core_expiry) == before
    with pytest.raises(TypeError):
        CORE.PresenceStore(None, 1.0)


# -- who owns what


def test_exact_references(core_store: Any, core_expiry: Any, clock: ManualClock) -> None:
    channel, conn_id = fresh_str("channel"), fresh_str("conn")
    one, two = ClientInfo("one"), ClientInfo("two")
    before = references(channel), references(conn_id), references(one), references(two)

    def held() -> tuple[int, ...]:
        now = references(channel), references(conn_id), references(one), references(two)
        return tuple(each - base for each, base in zip(now, before, strict=True))

    core_store.add(channel, conn_id, one)
    assert held() == (1, 1, 1, 0)
    core_store.add(channel, conn_id, one)
    assert held() == (1, 1, 1, 0)           # a refresh
    core_store.add(channel, conn_id, two)
    assert held() == (1, 1, 0, 1)           # an update
    present = core_store.get(channel)
    assert held() == (1, 2, 0, 2)           # the map's
    core_store.remove(channel, conn_id)
    assert held() == (0, 1, 0, 1)
    del present
    assert held() == (0, 0, 0, 0)
    core_store.add(channel, conn_id, one)
    core_store.add(channel, "another", one)
    assert held() == (1, 1, 2, 0)           # a channel's name is owned once
    core_store.stats(channel)
    clock.advance(LIFETIME)
    core_expiry.advance()
    assert held() == (0, 0, 0, 0)
    core_store.add(channel, conn_id, one)
    core_store.clear()
    assert held() == (0, 0, 0, 0)


def test_exact_references_after_the_store_is_freed(clock: ManualClock) -> None:
    channel, conn_id, info = fresh_str("channel"), fresh_str("conn"), ClientInfo("one")
    expiry = CORE.Expiry(clock)
    values = [channel, conn_id, info, expiry]
    before = [references(value) for value in values]
    store = CORE.PresenceStore(expiry, LIFETIME)
    store.add(channel, conn_id, info)
    assert [references(value) for value in values] == [count + 1 for count in before]
    del store
    assert [references(value) for value in values] == before
    assert len(expiry) == 0


def test_refused_arguments_keep_no_reference(core_store: Any) -> None:
    channel, conn_id, info = fresh_str("channel"), fresh_str("conn"), ClientInfo("one")
    before = references(channel), references(conn_id), references(info)
    for arguments in ((channel, conn_id, "x"), (channel, 1, info), (1, conn_id, info)):
        with pytest.raises(TypeError):
            core_store.add(*arguments)
    del arguments
    assert (references(channel), references(conn_id), references(info)) == before


# -- dropping an info may run anything, also on the store that drops it

ACTIONS: dict[str, Callable[[Any], object]] = {
    "add": lambda store: store.add("ch", "1", BOB),
    "add-others": lambda store: [store.add(f"other{n}", str(n), BOB) for n in range(100)],
    "get": lambda store: store.get("ch"),
    "stats": lambda store: store.stats("other"),
    "remove": lambda store: store.remove("ch", "1"),
    "remove-another": lambda store: store.remove("ch", "2"),
    "clear": lambda store: store.clear(),
}


def update(store: Any, expiry: Any, clock: ManualClock) -> None:
    for number in range(6):
        store.add("ch", str(number), ANN)


def remove(store: Any, expiry: Any, clock: ManualClock) -> None:
    for number in range(6):
        store.remove("ch", str(number))


def clear(store: Any, expiry: Any, clock: ManualClock) -> None:
    store.clear()


def expire(store: Any, expiry: Any, clock: ManualClock) -> None:
    clock.advance(LIFETIME)
    expiry.advance()


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("drop", [update, remove, clear, expire], ids=lambda drop: drop.__name__)
def test_a_dropped_info_may_call_the_store(
    core_store: Any, core_expiry: Any, clock: ManualClock,
    drop: Callable[[Any, Any, ManualClock], None], action: str,
) -> None:
    calls = []

    def act() -> None:
        calls.append(1)
        ACTIONS[action](core_store)

    for number in range(6):
        core_store.add("ch", str(number), info_with(act))
    drop(core_store, core_expiry, clock)
    assert len(calls) == 6
    assert all(info in (ANN, BOB) for info in core_store.get("ch").values())
    core_store.clear()
    assert (core_store.num_channels, core_store.num_entries, len(core_expiry)) == (0, 0, 0)
