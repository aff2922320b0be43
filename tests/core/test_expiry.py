"""Expiry and Timer: what is due fires, once, in order, and nothing else does."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.implementations import CORE, Implementation
from tests.core.objects import Bomb, references
from tests.model.clock import ManualClock


class Handle:
    def __init__(self, delay: float, callback: Callable[[], object]) -> None:
        self.delay = delay
        self.callback = callback
        self.live = True

    def cancel(self) -> None:
        self.live = False


class Loop:
    """A loop that only takes timers, and runs them when the test says so."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> Handle:
        handle = Handle(delay, lambda: callback(*args))
        self.handles.append(handle)
        return handle

    @property
    def live(self) -> list[Handle]:
        return [handle for handle in self.handles if handle.live]

    def run(self) -> None:
        """What was set before fires; what that sets waits for the next run."""
        for handle in self.live:
            handle.live = False
            handle.callback()


@pytest.fixture
def expiry(impl: Implementation, clock: ManualClock) -> Any:
    return impl.Expiry(clock)


@pytest.fixture
def fired() -> list[object]:
    return []


@pytest.fixture
def timer(impl: Implementation, expiry: Any, fired: list[object]) -> Callable[..., Any]:
    """Makes a started timer that notes its name when it fires."""

    def make(name: object, delay: float) -> Any:
        timer = impl.Timer(expiry, lambda: fired.append(name))
        timer.start(delay)
        return timer

    return make


def test_nothing_is_due_at_first(expiry: Any) -> None:
    assert len(expiry) == 0
    assert expiry.advance() == 0


