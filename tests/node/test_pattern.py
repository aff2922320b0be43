"""Patterns of names, which strangers may choose so that they nearly match."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.events import Capability
from fanout.pattern import channel_pattern
from fanout.server.capabilities import allows

NEARLY = "a" * 255      # the longest name by default


def capable(pattern: str, name: str) -> bool:
    return allows((Capability((pattern,), frozenset({"sub"}), "wildcard"),), "sub", name)


@pytest.mark.parametrize("pattern", ["*a" * 40 + "*b", "a*" * 40 + "b*", "*" * 100 + "b"])
def test_a_name_that_nearly_matches_is_not_tried_in_every_way(pattern: str) -> None:
    """With as many ways as there are places for each part this would never end."""
    assert channel_pattern(pattern).fullmatch(NEARLY) is None
    assert not capable(pattern, NEARLY)


@given(st.text("ab*?\n"), st.text("ab\n"))
def test_any_pattern_matches_as_before(pattern: str, name: str) -> None:
    assert bool(channel_pattern(pattern).fullmatch(name)) == fnmatch.fnmatchcase(name, pattern)


@given(st.text("ab*"), st.text("ab"))
def test_any_capability(pattern: str, name: str) -> None:
    assert capable(pattern, name) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(("pattern", "name", "matches"), [
    ("*[ab]c*d", "xacbcd", True), ("*[^a]*", "aaa", False), ("*[^a]*", "aba", True),
    ("*[]*", "a", False), ("[a-c]*b*", "cab", True), ("*\\**", "a*b", True),
    ("*\\**", "ab", False),
])
def test_sets_and_escapes_between_stars(pattern: str, name: str, matches: bool) -> None:
    assert bool(channel_pattern(pattern).fullmatch(name)) is matches
