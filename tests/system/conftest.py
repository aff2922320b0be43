"""One set of processes for each broker, which all tests share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fanout import Node
from tests.system.cluster import Cluster, Kind


@contextlib.contextmanager
def running(kind: str, directory: Path) -> Iterator[Cluster]:
    cluster = Cluster(Kind(kind), directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session", params=["valkey", "nats"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    with running(request.param, tmp_path_factory.mktemp("system")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def core_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running("core-nats", tmp_path_factory.mktemp("system")) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def well(processes: Cluster) -> AsyncIterator[Cluster]:
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
async def cluster(processes: Cluster) -> AsyncIterator[Cluster]:
    """Three servers on a broker that keeps history and presence."""
    async with well(processes) as cluster:
        yield cluster


@pytest.fixture
async def node(cluster: Cluster) -> AsyncIterator[Node]:
    """A fourth node, in this process."""
    async with cluster.node() as node:
        yield node


@pytest.fixture
async def core(core_processes: Cluster) -> AsyncIterator[Cluster]:
    """Three servers on NATS without JetStream, which keeps nothing."""
    async with well(core_processes) as cluster:
        yield cluster


@pytest.fixture
async def core_node(core: Cluster) -> AsyncIterator[Node]:
    async with core.node() as node:
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
