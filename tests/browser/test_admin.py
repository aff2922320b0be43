"""The admin page against a real server, in a real browser."""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.browser.admin_page import PREFIX, AdminPage, AdminServer, admin_server

PHONE, TABLET, DESKTOP = (360, 740), (768, 1024), (1280, 800)
MESSAGES, CLIENTS = 0, 1        # graphs


class Peer:
    """A client of the server, in this thread."""

    def __init__(self, server: AdminServer, *channels: str) -> None:
        self._stack = contextlib.ExitStack()
        self._connection: ClientConnection = self._stack.enter_context(connect(server.websocket))
        self._number = 0
        self.id = self.call(connect={})["connect"]["client"]
        for channel in channels:
            self.call(subscribe={"channel": channel})

    def call(self, **command: Any) -> Any:
        self._number += 1
        self._connection.send(json.dumps({"id": self._number, **command}))
        while True:
            answer = self.next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer

    def next(self) -> Any:
        return json.loads(self._connection.recv(timeout=20))

    def closed(self) -> int:
        """The code with which the server ended it."""
        try:
            while True:
                self._connection.recv(timeout=20)
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="module")
def server(
    browser: Chrome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AdminServer]:
    with admin_server(tmp_path_factory.mktemp("admin")) as server:
        yield server


@pytest.fixture
def page(browser: Chrome, server: AdminServer) -> Iterator[AdminPage]:
    """A window of its own, in which nobody has logged in."""
    blank = browser.current_window_handle
    browser.switch_to.new_window("window")
    page = AdminPage(browser, server)
    yield page
    browser.close()
    browser.switch_to.window(blank)


@pytest.fixture
def peers(server: AdminServer) -> Iterator[Any]:
    """Makes clients, and ends those that are left."""
    made: list[Peer] = []

    def make(*channels: str) -> Peer:
        made.append(Peer(server, *channels))
        return made[-1]

    yield make
    for peer in made:
        peer.close()


def test_only_the_password_lets_in(page: AdminPage) -> None:
    assert not page.find("top").is_displayed()
    page.log_in("not this one")
    page.wait(lambda: "not the password" in page.text("problem"), "expected to be refused")
    assert not page.has("nodes")
    page.enter()
    assert not page.has("password")
    assert page.has("nodes")
    assert page.driver.execute_script("return document.cookie") == ""

    page.driver.refresh()       # the cookie lets in
    page.wait(lambda: page.state == "live", "expected the page to live")
    page.find("leave").click()
    page.wait(lambda: page.has("password"), "expected to be asked again")
    page.driver.refresh()
    page.wait(lambda: page.has("password"), "expected to be asked after a reload, too")


def test_the_graphs_move_when_messages_flow(page: AdminPage, peers: Any) -> None:
    page.enter()
    page.wait(lambda: "delivered" in page.said(MESSAGES), "expected a first second")
    flat = page.inked(MESSAGES)
    reader, writer = peers("flow"), peers()
    page.wait(lambda: page.text("tile-clients") == "2", "expected both clients to be counted")
    page.wait(lambda: page.text("tile-channels") == "1", "expected the channel to be counted")
    for _ in range(200):
        writer.call(publish={"channel": "flow", "data": 1})
    page.wait(lambda: page.inked(MESSAGES) > flat + 100, "expected a line that rises")
    page.wait(lambda: page.inked(CLIENTS) > 50, "expected the clients' line")
    reader.close()
    page.wait(lambda: page.text("tile-clients") == "1", "expected one to be left")
    (row,) = page.rows("nodes")
    assert row[0].startswith("eu-1\n")


def test_channels_are_found(page: AdminPage, peers: Any) -> None:
    peers("one", "two", "other")
    peers("one", "two")
    peers("one")
    page.enter()
    page.go("channels")
    page.wait(lambda: [row[:2] for row in page.rows("channels")] == [
        ["one", "3"], ["two", "2"], ["other", "1"]], "expected the largest first")
    assert page.text("summary") == "3 channels"
    page.find("search").send_keys("OTH")
    page.wait(lambda: [row[0] for row in page.rows("channels")] == ["other"], "expected the match")
    page.find("search").send_keys(Keys.CONTROL, "a")
    page.find("search").send_keys("nobody/is here", Keys.ENTER)
    page.wait(lambda: page.text("summary") == "0 subscribers", "expected the named channel")
    assert page.driver.find_element(By.TAG_NAME, "h1").text == "nobody/is here"


