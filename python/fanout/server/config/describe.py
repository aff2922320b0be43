"""The model as text: every key with its type, default, variable and meaning.

The meanings are the docstrings beside the keys, read from the source.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any

from fanout.server.config.duration import format_duration
from fanout.server.config.model import Config
from fanout.server.config.values import Choice, Whole

__all__ = ["Key", "Table", "describe", "every_key", "meanings"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key."""

    name: str
    path: str
    """Its full path; ``[]`` behind a list of tables."""
    kind: str
    """Its type in words."""
    default: object
    """As a file would have it: ``"25s"``, not 25.0."""
    meaning: str
    variable: str
    """Its environment variable, ``""`` inside a list whose tables have no names."""
    secret: bool
    from_file: bool


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or a list of tables, and what is in it."""

    name: str
    path: str
    meaning: str
    listed: bool
    variable: str
    keys: tuple[Key, ...]
    tables: tuple[Table, ...]
    cls: type[Any]


def describe() -> Table:
    """The whole configuration."""
    return _table(Config, "", "", "CENTRIFUGO", "Everything.", listed=False)


def meanings(cls: type[Any]) -> dict[str, str]:
    """Key -> the text beside it, one line, for the keys that ``cls`` declares or inherits."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for entry, after in zip(body.body, [*body.body[1:], ast.Pass()], strict=True):
            if not isinstance(entry, ast.AnnAssign) or not isinstance(entry.target, ast.Name):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                found[entry.target.id] = _plain(str(after.value.value))
    return found


def _table(
    cls: type[Any], name: str, path: str, variable: str, meaning: str, *, listed: bool
) -> Table:
    beside = meanings(cls)
    keys: list[Key] = []
    tables: list[Table] = []
    inner_path = f"{path}[]" if listed else path
    named = not listed or any(entry.name == "name" for entry in fields(cls))
    inner_variable = (f"{variable}_<NAME>" if listed else variable) if named and variable else ""
    for entry in fields(cls):
        full = f"{inner_path}.{entry.name}" if inner_path else entry.name
        own = f"{inner_variable}_{entry.name.upper()}" if inner_variable else ""
        how = entry.metadata
        inner = how.get("section") or how.get("tables")
        if inner is None:
            keys.append(_key(entry, full, own, beside.get(entry.name, "")))
        else:
            text = beside.get(entry.name) or _plain(inner.__doc__ or "")
            tables.append(_table(inner, entry.name, full, own, text, listed="tables" in how))
    # In the order of the file: what tells one table from the next first.
    keys.sort(key=lambda one: one.name != "name")
    return Table(name, path, meaning, listed, variable, tuple(keys), tuple(tables), cls)


def _plain(text: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(text.replace("``", "`").split())


def _key(entry: Field[Any], path: str, variable: str, meaning: str) -> Key:
    how = entry.metadata
    return Key(
        entry.name,
        path,
        _kind(entry),
        _written(entry),
        meaning,
        variable,
        bool(how.get("secret")),
        bool(how.get("from_file")),
    )


def _kind(entry: Field[Any]) -> str:
    read, default = entry.metadata["read"], entry.default
    if isinstance(read, Choice):
        return "one of " + ", ".join(f'`"{choice}"`' for choice in read.choices)
    if isinstance(default, bool):
        return "true or false"
    if isinstance(read, Whole) and read.zero:
        return f"number (0: {read.zero})"
    if isinstance(default, int) or default is None:
        return "number"
    if isinstance(default, float):
        return "duration"
    if isinstance(default, tuple):
        return "list of strings"
    return "string" if isinstance(default, str) else "table of strings"


def _written(entry: Field[Any]) -> object:
    """The default as a file would have it."""
    default = entry.default
    if default is MISSING:
        return {}
    if default is None:
        return ""
    if isinstance(default, float):
        return format_duration(default)
    return list(default) if isinstance(default, tuple) else default


def every_key(table: Table) -> Iterator[Key]:
    """The keys of a table and of all tables in it."""
    yield from table.keys
    for inner in table.tables:
        yield from every_key(inner)
