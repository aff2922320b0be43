"""The engines suite: a message through a real broker and back, and what it costs.

    python -m benches.bench_engines            # about four minutes
    python -m benches.bench_engines --quick    # once and small; the numbers mean nothing
    python -m benches.bench_engines --only valkey --channels 100    # one part

**Groups** (``engines/groups.py``): a client process publishes to so many
channels in turn, and is itself subscribed to all of them; a batch is published
in one turn of its loop, the next when the broker has accepted the one before.
Counted are messages per second that came back, and the CPU time of the client
and of the broker for each. All contenders of a group are up at once, each in a
process of its own, and run in turns of a fraction of a second, in another order
each round; a ratio is that of two runs of the same round, and the median of the
rounds counts.

**Local**: the wire suite's server, with its node on Valkey, on NATS, and in
memory: what one delivery to a WebSocket connection costs there.

The result is a JSON document, ``benches/results/engines.json``::

    {
      "suite": "engines", "version": 1, "quick", "started", "elapsed_s", "machine",
      "settings": {"rounds", "seconds", "payload", "history_size", "channels": [..],
                   "batches": [..], "connections", "client_core", "broker_core"},
      "versions": {"redis": "8.1.0"},             of all that was measured
      "groups": {NAME: {"title", "text", "broker",
                        "contenders": {NAME: {"label", "differs"}}}},
      "cells": [
        {"group", "channels", "batch",
         "contenders": {NAME: {
            "per_s",           messages that came back, median of the rounds
            "cpu_ns",          of the client process per message, likewise
            "broker_cpu_ns",
            "ratio",           fanout's throughput over this one's in the same
                               round, median; null without fanout, 1 for it
            "ratio_min", "ratio_max",
            "cpu_ratio",       fanout's CPU over this one's, likewise
            "rounds"}}}],
      "local": [
        {"connections", "per_tick",
         "engines": {NAME: {"deliveries_per_s", "cpu_ns", "p50_us", "p99_us", medians
                            "cpu_ratio",          over the memory engine's, median
                            "rounds"}}}],
      "absent": [{"name", "reason"}],
      "goals": [{"text", "value", "limit", "unit", "at_most", "met"}]   none in a quick run
      "samples": [{"group", "channels", "batch", "round", "contender", ..}]
    }
"""

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.engines import brokers, local
from benches.engines.contender import DATA, HISTORY_SIZE
from benches.engines.groups import AWAITED, GROUPS
from benches.engines.local import LocalPlan
from benches.engines.publisher import Publisher
from benches.machine import run_document
from benches.turns import Turns
from benches.wire.build import BuildError
from benches.wire.contender import ContenderError, Cores

OUTPUT = Path(__file__).resolve().parent / "results" / "engines.json"
OWN = "fanout"


@dataclass(frozen=True)
class Plan:
    channels: tuple[int, ...] = (1, 100, 10_000)
    batches: tuple[int, ...] = (1, 10, 100)
    rounds: int = 17
    seconds: float = 0.04
    """Of one run."""
    server: LocalPlan = field(default_factory=LocalPlan)
    groups: tuple[str, ...] = tuple(GROUPS)
    with_local: bool = True
    quick: bool = False

    @classmethod
    def smoke(cls) -> "Plan":
        return cls((10,), (1, 10), 1, 0.02, LocalPlan.smoke(), quick=True)


def channels_of(count: int) -> str:
    return f"{count:,} channel{'s' if count > 1 else ''}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Record:
    """What has been measured so far, and what could not be."""

    def __init__(self) -> None:
        self.samples: list[dict[str, Any]] = []
        self.absent: list[dict[str, Any]] = []
        self.versions: dict[str, str] = {}

    def miss(self, name: str, reason: str) -> None:
        _say(f"  {name} is left out: {reason}")
        row = {"name": name, "reason": reason}
        if row not in self.absent:
            self.absent.append(row)


# -- groups ---------------------------------------------------------------------------


