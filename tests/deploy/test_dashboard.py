"""The dashboard for Grafana asks for metrics that exist, and the pages are part of the package."""

from __future__ import annotations

import fnmatch
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "deploy" / "grafana.json").read_text())
# Of prometheus_client's own.
PROCESS = {
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds",
    "process_max_fds"}


def expressions() -> list[str]:
    return [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_every_metric_of_the_dashboard_exists() -> None:
    documented = dict(re.findall(
        r"^\| `(fanout_\w+)` \| ?(.*?) ?\|", (ROOT / "docs" / "metrics.md").read_text(),
        re.MULTILINE))
    assert documented
    asked = set(re.findall(r"\b(?:fanout|process)_\w+", " ".join(expressions())))
    for name in asked - PROCESS:
        assert re.sub("_(bucket|count|sum)$", "", name) in documented, name
    # What grows only ever is asked for as a rate.
    for expression in expressions():
        for name in re.findall(r"\b\w+_(?:total|bucket|count)(?={)", expression):
            assert re.search(rf"rate\({name}{{", expression), expression


def test_every_documented_metric_is_on_the_dashboard() -> None:
    shown = " ".join(expressions()) + json.dumps(DASHBOARD["templating"])
    names = re.findall(
        r"^\| `(fanout_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    assert {name for name in names if name not in shown} == {"fanout_node_uptime_seconds"}


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize(
    ("package", "directory"), [("fanout.server.admin", "web"), ("fanout.server.demo", "")])
def test_a_wheel_has_the_pages_files(package: str, directory: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    home = ROOT / "python" / Path(*package.split("."))
    files = [
        path.relative_to(home).as_posix() for path in (home / directory).iterdir()
        if path.is_file()]
    assert files
    for file in files:
        assert any(
            fnmatch.fnmatch(file, pattern) for pattern in settings["package-data"][package]), file
