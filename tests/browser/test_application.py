"""An application written for Centrifugo: its configuration file and its page, unchanged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cent
import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.browser.client_page import PATIENCE_S, serving_pages
from tests.clients.agent import node_with_client
from tests.process import ServerProcess
from tests.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

FILES = Path(__file__).with_name("application")
CONFIG = FILES / "config.json"
READ = """
return {
  state: document.getElementById("state").textContent,
  transport: document.getElementById("transport").textContent,
  people: document.getElementById("people").textContent,
  notice: document.getElementById("notice").textContent,
  messages: [...document.querySelectorAll("#messages li")].map((row) => row.textContent),
};
"""


async def _token(request: web.Request) -> web.Response:
    client = json.loads(CONFIG.read_text())["client"]["token"]
    claims = {"sub": request.query["user"], "aud": client["audience"], "iss": client["issuer"]}
    return web.json_response({"token": jwt.encode(claims, client["hmac_secret_key"], "HS256")})


async def _page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(FILES / "index.html")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin(browser: Chrome) -> AsyncIterator[str]:
    node_with_client()
    async with serving_pages({"/board": _page, "/token": _token}) as pages:
        yield pages.origin


@pytest.fixture(scope="module")
def server(browser: Chrome) -> Any:
    with ServerProcess("--config", str(CONFIG)) as server:
        yield server
    assert not [line for line in server.log if "ERROR" in line or "WARNING" in line]


@pytest.fixture
def wire(server: ServerProcess) -> Any:
    wire = Wire(server.port)
    yield wire
    wire.close()


class Board:
    """The page in a window of its own, for one user."""

    def __init__(self, browser: Chrome, origin: str, **query: str) -> None:
        self._browser = browser
        browser.switch_to.new_window("window")
        self._window = browser.current_window_handle
        browser.get(f"{origin}/board?{urlencode(query)}")

    @property
    def browser(self) -> Chrome:
        self._browser.switch_to.window(self._window)
        return self._browser

    def wait(self, **expected: object) -> None:
        """Wait until the page shows this."""
        browser = self.browser
        shown: dict[str, object] = {}

        def as_expected(_: object) -> bool:
            shown.update(browser.execute_script(READ))
            return {name: shown[name] for name in expected} == expected

        try:
            WebDriverWait(browser, PATIENCE_S, poll_frequency=0.03).until(as_expected)
        except Exception:
            raise AssertionError(f"expected {expected}; the page shows {shown}") from None

    def say(self, text: str) -> None:
        self.browser.find_element(By.ID, "text").send_keys(text, Keys.ENTER)

    def close(self) -> None:
        self.browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def boards(browser: Chrome, origin: str) -> AsyncIterator[Callable[..., Any]]:
    blank, opened = browser.current_window_handle, list[Board]()

    async def open_board(port: int, user: str, transport: str) -> Board:
        board = await asyncio.to_thread(
            Board, browser, origin, server=f"127.0.0.1:{port}", user=user, transport=transport)
        opened.append(board)
        await asyncio.to_thread(board.wait, state="connected", transport=transport)
        return board

    yield open_board
    for board in opened:
        await asyncio.to_thread(board.close)
    browser.switch_to.window(blank)


@pytest.mark.parametrize("transport", ["websocket", "http_stream", "sse"])
async def test_the_page_works_as_it_did(
    boards: Callable[..., Any], server: ServerProcess, wire: Wire, transport: str, tmp_path: Path
) -> None:
    key = json.loads(CONFIG.read_text())["http_api"]["key"]
    async with cent.AsyncClient(f"{server.http}/api", key) as api:
        ada = await boards(wire.port, "ada", transport)
        ben = await boards(server.port, "ben", transport)

        async def both(**expected: object) -> None:
            for board in (ada, ben):
                await asyncio.to_thread(board.wait, **expected)

        await both(people="Here now: ada, ben")
        await asyncio.to_thread(ada.say, "is anybody there?")
        await both(messages=["adais anybody there?"])
        await asyncio.to_thread(ben.say, "here, <b>line by line</b>")
        said = ["adais anybody there?", "benhere, <b>line by line</b>"]
        await both(messages=said)

        # The application's backend, to all and to one.
        await api.publish(cent.PublishRequest(
            channel="board:main", data={"text": "maintenance at noon"}))
        await api.publish(cent.PublishRequest(
            channel="personal:#ada", data={"notice": "you have mail"}))
        said.append("the boardmaintenance at noon")
        await both(messages=said)
        await asyncio.to_thread(ada.wait, notice="you have mail")
        await asyncio.to_thread(ben.wait, notice="")

        # What was said while the connection was lost comes after it.
        await asyncio.to_thread(wire.cut)
        await asyncio.to_thread(ada.wait, state="connecting")
        await asyncio.to_thread(ben.wait, people="Here now: ben")
        await asyncio.to_thread(ben.say, "where did you go?")
        said.append("benwhere did you go?")
        await asyncio.to_thread(ben.wait, messages=said)
        await asyncio.to_thread(wire.mend)
        await both(messages=said, people="Here now: ada, ben", state="connected")

        late = await boards(server.port, "cy", transport)
        await asyncio.to_thread(late.wait, messages=said, people="Here now: ada, ben, cy")
        await asyncio.to_thread(ada.browser.save_screenshot, str(tmp_path / "board.png"))
        await api.disconnect(cent.DisconnectRequest(user="cy"))
        await asyncio.to_thread(late.wait, state="disconnected")
        await both(people="Here now: ada, ben")
        await api.history_remove(cent.HistoryRemoveRequest(channel="board:main"))
