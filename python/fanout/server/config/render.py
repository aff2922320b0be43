"""Configurations as text: the defaults, with what each key means, and a first one to start with."""

from __future__ import annotations

import json
import secrets
import textwrap
from collections.abc import Iterator
from typing import Any

from fanout.server.config.describe import Key, Table, describe

__all__ = ["FORMATS", "defaults", "first"]

FORMATS = ("yaml", "json", "toml")
_WIDTH = 96
_CHAT: dict[str, Any] = {
    "name": "chat",
    "allow_subscribe_for_client": True,
    "presence": True,
    "history_size": 100,
    "history_ttl": "10m",
    "force_recovery": True,
}
_ABOUT_CHAT = (
    "A namespace: every user with a token may subscribe to chat:any-name. As long as none says so, "
    "a channel takes only those with a subscription token for it. To have it, take the first # and "
    "its space from the lines below."
)


def defaults(kind: str) -> str:
    """The whole default configuration; in YAML and TOML with a comment on every key."""
    table = describe()
    if kind == "json":
        return json.dumps(_plain(table), indent=2) + "\n"
    lines = _yaml(table, 0) if kind == "yaml" else _toml(table)
    return "\n".join(lines).strip("\n") + "\n"


def first(kind: str) -> str:
    """A small configuration with random secrets, each of 256 bits.

    In YAML and TOML a namespace stands below it, as a comment: what it opens
    is not for us to decide.
    """
    values: dict[str, dict[str, Any]] = {
        "client": {
            "token": {"hmac_secret_key": secrets.token_urlsafe(32)},
            "allowed_origins": [],
        },
        "http_api": {"key": secrets.token_urlsafe(32)},
        "admin": {
            "enabled": False,
            "password": secrets.token_urlsafe(32),
            "secret": secrets.token_urlsafe(32),
        },
    }
    if kind == "json":
        return json.dumps(values, indent=2) + "\n"
    lines = _write_yaml(values, 0) if kind == "yaml" else _write_toml(values, "")
    return "\n".join([*lines, "", *_comment(_ABOUT_CHAT, ""), *_example(kind)]) + "\n"


def _example(kind: str) -> Iterator[str]:
    """A namespace, as a comment."""
    pairs = [(name, json.dumps(value)) for name, value in _CHAT.items()]
    if kind == "toml":
        yield "# [[channel.namespaces]]"
        yield from (f"# {name} = {value}" for name, value in pairs)
        return
    yield from ("# channel:", "#   namespaces:")
    for number, (name, value) in enumerate(pairs):
        yield f"#   {'  ' if number else '- '}{name}: {value}"


def _plain(table: Table) -> dict[str, Any]:
    values: dict[str, Any] = {key.name: key.default for key in table.keys}
    return values | {inner.name: [] if inner.listed else _plain(inner) for inner in table.tables}


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {line}" for line in textwrap.wrap(text, _WIDTH - len(indent))]


def _about(key: Key) -> str:
    kind = "" if key.kind == "true or false" else f"({key.kind}) "
    return f"{kind}{key.meaning}".rstrip()


def _yaml(table: Table, depth: int) -> Iterator[str]:
    indent = "  " * depth
    for key in table.keys:
        yield from _comment(_about(key), indent)
        yield f"{indent}{key.name}: {json.dumps(key.default)}"
    for inner in table.tables:
        if not depth:
            yield ""
        yield from _comment(inner.meaning, indent)
        if inner.listed:
            yield f"{indent}{inner.name}: []"
        else:
            yield f"{indent}{inner.name}:"
            yield from _yaml(inner, depth + 1)


def _toml(table: Table) -> Iterator[str]:
    lists = [inner for inner in table.tables if inner.listed]
    if table.path:
        yield ""
        yield from _comment(table.meaning, "")
        yield f"[{table.path}]"
    for key in table.keys:
        yield from _comment(_about(key), "")
        yield f"{key.name} = {_toml_value(key.default)}"
    for inner in lists:
        yield from _comment(inner.meaning, "")
        yield f"{inner.name} = []"
    for inner in table.tables:
        if not inner.listed:
            yield from _toml(inner)


def _toml_value(value: object) -> str:
    # JSON's strings, numbers, truth values and flat lists are TOML's as well.
    return "{}" if value == {} else json.dumps(value)


def _write_yaml(values: dict[str, Any], depth: int) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield f"{'  ' * depth}{name}:"
            yield from _write_yaml(value, depth + 1)
        else:
            yield f"{'  ' * depth}{name}: {json.dumps(value)}"


def _write_toml(values: dict[str, Any], path: str) -> Iterator[str]:
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    if plain and path:
        yield f"[{path}]"
    for name, value in plain.items():
        yield f"{name} = {_toml_value(value)}"
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _write_toml(value, f"{path}.{name}" if path else name)
