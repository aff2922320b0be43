"""The charts of the results, as SVG on a light ground."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

OWN = "#0b6e4f"
COLORS = {
    "fanout": OWN,
    "node": "#5fb49c",
    "floor": "#444444",
    "reference": "#c1666b",
    "broadcaster": "#d4a373",
    "channels": "#4281a4",
    "socketio": "#8e6c8a",
}
OTHER = "#9aa5b1"

STYLE: dict[Any, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e5e8eb",
    "grid.linewidth": 0.8,
    # Shapes, not text: the fonts of the reader do not matter.
    "svg.fonttype": "path",
    # The same numbers make the same file.
    "svg.hashsalt": "fanout",
}


def duration(ns: float) -> str:
    """A time for people: three figures and the unit that fits."""
    value = ns
    for unit in ("ns", "µs", "ms"):
        if value < 999.5:
            return f"{figures(value)} {unit}"
        value /= 1000
    return f"{figures(value)} s"


def figures(value: float) -> str:
    """Three significant figures, without an exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _tick(ns: float, position: int | None = None) -> str:
    """A time at an axis, without decimals that say nothing."""
    number, _, unit = duration(ns).partition(" ")
    return f"{float(number.replace(',', '')):g} {unit}" if ns else "0"


def _log_time(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(_tick))


def _log_count(axes: Axes, sizes: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.minorticks_off()


def _line(axes: Axes, name: str, label: str, xs: Sequence[float], ys: Sequence[float]) -> None:
    axes.plot(
        xs,
        ys,
        color=COLORS.get(name, OTHER),
        label=label,
        marker="o",
        markersize=5,
        linewidth=2.4 if name == "fanout" else 1.5,
        linestyle="--" if name == "floor" else "-",
        zorder=3 if name == "fanout" else 2,
    )


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def publish(rows: dict[int, dict[str, float]], labels: dict[str, str], path: Path) -> None:
    """Core: the cost of a publish for each subscriber, by the number of subscribers."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
        for name, label in labels.items():
            points = [(size, by[name] / size) for size, by in rows.items() if name in by]
            if points:
                _line(axes, name, label, *zip(*points, strict=True))
        _log_count(axes, list(rows))
        _log_time(axes)
        axes.set_title("Publish in one process: time per subscriber")
        axes.set_xlabel("subscribers of the channel")
        axes.set_ylabel("time per subscriber (log scale)")
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        _save(figure, path)


def connection_memory(rows: list[dict[str, Any]], goal: float, path: Path) -> None:
    """Memory: resident bytes of an idle connection."""
    ordered = sorted(rows, key=lambda row: float(row["bytes"]), reverse=True)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            figsize=(8.6, 0.9 + 0.55 * len(ordered)), layout="constrained")
        bars = axes.barh(
            [row["label"] for row in ordered],
            [row["bytes"] / 1024 for row in ordered],
            color=[OWN if row["name"] == "fanout" else OTHER for row in ordered],
        )
        values = axes.bar_label(bars, fmt="%.1f KB", padding=4)
        for value in values:  # legible where the goal's line passes behind it
            value.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})
        axes.axvline(goal / 1024, color="#444444", linestyle="--", linewidth=1, zorder=1)
        axes.annotate(
            f"goal: {goal / 1024:.0f} KB", (goal / 1024, len(ordered) - 0.5),
            xytext=(4, 0), textcoords="offset points", va="top", fontsize=10)
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.12)
        axes.set_title("An idle WebSocket connection: resident memory of the server")
        axes.set_xlabel("KB (1,024 bytes) per connection")
        _save(figure, path)


def scale(
    rows: list[dict[str, Any]],
    lines: dict[str, str],
    texts: dict[str, str],
    path: Path,
    logarithmic: bool,
) -> None:
    """Scale: a curve of time over a size; ``lines`` maps names in the rows to labels."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(8.6, 4.2), layout="constrained")
        for name, label in lines.items():
            points = [
                (row["size"], row[f"{name}_ns"]) for row in rows if row.get(f"{name}_ns")]
            if points:
                _line(axes, name, label, *zip(*points, strict=True))
        _log_count(axes, [row["size"] for row in rows])
        if logarithmic:
            _log_time(axes)
        else:
            axes.set_ylim(bottom=0)
            axes.yaxis.set_major_formatter(FuncFormatter(_tick))
        axes.set_title(texts["title"])
        axes.set_xlabel(texts["x"])
        axes.set_ylabel(texts["y"])
        axes.legend(frameon=False, loc="best")
        _save(figure, path)


def wire(cells: list[dict[str, Any]], labels: dict[str, str], path: Path) -> None:
    """Wire: CPU per delivery of every server, one panel for each number per tick."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(cells), figsize=(10.5, 1.3 + 0.36 * len(labels)), layout="constrained",
            sharey=True, squeeze=False)
        # Most expensive on top, in the same order in all panels.
        names = sorted(
            (name for name in labels if name in cells[0]["subjects"] and name != "floor"),
            key=lambda name: float(cells[0]["subjects"][name]["cpu_ns"]),
        )
        for axes, cell in zip(panels[0], cells, strict=True):
            found = cell["subjects"]
            shown = [name for name in names if name in found]
            bars = axes.barh(
                [labels[name] for name in shown],
                [found[name]["cpu_ns"] / 1000 for name in shown],
                color=[OWN if name == "fanout" else OTHER for name in shown],
            )
            axes.bar_label(bars, fmt=lambda us: figures(us), padding=3, fontsize=9)
            if "floor" in found:
                axes.axvline(
                    found["floor"]["cpu_ns"] / 1000, color="#444444", linestyle="--",
                    linewidth=1.2, label="floor: a C loop of send()")
            axes.set_title(f"{cell['per_tick']} per tick")
            axes.set_xlabel("µs of CPU per delivery")
            axes.grid(axis="y", visible=False)
            axes.margins(x=0.2)
        panels[0][0].invert_yaxis()
        handles, texts = panels[0][0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, texts, loc="outside lower left", frameon=False)
        figure.suptitle(
            f"The wire: {cells[0]['connections']:,} connections, {cells[0]['payload']:,} bytes",
            x=0.01, ha="left", fontsize=12)
        _save(figure, path)


def engines(cells: list[dict[str, Any]], labels: dict[str, str], path: Path) -> None:
    """Engines: messages per second of every contender, one panel for each batch."""
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(cells), figsize=(10.5, 1.2 + 0.36 * len(labels)), layout="constrained",
            sharey=True, squeeze=False)
        names = [name for name in labels if name in cells[0]["contenders"]]
        for axes, cell in zip(panels[0], cells, strict=True):
            found = cell["contenders"]
            shown = [name for name in names if name in found]
            bars = axes.barh(
                [labels[name] for name in shown],
                [found[name]["per_s"] / 1000 for name in shown],
                color=[OWN if name == "fanout" else OTHER for name in shown],
            )
            axes.bar_label(bars, fmt=figures, padding=3, fontsize=9)
            axes.set_title(f"{cell['batch']} per tick")
            axes.set_xlabel("thousand messages per second")
            axes.grid(axis="y", visible=False)
            axes.margins(x=0.22)
        panels[0][0].invert_yaxis()
        channels = cells[0]["channels"]
        figure.suptitle(
            f"Through Valkey and back: {channels:,} channel{'s' if channels > 1 else ''}",
            x=0.01, ha="left", fontsize=12)
        _save(figure, path)
