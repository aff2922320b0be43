"""The protocol suite: what encodings, recovery, tokens and storms cost.

    python -m benches.bench_protocol            # about four minutes
    python -m benches.bench_protocol --quick    # once and small; the numbers mean nothing

**Deliveries**: the wire suite's load on fanout's server, in JSON and Protobuf,
with and without recovery; all servers are up at the same time and run in turns.
CPU time of the server's process per delivered message, and its multiple of
plain JSON in the same pass. Offsets make messages longer, and bytes cost too:
plain JSON with a payload that is longer by as much runs beside them as a control.

**Connects**: 10,000 clients connect with a token and subscribe; CPU time of the
server's process per client, beside aiohttp's bare accept of a WebSocket.

**Recoveries**: 10,000 clients connect and recover 10 messages each; the same,
and how often the server read the history.

The result is a JSON document, ``benches/results/protocol.json``::

    {
      "suite": "protocol", "version": 1, "quick", "started", "elapsed_s", "machine",
      "deliveries": [{"connections", "payload", "per_tick",
                      "variants": {NAME: {"cpu_ns", "ratio", "bytes"}}}],
                                  bytes of one delivery on the wire
      "storms": [{"name", "clients", "cpu_us", "ratio", "reads" or null, "passes"}],
                                  medians; the ratio is to "accept" of the same pass
      "absent": [{"name", "reason"}],
      "goals": [{"text", "value", "limit", "unit", "at_most", "met"}]
                                  none in a quick run; the unit is "times" or "reads"
    }
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.machine import run_document
from benches.turns import Turns
from benches.wire.build import BuildError
from benches.wire.contender import Contender, ContenderError, Cores, Subject, python
from benches.wire.suite import SPARE_DESCRIPTORS, allow_descriptors

OUTPUT = Path(__file__).resolve().parent / "results" / "protocol.json"
PAYLOAD = 128
DELIVERY_GOAL = 1.05
"""CPU per delivery of a variant, over plain JSON."""
STORM_GOAL = 2.0
"""CPU per client that connects with a token and subscribes, over a bare accept."""
MISSED = 10
SECRET = "a key of the benchmark, of enough bytes"
SERVER = "benches.wire.serve_fanout"


@dataclass(frozen=True)
class Plan:
    connections: int = 1_000
    ticks: Mapping[int, int] = field(default_factory=lambda: {1: 200, 10: 100, 100: 60})
    """Publications per tick, and how many ticks a run has: about a second of CPU."""
    passes: int = 13
    clients: int = 10_000
    storms: int = 3
    quick: bool = False

    @classmethod
    def smoke(cls) -> "Plan":
        return cls(20, {1: 10, 10: 1}, passes=1, clients=100, storms=1, quick=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- who is measured ------------------------------------------------------------------


def json_client(name: str, *words: str, token: str = "", recover: bool = False) -> Subject:
    connect = {"token": token} if token else {}
    subscribe: dict[str, Any] = {"channel": "bench"}
    if recover:
        subscribe |= {"recover": True, "offset": 0}
    first = "\n".join(json.dumps(command) for command in (
        {"id": 1, "connect": connect}, {"id": 2, "subscribe": subscribe}))
    return Subject(
        name, name, "fanout", python(SERVER, *words), path="/connection/websocket",
        first=first, awaits='"id":2')


def protobuf_client(name: str, *words: str) -> Subject:
    # Command: id 1, connect 4 or subscribe 5; its channel is field 1.
    connect = bytes([0x08, 1, 0x22, 0])
    channel = b"\x0a\x05bench"
    subscribe = bytes([0x08, 2, 0x2A, len(channel)]) + channel
    first = b"".join(bytes([len(command)]) + command for command in (connect, subscribe))
    # Reply: id 1, subscribe 6.
    return Subject(
        name, name, "fanout", python(SERVER, *words), mode="protobuf",
        path="/connection/websocket?format=protobuf",
        first=first.hex(), awaits=bytes([0x08, 2, 0x32]).hex())


VARIANTS = (
    json_client("JSON"),
    json_client("JSON, recovery", "--recovery"),
    protobuf_client("Protobuf"),
    protobuf_client("Protobuf, recovery", "--recovery"),
)
PLAIN = VARIANTS[0].name
RECOVERING = VARIANTS[1].name
CONTROL = "JSON, as many bytes as with recovery"

ACCEPT = Subject(
    "accept", "aiohttp: a bare accept", "library", python("benches.peers.aiohttp_accept"),
    requires=("aiohttp", "uvloop"), awaits="")


def token() -> str:
    import jwt

    return jwt.encode({"sub": "42", "exp": int(time.time()) + 3600}, SECRET, "HS256")


def storms() -> tuple[Subject, ...]:
    return (
        ACCEPT,
        json_client("connect", "--secret", SECRET, token=token()),
        json_client("reconnect", "--recovery", "--missed", str(MISSED), recover=True),
    )


# -- deliveries -----------------------------------------------------------------------


def measure_deliveries(plan: Plan) -> list[dict[str, Any]]:
    cores = Cores.choose()
    cells = []
    with ExitStack() as stack:
        running = {
            subject.name: stack.enter_context(Contender(subject, plan.connections, cores))
            for subject in VARIANTS
        }
        turns = Turns(seed=plan.connections)
        for per_tick, ticks in plan.ticks.items():
            lengths = {
                name: contender.run(ticks, per_tick, PAYLOAD).bytes_per_delivery
                for name, contender in running.items()
            }
            longer = PAYLOAD + round(lengths[RECOVERING] - lengths[PLAIN])
            runs = {name: (contender, PAYLOAD) for name, contender in running.items()}
            runs[CONTROL] = running[PLAIN], longer
            costs: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(plan.passes):
                for name in turns.order(runs):
                    contender, payload = runs[name]
                    contender.run(1, per_tick, payload)         # its caches are cold
                    sample = contender.run(ticks, per_tick, payload)
                    costs[name].append(sample.server_cpu_ns / sample.deliveries)
                    lengths[name] = sample.bytes_per_delivery
            cells.append({
                "connections": plan.connections,
                "payload": PAYLOAD,
                "per_tick": per_tick,
                "variants": {
                    name: {
                        "cpu_ns": statistics.median(values),
                        "ratio": statistics.median(
                            own / plain
                            for own, plain in zip(values, costs[PLAIN], strict=True)),
                        "bytes": lengths[name],
                    }
                    for name, values in costs.items()
                },
            })
            for name, found in cells[-1]["variants"].items():
                _say(f"  {per_tick} per tick, {name}: {found['cpu_ns']:,.0f} ns,"
                     f" {found['ratio']:.3f} times plain JSON, {found['bytes']:.0f} bytes")
    return cells


# -- storms ---------------------------------------------------------------------------


def measure_storms(plan: Plan, absent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    clients = plan.clients
    limit = allow_descriptors(clients + SPARE_DESCRIPTORS)
    if limit < clients + SPARE_DESCRIPTORS:
        clients = limit - SPARE_DESCRIPTORS
        absent.append({
            "name": f"storms of {plan.clients:,} clients",
            "reason": f"the limit of open files here is {limit:,}; {clients:,} were used",
        })
    cores = Cores.choose()
    chosen = {subject.name: subject for subject in storms()}
    turns = Turns(seed=1)
    costs: dict[str, list[float]] = {name: [] for name in chosen}
    reads: list[int] = []
    with tempfile.TemporaryDirectory() as directory:
        counted = Path(directory) / "reads"
        for _ in range(plan.storms):
            for name in turns.order(chosen):
                subject = chosen[name]
                if name == "reconnect":
                    subject = with_words(subject, "--reads", str(counted))
                with Contender(subject, clients, cores) as contender:
                    costs[name].append(contender.connect_cpu_ns / clients)
                if name == "reconnect":
                    reads.append(int(counted.read_text()))
    rows = [
        {
            "name": name,
            "clients": clients,
            "cpu_us": statistics.median(values) / 1e3,
            "ratio": statistics.median(
                own / bare for own, bare in zip(values, costs["accept"], strict=True)),
            "reads": max(reads) if name == "reconnect" else None,
            "passes": len(values),
        }
        for name, values in costs.items()
    ]
    for row in rows:
        _say(f"  {row['name']}: {row['cpu_us']:.0f} us a client,"
             f" {row['ratio']:.2f} times a bare accept"
             + (f", {row['reads']} reads of the history" if row["reads"] is not None else ""))
    return rows


def with_words(subject: Subject, *words: str) -> Subject:
    command = subject.command
    return replace(subject, command=lambda core: [*command(core), *words])


# -- goals ----------------------------------------------------------------------------


def judge(document: dict[str, Any]) -> list[dict[str, Any]]:
    goals: list[dict[str, Any]] = []

    def add(text: str, value: float, limit: float, unit: str = "times") -> None:
        goals.append({"text": text, "value": value, "limit": limit, "unit": unit,
                      "at_most": True, "met": value <= limit})

    for cell in document["deliveries"]:
        for name, found in cell["variants"].items():
            if name not in (PLAIN, CONTROL):
                add(f"CPU per delivery over plain JSON: {name}, {cell['per_tick']} per tick",
                    found["ratio"], DELIVERY_GOAL)
    for row in document["storms"]:
        if row["name"] == "connect":
            add(f"connect storm of {row['clients']:,}: CPU per client over a bare accept",
                row["ratio"], STORM_GOAL)
        if row["reads"] is not None:
            add(f"reconnect storm of {row['clients']:,} clients at one place of one channel",
                row["reads"], 1, "reads")
    return goals


def run_suite(plan: Plan) -> dict[str, Any]:
    absent: list[dict[str, Any]] = []
    with run_document("protocol", plan.quick) as document:
        for part, measure in (
            ("deliveries", lambda: measure_deliveries(plan)),
            ("storms", lambda: measure_storms(plan, absent)),
        ):
            document[part] = []
            try:
                document[part] = measure()
            except (BuildError, ContenderError) as error:
                absent.append({"name": part, "reason": str(error)})
        document["absent"] = absent
        document["goals"] = [] if plan.quick else judge(document)
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE")
    asked = parser.parse_args()
    document = run_suite(Plan.smoke() if asked.quick else Plan())
    output = asked.output or (
        OUTPUT.with_name("protocol-quick.json") if asked.quick else OUTPUT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"written: {output}")
    # Without either half something is broken.
    return 0 if document["deliveries"] and document["storms"] else 1


if __name__ == "__main__":
    sys.exit(main())