def test_a_channel_without_subscribers_is_opened_by_its_name(
    page: AdminPage, peers: Any
) -> None:
    page.enter()
    page.go("channels")
    page.wait(lambda: page.text("summary") == "0 channels", "expected an empty list")
    page.find("name").send_keys("a/b %")
    page.find("open").click()
    page.wait(lambda: page.text("summary") == "0 subscribers", "expected the named channel")
    assert page.driver.find_element(By.TAG_NAME, "h1").text == "a/b %"
    page.go("channels/plain%3Alobby")     # as somebody types it
    page.wait(lambda: page.text("summary") == "0 subscribers", "expected the channel")
    page.wait(lambda: page.driver.find_element(By.TAG_NAME, "h1").text == "plain:lobby",
              "expected it by its name")
    assert page.driver.current_url.endswith("#/channel/plain%3Alobby")


def test_publishing_by_hand(page: AdminPage, peers: Any) -> None:
    peer = peers("room 1")
    page.enter()
    page.go(f"channel/{quote('room 1')}")
    page.wait(lambda: page.text("summary") == "1 subscriber", "expected the subscriber")
    page.find("data").send_keys('{"text": "<b>hello</b>", "n": 12345678901234567890')
    assert page.find("publish").get_property("disabled")        # no JSON yet
    page.find("data").send_keys("}")
    page.find("publish").click()
    assert peer.next()["push"]["pub"]["data"] == {
        "text": "<b>hello</b>", "n": 12345678901234567890}
    page.wait(lambda: "Published, with offset 1." in page.text("data-state"), "expected an answer")
    page.wait(lambda: "<b>hello</b>" in page.text("history"), "expected it in the history")
    assert not page.find("history").find_elements(By.TAG_NAME, "b")
    page.wait(lambda: peer.id in page.text("presence"), "expected who is there")


def test_what_a_channel_does_not_keep(page: AdminPage, peers: Any) -> None:
    peers("plain:x")
    page.enter()
    page.go("channel/plain%3Ax")
    page.wait(lambda: page.text("summary") == "1 subscriber", "expected the subscriber")
    body = page.driver.find_element(By.TAG_NAME, "body")
    page.wait(lambda: body.text.count("This channel keeps none.") == 2, "expected it to say so")
    page.go("channel/unknown%3Ax")
    page.wait(lambda: "unknown channel" in page.text("notice"), "expected the error")


def test_a_subscription_and_a_connection_are_ended(page: AdminPage, peers: Any) -> None:
    first, second = peers("room"), peers("room")
    page.enter()
    page.go("channel/room")
    page.wait(lambda: len(page.rows("subscribers")) == 2, "expected both")
    page.press(first.id, "Unsubscribe")
    assert first.next()["push"]["unsubscribe"]["code"] == 2000
    page.wait(lambda: len(page.rows("subscribers")) == 1, "expected one to be left")

    page.go("connections")
    page.wait(lambda: len(page.rows("connections")) == 2, "expected both connections")
    page.find("search").send_keys(second.id)
    page.wait(lambda: len(page.rows("connections")) == 1, "expected the one that was looked for")
    page.press(second.id, "Disconnect")
    assert second.closed() == 3503
    page.wait(lambda: not page.rows("connections"), "expected it to be gone")


def test_one_click_ends_nothing(page: AdminPage, peers: Any) -> None:
    peer = peers("room")
    page.enter()
    page.go("connections")
    page.wait(lambda: page.rows("connections"), "expected the connection")
    button = page.driver.find_element(By.CSS_SELECTOR, "#connections .actions button")
    button.click()
    assert button.text == "Really?"
    page.find("search").click()         # elsewhere
    page.wait(lambda: button.text == "Disconnect", "expected it to be put back")
    peer.call(publish={"channel": "room", "data": 1})       # it is still there


def test_the_other_channels_of_a_connection(page: AdminPage, peers: Any) -> None:
    peers(*(f"c{number}" for number in range(9)))
    page.enter()
    page.go("connections")
    page.wait(lambda: "and 4 others" in page.text("connections"), "expected some to be left out")
    page.driver.find_element(By.CSS_SELECTOR, ".names button").click()
    page.wait(lambda: all(f"c{number}" in page.text("connections") for number in range(9)),
              "expected all of them")


