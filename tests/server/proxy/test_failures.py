"""Backends that are slow, gone, broken or hostile: a clear error, in time, within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from fanout.codes import ClientError
from fanout.errors import ClosedError
from fanout.events import PublishEvent, RPCEvent, SubscribeEvent
from fanout.server.proxy import Proxies
from fanout.server.proxy.failures import FailureLog
from fanout.server.proxy.link import CONNECTIONS, MAX_REPLY
from tests.server.proxy.backend import Backend, Call, running_script
from tests.server.proxy.conftest import (
    DECISIONS,
    EVENTS,
    PROLONGATIONS,
    Start,
    Visitor,
    all_proxies,
    ask,
    make,
)

OK = b"HTTP/1.1 200 OK\r\n"
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def read_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.lower().split(b"\r\n") if b"content-length" in line)
    await reader.readexactly(int(length.split(b":")[1]))


def says(content: bytes) -> Script:
    """Read one request, write ``content``, cut the connection."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(content)

    return script


async def failure(proxies: Proxies, event: str = "rpc") -> tuple[int, bool]:
    with pytest.raises(ClientError) as caught:
        await ask(proxies, event)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value.code, caught.value.temporary


@pytest.mark.parametrize(("content", "why"), [
    (b"", "Server disconnected"),
    (b"SSH-2.0-OpenSSH_9.9\r\n", "no HTTP"),
    (OK + b"Content-Length: 100\r\n\r\n{}", "ends too early"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "ends too early"),
    (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "no HTTP"),
    (OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", "encoded wrongly"),
    (OK + b"X: " + b"x" * 100_000 + b"\r\n\r\n", "no HTTP"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}", "no HTTP"),
])
async def test_an_answer_that_is_no_http(
    start: Start, caplog: pytest.LogCaptureFixture, content: bytes, why: str
) -> None:
    async with running_script(says(content)) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}?key=secret"))
        assert await failure(proxies) == (100, True)
    line, = caplog.messages
    assert why in line
    assert "secret" not in line


@pytest.mark.parametrize("event", EVENTS)
async def test_nobody_listens(
    start: Start, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    async with running_script(says(b"")) as url:
        pass
    proxies = await start(all_proxies(lambda path: f"{url}{path}"))
    before = time.time()
    if event in PROLONGATIONS:
        reply = await ask(proxies, event)
        assert not reply.expired
        assert before + 60 <= reply.expire_at <= time.time() + 60
    else:
        assert await failure(proxies, event) == (100, True)
    line, = caplog.messages
    assert line.startswith(f"{place_of(event)} ({event}, {url})")
    assert "Cannot connect" in line
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def place_of(event: str) -> str:
    if event == "rpc":
        return "rpc.proxy"
    return f"{'client' if event in ('connect', 'refresh') else 'channel'}.proxy.{event}"


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("sent", [b"", OK, OK + b"Content-Length: 2\r\n\r\n{"])
async def test_a_timeout_bounds_the_whole_call(
    start: Start, caplog: pytest.LogCaptureFixture, event: str, sent: bytes
) -> None:
    over = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(sent)
        await reader.read()         # until the other side has had enough
        over.set()

    async with running_script(never) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}", timeout="50ms"))
        if event in PROLONGATIONS:
            assert (await ask(proxies, event)).expire_at > time.time()
        else:
            assert await failure(proxies, event) == (100, True)
        assert "no answer within 0.05 s" in caplog.text
        await over.wait()


async def test_a_slow_trickle_is_timed_out_too(start: Start) -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        while not reader.at_eof() and not writer.is_closing():
            writer.write(b"1\r\n \r\n")
            await writer.drain()
            await asyncio.sleep(0.005)

    async with running_script(trickle) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}", timeout="50ms"))
        assert await failure(proxies) == (100, True)


def padded(size: int) -> bytes:
    """A valid answer of so many bytes."""
    empty = b'{"result": {"data": ""}}'
    return empty.replace(b'""', b'"' + b"x" * (size - len(empty)) + b'"')


