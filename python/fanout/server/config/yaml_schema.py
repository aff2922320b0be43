"""YAML as a configuration needs it: the core schema of YAML 1.2, of bounded size.

PyYAML reads YAML 1.1, where ``on``, ``no`` and ``1:30`` are not strings, and
lets a name stand twice. Centrifugo's reader does neither.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

__all__ = ["parse_yaml"]

MAX_VALUES = 100_000
"""Values of a document with every alias written out: ten lines of aliases
of aliases could stand for more than fits any memory."""

_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


def parse_yaml(content: str) -> object:
    """The one document in ``content``; an empty one is an empty table.

    Raises ``ValueError`` with the place of the error.
    """
    try:
        loader = _Loader(content)
        node = loader.get_single_node()
        if node is None:
            return {}
        _measure(node, {})
        value: object = loader.construct_document(node)
        return value
    except yaml.YAMLError as error:
        raise ValueError(_one_line(error)) from None


class _Loader(yaml.SafeLoader):
    # Tables of their own: SafeLoader's are filled by its module.
    yaml_implicit_resolvers = {}  # noqa: RUF012  (the base class has no ClassVar)
    yaml_constructors: ClassVar[dict[str | None, Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if key.tag == _MERGE:
                continue
            if key.tag != _STRING:
                raise yaml.MarkedYAMLError(
                    problem="a key must be a string: put it in quotes", problem_mark=key.start_mark
                )
            if key.value in names:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} stands twice in a table", problem_mark=key.start_mark
                )
            names.add(key.value)
        return super().construct_mapping(node, deep=deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        text = str(self.construct_scalar(node))
        return int(text, 0) if text[:2] in ("0x", "0o") else int(text)

    def refuse(self, node: yaml.Node) -> None:
        raise yaml.MarkedYAMLError(
            problem=f"the tag {node.tag} is not for configurations", problem_mark=node.start_mark
        )


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)"
        r"|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})\\Z"), list(_first)
    )
for _tag, _construct in (
    ("bool", yaml.SafeLoader.construct_yaml_bool),
    ("int", _Loader.construct_integer),
    ("float", yaml.SafeLoader.construct_yaml_float),
    ("null", yaml.SafeLoader.construct_yaml_null),
    ("str", yaml.SafeLoader.construct_yaml_str),
    ("seq", yaml.SafeLoader.construct_yaml_seq),
    ("map", yaml.SafeLoader.construct_yaml_map),
):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
_Loader.add_constructor(None, _Loader.refuse)


def _measure(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values ``node`` stands for."""
    place = id(node)
    if place in known:
        if not known[place]:
            raise yaml.MarkedYAMLError(
                problem="an alias stands inside what it names", problem_mark=node.start_mark
            )
        return known[place]
    known[place] = 0
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        inner = node.value
    size = 1 + sum(_measure(part, known) for part in inner)
    if size > MAX_VALUES:
        raise yaml.MarkedYAMLError(
            problem=f"has more than {MAX_VALUES} values with its aliases written out",
            problem_mark=node.start_mark,
        )
    known[place] = size
    return size


def _one_line(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        return f"{error.problem or error.context}{place}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"{error.reason} (position {error.position})"
    return "cannot be parsed"
