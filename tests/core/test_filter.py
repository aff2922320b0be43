"""Filters by tags, compared with the same language in plain Python."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout._filter import TagsFilter
from tests.core.objects import fresh_str, references

NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]{1,19})?", re.ASCII)
EXACT = Context(prec=500)


def number(text: str) -> Decimal | None:
    if len(text) > 200 or not NUMBER.fullmatch(text):
        return None
    return EXACT.create_decimal(text)


def model(node: TagsFilter, tags: Mapping[str, str]) -> bool:
    """What the filter says, said again."""
    if node.op:
        answers = [model(child, tags) for child in node.nodes]
        return {"and": all(answers), "or": any(answers), "not": not answers[0]}[node.op]
    value = tags.get(node.key)
    if node.cmp in ("ex", "nex"):
        return (value is not None) == (node.cmp == "ex")
    if node.cmp in ("in", "nin"):
        return ((value or "") in node.vals) == (node.cmp == "in")
    if value is None:
        return node.cmp == "neq"
    if node.cmp in ("gt", "gte", "lt", "lte"):
        left, right = number(value), number(node.val)
        if left is None or right is None:
            return False
        return {
            "gt": left > right, "gte": left >= right, "lt": left < right, "lte": left <= right,
        }[node.cmp]
    return {
        "eq": value == node.val,
        "neq": value != node.val,
        "sw": value.startswith(node.val),
        "ew": value.endswith(node.val),
        "ct": node.val in value,
    }[node.cmp]


# Few letters of each width, so that they often match; and much that nearly is a number.
words = st.text("ab0é語🙂", max_size=5)
decimals = st.from_regex(r"\A[+-]?0{0,3}[0-9]{0,25}(\.[0-9]{0,21})?\Z") | st.sampled_from(
    ["0", "-0", "+0.0", "1", "01", "1.0", "-1", "1.", ".5", "", "+", "1e3", " 1", "1\n", "\u0661",
     "0x1", "9" * 200, "9" * 201, "-" + "9" * 199, "0." + "0" * 18 + "1", "0." + "0" * 19 + "1"])
values = words | decimals
keys = st.sampled_from(["a", "b", "é", "語"])
tags = st.dictionaries(keys, values, max_size=4)
leaves = (
    st.builds(TagsFilter, key=keys, cmp=st.sampled_from(["eq", "neq", "sw", "ew", "ct"]),
              val=values.filter(bool))
    | st.builds(TagsFilter, key=keys, cmp=st.sampled_from(["gt", "gte", "lt", "lte"]),
                val=decimals.filter(bool))
    | st.builds(TagsFilter, key=keys, cmp=st.sampled_from(["in", "nin"]),
                vals=st.lists(values, min_size=1, max_size=3))
    | st.builds(TagsFilter, key=keys | st.just(""), cmp=st.sampled_from(["ex", "nex"])))
filters = st.recursive(
    leaves,
    lambda nodes: (
        st.builds(TagsFilter, op=st.sampled_from(["and", "or"]),
                  nodes=st.lists(nodes, min_size=1, max_size=3))
        | st.builds(TagsFilter, op=st.just("not"), nodes=st.tuples(nodes))),
    max_leaves=8)


@given(filters, tags)
def test_it_is_like_its_model(node: TagsFilter, given_tags: dict[str, str]) -> None:
    assert node.matches(given_tags) is model(node, given_tags)


@given(st.sampled_from(["gt", "gte", "lt", "lte"]), decimals, decimals.filter(bool))
def test_numbers_are_compared_exactly(cmp: str, value: str, val: str) -> None:
    node = TagsFilter(key="a", cmp=cmp, val=val)
    assert node.matches({"a": value}) is model(node, {"a": value})


@pytest.mark.parametrize(
    ("cmp", "missing"),
    [("eq", False), ("neq", True), ("sw", False), ("ew", False), ("ct", False), ("gt", False),
     ("gte", False), ("lt", False), ("lte", False)],
)
def test_a_missing_tag(cmp: str, missing: bool) -> None:
    for none in (None, {}, {"b": "1"}):
        assert TagsFilter(key="a", cmp=cmp, val="1").matches(none) is missing


def test_a_missing_tag_counts_as_empty_among_vals() -> None:
    assert TagsFilter(key="a", cmp="in", vals=["", "x"]).matches({})
    assert not TagsFilter(key="a", cmp="nin", vals=["", "x"]).matches(None)
    assert TagsFilter(key="a", cmp="nin", vals=["x"]).matches({})


LEAF = TagsFilter(key="a", cmp="eq", val="1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({}, "cmp must be one of"),
        ({"cmp": "EQ", "key": "a", "val": "1"}, "'EQ'"),
        ({"op": "xor", "nodes": [LEAF]}, "'xor'"),
        ({"op": "and"}, "at least one"),
        ({"op": "or"}, "at least one"),
        ({"op": "not"}, "one node, not 0"),
        ({"op": "not", "nodes": [LEAF, LEAF]}, "one node, not 2"),
        ({"cmp": "eq", "val": "1"}, "a key"),
        ({"cmp": "in", "vals": ["1"]}, "a key"),
        ({"cmp": "eq", "key": "a"}, "a val"),
        ({"cmp": "gt", "key": "a"}, "a val"),
        ({"cmp": "sw", "key": "a", "val": "1", "vals": ["1"]}, "no vals"),
        ({"cmp": "in", "key": "a"}, "at least one of vals"),
        ({"cmp": "nin", "key": "a", "val": "1", "vals": ["1"]}, "no val"),
        ({"cmp": "ex", "key": "a", "val": "1"}, "neither"),
        ({"cmp": "nex", "key": "a", "vals": ["1"]}, "neither"),
        ({"cmp": "in", "key": "a", "vals": ["1"] * 1025}, "1024"),
        ({"op": "and", "nodes": [LEAF] * 256}, "256"),
    ],
)
def test_what_is_no_filter_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TagsFilter(**arguments)


def test_a_filter_that_is_too_deep_is_refused() -> None:
    node = LEAF
    for _ in range(15):
        node = TagsFilter(op="not", nodes=[node])
    assert node.matches({}) is True
    with pytest.raises(ValueError, match="16 levels"):
        TagsFilter(op="not", nodes=[node])


def test_nodes_that_are_shared_count_each_time() -> None:
    node = LEAF
    with pytest.raises(ValueError, match="256 nodes"):
        for _ in range(15):
            node = TagsFilter(op="and", nodes=[node, node])


@pytest.mark.parametrize(
    "arguments",
    [{"key": 1}, {"op": None}, {"cmp": b"eq"}, {"val": 1}, {"nodes": [{}], "op": "and"},
     {"cmp": "in", "key": "a", "vals": [1]}, {"cmp": "in", "key": "a", "vals": None}],
)
def test_wrong_types_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        TagsFilter(**arguments)


@pytest.mark.parametrize("wrong", [1, [("a", "b")], {"a": 1}, {1: "a"}, {"a": None}])
def test_tags_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="tags must"):
        LEAF.matches(wrong)


class Text(str):
    """A str whose comparisons would run Python."""

    __slots__ = ()


def test_texts_are_exact_strings() -> None:
    with pytest.raises(TypeError):
        TagsFilter(key=Text("a"), cmp="ex")
    with pytest.raises(TypeError):
        TagsFilter(key="a", cmp="in", vals=[Text("a")])


@given(filters)
def test_equal_trees_are_equal(node: TagsFilter) -> None:
    for other in (pickle.loads(pickle.dumps(node)), copy.deepcopy(node)):
        assert other == node
        assert hash(other) == hash(node)
    assert eval(repr(node)) == node
    assert node != TagsFilter(op="not", nodes=[node])
    assert node != repr(node)


def test_trees_that_differ_are_not_equal() -> None:
    different = [
        LEAF,
        TagsFilter(key="b", cmp="eq", val="1"),
        TagsFilter(key="a", cmp="neq", val="1"),
        TagsFilter(key="a", cmp="eq", val="2"),
        TagsFilter(key="a", cmp="in", vals=["1"]),
        TagsFilter(key="a", cmp="in", vals=["1", "2"]),
        TagsFilter(key="a", cmp="in", vals=["2", "1"]),
        TagsFilter(op="and", nodes=[LEAF]),
        TagsFilter(op="or", nodes=[LEAF]),
        TagsFilter(op="or", nodes=[LEAF, LEAF]),
    ]
    assert len(set(different)) == len(different)


def test_it_cannot_be_changed() -> None:
    for name in ("op", "key", "cmp", "val", "vals", "nodes"):
        with pytest.raises(AttributeError):
            setattr(LEAF, name, getattr(LEAF, name))
    vals = ["1"]
    node = TagsFilter(key="a", cmp="in", vals=vals)
    vals.append("2")
    assert node.vals == ("1",)


def test_exact_references() -> None:
    key, val, value = fresh_str("the key"), fresh_str("the val"), fresh_str("the value")
    before = [references(each) for each in (key, val, value)]
    leaf = TagsFilter(key=key, cmp="in", vals=[val, "x"])
    node = TagsFilter(op="not", nodes=[leaf])
    held = references(leaf)
    tags = {key: value}
    for _ in range(10):
        node.matches(tags), node == TagsFilter(op="not", nodes=[leaf]), hash(node), repr(node)
    assert references(leaf) == held
    del tags, node, leaf
    assert [references(each) for each in (key, val, value)] == before
