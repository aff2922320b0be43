"""Fixtures and checks shared by every test.

Coroutine tests run on uvloop, the loop the core is made for. A debug build
(``FANOUT_DEBUG=1``) counts the blocks and references that the core owns; a
session that ends owning more than it began with has leaked, and fails.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Iterator

import pytest
import uvloop

from fanout import _memory
from tests.model.clock import ManualClock

_counts_at_start = pytest.StashKey[dict[str, int]]()
_leaked = pytest.StashKey[dict[str, int]]()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def _core_counts() -> dict[str, int]:
    # Twice: what the first pass finalizes may only then become unreachable.
    gc.collect()
    gc.collect()
    return _memory.counts()


def pytest_sessionstart(session: pytest.Session) -> None:
    session.config.stash[_counts_at_start] = _core_counts()


def pytest_collection_finish(session: pytest.Session) -> None:
    # Tests collect what they leave; the thousands of tests themselves stay, and
    # looking through them takes half a second each time.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    gc.unfreeze()
    if not _memory.debug_enabled():
        return
    # A traceback kept for a debugger keeps the failing test's objects alive.
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            setattr(sys, name, None)
    # So does an error that tests are given as a parameter, and raise.
    for item in session.items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            for value in item.callspec.params.values():
                if isinstance(value, BaseException):
                    value.__traceback__ = value.__context__ = None
    before = session.config.stash[_counts_at_start]
    after = _core_counts()
    leaked = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    if leaked:
        session.config.stash[_leaked] = leaked
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
) -> None:
    if not _memory.debug_enabled():
        return
    leaked = config.stash.get(_leaked, None)
    if leaked is None:
        terminalreporter.write_line("core: every counted block and reference was given back")
    else:
        amounts = ", ".join(f"{count:+d} {name}" for name, count in leaked.items())
        terminalreporter.write_line(
            f"core: the session ends with {amounts} more than it began with", red=True
        )


@pytest.fixture
def clock() -> ManualClock:
    """Seconds that pass only when the test says so."""
    return ManualClock()


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed in the test is freed by its references alone."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
