"""The demo page against the demo server, in a real browser."""

from __future__ import annotations

import signal
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import OpenPage
from tests.browser.demo_server import DemoServer
from tests.wire import Wire

PHONE = (360, 740)
TABLET = (768, 1024)
DESKTOP = (1280, 800)


def test_a_message_shows_in_every_window(open_page: OpenPage) -> None:
    ada, ben = open_page(), open_page()
    ada.say("is anybody there?")
    ben.wait_for_texts(["is anybody there?"])
    ben.say("here, line by line")
    ada.wait_for_texts(["is anybody there?", "here, line by line"])
    ben.wait_for_texts(["is anybody there?", "here, line by line"])

    assert [(m.offset, m.name, m.own) for m in ada.messages] == [
        (1, ada.name, True),
        (2, ben.name, False),
    ]
    assert [m.own for m in ben.messages] == [False, True]
    ada.wait(lambda: ada.find("delivered").text == "2", "expected both to be counted")
    assert ada.find("trip").text.endswith("ms")


def test_the_list_follows_who_comes_goes_and_changes_name(open_page: OpenPage) -> None:
    ada, ben = open_page(), open_page()
    assert ada.name and ben.name
    ada.rename("Ada")
    ben.rename("Ben")
    for page in (ada, ben):
        page.wait_for_people({"Ada", "Ben"})
    assert ada.people == {"Ada": True, "Ben": False}
    assert ben.people == {"Ada": False, "Ben": True}

    ada.say("under the new name")
    ben.wait_for_texts(["under the new name"])
    assert ben.messages[0].name == "Ada"

    ben.close()
    ada.wait_for_people({"Ada"})


def test_two_windows_are_two_people_and_a_reload_is_the_same_one(open_page: OpenPage) -> None:
    ada = open_page()
    ada.rename("Ada")
    ada.wait_for_people({"Ada"})
    ada.say("mine")
    ada.wait_for_texts(["mine"])

    ada.driver.refresh()
    ada.wait_for_texts(["mine"])
    assert ada.name == "Ada"
    assert ada.messages[0].own

    # A window that a page opens itself begins with a copy of its storage.
    before = set(ada.driver.window_handles)
    ada.driver.execute_script("window.open('/', '_blank')")
    ada.wait(lambda: len(ada.driver.window_handles) > len(before), "expected a second window")
    ada.wait(lambda: len(ada.people) == 2, "expected the copy to be somebody else")
    assert ada.people["Ada"]


def test_a_late_comer_gets_the_history(open_page: OpenPage) -> None:
    ada, ben = open_page(), open_page()
    said = [f"number {n}" for n in range(1, 6)]
    for n, text in enumerate(said, 1):
        (ada if n % 2 else ben).say(text)
        ada.wait_for_texts(said[:n])

    late = open_page()
    late.wait_for_texts(said)
    assert [m.offset for m in late.messages] == [1, 2, 3, 4, 5]
    assert not any(m.own for m in late.messages)
    assert not late.find("empty").is_displayed()

    ada.say("and now live")
    late.wait_for_texts([*said, "and now live"])


def test_an_empty_room_invites_to_write(open_page: OpenPage) -> None:
    page = open_page()
    assert page.find("empty").is_displayed()
    page.say("first")
    page.wait_for_texts(["first"])
    assert not page.find("empty").is_displayed()


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'taken'</script>",
        "<img src='/nowhere' onerror=\"document.title = 'taken'\">",
        "</li><b>bold</b>&lt;&amp;",
    ],
)
def test_markup_is_shown_as_the_text_it_is(open_page: OpenPage, text: str) -> None:
    ada, ben = open_page(), open_page()
    ada.rename("<i>Ada</i>")
    ada.wait_for_people({"<i>Ada</i>", ben.name})
    ada.say(text)
    ben.wait_for_texts([text])
    ben.wait_for_people({"<i>Ada</i>", ben.name})

    assert ben.messages[0].name == "<i>Ada</i>"
    for place in ("messages", "people"):
        assert not ben.find(place).find_elements(By.CSS_SELECTOR, "script, img, b, i")
    assert "taken" not in ben.driver.title


def test_the_page_asks_nobody_else_and_breaks_no_rule(
    open_page: OpenPage, server: DemoServer
) -> None:
    page = open_page()
    # What an earlier test's page complained of is not this one's.
    page.complaints()
    page.driver.refresh()
    page.wait_until("online")
    page.say("hello")
    page.wait_for_texts(["hello"])

    addresses = page.driver.execute_script(
        "return performance.getEntriesByType('resource').map(({name}) => name)"
    )
    assert {urlsplit(address).path for address in addresses} >= {"/demo/app.js", "/demo/style.css"}
    assert {urlsplit(address).netloc for address in addresses} == {f"127.0.0.1:{server.port}"}
    assert page.complaints() == []
    with urlopen(server.url) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_the_page_comes_back_after_a_restart(
    open_page: OpenPage, server: DemoServer, how: signal.Signals
) -> None:
    ada, ben = open_page(), open_page()
    ada.say("before")
    ben.wait_for_texts(["before"])

    server.stop(how)
    for page in (ada, ben):
        page.wait_while("online")
    ada.say("kept while away")
    assert ada.draft == "kept while away"
    assert "Not connected" in ada.find("notice").text

    server.start()
    for page in (ada, ben):
        page.wait_until("online")
        page.wait_for_people({ada.name, ben.name})
    ada.find("text").send_keys(Keys.ENTER)
    for page in (ada, ben):
        # The history was in the server's memory; the page still has its own.
        page.wait_for_texts(["before", "kept while away"])
        assert page.find("notice").text == ""


