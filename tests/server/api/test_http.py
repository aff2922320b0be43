"""The server API as HTTP: keys, bodies, error modes, and the older form of a command."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fanout.server.api.http import BODY_LIMIT
from tests.server.api.calling import KEY, SETTINGS, Backend, api_server
from tests.server.running import Settings, get

INFO = b'{"result":{"nodes":['


def with_api(**options: object) -> Settings:
    return {**SETTINGS, "http_api": {"key": KEY, **options}}


# ---- keys ------------------------------------------------------------------


@pytest.mark.parametrize(("headers", "query", "allowed"), [
    ({"X-API-Key": KEY}, "", True),
    ({"Authorization": f"apikey {KEY}"}, "", True),
    ({"Authorization": f"ApiKey  {KEY}"}, "", True),
    ({}, f"?api_key={KEY}".replace(" ", "%20"), True),
    ({"X-API-Key": "another", "Authorization": f"apikey {KEY}"}, "", True),
    ({}, "", False),
    ({"X-API-Key": ""}, "", False),
    ({"X-API-Key": KEY[:-1]}, "", False),
    ({"X-API-Key": KEY + "x"}, "", False),
    ({"X-API-Key": KEY.upper()}, "", False),
    ({"X-API-Key": "ké\udcff".encode("utf-8", "surrogateescape").decode("latin-1")}, "", False),
    ({"Authorization": KEY}, "", False),
    ({"Authorization": f"Bearer {KEY}"}, "", False),
    ({}, "?api_key=", False),
    ({}, "?api_key=x", False),
], ids=str)
async def test_keys(headers: dict[str, str], query: str, allowed: bool) -> None:
    async with api_server(key="") as api:
        for path in ("/api/info", "/api/batch", "/api"):
            status, _, body = await api.send(
                path + query, '{"method": "info"}', headers)
            assert status == (200 if allowed else 401), path
            assert KEY.encode() not in body


@pytest.mark.parametrize("key", ["", "x", KEY])
async def test_without_a_key_nobody_is_let_in(key: str) -> None:
    async with api_server({}, key) as api:
        for headers in ({}, {"X-API-Key": ""}, {"Authorization": "apikey "}):
            for path in ("/api/publish", "/api", "/api/info?api_key="):
                assert (await api.send(path, "{}", headers))[0] == 401


async def test_insecure_is_for_everybody() -> None:
    async with api_server({"http_api": {"insecure": True}}, "") as api:
        assert (await api.send("/api/info", "{}"))[2].startswith(INFO)


async def test_it_can_be_off_or_elsewhere() -> None:
    async with api_server(with_api(disabled=True)) as api:
        assert (await api.send("/api/info", "{}"))[0] == 404
    async with api_server(with_api(handler_prefix="/backend/v1")) as api:
        assert (await api.send("/api/info", "{}"))[0] == 404
        assert (await api.send("/backend/v1/info", "{}"))[2].startswith(INFO)
        assert (await api.send("/backend/v1", '{"method":"info"}'))[0] == 200


@pytest.mark.parametrize("external", [False, True])
async def test_an_internal_port_has_it_unless_it_is_external(external: bool) -> None:
    settings = {**with_api(external=external), "http_server": {"internal_port": 0}}
    async with api_server(settings) as api:
        server = api.server._server
        assert server.internal_port != server.port
        assert (await api.send("/api/info", "{}"))[0] == (200 if external else 404)
        status, _, _ = await get(
            f"http://127.0.0.1:{server.internal_port}/api/info", "POST", X_API_Key=KEY)
        assert status == (404 if external else 400)     # it is there, and misses its body


# ---- requests --------------------------------------------------------------


async def test_only_post(api: Backend) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "PATCH"):
        status, headers, _ = await get(f"{api.server.http}/api/info", method, X_API_Key=KEY)
        assert (status, headers["Allow"]) == (405, "POST")
    assert (await api.send("/api/unknown", "{}"))[0] == 404


async def test_the_content_type_does_not_matter(api: Backend) -> None:
    for kind in ("application/json", "text/plain", "application/octet-stream", "x/y"):
        assert (await api.send("/api/info", "{}", {"Content-Type": kind}))[0] == 200


@pytest.mark.parametrize(("body", "rule"), [
    (b"", "truncated"),
    (b"{", "truncated"),
    (b"[]", "Expected `object`"),
    (b"null", "Expected `object`"),
    (b'{"channel": 7}', "Expected `str | null`, got `int` - at `$.channel`"),
    (b'{"channel": "a"} x', "trailing"),
    (b'{"channel": "a", "tags": {"k": 7}}', "`$.tags[...]`"),
    (b'{"channel": "a", "version": -1}', ">= 0"),
    (b'{"channel": "a", "version": "1"}', "`$.version`"),
    (b'{"channel": "a", "skip_history": 1}', "`$.skip_history`"),
    (b'{"channel": "a", "data": }', "malformed"),
    (b'{"channel": "a", "data": NaN}', "malformed"),
    (b'{"channel": "a", "data": "\xff"}', "no UTF-8 (byte 26)"),
    (b'{"channel": "\\ud800", "data": 1}', "cannot be read"),
    (b'{"channel": "a", "data": ' + b"[" * 100_000, "cannot be read"),
    (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be read"),
], ids=lambda value: str(value)[:60])
async def test_bodies_that_cannot_be_read(api: Backend, body: bytes, rule: str) -> None:
    status, kind, said = await api.send("/api/publish", body)
    assert (status, kind) == (400, "text/plain")
    assert rule in said.decode()
    for path in ("/api/batch", "/api"):
        assert (await api.send(path, b'{"commands": ' + body + b"}"))[0] in (200, 400)


async def test_what_is_not_known_or_null_is_passed_over(api: Backend) -> None:
    body = {"channel": "a", "data": 1, "what": [{}], "tags": None, "delta": None, "version": None,
            "b64data": None, "idempotency_key": None, "skip_history": None}
    assert (await api.call("publish", **body))["offset"] == 1


async def test_a_body_has_a_bound(api: Backend) -> None:
    padding = b" " * (BODY_LIMIT - 2)
    assert (await api.send("/api/info", padding + b"{}"))[0] == 200
    for path in ("/api/info", "/api/batch", "/api"):
        status, kind, _ = await api.send(path, padding + b"{} ")
        assert (status, kind) == (413, "text/plain")


async def test_a_body_without_a_length_has_it_too(api: Backend) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
    writer.write(
        b"POST /api/info HTTP/1.1\r\nHost: x\r\nX-API-Key: " + KEY.encode()
        + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    status = asyncio.create_task(reader.readline())
    for _ in range(17):
        writer.write(chunk)
        await writer.drain()
    assert b" 413 " in await asyncio.wait_for(status, 10)
    writer.close()


# ---- error modes -----------------------------------------------------------


TRANSPORT = {"X-Centrifugo-Error-Mode": "transport"}
ERRORS: list[tuple[str, dict[str, Any], int, int]] = [
    ("history", {"channel": "a", "since": {}, "reverse": True}, 500, 100),
    ("publish", {"channel": "nope:a", "data": 1}, 404, 102),
    ("rpc", {"method": "unknown"}, 404, 104),
    ("publish", {"channel": "a"}, 400, 107),
    ("presence", {"channel": "bare:a"}, 400, 108),
    ("history", {"channel": "a", "since": {"offset": 1, "epoch": "x"}}, 416, 112),
]


@pytest.mark.parametrize(("method", "params", "status", "code"), ERRORS, ids=str)
async def test_errors_as_statuses(
    api: Backend, method: str, params: dict[str, Any], status: int, code: int
) -> None:
    body = json.dumps(params)
    got, kind, said = await api.send(f"/api/{method}", body, TRANSPORT)
    assert (got, kind) == (status, "application/json")
    assert json.loads(said)["code"] == code
    assert list(json.loads(said)) == ["code", "message"]
    for headers in ({}, {"X-Centrifugo-Error-Mode": "other"}):
        got, _, said = await api.send(f"/api/{method}", body, headers)
        assert (got, json.loads(said)["error"]["code"]) == (200, code)


async def test_errors_as_statuses_by_configuration(quiet: None) -> None:
    async with api_server(with_api(error_mode="transport")) as api:
        got, _, said = await api.send("/api/publish", '{"channel": "nope:a", "data": 1}')
        assert (got, json.loads(said)) == (404, {"code": 102, "message": "unknown channel"})
        assert (await api.send("/api/info", "{}"))[2].startswith(INFO)


# ---- several ---------------------------------------------------------------


@pytest.mark.parametrize("parallel", [False, True, None])
async def test_batch(api: Backend, parallel: bool | None) -> None:
    commands: list[dict[str, Any]] = [
        {"publish": {"channel": "a", "data": {"x": 1}}},
        {"publish": {"channel": "nope:a", "data": 1}},
        {"presence_stats": {"channel": "a"}},
        {},
        {"unknown": {}},
        {"broadcast": {"channels": ["b"], "data": 1}},
        {"disconnect": {"user": "nobody"}},
        {"publish": {"channel": "bare:a", "data": 1}},
        {"info": {}},
        {"map_stats": {"channel": "a"}},
        {"history_remove": {"channel": "a"}, "publish": {"channel": "c", "data": 1}},
    ]
    reply = await api.reply("batch", commands=commands, parallel=parallel)
    assert list(reply) == ["replies"]
    epoch = reply["replies"][0]["publish"].pop("epoch")
    assert len(epoch) > 0
    kinds = [next(iter(each)) for each in reply["replies"]]
    assert kinds == ["publish", "error", "presence_stats", "error", "error", "broadcast",
                     "disconnect", "publish", "info", "error", "publish"]
    assert [each["error"]["code"] for each in reply["replies"] if "error" in each] == [
        102, 104, 104, 108]
    assert reply["replies"][0] == {"publish": {"offset": 1}}
    assert reply["replies"][6:8] == [{"disconnect": {}}, {"publish": {}}]
    assert all(len(each) == 1 for each in reply["replies"])


async def test_a_batch_keeps_its_order(api: Backend) -> None:
    commands = [{"publish": {"channel": "a", "data": n}} for n in range(3000)]
    for parallel, first in ((False, 1), (True, 3001)):
        reply = await api.reply("batch", commands=commands, parallel=parallel)
        offsets = [each["publish"]["offset"] for each in reply["replies"]]
        assert offsets == list(range(first, first + 3000))
    history = await api.call("history", channel="a", limit=-1)
    assert [p["data"] for p in history["publications"]] == list(range(2990, 3000))


async def test_a_batch_has_a_bound(api: Backend) -> None:
    body = '{"commands": [' + ",".join(["{}"] * 100_001) + "]}"
    status, _, said = await api.send("/api/batch", body)
    assert (status, said) == (413, b"a batch may have at most 100000 commands\n")
    status, _, said = await api.send("/api", "{}" * 100_001)
    assert (status, said) == (413, b"a request may have at most 100000 commands\n")


@pytest.mark.parametrize("form", ["batch", "parallel batch", "older"])
async def test_others_have_their_turn_between_commands(api: Backend, form: str) -> None:
    publish: dict[str, Any] = {"channel": "a", "data": 1}
    batch = {"commands": [{"publish": publish}] * 3000, "parallel": form == "parallel batch"}
    commands = ["batch", json.dumps(batch)]
    if form == "older":
        commands = ["", json.dumps({"method": "publish", "params": publish}) * 3000]
    await api.call("publish", **publish)
    offsets = set()
    calling = asyncio.create_task(api.send(f"/api/{commands[0]}".rstrip("/"), commands[1]))
    while not calling.done():
        await asyncio.sleep(0)
        offsets.add((await api.server.node.history_stream("a", limit=0)).position.offset)
    assert (await calling)[0] == 200
    # What is seen are the first and the last, and some on the way.
    assert {1, 3001} < offsets


async def test_an_empty_batch(api: Backend) -> None:
    assert await api.reply("batch") == await api.reply("batch", commands=[]) == {"replies": []}


async def test_a_batch_is_read_whole_or_not_at_all(api: Backend) -> None:
    body = '{"commands": [{"publish": {"channel": "a", "data": 1}}, {"publish": {"channel": 7}}]}'
    status, _, said = await api.send("/api/batch", body)
    assert status == 400
    assert b"channel" in said
    assert (await api.call("history", channel="a"))["offset"] == 0


async def test_the_older_form(api: Backend) -> None:
    body = (
        '{"method": "publish", "params": {"channel": "a", "data": {"x":\n 1.50}}}\n'
        '{"id": 2, "method": "HISTORY", "params": {"channel": "a", "limit": 1}} \r\n'
        '{"id": 3, "method": "unknown"}{"method": 9}\n'
        '{"params": {"channel": "bare:a", "data": 1}}'
        '{"method": "publish", "params": {"channel": 7}}\n'
        '{"method": "batch", "params": {}}\n{"method": 99}\n{"method": "info"}\n'
    )
    status, kind, said = await api.send("/api", body)
    assert (status, kind) == (200, "application/json")
    replies = [json.loads(line) for line in said.decode().split("\n")]
    assert [reply.pop("id", 0) for reply in replies] == [0, 2, 3, 0, 0, 0, 0, 0, 0]
    assert replies[0]["result"]["offset"] == 1
    assert replies[1]["result"]["publications"] == [{"data": {"x": 1.5}, "offset": 1}]
    assert b'{"x":  1.50}' in said
    assert replies[2] == {"error": {"code": 104, "message": "method not found"}}
    assert "nodes" in replies[3]["result"]
    assert replies[4] == {"result": {}}
    assert replies[5]["error"]["code"] == 107
    assert [replies[n]["error"]["code"] for n in (6, 7)] == [104, 104]
    assert "nodes" in replies[8]["result"]


@pytest.mark.parametrize("body", [
    b"", b" \n", b"{", b'{"method": "info"} x', b"[]", b"7", b'{"method": null}', b"\xff",
    b'{"method": "info"}\n{', b"[" * 100_000, b'{"params": NaN}'], ids=lambda b: str(b[:30]))
async def test_older_forms_that_cannot_be_read(api: Backend, body: bytes) -> None:
    status, kind, _ = await api.send("/api", body)
    assert (status, kind) == (400, "text/plain")
