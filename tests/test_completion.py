"""The shells' own completion, with what ``fanout completion`` prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.cli import main


@pytest.fixture
def path(tmp_path: Path) -> dict[str, str]:
    """An environment in which ``fanout`` is this interpreter's."""
    command = tmp_path / "fanout"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fanout "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def in_bash(environment: dict[str, str], *lines: str) -> list[set[str]]:
    """What bash offers for the last word of each line."""
    asked = "".join(
        f"COMP_WORDS=({' '.join(repr(word) for word in line.split(' '))})\n"
        "COMPREPLY=()\n"
        f"COMP_CWORD={line.count(' ')}\n"
        '"$function" fanout\n'
        'echo "${COMPREPLY[@]}"\n'
        for line in lines)
    script = (
        'eval "$(fanout completion bash)"\n'
        'function=$(complete -p fanout | sed "s/.*-F \\([^ ]*\\).*/\\1/")\n' + asked)
    answers = run(["bash", "--norc", "-c", script], environment).splitlines()
    return [set(answer.split()) for answer in answers]


def test_bash_completes_commands_options_and_values(path: dict[str, str]) -> None:
    commands, options, values = in_bash(
        path, "fanout ", "fanout bench --conn", "fanout completion ")
    assert {"bench", "completion", "serve"} <= commands
    assert options == {"--connect-rate", "--connect-concurrency", "--connections"}
    assert values == {"bash", "zsh", "fish"}


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish here")
def test_fish_completes(path: dict[str, str]) -> None:
    script = 'fanout completion fish | source; complete -C "fanout comp"'
    assert "completion" in run(["fish", "--no-config", "-c", script], path).split()


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh here")
def test_zsh_takes_the_script(path: dict[str, str]) -> None:
    script = (
        'autoload -U compinit && compinit -u; eval "$(fanout completion zsh)"; '
        "print -r -- $_comps[fanout]")
    assert run(["zsh", "-f", "-c", script], path) == "_fanout_completion\n"


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err
