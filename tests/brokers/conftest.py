"""The brokers that are tested here as the parts they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers.valkey import ValkeyServer, redis_binary, valkey_binary


@pytest.fixture(params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Path:
    """Each server that can be had."""
    if request.param == "valkey":
        return valkey_binary()
    found = redis_binary()
    if found is None:
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    return found


@pytest.fixture(scope="module")
def valkey() -> Iterator[ValkeyServer]:
    """A server for tests that leave it running."""
    with ValkeyServer() as server:
        yield server
