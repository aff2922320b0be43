"""Writes the lists of keys in ``configuration.md``: ``python docs/configuration.py``.

What stands in front of the mark is written by hand and stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fanout.server.config.channel import NamespaceOptions
from fanout.server.config.describe import Key, Table, describe
from fanout.server.config.proxies import DisconnectTransform, ProxyConfig
from fanout.server.config.rpc import RpcOptions
from fanout.server.config.tls import TLSConfig
from fanout.server.config.tokens import TokenConfig
from fanout.server.config.transports import ConnectResponseConfig
from fanout.server.config.unsupported import IGNORED, REFUSED

PAGE = Path(__file__).with_suffix(".md")
MARK = "<!-- From here on written by docs/configuration.py. -->\n"

# What many tables have in common is listed once, where it comes first.
SHARED: tuple[type[Any], ...] = (
    ConnectResponseConfig, DisconnectTransform, NamespaceOptions, ProxyConfig, RpcOptions,
    TLSConfig, TokenConfig,
)


def page() -> str:
    """The whole page, with its lists written anew."""
    prose = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    return prose + MARK + "\n" + "\n".join(_lists()) + "\n"


def _lists() -> Iterator[str]:
    yield "## Every key"
    listed: dict[type[Any], Table] = {}
    for table in describe().tables:
        yield from _table(table, listed)
    yield from ("", "## Keys of Centrifugo without effect", "")
    yield "A file may have them; a warning says that they do nothing."
    yield from ("", "| Key | What holds |", "|---|---|")
    yield from (f"| `{path}` | {note} |" for path, note in sorted(IGNORED.items()))
    yield from ("", "## Keys of Centrifugo that are refused", "")
    yield "To leave them out of account would open something, or split one system into two."
    yield from ("", "| Key | May be | Rule |", "|---|---|---|")
    for path, refused in sorted(REFUSED.items()):
        harmless = ", ".join(f"`{json.dumps(value)}`" for value in refused.harmless)
        yield f"| `{path}` | {harmless} | {refused.rule} |"


def _table(table: Table, listed: dict[type[Any], Table]) -> Iterator[str]:
    family = next((cls for cls in SHARED if issubclass(table.cls, cls)), None)
    first = listed.setdefault(family, table) if family is not None else table
    yield from ("", f"### {_title(table)}", "", _sentence(table.meaning))
    if table.variable:
        yield _variables(table)
    keys, tables = table.keys, table.tables
    if first is not table:
        known = {key.name for key in first.keys}
        keys = tuple(key for key in keys if key.name not in known)
        tables = ()
        yield f"Its keys are those of [{_title(first)}](#{_anchor(first)})" + (
            ", and:" if keys else "."
        )
    if keys:
        yield from ("", "| Key | Type | Default | Meaning |", "|---|---|---|---|")
        yield from map(_row, keys)
    for inner in tables:
        yield from _table(inner, listed)


def _title(table: Table) -> str:
    return f"`{table.path}[]`" if table.listed else f"`{table.path}`"


def _anchor(table: Table) -> str:
    # As GitHub makes it of a heading.
    return "".join(char for char in _title(table) if char.isalnum() or char in "_-")


def _variables(table: Table) -> str:
    if not table.listed:
        return f"Variables: `{table.variable}_…`."
    named = any(key.name == "name" for key in table.keys)
    if named:
        return f"Variables: `{table.variable}`, `{table.variable}_<NAME>_…`."
    return f"Variable: `{table.variable}` (JSON)."


def _row(key: Key) -> str:
    meaning = _sentence(key.meaning)
    if key.from_file:
        meaning += f" Or `{key.name}_file`, a file with the value."
    cells = (f"`{key.name}`", key.kind, f"`{json.dumps(key.default)}`", meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _sentence(text: str) -> str:
    return text if text.endswith((".", ":")) else f"{text}."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