def measure_group(plan: Plan, name: str, channels: int, cores: Cores, record: Record) -> None:
    group = GROUPS[name]
    _say(f"{group.title}, {channels_of(channels)}")
    try:
        with (
            brokers.running(group.broker, cores.server, group.jetstream) as broker,
            ExitStack() as stack,
        ):
            started = [
                stack.enter_context(Publisher(name, kind.name, broker, channels, cores.client))
                for kind in group.contenders
            ]
            running = []
            for publisher in started:
                try:
                    record.versions.update(publisher.wait_ready())
                except ContenderError as error:
                    record.miss(group.find(publisher.name).label, str(error))
                else:
                    running.append(publisher)
            turns = Turns()
            for batch in plan.batches:
                measure_cell(plan, name, channels, batch, running, turns, record)
    except ContenderError as error:
        record.miss(f"{group.title}: {group.broker}", str(error))


def measure_cell(
    plan: Plan,
    name: str,
    channels: int,
    batch: int,
    running: list[Publisher],
    turns: Turns,
    record: Record,
) -> None:
    cell = []
    for round_ in range(plan.rounds):
        for publisher in turns.order(running):
            try:
                sample = publisher.run(plan.seconds, batch)
            except ContenderError as error:
                label = GROUPS[name].find(publisher.name).label
                record.miss(f"{label}, {channels_of(channels)}, {batch} per tick", str(error))
                running.remove(publisher)
                continue
            cell.append({
                "group": name,
                "channels": channels,
                "batch": batch,
                "round": round_,
                "contender": publisher.name,
                **asdict(sample),
            })
    record.samples += cell
    for found in summarize(cell):
        _say(f"  {batch} per tick")
        for contender, row in found["contenders"].items():
            ratio = "" if row["ratio"] is None else f", fanout {row['ratio']:.2f} times that"
            _say(
                f"    {contender:15} {row['per_s']:9,.0f} /s, {row['cpu_ns'] / 1e3:7.1f} us"
                f" + broker {row['broker_cpu_ns'] / 1e3:6.1f} us{ratio}")


