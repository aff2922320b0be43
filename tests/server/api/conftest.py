"""What the tests of the server API share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.server.api.calling import Backend, api_server


@pytest.fixture
async def api(quiet: None) -> AsyncIterator[Backend]:
    """The calls of a server that logs no error."""
    async with api_server() as calls:
        yield calls
