"""Turns the suites' JSON into RESULTS.md and its charts.

    python -m benches.report                    # from benches/results/ to benches/RESULTS.md
    python -m benches.report DIRECTORY FILE     # from another directory to another file

The charts go beside the JSON. Every number, ratio and verdict is computed from
the documents found; a suite without a document is named as not run.
"""

import argparse
import datetime
import json
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

# As a script it must find the package that it is part of.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benches import charts
from benches.charts import duration, figures
from benches.core.contenders import PURE_PYTHON

HERE = Path(__file__).resolve().parent
SUITES = ("core", "wire", "protocol", "memory", "scale", "engines")
PUBLISH_GOAL = 10.0
"""fanout's publish to 1,000, times faster than the best in pure Python."""
PUBLISH_SIZE = 1_000
TIMES = "\N{MULTIPLICATION SIGN}"
NONE = "\N{EN DASH}"

CORE_TABLES = [
    ("publish", "Publish",
     "A message of 128 bytes is made and put into the queue of every subscriber, and the "
     "event loop's tick ends; nobody reads. Columns: subscribers of the channel."),
    ("end to end", "Publish, until everybody has read it",
     "The same, until each of so many waiting `async for` readers (or the contender's own "
     "kind) has the message in hand. Most of it is asyncio waking one task per reader, which "
     "is the same for all. Columns: readers."),
    ("subscribe", "Subscribe",
     "Subscribers that exist join one channel, until it has 1,000; time of one."),
    ("unsubscribe", "Unsubscribe",
     "1,000 subscribers leave a channel; time of one."),
    ("look up", "Look-up",
     "A channel is found by a name that just came from outside. Columns: channels that exist. "
     "The growth is the processor's caches: with a million channels each look-up goes to memory "
     "that it has not touched for long. The libraries have no such call of their own."),
    ("history append", "History: append",
     "A message is appended to a channel's stream, which keeps 100 and is full. The libraries "
     "keep no history."),
    ("history newest", "History: read the newest",
     "The newest messages of a stream of 100. Columns: messages read."),
    ("history since", "History: recover",
     "What came after a position ten messages ago, as a client asks that was away."),
    ("presence add", "Presence: add",
     "Connections become present in a channel, until it has 1,000; time of one. Each entry "
     "expires by itself. The libraries keep no presence that expires."),
    ("presence refresh", "Presence: refresh",
     "The presence of 1,000 connections is renewed; time of one."),
    ("presence read", "Presence: read",
     "Everybody present in a channel is listed; for python-socketio, who is in the room, which "
     "is connection ids alone. Columns: entries."),
]


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table; all columns but the first are numbers, and lie right."""
    marks = ["---", *("---:" for _ in headers[1:])]
    lines = [headers, marks, *rows]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


def times(ratio: float) -> str:
    return f"{figures(ratio)}{TIMES}"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


class Results:
    """The documents of one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.documents: dict[str, dict[str, Any]] = {}
        for suite in SUITES:
            path = directory / f"{suite}.json"
            if path.exists():
                self.documents[suite] = json.loads(path.read_text())
        if core := self.documents.get("core"):
            # pytest-benchmark's own document, in the words of the others.
            core["machine"] = core["machine_info"]
            core["started"] = core["datetime"]
            core["goals"] = [] if core["quick"] else core_goals(core)

    def profile(self, suite: str) -> str | None:
        path = self.directory / f"profile-{suite}.txt"
        return path.read_text().rstrip() if path.exists() else None


# -- core -----------------------------------------------------------------------------


