"""The memory suite: resident bytes per connection, subscription and stored message.

    python -m benches.bench_memory            # about two minutes
    python -m benches.bench_memory --quick    # once and small; the numbers mean nothing

What a process has resident is read at two sizes, and the difference is divided
by how many more there were: what the process needs for itself drops out.
Connections and their subscriptions are those of a real server process with
real sockets (the kernel's memory for sockets is not in it); the rest is made
inside a process of its own (``memory/inside.py``). Every measurement is
repeated in fresh processes; the median counts.

The result is a JSON document, ``benches/results/memory.json``::

    {
      "suite": "memory", "version": 1, "quick", "started", "elapsed_s", "machine",
      "settings": {..},
      "connections": [{"name", "label", "version", "bytes", "runs": [..]}],
      "rows": [{"name", "text", "core", "bytes", "runs": [..]}],
                                  bytes each; messages without their payload
      "message": {"object", "data_header"},       sizes of a message's objects
      "absent": [{"name", "reason"}],
      "goals": [{"text", "value", "limit", "unit", "met"}]    none in a quick run
    }
"""

import argparse
import json
import re
import selectors
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches.machine import run_document
from benches.memory.clients import IdleClients
from benches.memory.rss import settled_bytes
from benches.wire.contender import ContenderError, subjects
from benches.wire.suite import allow_descriptors

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "benches" / "results" / "memory.json"

CONNECTION_GOAL = 15 * 1024
SUBSCRIPTION_GOAL = 150
MESSAGE_GOAL = 150
"""Bytes of a stored message beside its payload."""
START_TIMEOUT = 30.0
STOP_TIMEOUT = 10.0
PEERS = ("aiohttp", "websockets", "picows")
MESSAGE_PAYLOADS = (128, 1024)

SERVER_CONFIG = {
    # Pings are on, as by default, but none is due while it is measured.
    "client": {"allow_anonymous_connect_without_token": True, "ping_interval": "300s"},
    "channel": {
        "without_namespace": {
            "allow_subscribe_for_client": True,
            "allow_subscribe_for_anonymous": True,
        }
    },
}
CONNECT = '{"id":1,"connect":{}}'


