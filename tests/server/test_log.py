"""The log: its formats, and a file for it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanout import cli
from fanout.server import log


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
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
