"""The log: its formats, and a file for it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanout import cli
from fanout.server import log
from fanout.server.log_limit import LINES, MOST_KINDS, Sparing
from tests.server.running import serving


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logging.getLogger("websockets").setLevel(logging.INFO)      # the tests' own client
    yield
    logging.getLogger("websockets").setLevel(logging.NOTSET)
    log.configure("info")  # closes a file
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_line_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", form="json")
    log.logger.info('user "%s" left\n%s', "\N{SNOWMAN}", "\ud800")
    log.logger.debug("not this")
    try:
        raise ValueError("broken\nhere")
    except ValueError:
        log.logger.exception("failed")
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert list(first) == ["time", "level", "message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert (first["level"], first["message"]) == ("info", 'user "\N{SNOWMAN}" left\n\ud800')
    assert (second["level"], second["message"]) == ("error", "failed")
    assert second["error"].endswith("ValueError: broken\nhere")


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_file_is_appended_to(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    for message in ("one \ud800", "two"):
        log.configure("info", str(path), form)
        log.logger.info("%s", message)
    log.configure("info")
    log.logger.info("three")
    before, one, two = path.read_text().splitlines()
    assert before == "before"
    assert "one \\ud800" in one
    assert "two" in two
    assert "three" in capsys.readouterr().err


def test_a_file_that_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FANOUT_LOG_FILE", str(tmp_path / "none" / "log"))
    assert cli.main(["serve"]) == 1
    assert capsys.readouterr().err == "fanout: cannot open log.file: No such file or directory\n"


# Fields


@pytest.mark.parametrize("form", ["text", "json"])
def test_fields_follow_the_message(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("debug", form=form)
    log.logger.debug(
        "a client connected", extra=log.fields(client="c1", user='a "b"\nc', code=3000, none=""))
    line = capsys.readouterr().err.removesuffix("\n")
    if form == "json":
        assert list(json.loads(line).items())[1:] == [
            ("level", "debug"), ("message", "a client connected"), ("client", "c1"),
            ("user", 'a "b"\nc'), ("code", 3000)]
    else:
        assert line.endswith(
            'DEBUG a client connected client="c1" user="a \\"b\\"\\nc" code=3000')


@pytest.mark.parametrize("level", ["debug", "info"])
async def test_connections_are_told_when_asked_for(
    level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"client": {"insecure": True}}
    async with serving(settings) as server:
        log.configure(level, form="json")
        peer = await server.client("news")
        await peer.close()
        broken = await server.client()
        await broken.send_text("no JSON")
        assert (await broken.closed())[0] == 3501
        await server.settled(lambda: not server.node.clients)
    log.configure("info")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [(line["level"], line["message"], line.get("code")) for line in lines]
    ended = "a client was disconnected"
    if level == "info":
        assert told == [("info", ended, 3501)]
    else:
        assert told == [
            ("debug", "a client connected", None), ("debug", ended, 3000),
            ("debug", "a client connected", None), ("info", ended, 3501)]
        assert lines[0]["client"] == lines[1]["client"] != lines[2]["client"]
    for line in lines:
        assert line["transport"] == "websocket" and line["encoding"] == "json"


async def test_refused_commands_are_told_when_asked_for(
    capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"client": {"allow_anonymous_connect_without_token": True}}
    async with serving(settings) as server, await server.client() as peer:
        for level in ("info", "debug"):
            log.configure(level, form="json")
            assert (await peer.error(publish={"channel": "news", "data": 1}))[0] == 103
        log.configure("info")
        (line,) = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert line["message"] == "a command is refused: 103: permission denied"
    assert (line["command"], line["channel"]) == ("publish", "news")


async def test_nothing_secret_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"client": {"token": {"hmac_secret_key": "k" * 32}}}
    async with serving(settings) as server:
        log.configure("trace", form="json")
        peer = await server.peer(additional_headers={"X-Mine": "HEADER-VALUE"})
        await peer.send({"id": 1, "connect": {
            "token": "TOKEN-VALUE", "data": {"x": "PAYLOAD-VALUE"}}})
        assert (await peer.closed())[0] == 3500
    log.configure("info")
    told = capsys.readouterr().err
    assert "a token is refused" in told
    assert "-VALUE" not in told


# A bound


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def record(text: str, *args: object, level: int = logging.INFO) -> logging.LogRecord:
    return logging.LogRecord("fanout", level, __file__, 1, text, args, None)


def test_a_kind_of_line_has_a_bound() -> None:
    clock = Clock()
    sparing = Sparing(3, 10.0, clock)
    assert [sparing.admits(record("a %s", n)) for n in range(5)] == [True] * 3 + [False] * 2
    assert sparing.admits(record("another"))
    assert sparing.admits(record("a %s", 1, level=logging.ERROR))
    assert all(sparing.admits(record("a", level=logging.DEBUG)) for _ in range(9))
    clock.now = 9.9
    assert not sparing.is_over
    clock.now = 10.0
    assert sparing.is_over
    (told,) = sparing.kept_back()
    assert told.getMessage() == "2 more lines like this: a %s"
    assert (told.levelno, told.fields) == (logging.INFO, {"kept_back": 2})
    assert sparing.admits(record("a %s", 1)) and not sparing.is_over


def test_texts_without_arguments_of_their_own_are_told_apart() -> None:
    sparing = Sparing(1, 10.0, Clock())
    assert all(sparing.admits(record("%s", f"warning {n}")) for n in range(50))
    assert not sparing.admits(record("%s", "warning 7"))


def test_kinds_have_a_bound_too() -> None:
    sparing = Sparing(1, 10.0, Clock())
    assert sum(sparing.admits(record("%s", str(n))) for n in range(5_000)) == MOST_KINDS + 1
    assert [told.getMessage() for told in sparing.kept_back()] == [
        f"{5_000 - MOST_KINDS - 1} more lines like this: others"]


async def test_a_storm_of_refused_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    settings = {"client": {"token": {"hmac_secret_key": "k" * 32}}}
    async with serving(settings) as server:
        log.configure("info")
        for _ in range(3 * LINES):
            peer = await server.peer()
            await peer.send({"id": 1, "connect": {"token": "x"}})
            assert (await peer.closed())[0] == 3500
    log.configure("info")       # which tells what was kept back
    lines = capsys.readouterr().err.splitlines()
    refused = [line for line in lines if "INFO a token is refused" in line]
    kept_back = sum(
        int(line.rpartition("kept_back=")[2]) for line in lines
        if "more lines like this: a token is refused" in line)
    assert len(refused) < 3 * LINES
    assert len(refused) + kept_back == 3 * LINES


@pytest.mark.parametrize("head", [b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nx\x8bxxx",
                                  b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"])
async def test_a_body_that_cannot_be_read_is_its_senders_concern(
    head: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving({"client": {"insecure": True}, "sse": {"enabled": True}}) as server:
        log.configure("info")
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /emulation HTTP/1.1\r\nHost: x\r\n" + head)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        # The connection is of no more use, and the next request should not be sent over it.
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
        assert b"\r\nconnection: close" in answer.lower() or answer.startswith(b"HTTP/1.0 ")
    assert "ERROR" not in capsys.readouterr().err