def summarize(samples: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The ``cells`` of the result."""
    shapes: dict[tuple[str, int, int], dict[str, dict[int, dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(dict))
    for sample in samples:
        shape = (sample["group"], sample["channels"], sample["batch"])
        shapes[shape][sample["contender"]][sample["round"]] = sample
    return [
        {
            "group": group,
            "channels": channels,
            "batch": batch,
            "contenders": {
                name: _summary(by_round, by_name.get(OWN, {}))
                for name, by_round in by_name.items()
            },
        }
        for (group, channels, batch), by_name in shapes.items()
    ]


def _per_s(sample: dict[str, Any]) -> float:
    return float(sample["messages"] / sample["elapsed_ns"] * 1e9)


def _cpu(sample: dict[str, Any]) -> float:
    return float(sample["cpu_ns"] / sample["messages"])


def _summary(
    by_round: dict[int, dict[str, Any]], own: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    runs = list(by_round.values())
    both = [(own[at], run) for at, run in by_round.items() if at in own]
    ratios = [_per_s(mine) / _per_s(other) for mine, other in both]
    cpu_ratios = [_cpu(mine) / _cpu(other) for mine, other in both]
    return {
        "per_s": statistics.median(_per_s(run) for run in runs),
        "cpu_ns": statistics.median(_cpu(run) for run in runs),
        "broker_cpu_ns": statistics.median(
            run["broker_cpu_ns"] / run["messages"] for run in runs),
        "ratio": statistics.median(ratios) if ratios else None,
        "ratio_min": min(ratios, default=None),
        "ratio_max": max(ratios, default=None),
        "cpu_ratio": statistics.median(cpu_ratios) if cpu_ratios else None,
        "rounds": len(runs),
    }


# -- the whole ------------------------------------------------------------------------


def judge(cells: list[dict[str, Any]], local_cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    goals = []

    def add(text: str, value: float, limit: float, at_most: bool) -> None:
        met = value <= limit if at_most else value >= limit
        goals.append({"text": text, "value": value, "limit": limit, "unit": "times",
                      "at_most": at_most, "met": met})

    batches = sorted({cell["batch"] for cell in cells})
    for group_name, group in GROUPS.items():
        for name, limit in group.goals:
            for batch in batches:
                # A batch of one leaves nothing to be better at than one by one.
                if name == AWAITED and batch == 1:
                    continue
                found = [
                    (row["ratio"], cell["channels"])
                    for cell in cells
                    if (cell["group"], cell["batch"]) == (group_name, batch)
                    and (row := cell["contenders"].get(name)) and row["ratio"] is not None
                ]
                if found:
                    ratio, channels = min(found)
                    add(f"{group.title}: throughput over that of {group.find(name).label}: "
                        f"{batch} per tick, at the worst number of channels ({channels:,})",
                        ratio, limit, False)
    for cell in local_cells:
        row = cell["engines"].get("valkey")
        if row is not None and row["cpu_ratio"] is not None:
            add(f"CPU per delivery with Valkey over that with the memory engine: "
                f"{cell['connections']:,} connections, {cell['per_tick']} per tick",
                row["cpu_ratio"], local.GOAL, True)
    return goals


def run_suite(plan: Plan) -> dict[str, Any]:
    cores = Cores.choose()
    record = Record()
    with run_document("engines", plan.quick) as document:
        document["settings"] = {
            "rounds": plan.rounds,
            "seconds": plan.seconds,
            "payload": len(DATA),
            "history_size": HISTORY_SIZE,
            "channels": list(plan.channels),
            "batches": list(plan.batches),
            "connections": plan.server.connections,
            "client_core": cores.client,
            "broker_core": cores.server,
        }
        for name in plan.groups:
            for channels in plan.channels:
                measure_group(plan, name, channels, cores, record)
        document["local"] = []
        if plan.with_local:
            try:
                document["local"] = local.measure(plan.server, cores, record.miss, _say)
            except (BuildError, ContenderError) as error:
                record.miss("local subscribers", str(error))
        document["cells"] = summarize(record.samples)
        document["versions"] = dict(sorted(record.versions.items()))
        document["groups"] = {
            name: {
                "title": GROUPS[name].title,
                "text": GROUPS[name].text,
                "broker": GROUPS[name].broker,
                "contenders": {kind.name: kind.described() for kind in GROUPS[name].contenders},
            }
            for name in plan.groups
        }
        document["absent"] = record.absent
        document["goals"] = [] if plan.quick else judge(document["cells"], document["local"])
        document["samples"] = record.samples
    return document


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split(","))


def group_names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    for name in names:
        if name not in (*GROUPS, "local"):
            raise argparse.ArgumentTypeError(
                f"no part {name!r}; there are {', '.join((*GROUPS, 'local'))}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of some seconds")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE")
    parser.add_argument(
        "--only", type=group_names, metavar="NAME,NAME",
        help=f"these parts alone, of {','.join((*GROUPS, 'local'))}")
    parser.add_argument("--channels", type=numbers, metavar="N,N")
    parser.add_argument("--batches", type=numbers, metavar="N,N")
    parser.add_argument("--rounds", type=int)
    asked = parser.parse_args()
    plan = Plan.smoke() if asked.quick else Plan()
    changes = {
        name: getattr(asked, name)
        for name in ("channels", "batches", "rounds") if getattr(asked, name) is not None
    }
    plan = replace(plan, **changes)
    if asked.only:
        plan = replace(
            plan, groups=tuple(name for name in asked.only if name in GROUPS),
            with_local="local" in asked.only)
    document = run_suite(plan)
    # A quick run must not replace the numbers of a real one.
    output = asked.output or (OUTPUT.with_name("engines-quick.json") if asked.quick else OUTPUT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    for goal in document["goals"]:
        verdict = "met" if goal["met"] else "MISSED"
        print(f"{verdict}: {goal['text']}: {goal['value']:.2f} / {goal['limit']:.2f}")
    print(f"written: {output}")
    # A run that measured nothing has found something broken.
    return 0 if document["cells"] or document["local"] else 1


if __name__ == "__main__":
    sys.exit(main())
