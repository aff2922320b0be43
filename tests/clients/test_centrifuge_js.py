"""The published client `centrifuge` from npm, in Node, against a server process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.clients.agent import Agent, Way, in_node, node_with_client
from tests.clients.deployment import Deployment, deployed
from tests.clients.javascript_scenarios import *  # noqa: F403
from tests.clients.javascript_scenarios import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = [
    Way("websocket"), Way("websocket", "protobuf"),
    Way("http_stream"), Way("http_stream", "protobuf"), Way("sse"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[Agent]:
    async with in_node(node_with_client()) as agent:
        yield agent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(
    agent: Agent, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path_factory.mktemp("deployment")) as deployment:
        yield deployment


@pytest.fixture
def ways() -> list[Way]:
    return WAYS


@pytest.fixture(params=WAYS, ids=str)
def world(request: pytest.FixtureRequest, agent: Agent, deployment: Deployment) -> World:
    return World(agent, request.param, deployment)
