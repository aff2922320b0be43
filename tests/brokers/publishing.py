"""What tests of engines under faults do all the time: publish, and wait for what tells nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fanout import Message

__all__ = ["PATIENCE", "message", "outcomes", "until"]

PATIENCE = 10.0     # real seconds after which something awaited counts as missing


def message(number: object, channel: str = "ch") -> Message:
    return Message(channel, str(number).encode())


async def outcomes(results: list[Any]) -> list[Any]:
    """What each awaitable gives or raises."""
    return await asyncio.gather(*results, return_exceptions=True)


async def until(condition: Callable[[], object]) -> None:
    """Until something holds that tells nobody."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.005)
