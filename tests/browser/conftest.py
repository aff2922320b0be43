"""Headless Chromium and the demo server, each as a process of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import Chrome

from tests.browser.demo_server import DemoServer, running_server
from tests.browser.page import Page
from tests.wire import Wire

_FLAGS = [
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--lang=en-US",
]

OpenPage = Callable[..., Page]


def _program(*names: str) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    pytest.skip(
        f"no {names[0]} on this machine (Debian's packages: chromium, chromium-driver): "
        "the page is only tested in a real browser"
    )


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    driver_path = _program("chromedriver")
    for flag in _FLAGS:
        options.add_argument(flag)
    if os.geteuid() == 0:
        # Chromium's sandbox does not work for root, as whom containers run tests.
        options.add_argument("--no-sandbox")
        options.add_argument("--disable-dev-shm-usage")
    profile: Path = tmp_path_factory.mktemp("chromium")
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver_path))
    yield driver
    driver.quit()


# Asks for the browser first: without one there is no use in starting a server.
@pytest.fixture
def server(browser: Chrome) -> Iterator[DemoServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def wire(server: DemoServer) -> Iterator[Wire]:
    wire = Wire(server.port)
    yield wire
    wire.close()


@pytest.fixture
def open_page(browser: Chrome, server: DemoServer) -> Iterator[OpenPage]:
    """Opens the page in a new window; returns once it is live unless told not to wait."""
    blank = browser.current_window_handle

    def open_page(url: str | None = None, *, live: bool = True) -> Page:
        page = Page(browser, url or server.url)
        if live:
            page.wait_until("online")
        return page

    yield open_page
    for handle in browser.window_handles:
        if handle != blank:
            browser.switch_to.window(handle)
            browser.close()
    browser.switch_to.window(blank)
