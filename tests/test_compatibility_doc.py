"""The tests that docs/compatibility.md names are there, and each claim has one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
DOC = (HERE.parent / "docs" / "compatibility.md").read_text()
NAMED = re.compile(r"`([\w/]+\.py)::(test_\w+)`")
STAR = re.compile(r"^from tests\.([\w.]+) import \*", re.MULTILINE)


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Feature, answer, note and test of every row."""
    for line in DOC.splitlines():
        if line.startswith("| ") and not line.startswith("| Feature"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(cells) == 4, line
            yield cells[0], cells[1], cells[2], cells[3]


@cache
def in_file(path: str) -> frozenset[str]:
    """The tests of a file, and those of the scenarios that it takes over."""
    text = (HERE / path).read_text()
    found = set(re.findall(r"^(?:async )?def (test_\w+)", text, re.MULTILINE))
    for module in STAR.findall(text):
        found |= in_file(module.replace(".", "/") + ".py")
    return frozenset(found)


def test_every_claim_has_its_test() -> None:
    found = list(rows())
    assert len(found) > 200
    for feature, answer, note, test in found:
        assert answer in ("yes", "partly", "no"), feature
        if answer == "no":
            assert note and not test, feature
        else:
            assert NAMED.fullmatch(test), feature
        assert answer == "yes" or note, feature


def test_every_named_test_exists() -> None:
    named = NAMED.findall(DOC)
    assert named
    missing = [
        f"{path}::{test}" for path, test in named
        if not (HERE / path).is_file() or test not in in_file(path)]
    assert missing == []


def test_no_feature_is_listed_twice() -> None:
    for table in re.split(r"^## ", DOC, flags=re.MULTILINE):
        features = re.findall(r"^\| (.*?) \| (?:yes|partly|no) \|", table, re.MULTILINE)
        assert len(features) == len(set(features))


def test_every_option_of_a_namespace_is_listed() -> None:
    from fanout.server.api.methods import METHODS
    from fanout.server.config.channel import Namespace
    from fanout.server.protocol.messages import Command

    options = {name for name in Namespace.__dataclass_fields__ if name != "name"}
    listed = re.findall(r"`(_?\w+)`", DOC)
    for option in options:
        ends = tuple(name for name in listed if name.startswith("_for_"))
        shown = option in listed or option.endswith(ends) or option.endswith("_proxy_name")
        assert shown, option
    for method in [*METHODS, *Command.__struct_fields__[1:]]:
        assert method in listed or method.startswith("map_"), method
