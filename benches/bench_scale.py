"""The scale suite: what one delivery costs as connections and channels grow.

    python -m benches.bench_scale            # about two minutes
    python -m benches.bench_scale --quick    # once and small; the numbers mean nothing

**Connections**: a real server with 100 to 10,000 WebSocket connections on one
channel, one publication of 128 bytes per tick; CPU time of the server's process
per delivered message, beside the wire suite's floor, which does nothing but
call ``send``. Both are up at the same time and run in turns. Where the floor
rises too, it is the kernel that takes longer.

**Channels**: a hub with 1 to 1,000,000 channels of one subscriber each, in
process; publications go to channels drawn at random, whose names come as new
strings, as from a socket. Beside it the same with the model in plain Python.

The result is a JSON document, ``benches/results/scale.json``::

    {
      "suite": "scale", "version": 1, "quick", "started", "elapsed_s", "machine",
      "connections": [{"size", "fanout_ns", "floor_ns" or null, "ratio" or null}],
      "channels": [{"size", "fanout_ns", "reference_ns"}],
                                  medians of runs, per delivery
      "absent": [{"name", "reason"}],
      "goals": []
    }
"""

import argparse
import asyncio
import gc
import json
import random
import statistics
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.machine import run_document
from benches.turns import Turns
from benches.wire.build import BuildError
from benches.wire.contender import Contender, ContenderError, Cores, subjects
from benches.wire.suite import SPARE_DESCRIPTORS, allow_descriptors

OUTPUT = Path(__file__).resolve().parent / "results" / "scale.json"
PAYLOAD = 128
SUBSCRIBERS = 1_000
"""Local queues among which the channels are shared out."""
BATCH = 1_000
"""Publications of one run over the channels."""


@dataclass(frozen=True)
class Plan:
    connections: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000)
    channels: tuple[int, ...] = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
    passes: int = 7
    deliveries: int = 50_000
    """Of one run on the wire, about."""
    runs: int = 50
    quick: bool = False

    @classmethod
    def smoke(cls) -> "Plan":
        return cls((10, 50), (1, 100), passes=1, deliveries=100, runs=2, quick=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- connections ----------------------------------------------------------------------


def measure_connections(plan: Plan, absent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    cores = Cores.choose()
    chosen = {subject.name: subject for subject in subjects(build_go=False)}
    rows = []
    for size in plan.connections:
        wanted = size + SPARE_DESCRIPTORS
        if (limit := allow_descriptors(wanted)) < wanted:
            absent.append({
                "name": f"{size:,} connections",
                "reason": f"the limit of open files here is {limit:,}",
            })
            continue
        costs: dict[str, list[float]] = {}
        with ExitStack() as stack:
            running = {
                name: stack.enter_context(Contender(chosen[name], size, cores))
                for name in ("fanout", "floor")
            }
            ticks = max(1, plan.deliveries // size)
            turns = Turns(seed=size)  # with two, the seed alone says who begins
            for _ in range(plan.passes):
                for name in turns.order(running):
                    contender = running[name]
                    contender.run(1, 1, PAYLOAD)  # its caches are cold after the other
                    sample = contender.run(ticks, 1, PAYLOAD)
                    costs.setdefault(name, []).append(sample.server_cpu_ns / sample.deliveries)
        row: dict[str, Any] = {"size": size}
        for name, values in costs.items():
            row[f"{name}_ns"] = statistics.median(values)
        row["ratio"] = statistics.median(
            own / floor for own, floor in zip(costs["fanout"], costs["floor"], strict=True))
        rows.append(row)
        _say(
            f"  {size:,} connections: {row['fanout_ns']:,.0f} ns,"
            f" {row['ratio']:.2f} times the floor")
    return rows


# -- channels -------------------------------------------------------------------------


async def channel_cost(core: str, size: int, runs: int) -> float:
    """Nanoseconds per publication to one of ``size`` channels."""
    from fanout import _hub, _subscription
    from fanout.types import Message, Overflow
    from tests.model import reference as model

    hub_class: Any = _hub.Hub if core == "fanout" else model.Hub
    queue_class: Any = _subscription.LocalQueue if core == "fanout" else model.LocalQueue
    hub = hub_class(asyncio.get_running_loop())
    queues = [queue_class(hub, 1, Overflow.KEEP_LATEST) for _ in range(SUBSCRIBERS)]
    for at in range(size):
        hub.subscribe(queues[at % SUBSCRIBERS], f"channel:{at}")
    message = Message("channel", b"x" * PAYLOAD)
    broadcast = hub.broadcast
    costs = []
    for _ in range(runs):
        asked = [f"channel:{at}" for at in random.choices(range(size), k=BATCH)]
        started = time.perf_counter_ns()
        for channel in asked:
            broadcast(channel, message)
        costs.append((time.perf_counter_ns() - started) / BATCH)
        await asyncio.sleep(0)  # the end of the tick, untimed
        for queue in queues:
            queue.get_nowait()
    for queue in queues:
        hub.remove(queue)
    return statistics.median(costs)


def measure_channels(plan: Plan) -> list[dict[str, Any]]:
    rows = []
    for size in plan.channels:
        row: dict[str, Any] = {"size": size}
        for core in ("fanout", "reference"):
            row[f"{core}_ns"] = asyncio.run(channel_cost(core, size, plan.runs))
            gc.collect()
        rows.append(row)
        _say(
            f"  {size:,} channels: {row['fanout_ns']:,.0f} ns,"
            f" plain Python {row['reference_ns']:,.0f} ns")
    return rows


def run_suite(plan: Plan) -> dict[str, Any]:
    absent: list[dict[str, Any]] = []
    with run_document("scale", plan.quick) as document:
        document["channels"] = measure_channels(plan)
        try:
            document["connections"] = measure_connections(plan, absent)
        except (BuildError, ContenderError) as error:
            document["connections"] = []
            absent.append({"name": "connections", "reason": str(error)})
        document["absent"] = absent
        document["goals"] = []
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE")
    asked = parser.parse_args()
    document = run_suite(Plan.smoke() if asked.quick else Plan())
    output = asked.output or (OUTPUT.with_name("scale-quick.json") if asked.quick else OUTPUT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {output}")
    # Without the connections' half something is broken.
    return 0 if document["connections"] else 1


if __name__ == "__main__":
    sys.exit(main())
