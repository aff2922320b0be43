"""The wire suite: CPU per delivered message and latency, beside the floor and peers.

The result of `run_suite`, which ``python -m benches.wire`` writes as JSON::

    {
      "suite": "wire", "version": 1,
      "quick": false,
      "started": "2031-05-01T12:00:00+00:00",     UTC
      "elapsed_s": 801.2,
      "machine": {"cpu", "cores", "memory_bytes", "kernel", "python",
                  "tcp_congestion_control",
                  "load_before"},                 load average of the minute before
      "settings": {"rounds", "passes", "connections": [..], "payloads": [..],
                   "per_tick": [..], "server_core", "client_core"},
      "subjects": {                               those that were measured
        NAME: {"label", "kind", "version"}},      kind: fanout, floor, library,
                                                  broker, server
      "absent": [                                 never empty without a reason
        {"name", "reason", "connections", "round"}],   the last two are null
                                                  where it could not start at all
      "cells": [                                  one per shape of the load
        {"connections", "payload", "per_tick",    bytes; publications per tick
         "subjects": {NAME: {
            "cpu_ns",          CPU of the server per delivery, median of runs
            "cpu_ratio",       to the floor of the same pass, median; null
                               where there is no floor
            "cpu_ns_min", "cpu_ns_max",
            "system_share",    of that CPU time, 0 to 1; null where the runs
                               were too short to tell
            "p50_us", "p99_us",      from publish to read, medians of runs
            "client_cpu_ns",   CPU of the load client per delivery
            "deliveries_per_s",
            "runs"}}}],        how many runs the medians are of
      "goals": [               none in a quick run
        {"text", "connections", "payload", "per_tick",
         "value", "limit",     ratio to the floor, or ns of CPU
         "met"}],
      "samples": [             every run, as measured, for the whole run
        {"round", "pass", "subject", "connections", "payload", "per_tick", "ticks",
         "deliveries", "bytes", "reads", "elapsed_ns", "server_cpu_ns",
         "server_user_ticks", "server_system_ticks", "client_cpu_ns", "p50_ns", "p99_ns", "max_ns"}]
    }
"""

import datetime
import os
import platform
import resource
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..turns import Turns
from .build import BuildError, c_tool
from .contender import Contender, ContenderError, Cores, Subject, subjects

FLOOR_GOAL = 1.10
"""fanout's CPU per delivery at one publication per tick, over the floor's."""
MIN_TICKS = 20
"""Hundredths of a second of CPU below which user and system are not told apart."""
SPARE_DESCRIPTORS = 200
"""What a server needs beside its connections."""


