"""Servers with every transport on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.server.running import InProcess, Settings, serving

ON: dict[str, Any] = {"enabled": True}
EVERYTHING: Settings = {
    "client": {"insecure": True},
    "sse": ON, "http_stream": ON, "uni_sse": ON, "uni_http_stream": ON, "uni_websocket": ON,
}


def with_client(**options: object) -> dict[str, Any]:
    """Every transport, with options of the ``client`` table."""
    return {**EVERYTHING, "client": {**EVERYTHING["client"], **options}}


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(EVERYTHING) as running:
        yield running
