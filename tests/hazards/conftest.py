"""Hubs whose loop reports nothing that the test does not expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout._hub import Hub
from tests.hazards.connections import Frames, abandon_connections, turn


@pytest.fixture
async def reports() -> AsyncIterator[list[dict[str, Any]]]:
    """What the loop's exception handler got; a test that expects any clears it."""
    loop = asyncio.get_running_loop()
    got: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda loop, context: got.append(context))
    yield got
    await turn()
    assert got == []


@pytest.fixture
async def hub(reports: list[dict[str, Any]]) -> AsyncIterator[Hub]:
    hub = Hub(asyncio.get_running_loop())
    assert hub.add_encoder(Frames()) == 0
    yield hub
    abandon_connections()
    await turn()
