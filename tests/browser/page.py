"""The demo page in one browser window, in the words of the one who uses it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_PATIENCE_S = 20.0
_READ_MESSAGES = """
return [...document.querySelectorAll("#messages .message")].map((row) => [
  Number(row.dataset.offset),
  row.querySelector(".author").textContent,
  row.querySelector(".text").textContent,
  row.classList.contains("own"),
]);
"""
_READ_PEOPLE = """
return [...document.querySelectorAll("#people li")].map((row) => [
  row.querySelector(".who").textContent,
  row.classList.contains("own"),
]);
"""


class Shown(NamedTuple):
    """A message as the page shows it."""

    offset: int
    name: str
    text: str
    own: bool


class Page:
    """One window. Every call brings it to the front first."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self._driver = driver
        driver.switch_to.new_window("window")
        self._handle = driver.current_window_handle
        driver.get(url)

    @property
    def driver(self) -> Chrome:
        self._driver.switch_to.window(self._handle)
        return self._driver

    def find(self, element_id: str) -> WebElement:
        return self.driver.find_element(By.ID, element_id)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        driver = self.driver
        WebDriverWait(driver, _PATIENCE_S, poll_frequency=0.05).until(
            lambda _: condition(), f"{what}; the page shows: {driver.title!r} {self.state}"
        )

    @property
    def state(self) -> str:
        return self.find("state").get_attribute("data-state") or ""

    def wait_until(self, state: str) -> None:
        self.wait(lambda: self.state == state, f"expected the state {state!r}")

    def wait_while(self, state: str) -> None:
        self.wait(lambda: self.state != state, f"expected the state {state!r} to end")

    @property
    def name(self) -> str:
        return cast(str, self.find("name").get_property("value"))

    def rename(self, name: str) -> None:
        field = self.find("name")
        # Overwritten as by hand: clear() would report an emptied field to the page.
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(name, Keys.ENTER)

    def type(self, text: str) -> None:
        self.find("text").send_keys(text)

    @property
    def draft(self) -> str:
        return cast(str, self.find("text").get_property("value"))

    def say(self, text: str) -> None:
        self.type(text)
        self.find("text").send_keys(Keys.ENTER)

    @property
    def messages(self) -> list[Shown]:
        return [Shown(*row) for row in self.driver.execute_script(_READ_MESSAGES)]

    @property
    def texts(self) -> list[str]:
        return [message.text for message in self.messages]

    def wait_for_count(self, count: int) -> None:
        self.wait(lambda: len(self.messages) == count, f"expected {count} messages")

    def wait_for_texts(self, texts: list[str]) -> None:
        self.wait(lambda: len(self.texts) >= len(texts), f"expected {texts}")
        assert self.texts == texts

    @property
    def people(self) -> dict[str, bool]:
        """Name -> whether it is this page itself."""
        return dict(self.driver.execute_script(_READ_PEOPLE))

    def wait_for_people(self, names: set[str]) -> None:
        self.wait(lambda: set(self.people) == names, f"expected {names} to be here")
        assert self.find("count").text == str(len(names))

    def resize(self, width: int, height: int) -> None:
        """Lay the page out for a screen of that size, in CSS pixels."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        self.wait(
            lambda: self.driver.execute_script("return innerWidth") == width, f"expected {width} px"
        )

    def complaints(self) -> list[str]:
        """Errors of the browser's console since they were last asked for, of all windows."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def close(self) -> None:
        self.driver.close()
