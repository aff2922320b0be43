"""The admin page in one browser window, and its server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.process import ServerProcess

PASSWORD = "a good password"
PREFIX = "/ops"
SETTINGS: dict[str, Any] = {
    "client": {"insecure": True},
    "node": {"name": "eu-1"},
    "admin": {
        "enabled": True, "password": PASSWORD, "secret": "signs", "handler_prefix": PREFIX},
    "channel": {"without_namespace": {
        "presence": True, "history_size": 30, "history_ttl": "600s"},
        "namespaces": [{"name": "plain"}]},
}
_PATIENCE_S = 20.0


class AdminServer(ServerProcess):
    """``fanout serve`` with an admin page."""

    def __init__(self, directory: Path) -> None:
        config = directory / "config.json"
        config.write_text(json.dumps(SETTINGS))
        super().__init__("--config", str(config))

    @property
    def url(self) -> str:
        return f"{self.http}{PREFIX}/"

    @property
    def websocket(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"


@contextlib.contextmanager
def admin_server(directory: Path) -> Iterator[AdminServer]:
    """A server that is there for the block, and has to leave cleanly after it."""
    server = AdminServer(directory)
    server.start()
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, "".join(server.log)


class AdminPage:
    """What somebody sees of it, and does."""

    def __init__(self, driver: Chrome, server: AdminServer) -> None:
        self.driver = driver
        self._server = server
        driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        driver.get(server.url)
        self.wait(lambda: self.has("password"), "expected to be asked for the password")

    def has(self, element_id: str) -> bool:
        return bool(self.driver.find_elements(By.ID, element_id))

    def find(self, element_id: str) -> WebElement:
        return self.driver.find_element(By.ID, element_id)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        WebDriverWait(self.driver, _PATIENCE_S, poll_frequency=0.05).until(
            lambda _: condition(),
            f"{what}; the page shows: {self.driver.find_element(By.TAG_NAME, 'body').text!r}")

    def log_in(self, password: str = PASSWORD) -> None:
        self.find("password").send_keys(Keys.CONTROL, "a")
        self.find("password").send_keys(password, Keys.ENTER)

    def enter(self) -> None:
        """Log in, and wait until the page lives."""
        self.log_in()
        self.wait(lambda: self.state == "live", "expected the page to live")

    @property
    def state(self) -> str:
        return self.find("state").get_attribute("data-state") or ""

    def go(self, where: str) -> None:
        self.driver.get(f"{self._server.url}#/{where}")

    def text(self, element_id: str) -> str:
        """As it is in the document; reading it while rows change must not fail."""
        found = self.driver.execute_script(
            "return document.getElementById(arguments[0])?.textContent ?? ''", element_id)
        assert isinstance(found, str)
        return found

    def rows(self, table: str) -> list[list[str]]:
        rows: list[list[str]] = self.driver.execute_script(
            "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map("
            "(row) => [...row.children].map((cell) => cell.innerText.trim()))", table)
        return rows

    def press(self, row: str, label: str) -> None:
        """A button in the row that has this text, twice: it asks whether that is meant."""
        for shown in (label, "Really?"):
            self.wait(
                lambda shown=shown: self.driver.execute_script(     # type: ignore[misc]
                    "const row = [...document.querySelectorAll('tbody tr')].find("
                    "(row) => row.innerText.includes(arguments[0]));"
                    "const button = [...(row?.querySelectorAll('button') ?? [])].find("
                    "(button) => button.textContent === arguments[1]);"
                    "button?.click(); return button !== undefined", row, shown),
                f"expected a button {shown!r} in the row of {row!r}")

    def inked(self, number: int) -> int:
        """How many of a graph's pixels are of a strong color: where its lines are."""
        pixels: int = self.driver.execute_script(
            """
            const canvas = document.querySelectorAll(".chart canvas")[arguments[0]];
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            let inked = 0;
            for (let at = 0; at < data.length; at += 4) {
              const spread = Math.max(data[at], data[at + 1], data[at + 2])
                - Math.min(data[at], data[at + 1], data[at + 2]);
              if (data[at + 3] > 200 && spread > 60) inked += 1;
            }
            return inked;
            """, number)
        return pixels

    def said(self, number: int) -> str:
        """What a graph says to who cannot see it."""
        canvas = self.driver.find_elements(By.CSS_SELECTOR, ".chart canvas")[number]
        return canvas.get_attribute("aria-label") or ""

    def resize(self, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def complaints(self) -> list[str]:
        """Errors of the console since they were last asked for, but that a login was needed."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries
                if entry["level"] == "SEVERE" and "status of 401" not in entry["message"]]
