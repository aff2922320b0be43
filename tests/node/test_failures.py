"""What failed and nobody awaited is counted, and told now and then."""

from __future__ import annotations

import logging

import pytest

from fanout import ClosedError, EngineUnavailableError, Node
from fanout.failures import PAUSE, Failures
from tests.node.engines import LossyEngine


def test_failures_are_counted_and_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr("fanout.failures.time.monotonic", lambda: now)
    failures = Failures(logging.getLogger("fanout"))
    failures.note(EngineUnavailableError("away"))
    for _ in range(5):
        failures.note(EngineUnavailableError("still away"), 2)
    assert failures.count == 11
    assert [record.message for record in caplog.records] == ["1 operations failed, the last: away"]
    now += PAUSE
    failures.note(EngineUnavailableError("gone"))
    assert caplog.records[-1].message == "11 operations failed, the last: gone"
    assert len(caplog.records) == 2


def test_what_a_close_ends_is_no_failure() -> None:
    failures = Failures(logging.getLogger("fanout"))
    failures.note(ClosedError("the engine is closed"))
    failures.note(EngineUnavailableError("away"), 0)
    assert failures.count == 0


async def test_a_node_tells_how_many() -> None:
    engine = LossyEngine()
    async with Node(engine) as node:
        engine._num_failed = 7
        assert node.stats().num_failed == 7
