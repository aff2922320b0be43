"""What docs/server-api.md shows runs as it is printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fanout.server.api.methods import METHODS
from fanout.server.config.model import Config
from tests.server.running import Process

DOC = (Path(__file__).parents[3] / "docs" / "server-api.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
CALLS = [
    (text, *BLOCKS[at + 1]) for at, (language, text) in enumerate(BLOCKS) if language == "sh"]
PROGRAMS = [text for language, text in BLOCKS if language == "python"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    settings = json.loads(BLOCKS[0][1])
    assert set(settings) <= set(Config.__dataclass_fields__)
    with Process(settings, tmp_path_factory.mktemp("doc")) as running:
        yield running


def ran(server: Process, *command: str) -> str:
    here = f"127.0.0.1:{server.port}"
    result = subprocess.run(
        [part.replace("localhost:8000", here) for part in command],
        capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def is_like(got: Any, shown: Any) -> bool:
    """``"..."`` stands for what is different each time."""
    if shown == "...":
        return bool(got)
    if isinstance(shown, dict):
        return got.keys() == shown.keys() and all(is_like(got[k], shown[k]) for k in shown)
    if isinstance(shown, list):
        return len(got) == len(shown) and all(map(is_like, got, shown))
    return bool(got == shown)


@pytest.mark.parametrize(("command", "language", "answer"), CALLS)
def test_calls(server: Process, command: str, language: str, answer: str) -> None:
    said = ran(server, "sh", "-c", command)
    if language == "json":
        assert is_like(json.loads(said), json.loads(answer)), said
    else:
        assert said == answer.removesuffix("\n")


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs(server: Process, program: str) -> None:
    said = ran(server, sys.executable, "-c", program)
    assert re.fullmatch(r"\d+\n|\['PublishResult', 'PresenceStatsResult'\]\n", said), said


def test_every_method_is_there() -> None:
    told = set(re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE))
    assert told == {name for name, method in METHODS.items() if method.available} | {"batch"}