@pytest.mark.parametrize("event", DECISIONS)
async def test_an_answer_may_be_long_but_not_too_long(
    backend: Backend, proxies: Proxies, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    backend.on(f"/{event}", padded(MAX_REPLY))
    await ask(proxies, event)
    backend.on(f"/{event}", padded(MAX_REPLY + 1))
    assert await failure(proxies, event) == (100, True)
    assert f"more than {MAX_REPLY} bytes" in caplog.text


async def test_an_answer_without_end_is_cut(start: Start) -> None:
    cut = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            while not writer.is_closing():
                writer.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
                await writer.drain()
        except ConnectionError:
            cut.set()

    async with running_script(endless) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}"))
        assert await failure(proxies) == (100, True)
        await cut.wait()


async def test_a_compressed_answer_counts_with_its_true_length(
    backend: Backend, proxies: Proxies, caplog: pytest.LogCaptureFixture
) -> None:
    def compressed(size: int) -> Callable[[Call], web.Response]:
        return lambda call: web.Response(
            body=gzip.compress(padded(size), 1), headers={"Content-Encoding": "gzip"})

    backend.on("/rpc", compressed(1000))
    await ask(proxies, "rpc")
    assert backend.only("/rpc").headers["accept-encoding"] == "identity"
    backend.on("/rpc", compressed(50 * MAX_REPLY))
    assert await failure(proxies) == (100, True)
    assert f"more than {MAX_REPLY} bytes" in caplog.text


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    backend: Backend, proxies: Proxies, status: int
) -> None:
    backend.on("/elsewhere", {"result": {}})
    backend.on("/rpc", lambda call: web.Response(
        status=status, headers={"Location": backend.url("/elsewhere")}))
    assert await failure(proxies) == (100, True)
    assert backend.to("/elsewhere") == []


async def test_a_cookie_of_the_backend_is_not_kept(backend: Backend, start: Start) -> None:
    """It was for one client; the next request is another's."""
    # A name: cookies of mere addresses are kept by few.
    proxies = await start(all_proxies(
        lambda path: backend.url(path).replace("127.0.0.1", "localhost")))
    backend.on("/rpc", lambda call: web.Response(
        body=b"{}", headers={"Set-Cookie": "session=1; Path=/"}))
    await ask(proxies, "rpc")
    await ask(proxies, "rpc")
    assert ["cookie" in call.headers for call in backend.to("/rpc")] == [False, False]


async def test_a_proxy_in_the_environment_is_not_used(
    backend: Backend, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    proxies = await start(all_proxies(backend.url))
    backend.on("/rpc", {"result": {"data": 1}})
    assert (await ask(proxies, "rpc")).data == b"1"


async def test_a_failed_call_is_not_repeated(start: Start) -> None:
    requests: list[int] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):          # the second comes over a connection that was good
            await read_request(reader)
            requests.append(len(requests))
            if len(requests) == 1:
                writer.write(OK + b"Content-Length: 2\r\n\r\n{}")

    async with running_script(once) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}"))
        await ask(proxies, "publish")
        assert await failure(proxies, "publish") == (100, True)
    assert requests == [0, 1]


async def test_connections_are_used_again(backend: Backend, proxies: Proxies) -> None:
    for status in (200, 500, 200, 404, 200):
        backend.on("/rpc", {} if status == 200 else status)
        try:
            await ask(proxies, "rpc")
        except ClientError:
            assert status != 200
    assert len({call.peer for call in backend.to("/rpc")}) == 1


async def test_many_calls_at_once(backend: Backend, proxies: Proxies) -> None:
    """Each gets its own answer, over a bounded number of connections."""
    calls = 1000
    now = most = 0

    async def answer(call: Call) -> dict[str, Any]:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return {"result": {"data": call.json["data"]}}

    backend.on("/rpc", answer)
    replies = await asyncio.gather(*(
        proxies.rpc(Visitor(id=f"c{number}"), RPCEvent("add", b"%d" % number))
        for number in range(calls)))
    assert [reply.data for reply in replies] == [b"%d" % number for number in range(calls)]
    assert most <= CONNECTIONS
    stats = next(one for one in proxies.stats() if one.event == "rpc")
    assert (stats.num_calls, stats.num_failures, stats.num_in_flight) == (calls, 0, 0)


