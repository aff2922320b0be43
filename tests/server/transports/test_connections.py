"""How many connections there may be, how fast they may come, and their end."""

from __future__ import annotations

import asyncio

import pytest

from fanout.server.transports.connections import Connections, RateLimit
from tests.model.clock import ManualClock


class Open:
    """A connection that takes note of what is done to it."""

    def __init__(self, connections: Connections, answers: bool = True) -> None:
        self._connections = connections
        self._answers = answers
        self.told: list[object] = []
        connections.added(self)

    def close(self, code: int, reason: str) -> None:
        self.told.append((code, reason))
        if self._answers:
            asyncio.get_running_loop().call_soon(self._connections.lost, self)

    def abort(self) -> None:
        self.told.append("cut")
        self._connections.lost(self)


def test_a_rate_passes_as_many_at_once_as_in_a_second(clock: ManualClock) -> None:
    limit = RateLimit(10, clock)
    assert [limit.passes() for _ in range(12)] == [True] * 10 + [False] * 2
    clock.advance(0.25)
    assert [limit.passes() for _ in range(3)] == [True, True, False]
    # A long pause saves up no more than a second's.
    clock.advance(3600)
    assert sum(limit.passes() for _ in range(100)) == 10


def test_a_rate_below_its_limit_always_passes(clock: ManualClock) -> None:
    limit = RateLimit(10, clock)
    for _ in range(100):
        assert limit.passes()
        clock.advance(0.125)


async def test_refusals() -> None:
    connections = Connections(limit=2)
    first = Open(connections)
    assert connections.refusal() == ""
    Open(connections)
    assert connections.refusal() == "no more connections here"
    connections.lost(first)
    assert connections.refusal() == ""
    assert len(connections) == 1


async def test_who_is_refused_for_the_number_does_not_count_for_the_rate() -> None:
    connections = Connections(limit=1, rate=1)
    first = Open(connections)
    for _ in range(5):
        assert connections.refusal() == "no more connections here"
    connections.lost(first)
    assert connections.refusal() == ""
    assert connections.refusal() == "too many connections at a time"


async def test_all_are_closed_and_waited_for() -> None:
    connections = Connections()
    opened = [Open(connections) for _ in range(3)]
    await asyncio.wait_for(connections.close(60), 10)
    assert [one.told for one in opened] == [[(3001, "shutdown")]] * 3
    assert connections.refusal() == "the server shuts down"


async def test_who_comes_in_meanwhile_is_closed_as_well() -> None:
    connections = Connections()
    first = Open(connections, answers=False)
    closing = asyncio.create_task(connections.close(60))
    await asyncio.sleep(0)
    late = Open(connections)
    assert late.told == [(3001, "shutdown")]
    first.abort()
    await asyncio.wait_for(closing, 10)
    assert len(connections) == 0


async def test_who_does_not_leave_is_cut(caplog: pytest.LogCaptureFixture) -> None:
    connections = Connections()
    deaf = [Open(connections, answers=False) for _ in range(2)]
    await asyncio.wait_for(connections.close(0.01), 10)
    assert [one.told for one in deaf] == [[(3001, "shutdown"), "cut"]] * 2
    assert "2 connections did not close in time" in caplog.text