def test_nothing_is_missing_or_doubled_after_a_lost_connection(
    open_page: OpenPage, wire: Wire
) -> None:
    ada, ben = open_page(wire.url), open_page()
    ada.say("one")
    ben.wait_for_texts(["one"])

    wire.cut()
    ada.wait_while("online")
    ben.wait_for_people({ben.name})
    said = ["one", "two", "three", "four"]
    for n, text in enumerate(said[1:], 2):
        ben.say(text)
        ben.wait_for_texts(said[:n])
    assert ada.texts == ["one"]

    wire.mend()
    ada.wait_for_texts(said)
    ben.say("five")
    ada.wait_for_texts([*said, "five"])
    assert [m.offset for m in ada.messages] == [1, 2, 3, 4, 5]
    assert [m.own for m in ada.messages] == [True, False, False, False, False]


@pytest.mark.parametrize("size", [PHONE, TABLET, DESKTOP], ids=["phone", "tablet", "desktop"])
def test_nothing_sticks_out_sideways(open_page: OpenPage, size: tuple[int, int]) -> None:
    page = open_page()
    page.resize(*size)
    page.rename("W" * 32)
    page.wait_for_people({"W" * 32})
    page.say("unbroken" * 60)
    page.say("words " * 60)
    page.wait_for_count(2)

    width, height = size
    for element in ("document.documentElement", "document.getElementById('log')"):
        wide, seen = page.driver.execute_script(
            f"return [{element}.scrollWidth, {element}.clientWidth]"
        )
        assert wide <= seen
    for element_id in ("text", "send", "name", "state", "count", "delivered", "rate", "trip"):
        box = page.find(element_id).rect
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, element_id
        assert box["y"] >= 0 and box["y"] + box["height"] <= height, element_id


def test_a_long_message_ends_at_the_limit(open_page: OpenPage) -> None:
    page = open_page()
    page.type("x" * 450)
    assert page.find("remaining").text == "50 left"
    page.type("y" * 100)
    assert len(page.draft) == 500
    page.find("send").click()
    page.wait_for_texts(["x" * 450 + "y" * 50])
    assert page.draft == ""


def test_blank_text_is_not_sent(open_page: OpenPage) -> None:
    page = open_page()
    page.say("   ")
    page.find("text").clear()
    page.say("something")
    page.wait_for_texts(["something"])
    assert page.messages[0].offset == 1


def test_a_reader_who_scrolled_up_stays_there(open_page: OpenPage) -> None:
    page, other = open_page(), open_page()
    page.resize(*PHONE)
    for n in range(1, 9):
        page.say(f"number {n} takes a few lines on a narrow screen, as many do. " * 3)
        page.wait_for_count(n)
    log = page.find("log")
    assert not page.find("jump").is_displayed()
    page.driver.execute_script("arguments[0].scrollTop = 0", log)

    other.say("further down")
    page.wait(lambda: page.find("jump").is_displayed(), "expected a word about the new message")
    assert page.find("jump").text == "1 new message"
    assert page.driver.execute_script("return arguments[0].scrollTop", log) == 0
    page.find("jump").click()
    page.wait(lambda: not page.find("jump").is_displayed(), "expected to be at the end")
    last = log.find_elements(By.CSS_SELECTOR, ".message")[-1]
    assert last.rect["y"] + last.rect["height"] <= log.rect["y"] + log.rect["height"]


def test_every_control_has_a_name_and_the_keyboard_reaches_it(open_page: OpenPage) -> None:
    page = open_page()
    names = {key: page.find(key).accessible_name for key in ("name", "text", "send", "log", "fan")}
    assert names == {
        "name": "Writing as",
        "text": "Message",
        "send": "Send",
        "log": "Messages",
        "fan": "Here now 1",
    }
    assert page.find("log").aria_role == "log"
    assert page.find("log").get_attribute("aria-live") == "polite"
    assert page.find("log").get_attribute("aria-busy") == "false"

    controls = ["name", "text", "send"]
    reached: list[str | None] = []
    page.driver.execute_script("document.body.focus()")
    for _ in range(7):
        page.driver.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.driver.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("class"))
        width = focused.value_of_css_property("outline-width")
        assert width != "0px", f"nothing shows the focus on {reached[-1]}"
    assert reached[0] == "skip"
    assert [each for each in reached if each in controls] == controls


def test_nothing_moves_for_who_asked_for_less_motion(open_page: OpenPage) -> None:
    page = open_page()
    page.say("with motion")
    page.wait_for_texts(["with motion"])
    moved = "return document.getAnimations().length"
    page.driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]},
    )
    page.wait(lambda: page.driver.execute_script(moved) == 0, "expected the old ones to end")
    # Counted as they are made, for one may be over before anybody looks.
    page.driver.execute_script(
        "window.made = 0; const animate = Element.prototype.animate;"
        "Element.prototype.animate = function (...all) { made++; return animate.apply(this, all) };"
        "addEventListener('animationstart', () => made++)"
    )
    page.say("without")
    page.wait_for_texts(["with motion", "without"])
    assert page.driver.execute_script("return made") == 0
