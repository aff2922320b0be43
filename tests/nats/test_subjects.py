"""Channel names as subjects: reversible, legal, and told apart."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.nats.subjects import (
    MAX_SUBJECT,
    Subjects,
    check_wildcards,
    escape,
    flatten,
    unescape,
)

# What means something to NATS or to the escapes, more often than by chance.
NAMES = st.text(
    st.one_of(st.sampled_from(".%-*>| \t\r\n\0\x7f\x85\u2028\u3000aA25"),
              st.characters(exclude_categories=["Cs"])),
    min_size=1, max_size=60,
)


def is_legal(subject: str) -> bool:
    """By NATS' own rules, for a subject to publish to."""
    return all(
        token and not re.search(r"[\s\0*>]", token) for token in subject.split("."))


@given(NAMES)
def test_a_subject_is_legal_and_leads_back(name: str) -> None:
    subject = escape(name)
    assert is_legal(subject)
    assert unescape(subject) == name


@given(NAMES, NAMES)
def test_distinct_names_have_distinct_subjects(one: str, other: str) -> None:
    assert (escape(one) == escape(other)) == (one == other)
    assert (flatten(escape(one)) == flatten(escape(other))) == (one == other)


@given(NAMES)
def test_one_token_can_be_split_into_the_subject(name: str) -> None:
    """As the server does with what it publishes again."""
    flat = flatten(escape(name))
    assert "." not in flat
    assert is_legal(flat)
    assert ".".join(flat.split("|")) == escape(name)


@given(NAMES)
def test_dots_stay_dots(name: str) -> None:
    assert escape(name).count(".") == name.count(".")


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("news", "news"),
        ("news.sport", "news.sport"),
        ("$private#42,43:x", "$private#42,43:x"),
        ("a b", "a%20b"),
        ("*", "%2A"),
        ("a.>", "a.%3E"),
        ("50%", "50%25"),
        (".", "%-.%-"),
        ("a..b", "a.%-.b"),
        ("%-", "%25-"),
        ("a|b", "a%7Cb"),
        ("a\n", "a%0A"),
        ("\N{IDEOGRAPHIC SPACE}", "%E3%80%80"),
        ("\N{SNOWMAN}", "\N{SNOWMAN}"),
    ],
)
def test_known_subjects(name: str, subject: str) -> None:
    assert escape(name) == subject


@pytest.mark.parametrize("subject", ["%", "%2", "%2a", "%GG", "a%20", "%41", "%FF", "%--", "a%-"])
def test_a_subject_of_no_channel_is_refused(subject: str) -> None:
    if subject == "a%20":
        assert unescape(subject) == "a "
        return
    with pytest.raises(ValueError):
        unescape(subject)


@pytest.mark.parametrize("name", ["x" * (MAX_SUBJECT + 1), " " * 1001, "\N{SNOWMAN}" * 1001])
def test_a_name_too_long_for_a_subject_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="at most 3000 bytes"):
        escape(name)


def test_a_name_that_is_not_encodable_is_refused() -> None:
    for name in ("\ud800", "a b\ud800"):
        with pytest.raises(ValueError):
            escape(name)


@pytest.mark.parametrize("channel", ["*", ">", "a.*", "a.>", "*.b.*", "a.*.>"])
def test_wildcards(channel: str) -> None:
    assert check_wildcards(channel)
    assert Subjects("p", "n").clients(channel) == f"p.client.{channel}"


@pytest.mark.parametrize("channel", ["a", "a.b", "a%b"])
def test_a_name_without_wildcards(channel: str) -> None:
    assert not check_wildcards(channel)


@pytest.mark.parametrize(
    ("channel", "rule"),
    [
        ("a>b", "whole token"),
        ("a*", "whole token"),
        ("*a.b", "whole token"),
        ("a.b>", "whole token"),
        ("**", "whole token"),
        (">.a", "last token"),
        ("a.>.b", "last token"),
        (">.>", "last token"),
    ],
)
def test_a_misplaced_wildcard_is_refused(channel: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_wildcards(channel)


def test_what_is_no_wildcard_is_escaped_beside_one() -> None:
    assert Subjects("p", "n").clients("a b.*..50%") == "p.client.a%20b.*.%-.50%25"


@pytest.mark.parametrize("prefix", ["", "a.b", "a b", "*", "a>", "x" * 65, "\N{SNOWMAN}"])
def test_a_bad_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="letters, digits"):
        Subjects(prefix, "n")
