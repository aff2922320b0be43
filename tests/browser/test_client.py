"""The page's protocol client by itself, in the browser, against a scripted server.

Here the order of events is the test's own: a push that overtakes a history
reply, or a close code, which a real server gives only when it happens to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver import Chrome

from tests.browser.demo_server import running_server
from tests.browser.page import Page

# A connection whose replies come when the scenario gives them: `asked` holds
# the commands in order, `answer(n, result)` and `refuse(n, code)` settle one.
_SCRIPTED_CONNECTION = """
const { CommandError } = await import("/demo/connection.js");
const { Room } = await import("/demo/room.js");
const asked = [];
const seen = [];
let restarts = 0;
const connection = {
  request: (method, params) => new Promise((resolve, reject) => {
    asked.push({ method, params, resolve, reject });
  }),
  restart: () => { restarts++; },
};
const room = new Room(connection, "c", {
  messages: (pubs, origin) => pubs.forEach((pub) => seen.push(`${origin} ${pub.offset}`)),
  lost: (count) => seen.push(`lost ${count}`),
  people: (people) => seen.push(`here ${[...people.keys()].sort().join("+")}`),
  removed: (code) => seen.push(`removed ${code}`),
});
const turn = () => new Promise((done) => setTimeout(done));
const answer = async (n, result) => { asked[n].resolve(result); await turn(); };
const refuse = async (n, code) => {
  asked[n].reject(new CommandError({ code, message: "refused" }));
  await turn();
};
const live = (offset, more) => room.push({ channel: "c", pub: { offset, data: {}, ...more } });
const history = (epoch, offset, ...offsets) => ({
  epoch, offset, publications: offsets.map((each) => ({ offset: each, data: {} })),
});
const join = (client) => room.push({ channel: "c", join: { info: { client } } });
const leave = (client) => room.push({ channel: "c", leave: { info: { client } } });
// The first commands of a session: 0 subscribe, 1 presence, 2 history.
const begin = async (...replies) => {
  room.join();
  await answer(0, {});
  await answer(1, { presence: {} });
  await answer(2, ...replies);
  seen.length = 0;
};
"""


def run(page: Page, script: str) -> Any:
    """Run the body of an asynchronous function in the page; returns what it returns."""
    outcome = page.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        f"(async () => {{ {script} }})()"
        ".then((value) => done([true, value]), (error) => done([false, String(error.stack)]));"
    )
    assert outcome[0], outcome[1]
    return outcome[1]


def play(page: Page, scenario: str) -> Any:
    return run(page, _SCRIPTED_CONNECTION + scenario + "return seen;")


@pytest.fixture(scope="module")
def window(browser: Chrome) -> Iterator[Page]:
    """One window for all of these: the server only gives the modules."""
    with running_server() as server:
        blank = browser.current_window_handle
        page = Page(browser, server.url)
        yield page
        page.close()
        browser.switch_to.window(blank)


@pytest.fixture
def page(window: Page) -> Page:
    window.driver.refresh()  # away with what the last test put in place of the browser's own
    return window


def test_pushes_that_overtake_the_history_wait_for_it(page: Page) -> None:
    seen = play(
        page,
        """
        room.join();
        await answer(0, {});
        await answer(1, { presence: {} });
        live(3); live(4);
        seen.push("held");
        await answer(2, history("e", 3, 1, 2, 3));
        live(5);
        """,
    )
    assert seen == ["here ", "held", "history 1", "history 2", "history 3", "live 4", "live 5"]


def test_a_repeated_push_is_shown_once(page: Page) -> None:
    assert play(page, 'await begin(history("e", 1, 1)); live(2); live(2); live(1);') == ["live 2"]


def test_a_gap_between_pushes_is_fetched(page: Page) -> None:
    seen = play(
        page,
        """
        await begin(history("e", 1, 1));
        live(2); live(5); live(6);
        seen.push(JSON.stringify(asked[3].params.since));
        await answer(3, history("e", 5, 3, 4, 5));
        live(7);
        """,
    )
    assert seen == [
        *("live 2", '{"offset":2,"epoch":"e"}'),
        *("missed 3", "missed 4", "missed 5", "live 6", "live 7"),
    ]


def test_a_history_longer_than_one_answer_is_read_to_its_end(page: Page) -> None:
    seen = play(
        page,
        """
        await begin(history("e", 1, 1));
        live(9);
        await answer(3, history("e", 9, 2, 3, 4, 5));
        seen.push(`from ${asked[4].params.since.offset}`);
        await answer(4, history("e", 9, 6, 7, 8, 9));
        """,
    )
    first = [f"missed {n}" for n in range(2, 6)]
    assert seen == [*first, "from 5", *[f"missed {n}" for n in range(6, 10)]]


def test_what_expired_meanwhile_is_said(page: Page) -> None:
    seen = play(
        page,
        """
        await begin(history("e", 1, 1));
        live(6);
        await answer(3, history("e", 6, 5, 6));
        live(9);
        await answer(4, history("e", 9));
        live(10);
        """,
    )
    assert seen == ["lost 3", "missed 5", "missed 6", "lost 3", "live 10"]


def test_a_new_history_is_read_from_its_beginning(page: Page) -> None:
    seen = play(
        page,
        """
        await begin(history("old", 7, 7));
        room.join();
        await answer(3, {});
        await answer(4, { presence: {} });
        seen.length = 0;
        live(2);
        await refuse(5, 112);
        seen.push(String(asked[6].params.since));
        await answer(6, history("new", 1, 1));
        live(3);
        """,
    )
    assert seen == ["lost 0", "undefined", "missed 1", "live 2", "live 3"]


def test_who_comes_and_goes_while_the_list_is_on_its_way(page: Page) -> None:
    seen = play(
        page,
        """
        room.join();
        await answer(0, {});
        join("new"); leave("gone");
        seen.length = 0;
        await answer(1, { presence: { gone: { client: "gone" }, here: { client: "here" } } });
        leave("here");
        room.push({ channel: "another", join: { info: { client: "stranger" } } });
        """,
    )
    assert seen == ["here here+new", "here new"]


def test_the_end_of_a_subscription(page: Page) -> None:
    seen = play(
        page,
        """
        await begin(history("e", 1, 1));
        room.push({ channel: "c", unsubscribe: { code: 2500, reason: "insufficient state" } });
        seen.push(asked[3].method);
        room.push({ channel: "c", unsubscribe: { code: 2000, reason: "unsubscribed" } });
        seen.push(`asked ${asked.length}`);
        """,
    )
    assert seen == ["subscribe", "removed 2000", "asked 6"]


def test_a_refusal_nobody_waits_for_starts_the_session_over(page: Page) -> None:
    restarts = run(
        page,
        _SCRIPTED_CONNECTION
        + 'await begin(history("e", 1, 1)); live(3); await refuse(3, 100); return restarts;',
    )
    assert restarts == 1


@pytest.mark.parametrize(
    ("codes", "terminal"),
    [
        ([1000, 1001, 1006, 1011, 3000, 3001, 3008, 3012, 3499, 4000, 4499, 5000], False),
        ([1009, 3500, 3501, 3503, 3999, 4500, 4999], True),
    ],
)
def test_close_codes_that_end_it(page: Page, codes: list[int], terminal: bool) -> None:
    script = f"const m = await import('/demo/connection.js'); return {codes}.map(m.isTerminal);"
    assert run(page, script) == [terminal] * len(codes)


def test_waits_grow_to_a_bound_and_half_of_each_is_chance(page: Page) -> None:
    shortest, longest = (
        run(
            page,
            "const m = await import('/demo/connection.js');"
            f"return [...Array(40).keys()].map((n) => m.backoff(n, () => {chance}));",
        )
        for chance in (0, 1)
    )
    assert longest[:4] == [400, 800, 1600, 3200]
    assert longest == sorted(longest) and longest[-1] == 15_000
    assert shortest == [wait / 2 for wait in longest]


# A WebSocket that never leaves the page; `socket()` is the newest one made.
_SCRIPTED_SOCKET = """
const { Connection } = await import("/demo/connection.js");
const sockets = [];
window.WebSocket = class {
  static OPEN = 1;
  readyState = 0;
  sent = [];
  constructor() { sockets.push(this); }
  send(frame) { this.sent.push(...frame.split("\\n").map(JSON.parse)); }
  close(code) { this.readyState = 3; this.closed = code; }
};
const states = [];
const pushes = [];
const connection = new Connection("ws://nowhere/", () => ({ data: { name: "n" } }), {
  state: (name, { code }) => states.push(code ? `${name} ${code}` : name),
  session: () => Promise.resolve(),
  push: (push) => pushes.push(push.channel),
});
const turn = () => new Promise((done) => setTimeout(done));
const socket = () => sockets[sockets.length - 1];
const open = async () => { socket().readyState = 1; socket().onopen(); await turn(); };
const frame = async (...lines) => {
  socket().onmessage({ data: lines.map((line) => JSON.stringify(line)).join("\\n") });
  await turn();
};
const connected = { id: 1, connect: { client: "c1", version: "1", ping: 25, pong: true } };
connection.restart();
await open();
"""


def test_a_ping_is_answered_only_if_the_server_wants_it(page: Page) -> None:
    for pong, answers in ((True, 1), (False, 0)):
        sent = run(
            page,
            _SCRIPTED_SOCKET
            + f"connected.connect.pong = {str(pong).lower()};"
            + "await frame(connected); await frame({}); return socket().sent.slice(1);",
        )
        assert sent == [{}] * answers


def test_one_frame_may_hold_many_replies(page: Page) -> None:
    states, pushes, client = run(
        page,
        _SCRIPTED_SOCKET
        + """
        await frame(connected, { push: { channel: "a" } }, { push: { channel: "b" } });
        return [states, pushes, connection.client];
        """,
    )
    assert states == ["connecting", "online"]
    assert pushes == ["a", "b"]
    assert client == "c1"


@pytest.mark.parametrize(
    ("event", "states"),
    [
        ("socket().onclose({ code: 3001, reason: 'shutdown' })", ["waiting"]),
        ("socket().onclose({ code: 1006, reason: '' })", ["waiting"]),
        ("socket().onclose({ code: 3503, reason: 'force disconnect' })", ["closed 3503"]),
        ("socket().onmessage({ data: 'not JSON' })", ["waiting"]),
        ("socket().onmessage({ data: new Blob([]) })", ["waiting"]),
    ],
)
def test_the_end_of_a_connection(page: Page, event: str, states: list[str]) -> None:
    seen = run(
        page,
        _SCRIPTED_SOCKET
        + f"""
        await frame(connected);
        const lost = connection.request("publish", {{}}).catch((error) => error.constructor.name);
        await turn();
        {event};
        states.push(await lost);
        const made = sockets.length;
        connection.hurry();
        states.push(`${{sockets.length - made}} more`);
        return states;
        """,
    )
    more = ["ConnectionLost", "connecting", "1 more"]
    if states[0].startswith("closed"):
        more = ["ConnectionLost", "0 more"]
    assert seen == ["connecting", "online", *states, *more]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        ({"code": 100, "message": "internal server error", "temporary": True}, "waiting"),
        ({"code": 103, "message": "permission denied"}, "closed 103"),
    ],
)
def test_a_refused_connect(page: Page, error: dict[str, Any], state: str) -> None:
    states = run(
        page,
        _SCRIPTED_SOCKET + f"await frame({{ id: 1, error: {json.dumps(error)} }}); return states;",
    )
    assert states == ["connecting", state]


def test_a_server_that_stops_pinging_is_left(page: Page) -> None:
    waits = run(
        page,
        """
        const waits = [];
        const later = window.setTimeout;
        window.setTimeout = (work, ms, ...more) => {
          if (ms > 1000) waits.push({ work, ms });
          return later(work, ms, ...more);
        };
        """
        + _SCRIPTED_SOCKET
        + """
        await frame(connected);
        const { work, ms } = waits[waits.length - 1];
        work();
        return [ms, states];
        """,
    )
    # The interval the server promised, and the grace it is given on top.
    assert waits == [35_000, ["connecting", "online", "waiting"]]
