"""Where the time goes: profiles for goals that were missed, taken with perf.

    python -m benches.hotspots core                  # publish to 1,000 local queues
    python -m benches.hotspots wire 1000 128 1       # connections, payload, per tick

`run.py` takes them by itself, and the report prints them below the goals.
"""

import asyncio
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.wire.contender import Contender, Cores, subjects

ROOT = Path(__file__).resolve().parent.parent
FREQUENCY = 1999
SECONDS = 3.0
STOP_TIMEOUT = 30.0
LEAST = 1.0
"""Functions below this many per cent of the samples are left out."""


def why_not() -> str | None:
    """Why no profile can be taken here, or None."""
    return None if shutil.which("perf") else "perf is not installed"


def _report(data: Path) -> str:
    """Shares of the samples, by library and then by function."""
    return f"{_sorted_by('dso', data)}\n\n{_sorted_by('dso,symbol', data)}"


def _sorted_by(fields: str, data: Path) -> str:
    done = subprocess.run(
        ["perf", "report", "--stdio", "--no-children", "--call-graph", "none",
         "--sort", fields, "--percent-limit", str(LEAST), "--input", str(data)],
        capture_output=True,
        text=True,
        check=True,
    )
    # perf fills columns that it has no data for with dashes.
    lines = [re.sub(r"(\s+-)*\s*$", "", line) for line in done.stdout.splitlines()]
    return "\n".join(line for line in lines if line and not line.startswith("#"))


def wire_profile(connections: int, payload: int, per_tick: int) -> str:
    """Functions of fanout's server process, and of the kernel for it, while it serves.

    Raises ``ContenderError``, ``OSError`` or ``subprocess.SubprocessError``.
    """
    subject = next(found for found in subjects(build_go=False) if found.name == "fanout")
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "perf.data"
        with Contender(subject, connections, Cores.choose()) as contender:
            contender.run(1, per_tick, payload)
            perf = subprocess.Popen(
                ["perf", "record", "--quiet", "--freq", str(FREQUENCY), "--pid",
                 str(contender._pid), "--output", str(data)],
                stderr=subprocess.DEVNULL,
            )
            try:
                end = time.monotonic() + SECONDS
                while time.monotonic() < end:
                    contender.run(max(1, 20_000 // (connections * per_tick)), per_tick, payload)
            finally:
                perf.send_signal(signal.SIGINT)  # it writes what it has, and ends
                perf.wait(STOP_TIMEOUT)
        return _report(data)


def core_profile() -> str:
    """Functions of a process that publishes to 1,000 local queues.

    Raises ``OSError`` or ``subprocess.SubprocessError``.
    """
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "perf.data"
        subprocess.run(
            ["perf", "record", "--quiet", "--freq", str(FREQUENCY), "--output", str(data),
             sys.executable, "-m", "benches.hotspots", "publish"],
            cwd=ROOT,
            check=True,
            stderr=subprocess.DEVNULL,
        )
        return _report(data)


async def _publish() -> None:
    from fanout import Node, Overflow

    async with Node() as node:
        subscriptions = [
            node.subscribe("bench", size=1, overflow=Overflow.KEEP_LATEST) for _ in range(1_000)
        ]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for _ in range(100):
                node.publish("bench", b"x" * 128)
            await asyncio.sleep(0)
        for subscription in subscriptions:
            subscription.close()


def main(words: list[str]) -> int:
    match words:
        case ["publish"]:
            asyncio.run(_publish())
        case _ if reason := why_not():
            print(f"benches.hotspots: {reason}", file=sys.stderr)
            return 1
        case ["core"]:
            print(core_profile())
        case ["wire", connections, payload, per_tick]:
            print(wire_profile(int(connections), int(payload), int(per_tick)))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
