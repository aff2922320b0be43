"""All benchmarks in one run, and the report: what ``make bench`` calls.

    python -m benches.run                        # about half an hour; writes RESULTS.md
    python -m benches.run --suite core,memory    # these alone; the others' last results stay
    python -m benches.run --quick                # everything once, in well under two minutes

A quick run writes into a temporary directory: its numbers mean nothing.

The exit status is 0 when every suite asked for has run, whether or not the
goals are met; RESULTS.md says that.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches import hotspots, report
from benches.wire.build import BuildError
from benches.wire.contender import ContenderError

HERE = Path(__file__).resolve().parent
WIRE_ROUNDS = 2
"""So that all suites end within half an hour; ``python -m benches.wire`` takes one more."""


def command(suite: str, output: Path, quick: bool) -> list[str]:
    """The command line that runs a suite and writes its JSON."""
    python = sys.executable
    if suite == "core":
        words = [python, "-m", "pytest", str(HERE / "bench_core.py"), "--quiet",
                 "-p", "no:cacheprovider", f"--benchmark-json={output}"]
    elif suite == "wire":
        words = [python, "-m", "benches.wire", "--output", str(output)]
        if not quick:
            words += ["--rounds", str(WIRE_ROUNDS)]
    else:
        words = [python, "-m", f"benches.bench_{suite}", "--output", str(output)]
    return [*words, "--quick"] if quick else words


def run_suite(suite: str, directory: Path, quick: bool) -> bool:
    """Run one suite in processes of its own; whether it succeeded."""
    output = directory / f"{suite}.json"
    for stale in (output, directory / f"profile-{suite}.txt"):
        stale.unlink(missing_ok=True)  # a suite that fails must not show its last result
    print(f"== {suite}", flush=True)
    started = time.monotonic()
    status = subprocess.run(command(suite, output, quick), cwd=HERE.parent, check=False).returncode
    done = status == 0 and output.exists()
    print(f"== {suite}: {'done' if done else f'failed with status {status}'},"
          f" {time.monotonic() - started:.0f} s", flush=True)
    return done


def take_profiles(directory: Path, suites: list[str]) -> None:
    """A profile for what was missed, where one can be taken."""
    results = report.Results(directory)
    for suite in ("core", "wire"):
        if suite not in suites or suite not in results.documents:
            continue
        missed = [goal for goal in results.documents[suite]["goals"] if not goal["met"]]
        if not missed:
            continue
        if reason := hotspots.why_not():
            text = f"No profile: {reason}."
        else:
            try:
                text = profile_of(suite, missed)
            except (ContenderError, BuildError, OSError, subprocess.SubprocessError) as error:
                text = f"No profile: {error}."
        (directory / f"profile-{suite}.txt").write_text(text + "\n")


def profile_of(suite: str, missed: list[dict[str, Any]]) -> str:
    if suite == "core":
        return f"Samples of a process that publishes to 1,000 queues.\n\n{hotspots.core_profile()}"
    # The first one missed; goals lie in the order of the loads, lightest first.
    goal = missed[0]
    connections, payload, per_tick = goal["connections"], goal["payload"], goal["per_tick"]
    return (
        f"Samples of the server's process, {connections:,} connections, {payload:,} bytes, "
        f"{per_tick} per tick.\n\n{hotspots.wire_profile(connections, payload, per_tick)}"
    )


def suite_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in report.SUITES:
            raise argparse.ArgumentTypeError(
                f"no suite {name!r}; there are {', '.join(report.SUITES)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(prog="benches.run", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="everything once, for CI")
    parser.add_argument(
        "--suite", type=suite_names, default=list(report.SUITES), metavar="NAME,NAME",
        help=f"these suites alone, of {','.join(report.SUITES)}")
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        if asked.quick:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "results"
            output = directory.parent / "RESULTS.md"
        else:
            directory, output = HERE / "results", HERE / "RESULTS.md"
        directory.mkdir(exist_ok=True)
        failed = [
            suite for suite in asked.suite if not run_suite(suite, directory, asked.quick)]
        if not asked.quick:
            take_profiles(directory, asked.suite)
        try:
            goals = report.write(directory, output)
        except ValueError as error:
            print(f"benches.run: {error}", file=sys.stderr)
            return 1
        missed = sum(not goal["met"] for goal in goals)
        if asked.quick:
            print(f"the report has {len(output.read_text().splitlines())} lines; not kept")
        else:
            print(f"written: {output}; {len(goals) - missed} goals met, {missed} missed")
    if failed:
        print(f"benches.run: failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
