"""A server for the whole module, one for a single test, and engines that are closed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from fanout import NatsEngine
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.brokers.recorder import Told

MakeEngine = Callable[..., Awaitable[tuple[NatsEngine, Told]]]


@pytest.fixture(scope="module")
def server() -> Iterator[NatsServer]:
    """A server that a test must leave as it found it."""
    with NatsServer(jetstream=True) as server:
        yield server


@pytest.fixture
def own_server() -> Iterator[NatsServer]:
    """A server that a test may do anything to."""
    with NatsServer(jetstream=True) as server:
        yield server


@pytest.fixture
def proxy(server: NatsServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy_url(proxy: CuttingProxy) -> str:
    return f"nats://127.0.0.1:{proxy.port}"


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def make_engine(prefix: str) -> AsyncIterator[MakeEngine]:
    """Makes running engines of one system, and what they tell."""
    engines: list[NatsEngine] = []

    async def make(url: Any, **options: Any) -> tuple[NatsEngine, Told]:
        engine = NatsEngine(url, **{"prefix": prefix, **options})
        engines.append(engine)
        told = Told()
        await engine.run(told)
        return engine, told

    yield make
    await asyncio.gather(*[engine.close() for engine in engines])
