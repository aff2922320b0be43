"""Durations, and the patterns that a configuration holds."""

from __future__ import annotations

import warnings
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.server.config.duration import MAX_DURATION, format_duration, parse_duration
from fanout.server.config.patterns import compile_channel_regex, compile_origin

UNITS = {
    "h": Decimal(3600), "m": Decimal(60), "s": Decimal(1),
    "ms": Decimal("0.001"), "us": Decimal("0.000001"), "ns": Decimal("0.000000001"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("10s", 10.0),
        ("1m30s", 90.0),
        ("720h", 2592000.0),
        ("1h0m0.5s", 3600.5),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("300ms", 0.3),
        ("100us", 0.0001),
        ("100\u00b5s", 0.0001),
        ("100\u03bcs", 0.0001),
        ("1s1s", 2.0),
        ("0", 0.0),
        ("0s", 0.0),
        (0, 0.0),
        (25, 25.0),
        (0.25, 0.25),
        (MAX_DURATION, MAX_DURATION),
    ],
)
def test_durations_that_are_taken(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("", "must be a duration"),
        ("10", "must be a duration"),
        ("s", "must be a duration"),
        (".s", "must be a duration"),
        ("10 s", "must be a duration"),
        ("10s ", "must be a duration"),
        ("10s\n", "must be a duration"),
        ("10S", "must be a duration"),
        ("1d", "must be a duration"),
        ("1e3s", "must be a duration"),
        ("\u0661s", "must be a duration"),
        ("1" * 100 + "s", "must be a duration"),
        ("-1s", "must not be negative"),
        (-1, "must not be negative"),
        (None, "must be a duration"),
        (True, "must be a duration"),
        ([10], "must be a duration"),
        ("99999999h", "must be at most"),
        (10**400, "must be at most"),
        (float("nan"), "must be at most"),
        (float("inf"), "must be at most"),
        # 25 s as Centrifugo reads a plain number.
        (25_000_000_000, "a plain number counts seconds, not nanoseconds"),
    ],
)
def test_durations_that_are_refused(value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        parse_duration(value)


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from(list(UNITS))), min_size=1))
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{count}{unit}" for count, unit in parts)
    total = sum((count * UNITS[unit] for count, unit in parts), Decimal(0))
    if len(text) <= 64 and total <= MAX_DURATION:
        assert parse_duration(text) == float(total)
    else:
        with pytest.raises(ValueError, match="must be"):
            parse_duration(text)


@given(st.integers(0, int(MAX_DURATION) * 1000))
def test_a_duration_is_shown_so_that_it_reads_back(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.text() | st.text("0123456789.-+hmsnu\u00b5", max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_DURATION


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (25, "25s"), (90, "1m30s"), (2592000, "720h"), (100, "1m40s")],
)
def test_how_durations_are_shown(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("pattern", "origin", "matches"),
    [
        ("https://example.com", "https://example.com", True),
        ("https://EXAMPLE.com", "https://example.com", True),
        ("https://example.com", "https://example.com.evil.org", False),
        ("https://example.com", "http://example.com", False),
        ("https://example.com", "https://exampleXcom", False),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://example.com", False),
        ("http://localhost:*", "http://localhost:3000", True),
        ("http://localhost:300?", "http://localhost:3001", True),
        ("http://localhost:300[01]", "http://localhost:3002", False),
        ("*", "null", True),
        ("https://example.com", "https://example.com\n", False),
    ],
)
def test_origin_patterns(pattern: str, origin: str, matches: bool) -> None:
    assert bool(compile_origin(pattern).fullmatch(origin)) is matches


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("^[a-z]+$", "news", True),
        ("^[a-z]+$", "news1", False),
        # In Python's own reading "$" would let a line feed through.
        ("^[a-z]+$", "news\n", False),
        (r"^[a-z]+\z", "news\n", False),
        (r"^[a-z]+\z", "news", True),
        ("^a|b$", "b\n", False),
        ("news", "the-news-today", True),
        (r"^\$[$]$", "$$", True),
        (r"^[]$]+$", "$]", True),
        (r"^[^]]$", "]", False),
        (r"^[\]$]+$", "]$", True),
        (r"^\d+$", "42", True),
        (r"^\d+$", "\u0664\u0662", False),
        (r"^\w+$", "\u00e9", False),
        ("^\u00e9$", "\u00e9", True),
        ("(?i)^NEWS$", "news", True),
    ],
)
def test_channel_patterns_mean_what_they_mean_in_go(pattern: str, name: str, matches: bool) -> None:
    assert bool(compile_channel_regex(pattern).search(name)) is matches


@pytest.mark.parametrize(
    "pattern", ["(", "[a", "a**", r"\pL", r"\Qa.b\E", "[[:alpha:]]", "[a&&b]", "(?m)^a$", "(?U)a"]
)
def test_channel_patterns_that_would_mean_something_else_are_refused(pattern: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing may hang on how the process treats warnings
        with pytest.raises(ValueError, match="must"):
            compile_channel_regex(pattern)


@given(st.text("ab[]^$\\zZ(){}?*+|.-:&", max_size=12))
def test_any_pattern_compiles_or_is_refused(pattern: str) -> None:
    try:
        compiled = compile_channel_regex(pattern)
    except ValueError:
        return
    compiled.search("ab")
