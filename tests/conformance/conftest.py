"""Runs every test on each engine that is capable of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fanout import Engine
from tests.conformance.engines import FACTORIES, Capability, EngineFactory
from tests.conformance.events import Recorder


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "requires(capability): run only on engines that have these Capability flags",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine_factory" not in metafunc.fixturenames:
        return
    needed = Capability(0)
    for marker in metafunc.definition.iter_markers("requires"):
        needed |= marker.args[0]
    able = [factory for factory in FACTORIES if needed in factory.capabilities]
    assert able, f"no registered engine can run {metafunc.definition.nodeid}"
    metafunc.parametrize(
        "engine_factory", able, ids=[factory.name for factory in able], indirect=True
    )


@pytest.fixture
async def engine_factory(request: pytest.FixtureRequest) -> AsyncIterator[EngineFactory]:
    factory: EngineFactory = request.param()
    await factory.start()
    yield factory
    await factory.close()


@pytest.fixture
def events(engine_factory: EngineFactory) -> Recorder:
    """What the engine of the ``engine`` fixture has delivered."""
    return Recorder(in_order=engine_factory.in_order)


@pytest.fixture
async def engine(engine_factory: EngineFactory, events: Recorder) -> Engine:
    """A running engine; presence lasts 8 of the test's seconds, a stream's memory 16."""
    engine = await engine_factory.create(
        presence_lifetime=engine_factory.seconds(8),
        history_meta_lifetime=engine_factory.seconds(16),
    )
    await engine.run(events)
    return engine
