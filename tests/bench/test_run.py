"""Runs against a real server: whole ones, and those in which something goes wrong."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest

from fanout.bench.plan import Plan, parse_target
from fanout.bench.progress import Progress
from fanout.bench.run import Run
from fanout.bench.summary import Summary
from fanout.cli import main
from tests.server.conftest import OPEN
from tests.server.running import InProcess, Process, serving


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    server = Process(OPEN, tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    assert server.stop() == 0


def plan(url: str, **options: Any) -> Plan:
    """A small run that does not wait long for what is lost."""
    return Plan(target=parse_target(url), **{
        "connections": 10, "rate": 400.0, "duration": 0.5, "settle": 0.3, **options})


@asynccontextmanager
async def going_on(run: Run) -> AsyncIterator[asyncio.Task[Summary]]:
    """A run in which messages have begun to arrive."""
    task = asyncio.create_task(run.run())
    async with asyncio.timeout(10):
        while run.ledger.delivered < 20:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.002)
    yield task
    if not task.done():
        run.stop()
        await task


# What goes well


async def test_everybody_gets_everything(process: Process) -> None:
    summary = await Run(plan(
        process.http, connections=10, channels=4, subscribers=5, publishers=2)).run()
    assert summary.whole, summary
    assert (summary.connected, summary.subscriptions) == (10, 20)
    assert summary.sent == summary.published == 200
    assert summary.delivered == 200 * 5
    assert (summary.missing, summary.duplicated, summary.late, summary.foreign) == (0, 0, 0, 0)
    assert 0 < summary.latency.p50 <= summary.latency.p95 <= summary.latency.p99
    assert summary.latency.p99 <= summary.latency.max
    assert summary.connect.p50 > 0
    # The data, the push around it and the frame's head.
    assert summary.bytes_received > summary.delivered * 128


async def test_everybody_gets_everything_in_protobuf(process: Process) -> None:
    summary = await Run(plan(
        process.http, channels=2, publishers=2, format="protobuf")).run()
    assert summary.whole, summary
    assert summary.delivered == 200 * 5


@pytest.mark.parametrize("format", ["json", "protobuf"])
async def test_clients_with_tokens(format: str) -> None:
    secret = "a secret of at least thirty-two bytes"
    settings = {
        "client": {"token": {"hmac_secret_key": secret}},
        "channel": {"without_namespace": {
            "allow_subscribe_for_client": True, "allow_publish_for_client": True}},
    }
    async with serving(settings) as server:
        whole = await Run(plan(server.http, token_secret=secret, format=format)).run()
        refused = await Run(plan(
            server.http, token_secret=secret.upper(), format=format, rate=0.0)).run()
    assert whole.whole, whole
    assert (refused.connected, refused.failed) == (0, {"3500 invalid token": 10})


async def test_each_connection_has_a_channel_unless_said_otherwise(process: Process) -> None:
    run = Run(plan(process.http, connections=10, channels=5, rate=100.0, duration=0.1))
    summary = await run.run()
    assert summary.subscriptions == 10
    assert sorted(subscription.channel for subscription in run.ledger.subscriptions) == [
        0, 0, 1, 1, 2, 2, 3, 3, 4, 4]


async def test_messages_have_the_size_that_was_asked(process: Process) -> None:
    small, large = [
        await Run(plan(process.http, connections=2, rate=50.0, size=size)).run()
        for size in (200, 60_000)
    ]
    assert small.whole
    assert large.whole
    assert large.bytes_received > large.delivered * 60_000


async def test_what_others_publish_is_not_counted() -> None:
    async with serving(OPEN) as server:
        run = Run(plan(server.http, duration=60.0))
        async with going_on(run) as task:
            await server.node.publish("bench-0", b'"not yours"')
            await server.settled(lambda: run.ledger.foreign > 0)
            run.stop()
            summary = await task
    assert summary.whole
    assert summary.interrupted
    assert summary.delivered == summary.published * 10


API_KEY = "only for applications"


async def test_publishing_by_the_api() -> None:
    async with serving({**OPEN, "http_api": {"key": API_KEY}}) as server:
        summary = await Run(plan(
            server.http, publishers=2, rate=100.0, api_url=f"{server.http}/api",
            api_key=API_KEY)).run()
        refused = await Run(plan(
            server.http, rate=50.0, api_url=f"{server.http}/api", api_key="no such key")).run()
    assert summary.whole, summary
    assert summary.delivered == summary.published * 10 == 500
    assert refused.refused == {"HTTP 401": refused.sent}
    assert not refused.whole


async def test_connections_alone_are_held_and_answer_pings() -> None:
    options = {"client": {**OPEN["client"], "ping_interval": "1s", "pong_timeout": "0.5s"}}
    async with serving(options) as server:
        summary = await Run(plan(server.http, rate=0.0, duration=2.1)).run()
    assert summary.whole, summary
    assert (summary.connected, summary.sent) == (10, 0)
    assert summary.publishing >= 2.1


async def test_no_more_connections_at_once_than_allowed(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = most = 0
    connect = Run._connect

    async def counted(self: Run, number: int) -> object:
        nonlocal opening, most
        opening += 1
        most = max(most, opening)
        try:
            return await connect(self, number)
        finally:
            opening -= 1

    monkeypatch.setattr(Run, "_connect", counted)
    summary = await Run(plan(
        process.http, connections=60, connect_concurrency=7, connect_rate=1e6, rate=10.0)).run()
    assert summary.whole
    assert most == 7


def test_each_client_gets_a_token_of_its_own() -> None:
    secret = "a secret of at least thirty-two bytes"
    run = asyncio.run(_made(plan("http://localhost", token_secret=secret)))
    claims = [jwt.decode(run._token(number), secret, ["HS256"]) for number in range(3)]
    assert [claim["sub"] for claim in claims] == ["bench-0", "bench-1", "bench-2"]
    assert "secret" not in repr(run.plan)


async def _made(plan: Plan) -> Run:
    return Run(plan)


# What goes wrong


async def test_who_is_not_let_in_is_counted(tmp_path: Path) -> None:
    async with serving({"client": {"insecure": True, "connection_limit": 3}}) as server:
        summary = await Run(plan(server.http, rate=0.0, duration=0.1)).run()
    assert (summary.connected, summary.failed) == (
        3, {"HTTP 503: no more connections here": 7})
    assert not summary.whole


async def test_an_origin_is_sent_only_where_one_is_asked_for() -> None:
    settings = {"client": {**OPEN["client"], "allowed_origins": ["https://app.example"]}}
    async with serving(settings) as server:
        programs, pages, others = [
            await Run(plan(server.http, rate=0.0, duration=0.05, origin=origin)).run()
            for origin in ("", "https://app.example", server.http)
        ]
    assert programs.whole
    assert pages.whole
    assert others.failed == {"HTTP 403: this origin may not connect": 10}


@pytest.mark.parametrize(("answer", "says"), [
    (b"Content-Type: text/plain\r\nContent-Length: 99\r\n\r\nbusy\r\nnow", "HTTP 503: busy"),
    (b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\nbus", "HTTP 503: bus"),
    (b"Content-Type: text/plain\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999,
     "HTTP 503: " + "x" * 200),
    (b"Content-Type: text/plain\r\nContent-Length: -1\r\n\r\nbusy", "HTTP 503"),
    (b"Content-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", "HTTP 503"),
    (b"\r\n", "HTTP 503"),
])
async def test_the_first_line_of_a_refusal_is_the_reason(answer: bytes, says: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\n" + answer)
        if not answer.endswith(b"bus"):     # who has read enough does not wait for the rest
            await reader.read()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        summary = await Run(plan(f"http://127.0.0.1:{port}", connections=2, rate=0.0)).run()
    assert summary.failed == {says: 2}


async def test_an_error_of_the_protocol_is_the_reason() -> None:
    async with serving({"client": {"allow_anonymous_connect_without_token": True}}) as server:
        summary = await Run(plan(server.http, rate=0.0, duration=0.1)).run()
    assert summary.failed == {"error 103 permission denied": 10}


async def test_nobody_listens() -> None:
    async with serving(OPEN) as server:
        gone = server.http
    summary = await Run(plan(gone)).run()
    (reason, count), = summary.failed.items()
    assert "refused" in reason
    assert count == 10
    assert summary.publishers_failed == {reason: 1}
    assert (summary.connected, summary.sent, summary.whole) == (0, 0, False)
    text = str(summary)
    assert f"  failed      10 connections and 1 publisher: {reason}\n" in text
    assert "\nlatency       -\n" in text
    assert "0.00 ms" not in text


async def test_publishers_that_are_not_let_in_are_told_apart() -> None:
    async with serving({"client": {"insecure": True, "connection_limit": 10}}) as server:
        summary = await Run(plan(server.http, connect_concurrency=1)).run()
    assert (summary.connected, summary.failed) == (10, {})
    assert summary.publishers_failed == {"HTTP 503: no more connections here": 1}
    assert not summary.whole
    assert "  failed      1 publisher: HTTP 503" in str(summary)
    assert "nothing was sent: there was no connection to publish by" in str(summary)


async def test_an_api_that_is_elsewhere() -> None:
    settings = {**OPEN, "http_api": {"key": API_KEY}}
    async with serving(settings) as server:
        summary = await Run(plan(
            server.http, rate=50.0, api_url=f"{server.http}/there", api_key=API_KEY)).run()
    assert summary.refused == {
        f"HTTP 404, no API at {server.http}/there/publish: --api-url says where it is":
        summary.sent}


async def test_somebody_else_answers(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        summary = await Run(plan(f"http://127.0.0.1:{port}", connections=2, rate=0.0)).run()
    assert summary.failed == {"the server does not speak HTTP": 2}


async def test_who_does_not_answer_in_time() -> None:
    release = asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with await asyncio.start_server(ignore, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        summary = await Run(plan(
            f"http://127.0.0.1:{port}", connections=2, rate=0.0, timeout=0.2)).run()
        release.set()
    assert summary.failed == {"no answer in 0.2 s": 2}


async def test_publications_that_are_refused() -> None:
    channel = {"without_namespace": {
        "allow_subscribe_for_anonymous": True, "allow_subscribe_for_client": True}}
    settings = {
        "client": {"allow_anonymous_connect_without_token": True}, "channel": channel}
    async with serving(settings) as server:
        summary = await Run(plan(server.http, rate=50.0)).run()
    assert summary.connected == 10
    assert summary.refused == {"error 103 permission denied": summary.sent}
    assert (summary.published, summary.delivered, summary.missing) == (0, 0, 0)
    assert not summary.whole


async def test_what_is_lost_is_found() -> None:
    async with serving(OPEN) as server:
        run = Run(plan(server.http, duration=60.0))
        async with going_on(run) as task:
            victim = next(iter(server.node.clients.values()))
            await server.node.unsubscribe("bench-0", client=victim.id)
            sent = run.ledger.sent
            await server.settled(lambda: run.ledger.sent > sent + 20)
            run.stop()
            summary = await task
    assert summary.missing >= 20
    assert summary.delivered + summary.missing == summary.published * 10
    assert not summary.whole


async def test_what_comes_twice_is_found() -> None:
    async with serving(OPEN) as server:
        run = Run(plan(server.http, duration=60.0))
        reader = await server.client("bench-0")
        async with going_on(run) as task:
            data = (await reader.next())["push"]["pub"]["data"]
            await server.node.publish("bench-0", json.dumps(data).encode())
            run.stop()
            summary = await task
    assert summary.duplicated == 10
    assert summary.missing == 0
    assert not summary.whole


async def test_a_connection_that_is_ended_is_lost_with_what_it_misses() -> None:
    async with serving(OPEN) as server:
        run = Run(plan(server.http, duration=60.0))
        async with going_on(run) as task:
            victim = next(iter(server.node.clients.values()))
            await server.node.disconnect(client=victim.id)
            sent = run.ledger.sent
            await server.settled(lambda: run.ledger.sent > sent + 20)
            run.stop()
            summary = await task
    assert summary.lost == {"3503 force disconnect": 1}
    assert summary.missing == 0
    assert summary.missing_to_lost >= 20
    assert not summary.whole


async def test_a_server_that_dies_ends_the_run(tmp_path: Path) -> None:
    with Process(OPEN, tmp_path) as server:
        run = Run(plan(server.http, duration=600.0))
        async with going_on(run) as task:
            server.kill(signal.SIGKILL)
            summary = await asyncio.wait_for(task, 20)
        await asyncio.to_thread(server.wait)
    assert sum(summary.lost.values()) == 11
    assert summary.missing == 0
    assert summary.delivered <= summary.sent * 10
    assert not (summary.whole or summary.interrupted)
    assert not summary.behind       # nobody was too slow


# What is shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_progress_on_a_pipe(process: Process) -> None:
    run, out = Run(plan(process.http, duration=60.0)), io.StringIO()
    progress = Progress(run, out)
    async with going_on(run):
        progress.draw()
        progress.erase()
    line = out.getvalue()
    assert re.fullmatch(
        r"\d+\.\ds publishing connections=11/11 failed=0 lost=0 out=\d+/s in=[1-9]\d*/s "
        r"p50=\d+\.\d\dms p95=\d+\.\d\dms p99=\d+\.\d\dms\n", line), line


async def test_progress_on_a_terminal_draws_over_itself(process: Process) -> None:
    run, out = Run(plan(process.http, duration=60.0)), Terminal()
    progress = Progress(run, out)
    async with going_on(run):
        progress.draw()
        first = out.getvalue()
        progress.draw()
        progress.erase()
    assert first.count("\n") == 4
    assert "\x1b" not in first
    assert "11 of 11, 0 failed, 0 lost" in first
    assert out.getvalue().count("\x1b[4F\x1b[J") == 2
    assert out.getvalue().endswith("\x1b[4F\x1b[J")


async def test_nothing_of_a_server_moves_the_cursor(process: Process) -> None:
    run = Run(plan(process.http, rate=0.0, duration=0.05))
    summary = await run.run()
    run.ledger.failed["error 100 \x1b[2J\r\nwhole"] = 1
    text = str(Summary.of(
        run.plan, run.ledger, publishing=1, measured=1, cpu=0.95, behind=True, interrupted=True))
    assert "\x1b" not in text
    assert "\r" not in text
    assert "error 100 ?[2J??whole" in text
    assert "the client was busy" in text
    assert "ended early" in text
    assert "nothing was sent" not in text       # nothing was to be sent

    def asked(*, behind: bool) -> str:
        return str(Summary.of(
            replace(run.plan, rate=400), run.ledger, publishing=2, measured=2, cpu=0,
            behind=behind, interrupted=False))

    assert "nothing was sent" in asked(behind=False)
    run.ledger.sent = 30
    assert "the publishers sent 15 messages/s, not the 400/s asked" in asked(behind=True)
    assert "ended early" not in str(summary)


# The command line


QUICK = ("-c", "4", "-r", "100", "-d", "0.2", "--settle", "0.3")


def test_the_command_prints_its_summary(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", process.http, *QUICK]) == 0
    out, err = capsys.readouterr()
    assert "connections   4 of 4" in out
    assert "missing     0" in out
    assert err == ""        # shorter than the first line of progress


def test_the_summary_as_json(process: Process, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", process.url, *QUICK, "--json", "--quiet"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["whole"] is True
    assert summary["delivered"] == summary["published"] * 4 == 80
    assert summary["latency"].keys() == {"p50", "p95", "p99", "max"}


def test_the_status_tells_that_something_is_wrong(
    process: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = process.http + "/nowhere"
    assert main(["bench", nowhere, *QUICK, "--quiet"]) == 1
    assert "failed      4 connections and 1 publisher: HTTP 404: Not Found\n" in (
        capsys.readouterr().out)


@pytest.mark.parametrize(("arguments", "says"), [
    (["http://192.0.2.1"], "--remote"),
    (["wss://example.com/connection/websocket"], "--remote"),
    (["ftp://localhost"], "http, https, ws or wss"),
    (["http://user:secret@localhost"], "tokens"),
    (["http://localhost:99999"], "not a URL"),
    (["-c", "2", "-s", "3"], "3 subscribers of a channel need as many connections, not 2"),
    (["--token", "a", "--token-secret-file", __file__], "exclude"),
    (["--api-url", "http://localhost/api"], "--api-key-file"),
    (["--api-key-file", "/nowhere"], "/nowhere cannot be read: No such file or directory"),
    (["--api-key-file", "/dev/null"], "is empty"),
    (["--api-key-file", __file__, "--api-url", "http://192.0.2.1/api"], "--remote"),
    (["-d", "0"], "-d"),
    (["--origin", "a\r\nCookie: b"], "must be as browsers send it"),
    (["-c", "1000000", "--publishers", "10000"], "ulimit -n"),
])
def test_what_is_refused(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *arguments]) in (1, 2)
    out, err = capsys.readouterr()
    assert out == ""
    assert says in err
    assert "secret@" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_gives_the_summary_so_far(process: Process, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "fanout", "bench", process.http, "-c", "4", "-d", "600"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stderr is not None
        for line in bench.stderr:
            if "publishing" in line:
                break
        bench.send_signal(number)
        out, _ = bench.communicate(timeout=20)
    assert "the run was ended early" in out
    assert "missing     0" in out
    assert bench.returncode == 0


async def test_a_run_leaves_nothing_behind() -> None:
    async with serving(OPEN) as server:
        tasks = len(asyncio.all_tasks())
        await Run(plan(server.http)).run()
        await settled_at(server, tasks)


async def settled_at(server: InProcess, tasks: int) -> None:
    await server.settled(
        lambda: not server.node.clients and len(asyncio.all_tasks()) <= tasks)