@dataclass(frozen=True)
class Plan:
    """The shapes of load, and how often each is run.

    In a round every server is started anew. A pass is one turn of every server
    at one cell; its runs lie next to each other in time.
    """

    connections: tuple[int, ...] = (1_000, 10_000)
    payloads: tuple[int, ...] = (128, 1024)
    per_tick: tuple[int, ...] = (1, 10, 100)
    rounds: int = 3
    passes: int = 5
    deliveries: int = 500_000  # of one subject in one cell and round, about
    max_ticks: int = 100
    only: frozenset[str] = field(default_factory=frozenset)
    quick: bool = False

    @classmethod
    def smoke(cls) -> "Plan":
        """Says only that everything runs: its numbers mean nothing."""
        return cls((50,), (128,), (1, 10), rounds=1, passes=1, max_ticks=2, quick=True)

    def passes_and_ticks(self, connections: int, per_tick: int) -> tuple[int, int]:
        """How many turns each subject has in a cell, and of how many ticks."""
        wanted = min(self.deliveries // (connections * per_tick), self.max_ticks)
        passes = max(min(self.passes, wanted), 1)
        return passes, max(wanted // passes, 1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def describe_machine() -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tcp_congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control")
        .read_text()
        .strip(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def allow_descriptors(wanted: int) -> int:
    """Raise the limit of open files for this process and those it starts.

    Returns the limit that holds now, which is less than wanted where the
    process may not raise it so far.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            return wanted
        except (ValueError, PermissionError):
            pass
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class _Record:
    """What has been measured so far, and what could not be."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self.absent: list[dict[str, Any]] = []
        self.versions: dict[str, str] = {}

    def miss(
        self, name: str, reason: str, connections: int | None = None, round_: int | None = None
    ) -> None:
        _say(f"  {name} is left out: {reason}")
        self.absent.append(
            {"name": name, "reason": reason, "connections": connections, "round": round_}
        )


def _run_round(
    plan: Plan,
    present: list[Subject],
    connections: int,
    round_: int,
    cores: Cores,
    record: _Record,
) -> None:
    """All subjects up at once, and each shape of load given to one after the
    other in short turns, so that what is compared was measured within the same
    second: how fast this machine is can change within a few."""
    with ExitStack() as stack:
        running: dict[str, Contender] = {}
        for subject in present:
            try:
                contender = stack.enter_context(Contender(subject, connections, cores))
            except (ContenderError, BuildError, OSError) as error:
                record.miss(subject.name, str(error), connections, round_)
                continue
            running[subject.name] = contender
            record.versions[subject.name] = contender.version
        turns = Turns(seed=round_)
        for payload in plan.payloads:
            for per_tick in plan.per_tick:
                shape = (connections, payload, per_tick)
                _run_cell(plan, running, turns, shape, round_, record)


def _run_cell(
    plan: Plan,
    running: dict[str, Contender],
    turns: Turns,
    shape: tuple[int, int, int],
    round_: int,
    record: _Record,
) -> None:
    connections, payload, per_tick = shape
    passes, ticks = plan.passes_and_ticks(connections, per_tick)
    _say(
        f"round {round_ + 1}/{plan.rounds}: {connections} connections, {payload} bytes, "
        f"{per_tick} per tick, {passes} passes of {ticks} ticks"
    )
    warm_up = per_tick if connections * per_tick <= plan.deliveries else 1
    cell: list[dict[str, Any]] = []
    for pass_ in range(passes):
        for name in turns.order(running):
            contender = running[name]
            try:
                # Its caches are cold after the others, and buffers grow on the
                # first tick of a new shape. A huge tick warms itself up.
                contender.run(1, warm_up, payload)
                sample = contender.run(ticks, per_tick, payload)
            except ContenderError as error:
                record.miss(name, str(error), connections, round_)
                running.pop(name).close()
                continue
            cell.append(
                {
                    "round": round_,
                    "pass": pass_,
                    "subject": name,
                    "connections": connections,
                    "payload": payload,
                    "per_tick": per_tick,
                    "ticks": ticks,
                    **asdict(sample),
                }
            )
    record.samples += cell
    for found in summarize(cell):
        for name, summary in found["subjects"].items():
            ratio = summary["cpu_ratio"]
            _say(
                f"  {name:12} {summary['cpu_ns']:8.0f} ns/delivery"
                f" ({f'{ratio:.2f}' if ratio is not None else '-'} x floor),"
                f" client {summary['client_cpu_ns']:6.0f} ns,"
                f" p50 {summary['p50_us']:.0f} us, p99 {summary['p99_us']:.0f} us"
            )


def _cpu(sample: dict[str, Any]) -> float:
    return float(sample["server_cpu_ns"] / sample["deliveries"])


def summarize(samples: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ``cells`` of the result: medians over runs, per shape and subject."""
    shapes: dict[tuple[int, int, int], dict[str, list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for sample in samples:
        shape = (sample["connections"], sample["payload"], sample["per_tick"])
        shapes[shape][sample["subject"]].append(sample)

    def median(of: Iterable[float]) -> float | None:
        values = list(of)
        return statistics.median(values) if values else None

    cells = []
    for (connections, payload, per_tick), by_name in shapes.items():
        floors = {
            (sample["round"], sample["pass"]): _cpu(sample) for sample in by_name.get("floor", [])
        }

        def summary(
            runs: list[dict[str, Any]], floors: dict[tuple[int, int], float]
        ) -> dict[str, Any]:
            costs = [_cpu(run) for run in runs]
            system = sum(run["server_system_ticks"] for run in runs)
            counted = system + sum(run["server_user_ticks"] for run in runs)
            return {
                "cpu_ns": statistics.median(costs),
                "cpu_ratio": median(
                    _cpu(run) / floors[run["round"], run["pass"]]
                    for run in runs
                    if (run["round"], run["pass"]) in floors
                ),
                "cpu_ns_min": min(costs),
                "cpu_ns_max": max(costs),
                "system_share": system / counted if counted >= MIN_TICKS else None,
                "p50_us": median(run["p50_ns"] / 1e3 for run in runs),
                "p99_us": median(run["p99_ns"] / 1e3 for run in runs),
                "client_cpu_ns": median(run["client_cpu_ns"] / run["deliveries"] for run in runs),
                "deliveries_per_s": median(
                    run["deliveries"] / run["elapsed_ns"] * 1e9 for run in runs
                ),
                "runs": len(runs),
            }

        cells.append(
            {
                "connections": connections,
                "payload": payload,
                "per_tick": per_tick,
                "subjects": {name: summary(runs, floors) for name, runs in by_name.items()},
            }
        )
    return cells


def judge(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ``goals`` of the result, for every cell in which fanout was measured."""
    goals: list[dict[str, Any]] = []

    def add(cell: dict[str, Any], text: str, value: float, limit: float, met: bool) -> None:
        shape = {key: cell[key] for key in ("connections", "payload", "per_tick")}
        goals.append({"text": text, **shape, "value": value, "limit": limit, "met": met})

    for cell in cells:
        own = cell["subjects"].get("fanout")
        if own is None:
            continue
        ratio = own["cpu_ratio"]
        if cell["per_tick"] == 1 and ratio is not None:
            add(
                cell,
                f"CPU per delivery at most {FLOOR_GOAL:.2f} times the floor",
                ratio,
                FLOOR_GOAL,
                ratio <= FLOOR_GOAL,
            )
        peers = {
            name: found["cpu_ns"]
            for name, found in cell["subjects"].items()
            if name not in ("fanout", "floor")
        }
        if peers:
            best = min(peers, key=lambda name: peers[name])
            text = f"CPU per delivery below every peer (the best one: {best})"
            add(cell, text, own["cpu_ns"], peers[best], own["cpu_ns"] < peers[best])
    return goals


def run_suite(
    plan: Plan | None = None,
    on_round: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Run the plan and return the result, as the module's docstring shows it.

    ``on_round`` is given the result so far after each round. Raises
    ``BuildError`` where the load client itself cannot be compiled.
    """
    plan = plan or Plan()
    cores = Cores.choose()
    started = datetime.datetime.now(datetime.UTC)
    clock = time.monotonic()
    machine = describe_machine()
    record = _Record()
    c_tool("loadclient")

    chosen = subjects(build_go=not plan.quick)
    if plan.only:
        if unknown := plan.only - {subject.name for subject in chosen}:
            raise ValueError(f"no such subject: {', '.join(sorted(unknown))}")
        chosen = [subject for subject in chosen if subject.name in plan.only]
    present = []
    for subject in chosen:
        if reason := subject.missing():
            record.miss(subject.name, reason)
        else:
            present.append(subject)

    def result() -> dict[str, Any]:
        cells = summarize(record.samples)
        return {
            "suite": "wire",
            "version": 1,
            "quick": plan.quick,
            "started": started.isoformat(timespec="seconds"),
            "elapsed_s": round(time.monotonic() - clock, 1),
            "machine": machine,
            "settings": {
                "rounds": plan.rounds,
                "passes": plan.passes,
                "connections": list(plan.connections),
                "payloads": list(plan.payloads),
                "per_tick": list(plan.per_tick),
                "server_core": cores.server,
                "client_core": cores.client,
            },
            "subjects": {
                subject.name: {
                    "label": subject.label,
                    "kind": subject.kind,
                    "version": record.versions[subject.name],
                }
                for subject in chosen
                if subject.name in record.versions
            },
            "absent": record.absent,
            "cells": cells,
            "goals": [] if plan.quick else judge(cells),
            "samples": record.samples,
        }

    for connections in plan.connections:
        limit = allow_descriptors(connections + SPARE_DESCRIPTORS)
        if limit < connections + SPARE_DESCRIPTORS:
            for subject in present:
                reason = f"the limit of open files here is {limit}"
                record.miss(subject.name, reason, connections)
            continue
        for round_ in range(plan.rounds):
            _run_round(plan, present, connections, round_, cores, record)
            if on_round:
                on_round(result())
    return result()
