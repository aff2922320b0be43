"""The published client `centrifuge` from npm, as browsers load it, against a server process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from selenium.webdriver import Chrome

from tests.browser.client_page import PageServer, serving_pages
from tests.clients.agent import Agent, Way, node_with_client
from tests.clients.deployment import Deployment, deployed, token, unique
from tests.clients.javascript_scenarios import *  # noqa: F403
from tests.clients.javascript_scenarios import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAYS = [
    Way("websocket"), Way("websocket", "protobuf"),
    Way("http_stream"), Way("http_stream", "protobuf"), Way("sse"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pages(browser: Chrome) -> AsyncIterator[PageServer]:
    node_with_client()
    async with serving_pages() as pages:
        yield pages


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(browser: Chrome, pages: PageServer) -> AsyncIterator[Agent]:
    async with pages.page(browser) as agent:
        yield agent


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(
    pages: PageServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path_factory.mktemp("deployment"), pages.origin) as deployment:
        yield deployment


@pytest.fixture
def ways() -> list[Way]:
    return WAYS


@pytest.fixture(params=WAYS, ids=str)
def world(request: pytest.FixtureRequest, agent: Agent, deployment: Deployment) -> World:
    return World(agent, request.param, deployment)


async def test_pages_of_other_origins_are_refused(
    browser: Chrome, pages: PageServer, deployment: Deployment
) -> None:
    async with pages.page(browser, pages.other_origin) as agent:
        for way in WAYS:
            options = way.options(deployment.server.port)
            async with agent.client(**options, token=token(unique("user"))) as client:
                await client.call("connect")
                # It cannot know why: browsers do not tell a page what it may not read.
                context = await client.until("connecting", "error")
                context = await client.until("error")
                assert context["type"] == "transport"
                assert await client.read("state") == "connecting"
