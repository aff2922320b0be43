"""Waiting for what other processes do, which gives no event here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_S = 30.0
_RETRY_S = 0.02


async def until(condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
    """Look until ``condition`` holds; an error with ``what`` when it does not in time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not condition():
        if loop.time() > deadline:
            raise AssertionError(
                f"not within {PATIENCE_S:g} s: {what if isinstance(what, str) else what()}")
        await asyncio.sleep(_RETRY_S)


async def equal(ask: Callable[[], Awaitable[T]], expected: T) -> None:
    """Ask until the answer is ``expected``."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while (answer := await ask()) != expected:
        assert loop.time() < deadline, f"still {answer!r}, not {expected!r}"
        await asyncio.sleep(_RETRY_S)