def test_names_are_shown_as_the_text_they_are(page: AdminPage, peers: Any) -> None:
    name = "<img src=x onerror=\"document.title='taken'\">"
    peers(name)
    page.enter()
    for where in ("channels", "connections", f"channel/{quote(name, safe='')}"):
        page.go(where)
        page.wait(lambda: name in page.driver.find_element(By.TAG_NAME, "main").text,
                  f"expected the name in {where}")
        assert not page.driver.find_elements(By.CSS_SELECTOR, "main img")
    assert "taken" not in page.driver.title


@pytest.mark.parametrize("size", [PHONE, TABLET, DESKTOP], ids=["phone", "tablet", "desktop"])
def test_nothing_sticks_out_sideways(
    page: AdminPage, peers: Any, size: tuple[int, int]
) -> None:
    long = "x" * 200
    peers(long, "short", *(f"channel-number-{number}" for number in range(5)))
    page.enter()
    page.resize(*size)
    for where in ("", "channels", "connections", f"channel/{long}", "channel/short"):
        page.go(where)
        page.wait(lambda: page.rows("nodes") or page.text("summary"), "expected the figures")
        page.driver.execute_script(     # as they are after hours
            "for (const each of document.querySelectorAll('.since')) "
            "each.textContent = '23 h 59 min'")
        page.driver.execute_script(     # and with a name of a node that tells the host
            "for (const each of document.querySelectorAll('.connections small')) "
            "each.textContent = 'ip-10-20-130-140_80 · uni_http_stream · protobuf'")
        wide, seen = page.driver.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth]")
        assert wide <= seen == size[0], where
        # Nothing sticks out of its card either.
        assert page.driver.execute_script(
            "return [...document.querySelectorAll('.card table, .tiles, .bar')].filter((each) => "
            "each.getBoundingClientRect().right > "
            "each.parentElement.getBoundingClientRect().right + 0.5).length") == 0, where
        assert page.find("state").is_displayed()
        for link in page.driver.find_elements(By.CSS_SELECTOR, "nav a"):
            box = link.rect
            assert box["x"] >= 0 and box["x"] + box["width"] <= size[0]
            assert box["y"] >= 0 and box["y"] + box["height"] <= size[1]


def test_the_page_asks_nobody_else_and_breaks_no_rule(
    page: AdminPage, server: AdminServer
) -> None:
    page.complaints()
    page.enter()
    for where in ("channels", "connections", "channel/x", ""):
        page.go(where)
        page.wait(lambda: page.rows("nodes") or page.text("summary"), "expected the figures")
    addresses = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(({name}) => name)")
    assert {urlsplit(address).netloc for address in addresses} == {f"127.0.0.1:{server.port}"}
    assert all(urlsplit(address).path.startswith(f"{PREFIX}/admin/") for address in addresses)
    assert page.complaints() == []


def test_every_control_has_a_name(page: AdminPage, peers: Any) -> None:
    peers("room")
    assert page.find("password").accessible_name == "Password"
    page.enter()
    for where, controls in (
        ("channels", {
            "search": "Search channels", "name": "Open the channel with this name",
            "open": "Open"}),
        ("connections", {"search": "Search connections"}),
        ("channel/room", {"data": "Publish", "publish": "Publish"}),
    ):
        page.go(where)
        for control, name in controls.items():
            page.wait(lambda control=control: page.has(control), "expected the control")  # type: ignore[misc]
            assert page.find(control).accessible_name == name
    page.go("")
    page.wait(lambda: page.rows("nodes"), "expected the figures")
    for canvas in page.driver.find_elements(By.CSS_SELECTOR, ".chart canvas"):
        assert canvas.accessible_name


def test_the_page_comes_back_after_a_restart(page: AdminPage, server: AdminServer) -> None:
    page.enter()
    server.stop(signal.SIGTERM)
    page.wait(lambda: page.state == "away", "expected it to say that nobody answers")
    server.start()
    page.wait(lambda: page.state == "live", "expected it to live again, without a login")
    page.wait(lambda: page.rows("nodes"), "expected the figures")
