"""What a backend has told to clients: errors and disconnects, also by HTTP status."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from fanout.codes import ClientError, Disconnect
from fanout.events import RefreshReply, SubRefreshReply
from fanout.server.proxy import Proxies
from tests.server.proxy.backend import Backend
from tests.server.proxy.conftest import DECISIONS, PROLONGATIONS, Start, all_proxies, ask


async def refused(proxies: Proxies, event: str) -> ClientError | Disconnect:
    with pytest.raises((ClientError, Disconnect)) as caught:
        await ask(proxies, event)
    return caught.value


@pytest.mark.parametrize("event", DECISIONS)
@pytest.mark.parametrize(("answer", "error"), [
    ({"code": 403, "message": "no", "temporary": True}, (403, "no", True)),
    ({"code": 1000, "message": "no"}, (1000, "no", False)),
    ({"code": 400}, (400, "", False)),
    # Outside of 400-1999 too, as with Centrifugo.
    ({"code": 109, "message": "token expired"}, (109, "token expired", False)),
    ({"code": 4294967295, "message": "no"}, (4294967295, "no", False)),
    # No code is no error that a client could understand.
    ({}, (100, "internal server error", True)),
    ({"code": 0, "message": "no"}, (100, "internal server error", True)),
])
async def test_an_error(
    backend: Backend, proxies: Proxies, event: str, answer: dict[str, Any],
    error: tuple[int, str, bool],
) -> None:
    backend.on(f"/{event}", {"error": answer, "result": {"user": "42"}})
    told = await refused(proxies, event)
    assert isinstance(told, ClientError)
    assert (told.code, told.message, told.temporary) == error


@pytest.mark.parametrize("event", DECISIONS)
@pytest.mark.parametrize(("answer", "disconnect"), [
    ({"code": 4501, "reason": "unauthorized"}, (4501, "unauthorized")),
    ({"code": 4000}, (4000, "")),
    ({"code": 3000, "reason": "a"}, (3000, "a")),
    ({"code": 4999, "reason": "x" * 200}, (4999, "x" * 123)),
    ({"code": 4000, "reason": "x" + "\u20ac" * 50}, (4000, "x" + "\u20ac" * 40)),
    ({"code": 2999, "reason": "no"}, (3004, "internal server error")),
    ({"code": 5000, "reason": "no"}, (3004, "internal server error")),
    ({}, (3004, "internal server error")),
])
async def test_a_disconnect(
    backend: Backend, proxies: Proxies, event: str, answer: dict[str, Any],
    disconnect: tuple[int, str],
) -> None:
    backend.on(f"/{event}", {"disconnect": answer, "error": {"code": 400}, "result": {}})
    told = await refused(proxies, event)
    assert isinstance(told, Disconnect)
    assert (told.code, told.reason) == disconnect


TRANSFORMS = [
    {"status_code": 404, "to_error": {"code": 404, "message": "not found"}},
    {"status_code": 404, "to_error": {"code": 999, "message": "the second of its status"}},
    {"status_code": 429, "to_error": {"code": 429, "message": "later", "temporary": True}},
    {"status_code": 403, "to_disconnect": {"code": 4403, "reason": "forbidden"}},
]


@pytest.mark.parametrize("event", DECISIONS)
async def test_a_status_can_stand_for_something(
    backend: Backend, start: Start, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    proxies = await start(all_proxies(backend.url, http={"status_to_code_transforms": TRANSFORMS}))
    for status, told in [
        (404, (404, "not found", False)), (429, (429, "later", True)), (403, (4403, "forbidden")),
    ]:
        backend.on(f"/{event}", status)
        error = await refused(proxies, event)
        if isinstance(error, ClientError):
            assert (error.code, error.message, error.temporary) == told
        else:
            assert (error.code, error.reason) == told
    assert caplog.messages == []
    backend.on(f"/{event}", 500)
    assert (await refused(proxies, event)).code == 100
    assert "HTTP status 500" in caplog.text


@pytest.mark.parametrize("event", PROLONGATIONS)
@pytest.mark.parametrize("answer", [
    404, {"error": {"code": 400}}, {"disconnect": {"code": 4501}},
    {"error": {"code": 400}, "result": {"expired": True}}])
async def test_what_is_refused_a_refresh_has_expired(
    backend: Backend, start: Start, event: str, answer: Any
) -> None:
    proxies = await start(all_proxies(backend.url, http={"status_to_code_transforms": TRANSFORMS}))
    backend.on(f"/{event}", answer)
    reply = await ask(proxies, event)
    assert reply in (RefreshReply(expired=True), SubRefreshReply(expired=True))


@pytest.mark.parametrize("event", DECISIONS)
@pytest.mark.parametrize("status", [201, 204, 301, 307, 401, 404, 500, 503])
async def test_any_other_status_is_a_failure(
    backend: Backend, proxies: Proxies, event: str, status: int
) -> None:
    body = None if status == 204 else b'{"result": {"user": "42"}}'
    backend.on(f"/{event}", lambda call: web.Response(status=status, body=body))
    error = await refused(proxies, event)
    assert isinstance(error, ClientError)
    assert (error.code, error.temporary) == (100, True)