@dataclass(frozen=True)
class Plan:
    repeats: int = 3
    connections: tuple[int, int] = (1_000, 5_000)
    subscribers: int = 1_000
    channels: tuple[int, int] = (20, 100)  # of each; the server allows 128
    scale: int = 1
    """Divides the sizes of what is measured inside a process."""
    quick: bool = False

    @classmethod
    def smoke(cls) -> "Plan":
        return cls(1, (20, 60), 10, (2, 6), 100, quick=True)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _line_of(process: subprocess.Popen[str], stream: Any, pattern: str) -> "re.Match[str]":
    """The first line that matches, or ``ContenderError``."""
    last = ""
    end = time.monotonic() + START_TIMEOUT
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while selector.select(max(0.0, end - time.monotonic())):
            line = stream.readline()
            if not line:
                raise ContenderError(f"the server ended: {last.strip() or 'without a word'}")
            if found := re.search(pattern, line):
                return found
            last = line
    raise ContenderError(f"the server did not say where it listens: {last.strip()}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def fanout_server() -> Iterator[tuple[int, int]]:
    """``fanout serve``; gives its process id and port."""
    with tempfile.TemporaryDirectory() as directory:
        config = Path(directory) / "config.json"
        config.write_text(json.dumps(SERVER_CONFIG))
        process = subprocess.Popen(
            [sys.executable, "-m", "fanout", "serve", "--port", "0", "--config", str(config)],
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        try:
            found = _line_of(process, process.stderr, r"listening on http://[^:]+:(\d+)")
            yield process.pid, int(found[1])
        finally:
            _stop(process)
            assert process.stderr is not None
            process.stderr.close()


@contextmanager
def peer_server(command: list[str]) -> Iterator[tuple[int, int]]:
    """A server of the wire suite; gives its process id and port."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )
    try:
        found = _line_of(process, process.stdout, r'"port": (\d+), "pid": (\d+)')
        yield int(found[2]), int(found[1])
    finally:
        _stop(process)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def connection_bytes(
    server: Callable[[], Any], path: str, first: str | None, awaits: str, sizes: tuple[int, int]
) -> float:
    small, large = sizes
    with server() as (pid, port), IdleClients(port, path) as clients:
        clients.connect(small, first, awaits)
        before = settled_bytes(pid)
        clients.connect(large - small, first, awaits)
        after = settled_bytes(pid)
        clients.check_open()
    return (after - before) / (large - small)


def subscription_bytes(subscribers: int, sizes: tuple[int, int]) -> float:
    """What one more subscription to a channel that exists takes in the server."""
    small, large = sizes

    def commands(start: int, end: int) -> list[str]:
        return [
            f'{{"id":{at + 2},"subscribe":{{"channel":"channel-{at}"}}}}'
            for at in range(start, end)
        ]

    with fanout_server() as (pid, port), IdleClients(port, "/connection/websocket") as clients:
        clients.connect(subscribers + 1, CONNECT, '"id":1')
        everybody = range(1, subscribers + 1)
        clients.ask([0], commands(0, large), large)
        clients.ask(everybody, commands(0, small), small)
        before = settled_bytes(pid)
        clients.ask(everybody, commands(small, large), large - small)
        after = settled_bytes(pid)
        clients.check_open()
    return (after - before) / (subscribers * (large - small))


def inside_bytes(kind: str, core: str, sizes: tuple[int, int], payload: int = 0) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benches.memory.inside", kind, core, *map(str, sizes),
         "--payload", str(payload)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    each: float = json.loads(done.stdout)["bytes_each"]
    return each


def measured(
    text: str, repeats: int, measure: Callable[[], float], payload: int
) -> dict[str, Any]:
    runs = [measure() - payload for _ in range(repeats)]
    found = {"bytes": statistics.median(runs), "runs": runs}
    _say(f"  {text}: {found['bytes']:,.0f} bytes ({min(runs):,.0f} to {max(runs):,.0f})")
    return found


def measure_connections(plan: Plan, absent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    by_name = {subject.name: subject for subject in subjects(build_go=False)}
    candidates: list[tuple[str, str, Callable[[], Any], tuple[str, str | None, str]]] = [
        ("fanout", "fanout serve", fanout_server, ("/connection/websocket", CONNECT, '"id":1'))
    ]
    for name in PEERS:
        subject = by_name[name]
        if reason := subject.missing():
            absent.append({"name": name, "reason": reason})
            continue
        command = subject.command(None)
        candidates.append((
            name,
            name,
            partial(peer_server, command),
            (subject.path, subject.first, subject.awaits),
        ))
    # In turns, so that none is measured at another time than the others.
    for _ in range(plan.repeats):
        for name, label, server, (path, first, awaits) in candidates:
            try:
                each = connection_bytes(server, path, first, awaits, plan.connections)
            except (ContenderError, OSError) as error:
                if name == "fanout":
                    raise
                absent.append({"name": name, "reason": str(error)})
                continue
            row = found.setdefault(name, {"name": name, "label": label, "runs": []})
            row["runs"].append(each)
            _say(f"  a connection of {label}: {each:,.0f} bytes")
    for row in found.values():
        row["bytes"] = statistics.median(row["runs"])
    return list(found.values())


def measure_rows(plan: Plan) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(
        name: str, text: str, core: str, measure: Callable[[], float], payload: int = 0
    ) -> None:
        found = measured(f"{text}, {core}", plan.repeats, measure, payload)
        rows.append({"name": name, "text": text, "core": core, **found})

    def scaled(small: int, large: int) -> tuple[int, int]:
        return max(1, small // plan.scale), max(2, large // plan.scale)

    add("server-subscription", "one more subscription of a connection, in the server", "fanout",
        partial(subscription_bytes, plan.subscribers, plan.channels))
    for core in ("fanout", "reference"):
        add("subscription", "one more subscription, in the hub", core,
            partial(inside_bytes, "subscription", core, scaled(100, 400)))
        add("channel", "a channel with its first subscription, in the hub", core,
            partial(inside_bytes, "channel", core, scaled(20_000, 100_000)))
    sizes = scaled(50_000, 250_000)
    for payload in MESSAGE_PAYLOADS:
        add(f"published-{payload}",
            f"a message of {payload:,} bytes, published by a node, without its payload",
            "fanout",
            partial(inside_bytes, "published-message", "fanout", sizes, payload),
            payload)
    add("message-of-ten",
        "a message of 128 bytes, without them, with its share of a channel that keeps ten",
        "fanout", partial(inside_bytes, "message-of-ten", "fanout", sizes, 128), 128)
    return rows


def judge(
    connections: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    goals = []

    def add(text: str, value: float, limit: float) -> None:
        goals.append(
            {"text": text, "value": value, "limit": limit, "unit": "bytes", "met": value <= limit})

    by_name = {(row["name"], row["core"]): row["bytes"] for row in rows}
    for row in connections:
        if row["name"] == "fanout":
            add("an idle connection of fanout serve", row["bytes"], CONNECTION_GOAL)
    add("one more subscription to a channel, in the server",
        by_name["server-subscription", "fanout"], SUBSCRIPTION_GOAL)
    add("one more subscription to a channel, in the hub",
        by_name["subscription", "fanout"], SUBSCRIPTION_GOAL)
    for payload in MESSAGE_PAYLOADS:
        add(f"a stored message of {payload:,} bytes, beside its payload",
            by_name[f"published-{payload}", "fanout"], MESSAGE_GOAL)
    return goals


def message_sizes() -> dict[str, int]:
    from fanout.types import Message

    return {
        "object": sys.getsizeof(Message("channel", b"")),
        "data_header": sys.getsizeof(b""),
    }


def run_suite(plan: Plan) -> dict[str, Any]:
    allow_descriptors(plan.connections[1] + 200)
    absent: list[dict[str, Any]] = []
    with run_document("memory", plan.quick) as document:
        document["settings"] = {
            "repeats": plan.repeats,
            "connections": list(plan.connections),
            "subscribers": plan.subscribers,
            "channels": list(plan.channels),
        }
        document["connections"] = measure_connections(plan, absent)
        document["rows"] = measure_rows(plan)
        document["message"] = message_sizes()
        document["absent"] = absent
        document["goals"] = (
            [] if plan.quick else judge(document["connections"], document["rows"]))
    return document


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds")
    parser.add_argument("--output", "-o", type=Path, default=None, metavar="FILE")
    asked = parser.parse_args()
    document = run_suite(Plan.smoke() if asked.quick else Plan())
    output = asked.output or (OUTPUT.with_name("memory-quick.json") if asked.quick else OUTPUT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(document, indent=1) + "\n")
    for goal in document["goals"]:
        verdict = "met" if goal["met"] else "MISSED"
        print(f"{verdict}: {goal['text']}: {goal['value']:,.0f} / {goal['limit']:,.0f} bytes")
    print(f"written: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
