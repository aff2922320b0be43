"""A server for the whole module, one for a single test, and engines that are closed."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from fanout import RedisEngine
from tests.brokers.proxy import CuttingProxy
from tests.brokers.recorder import Told
from tests.brokers.valkey import ValkeyServer

NewEngine = Callable[..., RedisEngine]
MakeEngine = Callable[..., Awaitable[tuple[RedisEngine, Told]]]


@pytest.fixture(scope="module")
def module_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def server(module_server: ValkeyServer) -> Iterator[ValkeyServer]:
    """A server that a test must leave as it found it; it is emptied."""
    yield module_server
    module_server.client().flushall()


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server that a test may do anything to."""
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def proxy_url(proxy: CuttingProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
async def new_engine(prefix: str) -> AsyncIterator[NewEngine]:
    """Makes engines of one system that do not run yet; they are closed, whatever happens."""
    engines: list[RedisEngine] = []

    def make(*addresses: str, **options: Any) -> RedisEngine:
        engines.append(RedisEngine(*addresses, **{"prefix": prefix, **options}))
        return engines[-1]

    yield make
    await asyncio.gather(*[engine.close() for engine in engines])


@pytest.fixture
def make_engine(new_engine: NewEngine) -> MakeEngine:
    """Makes running engines of one system, and what they tell."""

    async def make(*addresses: str, **options: Any) -> tuple[RedisEngine, Told]:
        engine = new_engine(*addresses, **options)
        told = Told()
        await engine.run(told)
        return engine, told

    return make
