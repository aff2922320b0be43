"""Who gets in, who does not, and for how long."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import jwt
import pytest

from fanout.server.admin.sessions import LIFETIME, Sessions
from fanout.server.admin.throttle import MOST_ADDRESSES, Throttle
from fanout.server.app import Server
from fanout.server.config import ConfigError
from tests.server.admin.visiting import ADMIN, PASSWORD, SECRET, Visitor, visitor
from tests.server.running import InProcess, config_of, get, serving

ASKED = [
    "nodes", "channels", "connections", "publish", "history", "history_remove", "presence",
    "disconnect", "unsubscribe",
]


def with_admin(**admin: object) -> dict[str, Any]:
    return {**ADMIN, "admin": {**ADMIN["admin"], **admin}}


# Off, and never open by mistake


async def test_it_is_off_by_default() -> None:
    async with serving({"client": {"insecure": True}}) as server:
        for path in ("/", "/admin/web/app.js", "/admin/auth"):
            assert (await get(f"{server.http}{path}"))[0] == 404, path


@pytest.mark.parametrize("missing", ["password", "secret"])
def test_it_needs_a_password_and_a_secret(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"admin.{missing}"):
        config_of(with_admin(**{missing: ""}))


async def test_without_a_password_only_when_told_so() -> None:
    settings = {**ADMIN, "admin": {"enabled": True, "insecure": True}}
    async with serving(settings) as server, visitor(server.http) as anybody:
        assert (await anybody.ask("nodes"))["open"] is True
        assert await anybody.log_in("anything") == 200
        # A page of another site gets no further for that.
        assert (await anybody.post("api/nodes", X_Fanout_Admin=None))[0] == 403
        assert (await anybody.post("api/nodes", Origin="http://elsewhere.example"))[0] == 403


async def test_an_internal_port_has_it_alone() -> None:
    for external in (False, True):
        server = Server(config_of({
            **with_admin(external=external), "http_server": {"internal_port": 0}}))
        await server.start()
        try:
            outside = await get(f"http://127.0.0.1:{server.port}/admin/web/app.js")
            inside = await get(f"http://127.0.0.1:{server.internal_port}/admin/web/app.js")
            assert (outside[0], inside[0]) == ((200, 404) if external else (404, 200))
        finally:
            await server.stop()


def test_the_demo_has_the_root_for_itself() -> None:
    with pytest.raises(ConfigError, match=r"admin\.handler_prefix"):
        Server(config_of(ADMIN), demo=True)
    Server(config_of(with_admin(handler_prefix="/ops")), demo=True)
    Server(config_of({**ADMIN, "http_server": {"internal_port": 0}}), demo=True)


# The password


@pytest.mark.parametrize("name", ASKED)
async def test_a_stranger_is_told_nothing(stranger: Visitor, name: str) -> None:
    status, headers, text = await stranger.post(f"api/{name}", {"channel": "x", "data": 1})
    assert (status, text) == (401, "log in first\n")
    assert "Set-Cookie" not in headers


async def test_the_password_lets_in_and_leaving_ends_it(stranger: Visitor) -> None:
    assert not await stranger.is_in()
    assert await stranger.log_in() == 200
    assert await stranger.is_in()
    assert (await stranger.post("leave"))[0] == 200
    assert stranger.cookie == ""
    assert not await stranger.is_in()


@pytest.mark.parametrize(
    "wrong", ["", "A good password", PASSWORD[:-1], f"{PASSWORD} ", "x" * 3000, "\ud800", SECRET])
async def test_a_wrong_password(
    stranger: Visitor, wrong: str, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers, text = await stranger.post("auth", {"password": wrong})
    # Half of a surrogate pair is no text at all.
    assert status == (400 if wrong == "\ud800" else 401)
    assert "Set-Cookie" not in headers and PASSWORD not in text
    assert not await stranger.is_in()
    assert not wrong or wrong not in caplog.text


@pytest.mark.parametrize("body", [None, [], {"password": 1}, {"password": None}, "password"])
async def test_what_is_no_login(stranger: Visitor, body: object) -> None:
    assert (await stranger.post("auth", body))[0] == 400


async def test_a_huge_login_is_not_read(stranger: Visitor) -> None:
    assert (await stranger.post("auth", {"password": "x" * 100_000}))[0] == 413


# Guessing


async def test_an_address_that_guesses_has_to_wait(
    stranger: Visitor, caplog: pytest.LogCaptureFixture
) -> None:
    assert [await stranger.log_in(f"guess {n}") for n in range(7)] == [401] * 5 + [429] * 2
    status, headers, text = await stranger.post("auth", {"password": PASSWORD})
    assert status == 429                        # else it could go on guessing
    assert 0 < int(headers["Retry-After"]) <= 10 and "too many" in text
    assert "guess" not in caplog.text
    assert sum("wrong admin password" in line for line in caplog.messages) == 5


async def test_guesses_at_the_same_time_are_counted_too(stranger: Visitor) -> None:
    answers = await asyncio.gather(*(stranger.log_in(f"guess {n}") for n in range(40)))
    assert sorted(answers) == [401] * 5 + [429] * 35


async def test_who_is_in_stays_in_while_others_guess(admin: Visitor, stranger: Visitor) -> None:
    await asyncio.gather(*(stranger.log_in(f"guess {n}") for n in range(10)))
    assert await admin.is_in()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_waiting_earns_a_guess() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for _ in range(5):
        assert throttle.wait("192.0.2.1") == 0
        throttle.failed("192.0.2.1")
    assert throttle.wait("192.0.2.1") == pytest.approx(10)
    assert throttle.wait("192.0.2.2") == 0
    clock.now += 9.9
    assert throttle.wait("192.0.2.1") == pytest.approx(0.1)
    clock.now += 0.1
    assert throttle.wait("192.0.2.1") == 0
    throttle.failed("192.0.2.1")
    assert throttle.wait("192.0.2.1") == pytest.approx(10)


def test_a_network_of_ipv6_is_one_address() -> None:
    throttle = Throttle(Clock())
    for number in range(5):
        throttle.failed(f"2001:db8:0:1::{number}")
    assert throttle.wait("2001:db8:0:1:ffff::1%eth0") > 0
    assert throttle.wait("2001:db8:0:2::1") == 0
    for _ in range(5):
        throttle.failed("::ffff:192.0.2.1")
    assert throttle.wait("192.0.2.1") > 0


def test_many_addresses_have_one_bound() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for number in range(50):
        throttle.failed(f"192.0.2.{number}")
    assert throttle.wait("198.51.100.1") == pytest.approx(2)
    clock.now += 2
    assert throttle.wait("198.51.100.1") == 0


def test_addresses_are_forgotten_the_oldest_first() -> None:
    throttle = Throttle(Clock())
    for number in range(MOST_ADDRESSES + 100):
        throttle.failed(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(throttle._of) == MOST_ADDRESSES
    assert "10.0.0.1" not in throttle._of


# Sessions


async def test_the_cookie_is_for_the_page_alone(stranger: Visitor) -> None:
    _, headers, _ = await stranger.post("auth", {"password": PASSWORD})
    (morsel,) = SimpleCookie(headers["Set-Cookie"]).values()
    assert morsel["httponly"] and morsel["samesite"] == "Strict" and morsel["path"] == "/"
    assert int(morsel["max-age"]) == LIFETIME
    assert not morsel["secure"]
    assert PASSWORD not in morsel.value and SECRET not in morsel.value

    _, headers, _ = await stranger.post(
        "auth", {"password": PASSWORD}, X_Forwarded_Proto="https")
    (morsel,) = SimpleCookie(headers["Set-Cookie"]).values()
    assert morsel["secure"]


async def test_the_cookie_of_another_node_counts(admin: Visitor) -> None:
    async with serving(ADMIN) as other, visitor(other.http, admin.cookie) as same:
        assert await same.is_in()


@pytest.mark.parametrize("changed", [{"password": "another"}, {"secret": "another"}])
async def test_a_new_password_or_secret_ends_all(
    admin: Visitor, changed: dict[str, str]
) -> None:
    settings = with_admin(**changed)
    async with serving(settings) as other, visitor(other.http, admin.cookie) as same:
        assert not await same.is_in()


def test_a_session_ends() -> None:
    clock = Clock()
    sessions = Sessions(PASSWORD, SECRET, clock)
    token = sessions.begin()
    assert sessions.end_of(token) == clock.now + LIFETIME
    clock.now += LIFETIME - 1
    assert sessions.end_of(token)
    clock.now += 1
    assert sessions.end_of(token) == 0


async def test_an_expired_cookie(server: InProcess) -> None:
    old = Sessions(PASSWORD, SECRET, lambda: time.time() - LIFETIME - 60).begin()
    async with visitor(server.http, old) as one:
        assert not await one.is_in()


def signed(key: Any, algorithm: str = "HS256", **claims: Any) -> str:
    now = int(time.time())
    return jwt.encode(
        {"aud": "fanout admin", "iat": now, "exp": now + 60, "jti": "x", **claims}, key, algorithm)


def test_forged_tokens() -> None:
    sessions = Sessions(PASSWORD, SECRET)
    key = sessions._key
    good = signed(key)
    assert sessions.end_of(good)
    head, body, signature = good.split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    far = int(time.time()) + 10 * LIFETIME
    for forged in (
        "", "x", "a.b.c", f"{none}.{body}.", f"{none}.{body}.{signature}", f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}AA",
        signed("another key of some length, for HS256"), signed(key, "HS512"),
        signed(key, aud="somebody else"), signed(key, exp=far), signed(key, exp=0),
        signed(key, exp=int(time.time()) - 1),
    ):
        assert sessions.end_of(forged) == 0, forged
    claims = jwt.decode(good, options={"verify_signature": False})
    for missing in ("aud", "exp", "iat", "jti"):
        rest = {name: value for name, value in claims.items() if name != missing}
        assert sessions.end_of(jwt.encode(rest, key, "HS256")) == 0, missing


async def test_a_clients_token_is_no_admins_although_the_secrets_are_the_same() -> None:
    secret = "the same in both places, of 32 bytes"
    settings = {
        **with_admin(secret=secret), "client": {"token": {"hmac_secret_key": secret}}}
    async with serving(settings) as server:
        for token in (signed(secret), signed(secret.encode(), sub="ada")):
            async with visitor(server.http, token) as one:
                assert not await one.is_in()


async def test_rubbish_in_the_cookie(server: InProcess) -> None:
    for cookie in ("x", "a.b.c", "%00", '"', "x" * 4000, json.dumps({"a": 1})):
        async with visitor(server.http, cookie) as one:
            assert not await one.is_in()


# Other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Fanout_Admin": None},
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},           # the same site, for a browser
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
    ],
)
@pytest.mark.parametrize("path", ["api/disconnect", "api/nodes", "auth", "leave"])
async def test_a_page_of_another_site_may_ask_nothing(
    admin: Visitor, server: InProcess, headers: dict[str, str | None], path: str
) -> None:
    peer = await server.client()
    status, answered, _ = await admin.post(
        path, {"client": next(iter(server.node.clients)), "password": PASSWORD}, **headers)
    assert status == 403
    assert "Set-Cookie" not in answered
    assert "Access-Control-Allow-Origin" not in answered
    assert len(server.node.clients) == 1
    await peer.close()


async def test_the_page_itself_may(admin: Visitor, server: InProcess) -> None:
    for headers in (
        {"Origin": server.http, "Sec_Fetch_Site": "same-origin"},
        # A proxy in front speaks TLS; the name is the same.
        {"Origin": "https://ops.example", "Host": "ops.example"},
    ):
        assert (await admin.post("api/nodes", **headers))[0] == 200


async def test_nobody_is_answered_who_asks_whether_he_may(server: InProcess) -> None:
    async with aiohttp.ClientSession() as session, session.options(
        f"{server.http}/admin/api/nodes",
        headers={"Origin": "http://elsewhere.example",
                 "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "x-fanout-admin"},
    ) as answer:
        assert answer.status == 405
        assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("name", ASKED)
async def test_a_link_does_nothing(admin: Visitor, name: str) -> None:
    async with admin.session.get(
        f"{admin.url}/admin/api/{name}", headers=admin.headers
    ) as answer:
        assert answer.status == 405


# The page


async def test_the_page_runs_its_own_scripts_and_nothing_else(server: InProcess) -> None:
    for path in ("/", "/admin/web/app.js", "/admin/web/style.css", "/admin/web/mark.svg"):
        status, headers, body = await get(f"{server.http}{path}")
        assert status == 200 and body
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
    page = (await get(f"{server.http}/"))[2].decode()
    assert "<style" not in page and "style=" not in page and " on" + "click" not in page
    assert page.count("<script") == page.count("<script type=\"module\" src=")


async def test_what_is_answered_is_kept_nowhere(admin: Visitor) -> None:
    for name in ASKED[:3]:
        _, headers, _ = await admin.post(f"api/{name}")
        assert headers["Cache-Control"] == "no-store"


async def test_below_a_prefix(server: InProcess) -> None:
    async with serving(with_admin(handler_prefix="/ops")) as server:
        assert (await get(f"{server.http}/"))[0] == 404
        status, _, page = await get(f"{server.http}/ops")        # after a redirect
        assert status == 200 and b'src="admin/web/app.js"' in page
        assert (await get(f"{server.http}/ops/admin/web/app.js"))[0] == 200
        async with visitor(f"{server.http}/ops") as one:
            _, headers, _ = await one.post("auth", {"password": PASSWORD})
            (morsel,) = SimpleCookie(headers["Set-Cookie"]).values()
            assert morsel["path"] == "/ops"
            assert await one.is_in()


async def test_no_file_but_those_of_the_page(server: InProcess) -> None:
    for path in ("../admin.py", "..%2fadmin.py", "%2e%2e/sessions.py", "__init__.py", ""):
        async with aiohttp.ClientSession() as session, session.get(
            f"{server.http}/admin/web/{path}"
        ) as answer:
            assert answer.status == 404, path
