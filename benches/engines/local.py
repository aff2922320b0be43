"""A server with local WebSocket subscribers, on each engine: the wire suite's, beside itself."""

import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from benches.engines import brokers
from benches.engines.contender import DATA
from benches.turns import Turns
from benches.wire.contender import Contender, ContenderError, Cores, Sample, Subject, subjects
from benches.wire.suite import SPARE_DESCRIPTORS, allow_descriptors

GOAL = 1.2
"""CPU per delivery with Valkey, over that with the memory engine."""
MEMORY = "memory"


@dataclass(frozen=True)
class LocalPlan:
    connections: int = 1_000
    per_tick: tuple[int, ...] = (1, 10, 100)
    passes: int = 9
    deliveries: int = 30_000
    """Of one run, about."""
    min_ticks: int = 15

    @classmethod
    def smoke(cls) -> "LocalPlan":
        return cls(20, (1, 10), 1, 200, 1)


def server_on(engine: str) -> Subject:
    """The wire suite's fanout server, on ``engine`` (``memory`` or an URL)."""
    found = next(subject for subject in subjects(build_go=False) if subject.name == "fanout")
    command = [sys.executable, "-m", "benches.wire.serve_fanout", "--engine", engine]
    return replace(found, command=lambda core: command)


def measure(
    plan: LocalPlan, cores: Cores, miss: Callable[[str, str], None], say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """The ``local`` cells of the result.

    Brokers share the load client's core: the server's CPU time is what counts.
    """
    allow_descriptors(plan.connections + SPARE_DESCRIPTORS)
    say(f"local subscribers, {plan.connections:,} WebSocket connections")
    with ExitStack() as stack:
        engines = {MEMORY: "memory"}
        for name, scheme in (("valkey", "redis"), ("nats", "nats")):
            try:
                broker = stack.enter_context(brokers.running(name, cores.client))
            except ContenderError as error:
                miss(f"local subscribers on {name}", str(error))
            else:
                engines[name] = f"{scheme}://127.0.0.1:{broker.port}"
        running: dict[str, Contender] = {}
        for name, engine in engines.items():
            try:
                running[name] = stack.enter_context(
                    Contender(server_on(engine), plan.connections, cores))
            except ContenderError as error:
                miss(f"local subscribers on {name}", str(error))
        turns = Turns()
        return [
            measure_cell(plan, per_tick, running, turns, miss, say) for per_tick in plan.per_tick
        ]


def measure_cell(
    plan: LocalPlan,
    per_tick: int,
    running: dict[str, Contender],
    turns: Turns,
    miss: Callable[[str, str], None],
    say: Callable[[str], None],
) -> dict[str, Any]:
    ticks = max(plan.min_ticks, plan.deliveries // (plan.connections * per_tick))
    runs: dict[str, dict[int, Sample]] = defaultdict(dict)
    for pass_ in range(plan.passes):
        for name in turns.order(running):
            contender = running[name]
            try:
                contender.run(1, per_tick, len(DATA))  # its caches are cold after the others
                runs[name][pass_] = contender.run(ticks, per_tick, len(DATA))
            except ContenderError as error:
                miss(f"local subscribers on {name}, {per_tick} per tick", str(error))
                running.pop(name).close()
    found = {name: _summary(of, runs.get(MEMORY, {})) for name, of in runs.items()}
    for name, row in found.items():
        ratio = row["cpu_ratio"]
        say(f"  {per_tick} per tick, {name:7} {row['cpu_ns']:7,.0f} ns/delivery,"
            f" {row['deliveries_per_s']:11,.0f} /s"
            + ("" if ratio is None else f", {ratio:.2f} times the memory engine's CPU"))
    return {"connections": plan.connections, "per_tick": per_tick, "engines": found}


def _cpu(sample: Sample) -> float:
    return sample.server_cpu_ns / sample.deliveries


def _summary(by_pass: dict[int, Sample], memory: dict[int, Sample]) -> dict[str, Any]:
    ratios = [_cpu(run) / _cpu(memory[at]) for at, run in by_pass.items() if at in memory]
    runs = by_pass.values()
    return {
        "deliveries_per_s": statistics.median(
            run.deliveries / run.elapsed_ns * 1e9 for run in runs),
        "cpu_ns": statistics.median(map(_cpu, runs)),
        "p50_us": statistics.median(run.p50_ns / 1e3 for run in runs),
        "p99_us": statistics.median(run.p99_ns / 1e3 for run in runs),
        "cpu_ratio": statistics.median(ratios) if ratios else None,
        "cpu_ratio_min": min(ratios, default=None),
        "cpu_ratio_max": max(ratios, default=None),
        "rounds": len(by_pass),
    }
