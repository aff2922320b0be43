"""Runs each of ``hazards.py`` in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from tests.core.hazards import HAZARDS

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("name", HAZARDS)
def test_hazard(name: str) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "tests.core.hazards", name],
        cwd=ROOT,
        # The same fanout as here, wherever it was found.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert child.returncode == 0, child.stderr
