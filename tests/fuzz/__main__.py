"""Fuzz the targets, one after the other.

``python -m tests.fuzz [--seconds N] [TARGET ...]``. What reached something new
is put into ``build/fuzz/TARGET``, an input that fails beside it. With
``--keep`` the kept corpus is made anew of both afterwards. With ``--runs`` and
``--seed`` it is the same inputs each time: a check that the targets run, which
finds nothing new on one machine that it does not find on another.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import NAMES

HERE = Path(__file__).parent
KEPT = HERE / "corpus"
WORK = HERE.parent.parent / "build" / "fuzz"
MEMORY = 1024           # MiB of a whole process
LONGEST = 25            # seconds of one input


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target, at most")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--keep", action="store_true", help="renew the kept corpus")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(NAMES))
    arguments = parser.parse_args()
    if unknown := set(arguments.targets) - set(NAMES):
        parser.error(f"unknown targets: {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        print("fuzz: skipped, atheris is not installed (pip install -e '.[fuzz]')")
        return 0
    failed = []
    for name in arguments.targets or NAMES:
        print(f"fuzz: {name}, {arguments.seconds} s", flush=True)
        if _fuzz(name, arguments.seconds, arguments.runs, arguments.seed):
            failed.append(name)
        elif arguments.keep:
            _keep(name)
    if failed:
        print(f"fuzz: failed: {', '.join(failed)}; the inputs are in {WORK}")
    return bool(failed)


def _fuzz(name: str, seconds: int, runs: int, seed: int) -> int:
    found = WORK / name
    found.mkdir(parents=True, exist_ok=True)
    return _libfuzzer(
        name, found, KEPT / name, f"-artifact_prefix={WORK / name}-", f"-timeout={LONGEST}",
        f"-rss_limit_mb={MEMORY}", f"-max_total_time={seconds}", f"-runs={runs}",
        f"-seed={seed}", "-print_final_stats=1")


def _keep(name: str) -> None:
    """The fewest and shortest inputs that reach what all of them do.

    And those that were written by hand, ``seed-*``: what they reach in compiled
    code is not seen.
    """
    new = WORK / f"{name}.kept"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    merged = _libfuzzer(name, new, WORK / name, KEPT / name, "-merge=1") == 0
    if merged and any(new.iterdir()):
        for seed in (KEPT / name).glob("seed-*"):
            shutil.copy(seed, new)
        shutil.rmtree(KEPT / name)
        shutil.copytree(new, KEPT / name)


def _libfuzzer(name: str, *arguments: object) -> int:
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.one", name, *map(str, arguments)], check=False,
        env={**os.environ, "PYTHONHASHSEED": "0"},
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
