"""``docs/tokens.md``: its examples run, and its figures are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from fanout import cli
from fanout.server.tokens import TokenVerifier
from fanout.server.tokens.compact import _MAX_HEADER, MAX_SIZE
from fanout.server.tokens.jwk import _MAX_KEYS
from fanout.server.tokens.jwks import Limits
from fanout.server.tokens.strict import MAX_DEPTH
from tests.server.tokens.support import SECRET, Options

TEXT = (Path(__file__).parents[3] / "docs" / "tokens.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_the_python_example() -> None:
    (code,) = blocks("python")
    names: dict[str, Any] = {"secret": SECRET}
    exec(code, names)
    tokens = TokenVerifier(Options(hmac_secret_key=SECRET))
    connection = tokens.connection(names["connection"])
    subscription = tokens.subscription(names["subscription"], channel="$news", user="42")
    assert connection is not None
    assert subscription is not None
    assert (connection.user, connection.info) == ("42", b'{"name":"Ann"}')


def test_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = blocks("json")
    json.loads(config)
    Path("config.json").write_text(config)
    *makers, check = (shlex.split(line)[1:] for block in blocks("sh")
                      for line in block.splitlines() if line.startswith("fanout "))
    for maker in makers:
        assert cli.main(maker) == 0
        token = capsys.readouterr().out.strip()
        assert cli.main([token if word == "TOKEN" else word for word in check]) == 0
        assert capsys.readouterr().out.startswith("valid: ")


def test_the_figures() -> None:
    plain = " ".join(TEXT.split())
    limits = Limits()
    for figure in (
        f"more than {MAX_SIZE // 1024} KB",
        f"more than {_MAX_HEADER // 1024} KB",
        f"more than {MAX_DEPTH} levels",
        f"It has {limits.timeout:.0f} seconds, {'twice' if limits.tries == 2 else '?'};",
        f"{limits.max_size // 1024} KB and {_MAX_KEYS} keys",
        f"at most {limits.fetches} times in {limits.per:.0f} seconds",
        f"asked for again for {limits.absent_for:.0f} seconds",
    ):
        assert figure in plain, figure
    assert (limits.lifetime, limits.grace) == (3600, 24 * 3600)
    assert "again after an hour" in plain
    assert "for a day at most" in plain
