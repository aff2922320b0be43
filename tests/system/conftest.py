"""One set of processes for each broker, which all tests share."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from fanout import Node
from tests.system.cluster import Cluster, Kind


@pytest.fixture(scope="session", params=["valkey", "nats"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    cluster = Cluster(Kind(request.param), tmp_path_factory.mktemp("system"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
async def cluster(processes: Cluster) -> AsyncIterator[Cluster]:
    """A broker with three servers that work, also after a test that broke them."""
    await asyncio.to_thread(processes.heal)
    before = len(processes.complaints())
    yield processes
    assert processes.complaints()[before:] == []
    # The clients close their connections in the background: not in a loop that is gone.
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=15)
        assert not pending


@pytest.fixture
async def node(cluster: Cluster) -> AsyncIterator[Node]:
    """A fourth node, in this process."""
    async with cluster.node() as node:
        yield node


@pytest.fixture
def rooms() -> tuple[str, str]:
    """Channels with presence, history and recovery that no other test uses."""
    token = secrets.token_hex(4)
    return f"room:{token}-a", f"room:{token}-b"


@pytest.fixture
def plain() -> str:
    """A channel without any of it."""
    return f"plain:{secrets.token_hex(4)}"