def core_costs(core: dict[str, Any]) -> dict[str, dict[int, dict[str, float]]]:
    """Nanoseconds of one operation (the median round's): operation, size, contender."""
    costs: dict[str, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for bench in core["benchmarks"]:
        info = bench["extra_info"]
        costs[info["operation"]][info["size"]][info["contender"]] = (
            bench["stats"]["median"] / info["operations"] * 1e9)
    return costs


def core_goals(core: dict[str, Any]) -> list[dict[str, Any]]:
    found = core_costs(core)["publish"].get(PUBLISH_SIZE, {})
    pure = {name: found[name] for name in PURE_PYTHON if name in found}
    if not pure:
        return []
    best = min(pure, key=lambda name: pure[name])
    goals = []
    for name, call in (("fanout", "Hub.broadcast"), ("node", "Node.publish")):
        if name in found:
            ratio = pure[best] / found[name]
            goals.append({
                "text": f"{call} to {PUBLISH_SIZE:,} subscribers, times faster than the best of "
                        f"those in Python ({core['contenders'][best]['label']})",
                "value": ratio,
                "limit": PUBLISH_GOAL,
                "unit": "times",
                "met": ratio >= PUBLISH_GOAL,
            })
    return goals


def core_section(results: Results) -> list[str]:
    core = results.documents["core"]
    costs = core_costs(core)
    contenders = core["contenders"]
    lines = [
        "## Core: in one process",
        "",
        "No network: a publisher and its subscribers share one event loop (uvloop). Times are "
        "of one operation, the median of up to 200 rounds; in brackets how many times that of "
        "fanout's core, measured within the same seconds.",
        "",
    ]
    labels = {name: found["label"] for name, found in contenders.items()}
    if costs.get("publish"):
        path = results.directory / "core-publish.svg"
        charts.publish(costs["publish"], labels, path)
        lines += [f"![Publish, time per subscriber]({link(results, path)})", ""]
    for operation, title, text in CORE_TABLES:
        by_size = costs.get(operation)
        if not by_size:
            continue
        sizes = sorted(by_size)
        rows = []
        for name, label in labels.items():
            cells = [cost_cell(by_size[size], name) for size in sizes]
            if any(cell != NONE for cell in cells):
                rows.append([label, *cells])
        headers = ["", *(f"{size:,}" for size in sizes)] if len(sizes) > 1 else ["", "time"]
        lines += [f"### {title}", "", text, "", *table(headers, rows)]
    lines += ["What differs between the contenders:", ""]
    lines += [
        f"- **{found['label']}**: {found['differs']}."
        for found in contenders.values() if found["differs"]
    ]
    lines += [
        "- A dash where a contender does not do the same thing; for Channels' layer to 10,000 "
        "readers, because each of its `receive` calls walks all queues, so that a message's time "
        "grows with the square of the readers.",
        "",
    ]
    return lines


def cost_cell(by_name: dict[str, float], name: str) -> str:
    if name not in by_name:
        return NONE
    shown = duration(by_name[name])
    if name == "fanout" or "fanout" not in by_name:
        return shown
    return f"{shown} ({times(by_name[name] / by_name['fanout'])})"


# -- wire -----------------------------------------------------------------------------


def wire_section(results: Results) -> list[str]:
    wire = results.documents["wire"]
    labels = {name: found["label"] for name, found in wire["subjects"].items()}
    shapes: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for cell in wire["cells"]:
        shapes[cell["connections"], cell["payload"]].append(cell)
    lines = [
        "## Wire: a real server, real sockets",
        "",
        "One server process on one core sends publications to WebSocket connections held by a "
        "load client in C on another core. A tick is a number of publications to all "
        "connections, made in one turn of the server's loop. Counted is the CPU time (user and "
        "system) of the server's process per delivered message, and the time from publish to "
        "read. The *floor* is a C program that does nothing but call `send` once per connection "
        "and tick: no server that uses sockets in the same way can be cheaper. "
        "[What makes it fair](wire/README.md).",
        "",
    ]
    if shapes:
        smallest = min(shapes)
        path = results.directory / "wire-cpu.svg"
        charts.wire(shapes[smallest], labels, path)
        lines += [f"![CPU per delivery]({link(results, path)})", ""]
    for (connections, payload), cells in sorted(shapes.items()):
        first = cells[0]["subjects"]
        names = sorted(
            (name for name in labels if any(name in cell["subjects"] for cell in cells)),
            key=lambda name: first.get(name, {}).get("cpu_ns", float("inf")),
        )
        headers = ["", *(f"{cell['per_tick']} per tick" for cell in cells)]
        lines += [f"### {connections:,} connections, {payload:,} bytes", ""]
        lines += ["CPU per delivery; in brackets how many times the floor's:", ""]
        lines += table(headers, (
            [label_of(labels, name), *(cpu_cell(cell, name) for cell in cells)] for name in names))
        lines += ["Latency from publish to read, half of the deliveries / 99 of 100 within:", ""]
        lines += table(headers, (
            [label_of(labels, name), *(latency_cell(cell, name) for cell in cells)]
            for name in names))
    versions = [
        f"{found['label']} {found['version']}"
        for found in wire["subjects"].values() if found["version"]]
    lines += [f"Versions: {', '.join(versions)}.", ""]
    return lines


def label_of(labels: dict[str, str], name: str) -> str:
    return f"**{labels[name]}**" if name == "fanout" else labels[name]


def cpu_cell(cell: dict[str, Any], name: str) -> str:
    found = cell["subjects"].get(name)
    if found is None:
        return NONE
    shown = duration(found["cpu_ns"])
    if name == "floor" or found["cpu_ratio"] is None:
        return shown
    return f"{shown} ({times(found['cpu_ratio'])})"


def latency_cell(cell: dict[str, Any], name: str) -> str:
    found = cell["subjects"].get(name)
    if found is None:
        return NONE
    return f"{duration(found['p50_us'] * 1e3)} / {duration(found['p99_us'] * 1e3)}"


# -- protocol -------------------------------------------------------------------------

STORMS = {
    "accept": "aiohttp accepts a WebSocket, no more",
    "connect": "fanout: connect with a token, subscribe",
    "reconnect": "fanout: connect, subscribe, recover 10 messages",
}


def protocol_section(results: Results) -> list[str]:
    protocol = results.documents["protocol"]
    lines = ["## Protocol: encodings, recovery, storms", ""]
    cells = protocol["deliveries"]
    if cells:
        lines += [
            f"CPU time of fanout's server per delivered message of {cells[0]['payload']} bytes, "
            f"{cells[0]['connections']:,} WebSocket connections on one channel; in brackets the "
            "multiple of plain JSON, the median over passes in which all took a turn, and the "
            "bytes of a delivery on the wire. The last row is a control: plain JSON whose payload "
            "is longer by what recovery adds. Columns: publications per tick.",
            "",
        ]
        rows = [
            [name, *(
                f"{duration(cell['variants'][name]['cpu_ns'])} "
                f"({cell['variants'][name]['ratio']:.2f}{TIMES}, "
                f"{cell['variants'][name]['bytes']:.0f} B)"
                for cell in cells)]
            for name in cells[0]["variants"]
        ]
        lines += table(["", *(str(cell["per_tick"]) for cell in cells)], rows)
    storms = protocol["storms"]
    if storms:
        lines += [
            f"A storm: {storms[0]['clients']:,} clients come as fast as they are let in, 64 at "
            "a time; CPU time of the server's process per client, and how often it read the "
            "history.",
            "",
        ]
        lines += table(["", "CPU per client", "over a bare accept", "reads"], [
            [STORMS[row["name"]], duration(row["cpu_us"] * 1e3), times(row["ratio"]),
             NONE if row["reads"] is None else f"{row['reads']:,}"]
            for row in storms])
    return lines


# -- memory ---------------------------------------------------------------------------


def memory_section(results: Results) -> list[str]:
    memory = results.documents["memory"]
    settings = memory["settings"]
    small, large = settings["connections"]
    lines = [
        "## Memory",
        "",
        "What one more of a kind adds to a process's resident memory (RSS, from `/proc`): read "
        "at two sizes, the difference divided by how many more there were. The median of "
        f"{settings['repeats']} fresh processes.",
        "",
        "### An idle connection",
        "",
        f"WebSocket connections of a server process, from {small:,} to {large:,}, each upgraded "
        "and quiet. fanout's are those of `fanout serve`: connected by the protocol's connect "
        "command, with their ping timer. The others are bare servers without compression or "
        "pings, which know nothing of channels. The kernel's memory for sockets is not in it.",
        "",
    ]
    limits = {goal["text"]: goal["limit"] for goal in memory["goals"]}
    path = results.directory / "memory-connections.svg"
    goal = limits.get("an idle connection of fanout serve", 15 * 1024)
    charts.connection_memory(memory["connections"], goal, path)
    lines += [f"![Memory of an idle connection]({link(results, path)})", ""]
    own = next(row["bytes"] for row in memory["connections"] if row["name"] == "fanout")
    lines += table(["", "bytes each", "of fanout's", "lowest and highest run"], (
        [
            row["label"],
            f"{row['bytes']:,.0f}",
            times(row["bytes"] / own) if own > 0 else NONE,
            f"{min(row['runs']):,.0f} to {max(row['runs']):,.0f}",
        ]
        for row in memory["connections"]))
    channels_small, channels_large = settings["channels"]
    lines += [
        "### Subscriptions, channels and stored messages",
        "",
        f"In the server: {settings['subscribers']:,} connections subscribe to channels that have "
        f"a subscriber already, from {channels_small} to {channels_large} each. The rest is "
        "made in a process of its own. Room that arrays keep to grow is counted.",
        "",
    ]
    names = {row["name"]: row["text"] for row in memory["rows"]}
    by_core = {(row["name"], row["core"]): row["bytes"] for row in memory["rows"]}
    lines += table(["", "fanout, bytes", "plain Python, bytes"], (
        [text, bytes_cell(by_core, name, "fanout"), bytes_cell(by_core, name, "reference")]
        for name, text in names.items()))
    return [*lines, message_parts(memory), ""]


def message_parts(memory: dict[str, Any]) -> str:
    sizes = memory["message"]
    return (
        f"Of a stored message, beside its payload, {sizes['object']} bytes are the message object "
        f"and {sizes['data_header']} the header of the bytes object that holds the payload; the "
        "rest is its place in the channel's ring, and what Python's allocator rounds up "
        "(to 16 bytes, twice)."
    )


def bytes_cell(found: dict[tuple[str, str], float], name: str, core: str) -> str:
    return f"{found[name, core]:,.0f}" if (name, core) in found else NONE


# -- scale ----------------------------------------------------------------------------


def scale_section(results: Results) -> list[str]:
    scale = results.documents["scale"]
    lines = ["## Scale: does one delivery stay as cheap?", ""]
    if scale["connections"]:
        path = results.directory / "scale-connections.svg"
        charts.scale(
            scale["connections"],
            {"fanout": "fanout", "floor": "floor: a C loop of send()"},
            {
                "title": "One delivery, by the number of connections",
                "x": "WebSocket connections on the channel",
                "y": "CPU of the server per delivery",
            },
            path,
            logarithmic=False,
        )
        lines += [
            "### Connections",
            "",
            "A real server with so many WebSocket connections on one channel; one publication "
            "of 128 bytes per tick; CPU time of the server's process per delivered message. "
            "Where the floor rises too, it is the kernel that takes longer.",
            "",
            f"![Cost by connections]({link(results, path)})",
            "",
            *table(["connections", "fanout", "floor", "fanout to floor"], (
                [
                    f"{row['size']:,}",
                    duration(row["fanout_ns"]),
                    duration(row["floor_ns"]),
                    times(row["ratio"]),
                ]
                for row in scale["connections"])),
        ]
    path = results.directory / "scale-channels.svg"
    charts.scale(
        scale["channels"],
        {"fanout": "fanout core", "reference": "plain Python"},
        {
            "title": "One delivery, by the number of channels",
            "x": "channels, each with one subscriber",
            "y": "time per publication (log scale)",
        },
        path,
        logarithmic=True,
    )
    lines += [
        "### Channels",
        "",
        "In one process: so many channels with one subscriber each; publications go to channels "
        "drawn at random, by names that are new strings, as from a socket. What grows is the "
        "share of the processor's caches that miss, for a dict as for the hub: with a million "
        "channels every publication meets a channel, a name and a queue that are only in main "
        "memory.",
        "",
        f"![Cost by channels]({link(results, path)})",
        "",
        *table(["channels", "fanout core", "plain Python", "plain Python to fanout"], (
            [
                f"{row['size']:,}",
                duration(row["fanout_ns"]),
                duration(row["reference_ns"]),
                times(row["reference_ns"] / row["fanout_ns"]),
            ]
            for row in scale["channels"])),
    ]
    return lines


# -- engines --------------------------------------------------------------------------


def engines_section(results: Results) -> list[str]:
    engines = results.documents["engines"]
    settings = engines["settings"]
    lines = [
        "## Engines: through a real broker and back",
        "",
        "A client process on one core publishes messages of "
        f"{settings['payload']} bytes through a broker on another core, and is itself subscribed "
        "to all the channels, which it publishes to in turn. *Per tick* is the batch: so many "
        "are published in one turn of the client's loop (uvloop), and the next batch when the "
        "broker has accepted them. A run ends when every message came back. The contenders, each "
        "in a process of its own, take turns of a fraction of a second; figures are medians of "
        f"{settings['rounds']} rounds, ratios the medians of the rounds' ratios.",
        "",
    ]
    cells: dict[str, dict[int, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for cell in engines["cells"]:
        cells[cell["group"]][cell["channels"]].append(cell)
    if pubsub := cells.get("valkey"):
        path = results.directory / "engines-valkey.svg"
        labels = {
            name: found["label"]
            for name, found in engines["groups"]["valkey"]["contenders"].items()}
        charts.engines(next(reversed(pubsub.values())), labels, path)
        lines += [f"![Messages per second through Valkey]({link(results, path)})", ""]
    for name, by_channels in cells.items():
        lines += engine_group(engines["groups"][name], by_channels)
    lines += engine_subscribers(engines["local"])
    versions = [f"{name} {version}" for name, version in engines["versions"].items()]
    return [*lines, f"Versions: {', '.join(versions)}.", ""] if versions else lines


def engine_group(
    group: dict[str, Any], by_channels: dict[int, list[dict[str, Any]]]
) -> list[str]:
    """Two tables; the contenders are listed once for each number of channels."""
    labels = {name: found["label"] for name, found in group["contenders"].items()}
    batches = [cell["batch"] for cell in next(iter(by_channels.values()))]
    headers = ["", *(f"{batch} per tick" for batch in batches)]

    def rows(show: Callable[[dict[str, Any], str], str]) -> Iterable[list[str]]:
        for channels, cells in by_channels.items():
            yield [f"*{channels:,} channel{'s' if channels > 1 else ''}*", *("" for _ in batches)]
            for name in labels:
                shown = [show(cell["contenders"], name) for cell in cells]
                if any(cell != NONE for cell in shown):
                    yield [label_of(labels, name), *shown]

    lines = [f"### {group['title']}", "", group["text"], ""]
    lines += ["Messages per second; in brackets how many times that fanout has:", ""]
    lines += table(headers, rows(throughput_cell))
    lines += ["CPU per message, of the client and of the broker:", ""]
    lines += table(headers, rows(engine_cpu_cell))
    differs = [
        f"- **{found['label']}**: {found['differs']}."
        for found in group["contenders"].values() if found["differs"]]
    return [*lines, *differs, ""] if differs else lines


def throughput_cell(contenders: dict[str, Any], name: str) -> str:
    found = contenders.get(name)
    if found is None:
        return NONE
    shown = figures(found["per_s"])
    if name == "fanout" or found["ratio"] is None:
        return shown
    return f"{shown} ({times(found['ratio'])})"


def engine_cpu_cell(contenders: dict[str, Any], name: str) -> str:
    found = contenders.get(name)
    if found is None:
        return NONE
    return f"{duration(found['cpu_ns'])} + {duration(found['broker_cpu_ns'])}"


def engine_subscribers(cells: list[dict[str, Any]]) -> list[str]:
    if not cells:
        return []
    lines = [
        "### Local subscribers",
        "",
        f"The wire suite's server with {cells[0]['connections']:,} WebSocket connections on one "
        "channel, publishing by its node: what one delivery costs the server's process, by the "
        "engine that the publication goes through. In brackets how many times the memory "
        "engine's.",
        "",
    ]
    labels = {"memory": "memory engine", "valkey": "Valkey", "nats": "NATS"}
    headers = ["", *(f"{cell['per_tick']} per tick" for cell in cells)]
    names = [name for name in labels if any(name in cell["engines"] for cell in cells)]
    lines += ["CPU per delivery:", ""]
    lines += table(headers, (
        [labels[name], *(subscribers_cell(cell["engines"], name) for cell in cells)]
        for name in names))
    lines += ["Deliveries per second; the next tick begins when the last is delivered:", ""]
    return lines + table(headers, (
        [
            labels[name],
            *(
                figures(cell["engines"][name]["deliveries_per_s"])
                if name in cell["engines"] else NONE
                for cell in cells
            ),
        ]
        for name in names))


def subscribers_cell(engines: dict[str, Any], name: str) -> str:
    found = engines.get(name)
    if found is None:
        return NONE
    shown = duration(found["cpu_ns"])
    if name == "memory" or found["cpu_ratio"] is None:
        return shown
    return f"{shown} ({times(found['cpu_ratio'])})"


# -- the whole ------------------------------------------------------------------------


def link(results: Results, path: Path) -> str:
    """The chart's place as RESULTS.md, one directory up, refers to it."""
    return os.path.join(results.directory.name, path.name)


def when(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text).astimezone(datetime.UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def machine_section(results: Results) -> list[str]:
    documents = results.documents
    machines = {suite: document["machine"] for suite, document in documents.items()}
    machine = next(iter(machines.values()))
    rows = [
        ["processor", f"{machine['cpu']}, {machine['cores']} cores"],
        ["memory", f"{machine['memory_bytes'] / 2**30:.0f} GB"],
        ["kernel", f"Linux {machine['kernel']}"],
        ["Python", machine["python"]],
    ]
    # The wire suite's own document does not name the packages.
    packages: dict[str, Any] = next((found for found in machines.values() if "cython" in found), {})
    rows += [
        [title, packages[key]]
        for title, key in (("Cython", "cython"), ("uvloop", "uvloop"), ("aiohttp", "aiohttp"))
        if packages.get(key)
    ]
    lines = ["## The machine and the runs", "", *table(["", ""], rows)]
    rows = []
    for suite, document in documents.items():
        load = document["machine"].get("load_before")
        rows.append([suite, when(document["started"]), NONE if load is None else f"{load:.1f}"])
    lines += table(["suite", "run", "load average before it"], rows)
    same = {
        (found["cpu"], found["cores"], found["kernel"], found["python"])
        for found in machines.values()
    }
    if len(same) > 1:
        lines += ["**The suites were run on different machines or Pythons**; the table shows the "
                  "first one's.", ""]
    missing = [suite for suite in SUITES if suite not in documents]
    if missing:
        lines += [f"Not run: {', '.join(missing)}.", ""]
    lines += [
        "Compare numbers only within one run: the speed of a machine, and of a virtual one more "
        "so, changes from one minute to the next, and other work on it takes its share.",
        "",
    ]
    return lines


def goals_section(results: Results) -> list[str]:
    rows = []
    for suite, document in results.documents.items():
        goals = document["goals"]
        if suite == "wire":
            rows += wire_goal_rows(goals)
            continue
        for goal in goals:
            if goal["unit"] == "times":
                bound = "at most" if goal.get("at_most") else "at least"
                measured, limit = times(goal["value"]), f"{bound} {times(goal['limit'])}"
            else:
                measured = f"{goal['value']:,.0f} {goal['unit']}"
                limit = f"at most {goal['limit']:,.0f} {goal['unit']}"
            rows.append([suite, goal["text"], limit, measured, verdict(goal["met"])])
    if not rows:
        return ["## Goals", "", "A quick run has none: its numbers mean nothing.", ""]
    lines = ["## Goals", ""]
    headers = ["suite", "what", "goal", "measured", "verdict"]
    lines += [f"| {' | '.join(headers)} |", "| --- | --- | --- | ---: | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += [""]
    for suite, document in results.documents.items():
        if all(goal["met"] for goal in document["goals"]):
            continue
        if suite == "memory":
            lines += [f"Where the bytes go: {message_parts(document)}", ""]
        if profile := results.profile(suite):
            lines += [f"Where the time goes in what the {suite} suite missed:", "", "```text",
                      profile, "```", ""]
    return lines


def wire_goal_rows(goals: list[dict[str, Any]]) -> list[list[str]]:
    """One row per shape of load; the tables below have the rest."""
    rows = []
    for goal in goals:
        shape = (
            f"{goal['connections']:,} connections, {goal['payload']:,} bytes, "
            f"{goal['per_tick']} per tick")
        if goal["text"].startswith("CPU per delivery at most"):
            limit, measured = f"at most {goal['limit']:.2f}{TIMES}", f"{goal['value']:.2f}{TIMES}"
        else:
            limit, measured = f"below {duration(goal['limit'])}", duration(goal["value"])
        rows.append(["wire", f"{goal['text']}: {shape}", limit, measured, verdict(goal["met"])])
    return rows


def absent_section(results: Results) -> list[str]:
    rows = []
    for suite, document in results.documents.items():
        for absent in document["absent"]:
            name = absent["name"]
            if absent.get("connections"):
                name += f" at {absent['connections']:,} connections"
            row = [suite, name, absent["reason"]]
            if row not in rows:
                rows.append(row)
    if not rows:
        return []
    lines = ["## What could not be measured here", ""]
    lines += ["| suite | what | why |", "| --- | --- | --- |"]
    return lines + [f"| {' | '.join(row)} |" for row in rows] + [""]


SECTIONS = {
    "core": core_section,
    "wire": wire_section,
    "protocol": protocol_section,
    "memory": memory_section,
    "scale": scale_section,
    "engines": engines_section,
}


def render(results: Results) -> str:
    """The text of RESULTS.md; writes the charts beside the documents."""
    lines = [
        "# Benchmark results",
        "",
        "Written by `make bench`; do not edit. [README.md](README.md) says how to run the suites "
        "and what they hold constant.",
        "",
    ]
    if any(document["quick"] for document in results.documents.values()):
        lines += ["**A quick run: everything once, to see that it runs. The numbers mean "
                  "nothing.**", ""]
    lines += goals_section(results)
    lines += machine_section(results)
    for suite in SUITES:
        if suite in results.documents:
            lines += SECTIONS[suite](results)
    lines += absent_section(results)
    return "\n".join(lines).rstrip() + "\n"


def write(directory: Path, output: Path) -> list[dict[str, Any]]:
    """Write RESULTS.md and the charts; returns the goals. Raises ``ValueError``."""
    results = Results(directory)
    if not results.documents:
        raise ValueError(f"there are no results in {directory}")
    output.write_text(render(results))
    return [goal for document in results.documents.values() for goal in document["goals"]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", nargs="?", type=Path, default=HERE / "results")
    parser.add_argument("output", nargs="?", type=Path, default=HERE / "RESULTS.md")
    asked = parser.parse_args()
    try:
        write(asked.directory, asked.output)
    except ValueError as error:
        print(f"benches.report: {error}", file=sys.stderr)
        return 1
    print(f"written: {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