async def test_more_calls_than_connections_wait(backend: Backend, proxies: Proxies) -> None:
    gate = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        await gate.wait()
        return {"result": {}}

    backend.on("/rpc", answer)
    calls = [asyncio.create_task(ask(proxies, "rpc")) for _ in range(CONNECTIONS + 1)]
    await backend.called("/rpc", CONNECTIONS)
    assert len(backend.calls) == CONNECTIONS
    gate.set()
    await asyncio.gather(*calls)
    assert len(backend.calls) == CONNECTIONS + 1


@pytest.mark.parametrize("event", EVENTS)
async def test_calls_in_flight_are_bounded(
    backend: Backend, start: Start, caplog: pytest.LogCaptureFixture, event: str
) -> None:
    proxies = await start(all_proxies(backend.url), max_calls=2)
    gate = asyncio.Event()

    async def answer(call: Call) -> dict[str, Any]:
        await gate.wait()
        return {"result": {}}

    backend.on(f"/{event}", answer)
    calls = [asyncio.create_task(ask(proxies, event)) for _ in range(2)]
    await backend.called(f"/{event}", 2)
    if event in PROLONGATIONS:
        assert (await ask(proxies, event)).expire_at > time.time()
    else:
        assert await failure(proxies, event) == (111, True)
    assert "2 calls are in flight already" in caplog.text
    gate.set()
    await asyncio.gather(*calls)
    assert len(backend.calls) == 2
    await ask(proxies, event)
    assert len(backend.calls) == 3


async def test_a_client_that_is_gone_asks_no_more(start: Start) -> None:
    """A cancelled question cuts its connection, and counts neither as call nor as failure."""
    asked, cut = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()
        cut.set()

    async with running_script(script) as url:
        proxies = await start(all_proxies(lambda path: f"{url}{path}"))
        question = asyncio.create_task(ask(proxies, "rpc"))
        await asked.wait()
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await cut.wait()
    stats = next(one for one in proxies.stats() if one.event == "rpc")
    assert (stats.num_calls, stats.num_failures, stats.num_in_flight) == (1, 0, 0)


async def test_closing_ends_what_is_in_flight(backend: Backend, proxies: Proxies) -> None:
    async def answer(call: Call) -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    backend.on("/rpc", answer)
    question = asyncio.create_task(failure(proxies))
    await backend.called("/rpc")
    await proxies.close()
    assert await question == (100, True)
    await proxies.close()
    with pytest.raises(ClosedError):
        await ask(proxies, "rpc")


async def test_it_must_be_started(backend: Backend) -> None:
    with pytest.raises(ClosedError):
        await ask(make(all_proxies(backend.url)), "rpc")


def test_failures_are_logged_once_a_second(caplog: pytest.LogCaptureFixture) -> None:
    now = 100.0
    log = FailureLog("rpc.proxy", lambda: now)
    for _ in range(1000):
        log.add("gone")
    assert caplog.messages == ["rpc.proxy: gone"]
    now += 1.0
    log.add("slow")
    log.add("slow")
    now += 5.0
    log.add("gone")
    assert caplog.messages == [
        "rpc.proxy: gone", "rpc.proxy: slow (999 more before)", "rpc.proxy: gone (1 more before)"]


async def test_stats(backend: Backend, proxies: Proxies) -> None:
    backend.on("/rpc", {"error": {"code": 400}})
    backend.on("/publish", 500)
    backend.on("/subscribe", {"result": {}})
    for question in (
        proxies.rpc(Visitor(), RPCEvent("add")),
        proxies.publish(Visitor(), PublishEvent("news", b"1")),
        proxies.subscribe(Visitor(), SubscribeEvent("news")),
    ):
        with contextlib.suppress(ClientError):
            await question
    stats = {one.event: one for one in proxies.stats()}
    assert set(stats) == set(EVENTS)
    assert {event: (one.num_calls, one.num_failures) for event, one in stats.items()} == {
        "connect": (0, 0), "refresh": (0, 0), "subscribe": (1, 0), "sub_refresh": (0, 0),
        "publish": (1, 1), "rpc": (1, 0)}
    assert stats["rpc"].seconds > 0
    assert {one.name for one in stats.values()} == {"default"}
