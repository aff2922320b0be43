"""The tests that docs/engines.md names are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "engines.md").read_text()


def test_every_named_test_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", DOC))
    assert len(named) > 50
    assert named <= there, sorted(named - there)
    for path in re.findall(r"`(tests/[\w/]+\.py)`", DOC):
        assert (ROOT / path).is_file(), path


def test_every_claim_leads_to_a_test() -> None:
    listed = re.findall(r"^\| ([A-Z]\d+a?) \|", DOC, re.MULTILINE)
    assert len(listed) == len(set(listed))
    cited = {
        label
        for inside in re.findall(r"\[([A-Z]\d[^\]]*)\]", DOC)
        for label in re.findall(r"[A-Z]\d+a?", inside)
    }
    assert cited == set(listed)
