"""Builds the suite's compiled parts into ``benches/bin/``."""

import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = HERE.parent / "bin"
GO_SOURCE = HERE.parent / "peers" / "centrifuge_go"
GO_TIMEOUT = 600.0
"""Seconds for a Go build, which on a fresh machine downloads its modules."""


class BuildError(Exception):
    """A part cannot be built here; the text says why."""


def _is_current(target: Path, sources: list[Path]) -> bool:
    if not target.exists():
        return False
    built = target.stat().st_mtime
    return all(source.stat().st_mtime <= built for source in sources)


def _run(command: list[str], directory: Path, timeout: float) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{command[0]} took more than {timeout:.0f} s") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise BuildError(f"{command[0]} failed: {lines[-1]}")


def c_tool(name: str) -> Path:
    """The path of ``benches/wire/<name>.c``, compiled if it is not up to date.

    Raises ``BuildError``.
    """
    source, target = HERE / f"{name}.c", BIN / name
    if not _is_current(target, [source]):
        compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if not compiler:
            raise BuildError("there is no C compiler")
        BIN.mkdir(exist_ok=True)
        # Built aside and renamed, so that a build that is cut short is not
        # taken for the tool the next time.
        fresh = target.with_suffix(".new")
        command = [*compiler.split(), "-O2", "-g", "-Wall", "-Wextra", "-o", str(fresh)]
        _run([*command, str(source)], HERE, 120)
        fresh.replace(target)
    return target


def go_program(build: bool = True) -> Path:
    """The path of the Go peer, built if it is not up to date and ``build`` is set.

    Raises ``BuildError``.
    """
    target = BIN / "centrifuge_go"
    sources = [GO_SOURCE / name for name in ("main.go", "go.mod", "go.sum")]
    if not _is_current(target, sources):
        go = shutil.which("go")
        if not go:
            raise BuildError("Go is not installed")
        if not build:
            raise BuildError("it is not built yet, and a quick run builds no Go")
        BIN.mkdir(exist_ok=True)
        fresh = target.with_suffix(".new")
        _run([go, "build", "-o", str(fresh), "."], GO_SOURCE, GO_TIMEOUT)
        fresh.replace(target)
    return target
