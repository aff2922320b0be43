"""What the tests of the admin page's side of the server share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.admin.visiting import ADMIN, Visitor, visitor
from tests.server.running import InProcess, serving


@pytest.fixture
async def server(quiet: None) -> AsyncIterator[InProcess]:
    async with serving(ADMIN) as running:
        yield running


@pytest.fixture
async def stranger(server: InProcess) -> AsyncIterator[Visitor]:
    """Somebody who has not logged in."""
    async with visitor(server.http) as one:
        yield one


@pytest.fixture
async def admin(server: InProcess) -> AsyncIterator[Visitor]:
    """Somebody who has."""
    async with visitor(server.http) as one:
        await one.log_in()
        yield one