def test_fires_when_its_time_has_come_and_not_before(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    it = timer("it", 2)
    assert it.active
    assert len(expiry) == 1
    clock.advance(1.75)
    assert expiry.advance() == 0
    assert fired == []
    clock.advance(0.25)
    assert expiry.advance() == 1
    assert fired == ["it"]
    assert not it.active
    assert len(expiry) == 0
    clock.advance(100)
    assert expiry.advance() == 0
    assert fired == ["it"]


def test_nothing_fires_by_itself_without_a_loop(
    timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    held = timer("it", 1)
    clock.advance(5)
    assert fired == []
    assert held.active


def test_order_is_by_time(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    delays = [number / 4 for number in range(2000)]
    random.Random(5).shuffle(delays)
    held = [timer(delay, delay) for delay in delays]
    clock.advance(100)
    assert expiry.advance() == 401
    assert fired == [number / 4 for number in range(401)]
    clock.advance(1000)
    assert expiry.advance() == 1599
    assert fired == [number / 4 for number in range(2000)]
    assert not any(each.active for each in held)


def test_starting_again_replaces_the_time(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    later, sooner, same = timer("later", 4), timer("sooner", 4), timer("same", 4)
    clock.advance(2)
    later.start(4)
    sooner.start(1)
    same.start(2)
    assert len(expiry) == 3
    clock.advance(1)
    assert expiry.advance() == 1
    assert fired == ["sooner"]
    clock.advance(1)
    assert expiry.advance() == 1
    assert fired == ["sooner", "same"]
    assert later.active
    clock.advance(2)
    assert expiry.advance() == 1
    assert fired == ["sooner", "same", "later"]


def test_a_time_that_moved_later_and_back_again(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    it = timer("it", 2)
    it.start(8)
    it.start(1)
    it.start(4)
    it.start(3)
    clock.advance(2.75)
    assert expiry.advance() == 0
    clock.advance(0.25)
    assert expiry.advance() == 1
    clock.advance(100)
    assert expiry.advance() == 0
    assert fired == ["it"]


def test_a_cancelled_timer_does_not_fire(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    one, two, three = (timer(name, 1) for name in "123")
    two.cancel()
    assert not two.active
    assert len(expiry) == 2
    two.cancel()
    clock.advance(1)
    assert expiry.advance() == 2
    assert sorted(fired) == ["1", "3"]
    two.start(1)
    clock.advance(1)
    assert expiry.advance() == 1
    assert fired[-1] == "2"
    assert not one.active and not three.active


def test_random_starts_and_cancels(
    impl: Implementation, expiry: Any, clock: ManualClock, fired: list[object]
) -> None:
    rng = random.Random(11)
    due: dict[int, float] = {}
    timers = [
        impl.Timer(expiry, lambda number=number: fired.append(number)) for number in range(200)]
    for _ in range(3000):
        number = rng.randrange(200)
        if rng.random() < 0.3:
            timers[number].cancel()
            due.pop(number, None)
        else:
            delay = rng.randrange(1, 400) / 4
            timers[number].start(delay)
            due[number] = clock.now + delay
        if rng.random() < 0.1:
            clock.advance(rng.randrange(1, 40) / 4)
            expected = sorted(at for at in due.values() if at <= clock.now)
            assert expiry.advance() == len(expected)
            assert sorted(due.pop(each) for each in fired) == expected
            fired.clear()
        assert len(expiry) == len(due)
    for number, each in enumerate(timers):
        assert each.active is (number in due)


def test_more_than_one_batch_is_fired_by_one_advance(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    held = [timer(number, 1) for number in range(10_000)]
    clock.advance(1)
    assert expiry.advance() == len(held)
    assert len(expiry) == 0


def test_a_callback_may_start_its_timer_again(
    impl: Implementation, expiry: Any, clock: ManualClock
) -> None:
    times = []

    def again() -> None:
        times.append(clock.now)
        timer.start(2)

    start = clock.now
    timer = impl.Timer(expiry, again)
    timer.start(1)
    for _ in range(6):
        clock.advance(1)
        expiry.advance()
    assert times == [start + 1, start + 3, start + 5]
    timer.cancel()


def test_what_a_callback_sets_for_now_waits_for_the_next_advance(
    impl: Implementation, expiry: Any, clock: ManualClock
) -> None:
    """Else a timer that sets itself again without delay would hold the thread for ever."""
    calls = []

    def again() -> None:
        calls.append(clock.now)
        if len(calls) < 10_000:
            timer.start(0)

    timer = impl.Timer(expiry, again)
    timer.start(1)
    clock.advance(1)
    assert expiry.advance() == 1
    assert len(calls) == 1
    assert expiry.advance() == 1
    assert len(calls) == 2
    timer.cancel()


def test_a_callback_may_cancel_another_that_is_due(
    impl: Implementation, expiry: Any, clock: ManualClock, fired: list[object]
) -> None:
    def first() -> None:
        fired.append("first")
        other.cancel()

    timer = impl.Timer(expiry, first)
    other = impl.Timer(expiry, lambda: fired.append("other"))
    timer.start(1)
    other.start(2)
    clock.advance(3)
    assert expiry.advance() == 1
    assert fired == ["first"]


def test_a_callback_may_free_its_own_timer(
    impl: Implementation, expiry: Any, clock: ManualClock, fired: list[object]
) -> None:
    timers = {}

    def call() -> None:
        timers.clear()
        fired.append("called")

    timers["it"] = impl.Timer(expiry, call)
    timers["other"] = impl.Timer(expiry, lambda: fired.append("other"))
    timers["it"].start(1)
    timers["other"].start(2)
    clock.advance(3)
    expiry.advance()
    assert fired == ["called"]
    assert len(expiry) == 0


def test_a_callback_may_advance(
    impl: Implementation, expiry: Any, clock: ManualClock, fired: list[object]
) -> None:
    def call() -> None:
        fired.append("outer")
        expiry.advance()
        fired.append("outer ends")

    outer = impl.Timer(expiry, call)
    inner = impl.Timer(expiry, lambda: fired.append("inner"))
    outer.start(1)
    inner.start(2)
    clock.advance(3)
    expiry.advance()
    assert sorted(fired) == ["inner", "outer", "outer ends"]
    assert len(expiry) == 0


def test_a_failing_callback_keeps_no_other_from_its_turn(
    impl: Implementation, expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    def fail() -> None:
        raise LookupError("the test's callback")

    failing = impl.Timer(expiry, fail)
    failing.start(1)
    held = [timer("before", 0.5), timer("after", 2)]
    clock.advance(3)
    with pytest.raises(LookupError):
        expiry.advance()
    expiry.advance()
    assert fired == ["before", "after"]
    assert not failing.active
    assert not any(each.active for each in held)


def test_the_loop_fires_what_is_due(
    impl: Implementation, expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    loop = Loop()
    held = [timer("set before", 2)]
    expiry.start(loop)
    held.append(timer("set after", 1))
    for _ in range(2):
        assert len(loop.live) == 1      # one timer for all that ends
        clock.advance(1)
        loop.run()
    assert fired == ["set after", "set before"]
    assert loop.live == []              # and none for nothing


def test_the_loop_s_timer_moves_up_for_an_earlier_deadline(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    loop = Loop()
    expiry.start(loop)
    held = [timer("late", 1000)]
    assert loop.live[0].delay == pytest.approx(1000, abs=0.1)
    held.append(timer("early", 10))
    assert len(loop.live) == 1
    assert loop.live[0].delay == pytest.approx(10, abs=0.1)
    clock.advance(10)
    loop.run()
    assert fired == ["early"]
    assert loop.live[0].delay == pytest.approx(990, abs=0.1)
    held[0].cancel()


def test_an_early_loop_timer_fires_nothing_early(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    loop = Loop()
    expiry.start(loop)
    held = timer("it", 10)
    clock.advance(9.5)
    loop.run()
    assert fired == []
    assert len(loop.live) == 1
    clock.advance(0.5)
    loop.run()
    assert fired == ["it"]
    assert not held.active


def test_after_stop_the_loop_fires_nothing(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    loop = Loop()
    expiry.start(loop)
    held = [timer("it", 1)]
    expiry.stop()
    held.append(timer("other", 1))
    assert loop.live == []
    expiry.stop()
    clock.advance(5)
    loop.run()
    assert fired == []
    assert expiry.advance() == 2


def test_a_failing_callback_does_not_stop_the_loop_s_timer(
    impl: Implementation, expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    def fail() -> None:
        raise LookupError("the test's callback")

    loop = Loop()
    expiry.start(loop)
    failing = impl.Timer(expiry, fail)
    failing.start(1)
    held = timer("after", 2)
    clock.advance(3)
    with pytest.raises(LookupError):    # a loop would hand it to its exception handler
        loop.run()
    loop.run()
    assert fired == ["after"]
    assert not held.active


def test_a_burst_leaves_the_loop_its_turns(clock: ManualClock) -> None:
    expiry = CORE.Expiry(clock)
    loop = Loop()
    expiry.start(loop)
    fired: list[int] = []
    held = [CORE.Timer(expiry, lambda: fired.append(1)) for _ in range(20_000)]
    for each in held:
        each.start(1)
    clock.advance(1)
    loop.run()
    assert 0 < len(fired) < 20_000
    for _ in range(10):
        loop.run()
    assert len(fired) == 20_000


async def test_on_a_real_loop_and_the_system_s_clock(impl: Implementation) -> None:
    expiry = impl.Expiry()
    expiry.start(asyncio.get_running_loop())
    done = asyncio.Event()
    timer = impl.Timer(expiry, done.set)
    timer.start(0.02)
    async with asyncio.timeout(10):
        await done.wait()
    assert not timer.active
    expiry.stop()


@pytest.mark.parametrize("callback", [None, 5, "call"])
def test_the_callback_must_be_callable(
    impl: Implementation, expiry: Any, callback: object
) -> None:
    with pytest.raises(TypeError):
        impl.Timer(expiry, callback)


def test_a_timer_needs_an_expiry() -> None:
    for wrong in (None, object(), "expiry"):
        with pytest.raises(TypeError):
            CORE.Timer(wrong, print)


@pytest.mark.parametrize(
    ("delay", "error"),
    [
        ("1", TypeError),
        (None, TypeError),
        (float("nan"), ValueError),     # compares with nothing: the heap would lose its order
    ],
)
def test_a_bad_delay_changes_nothing(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object], delay: object,
    error: type[Exception],
) -> None:
    it, other = timer("it", 1), timer("other", 2)
    with pytest.raises(error):
        it.start(delay)
    with pytest.raises(error):
        other.start(delay)
    clock.advance(1)
    assert expiry.advance() == 1
    assert fired == ["it"]
    assert other.active


def test_a_failing_clock_is_heard_of(impl: Implementation) -> None:
    def clock() -> float:
        raise LookupError("the test's clock")

    expiry = impl.Expiry(clock)
    timer = impl.Timer(expiry, print)
    with pytest.raises(LookupError):
        timer.start(1)
    assert not timer.active
    with pytest.raises(LookupError):
        expiry.advance()


@pytest.mark.parametrize("begin", [-1.0, 0.0, -1000.0, 1e12])
def test_a_clock_may_begin_anywhere(impl: Implementation, begin: float) -> None:
    clock = ManualClock(begin)
    expiry = impl.Expiry(clock)
    fired: list[int] = []
    timer = impl.Timer(expiry, lambda: fired.append(1))
    timer.start(2)
    assert expiry.advance() == 0
    clock.advance(2)
    assert expiry.advance() == 1
    assert fired == [1]


def test_a_freed_timer_does_not_fire(
    expiry: Any, timer: Any, clock: ManualClock, fired: list[object]
) -> None:
    held = [timer(number, 1) for number in range(10)]
    del held[3:7]
    assert len(expiry) == 6
    clock.advance(1)
    assert expiry.advance() == 6
    assert sorted(fired) == [0, 1, 2, 7, 8, 9]


def test_a_timer_in_a_cycle_is_collected(impl: Implementation, expiry: Any) -> None:
    class Owner:
        def __init__(self) -> None:
            self.timer = impl.Timer(expiry, self.call)
            self.timer.start(1)

        def call(self) -> None:
            raise AssertionError("fired after its owner was gone")

    owner = weakref.ref(Owner())
    gc.collect()
    assert owner() is None
    assert len(expiry) == 0


def test_exact_references(clock: ManualClock) -> None:
    expiry = CORE.Expiry(clock)

    def callback() -> None:
        pass

    before = references(callback), references(expiry), references(clock)
    timer = CORE.Timer(expiry, callback)
    held = before[0] + 1, before[1] + 1, before[2]
    assert (references(callback), references(expiry), references(clock)) == held
    timer_before = references(timer)
    timer.start(1)
    timer.start(2)
    timer.start(0.5)
    assert references(timer) == timer_before    # the heap borrows it
    clock.advance(1)
    expiry.advance()
    assert (references(callback), references(expiry), references(clock)) == held
    timer.start(1)
    del timer
    assert (references(callback), references(expiry), references(clock)) == before


def test_a_refused_timer_keeps_no_reference(clock: ManualClock) -> None:
    expiry = CORE.Expiry(clock)
    before = references(expiry)
    with pytest.raises(TypeError):
        CORE.Timer(expiry, None)
    assert references(expiry) == before


def test_a_callback_that_frees_things_when_it_is_freed(clock: ManualClock) -> None:
    """Freeing a timer frees its callback, which may do anything to the same heap."""
    expiry = CORE.Expiry(clock)
    fired: list[str] = []
    others = [CORE.Timer(expiry, lambda: fired.append("other")) for _ in range(50)]
    for at in range(50):
        others[at].start(1)

    def act() -> None:
        others.clear()
        survivor.start(1)

    survivor = CORE.Timer(expiry, lambda: fired.append("survivor"))
    bomb = Bomb(act)
    timer = CORE.Timer(expiry, lambda bomb=bomb: bomb)
    timer.start(1)
    del bomb
    assert len(expiry) == 51
    del timer
    assert len(expiry) == 1
    clock.advance(1)
    assert expiry.advance() == 1
    assert fired == ["survivor"]
