"""From a configuration file to its tables: JSON, TOML and YAML."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from fanout.server.config.errors import ConfigError

__all__ = ["parse_file", "parse_json"]

MAX_SIZE = 4 << 20
"""Bytes of a file; ten thousand namespaces have room in it."""

_KINDS = {".json": "JSON", ".toml": "TOML", ".yaml": "YAML", ".yml": "YAML"}


def parse_file(path: Path) -> object:
    """What a file says; its name's ending tells the format.

    Raises :exc:`ConfigError`, whose text does not name the file.
    """
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise ConfigError("", "the file's name must end in .json, .toml, .yaml or .yml")
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SIZE + 1)
        if len(content) > MAX_SIZE:
            raise ConfigError("", f"is larger than {MAX_SIZE} bytes")
        # With the mark that some editors put in front of UTF-8.
        return _parse(content.decode("utf-8-sig"), kind)
    except OSError as error:
        raise ConfigError("", f"cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError("", f"is not UTF-8: bad byte at {error.start}") from None
    except RecursionError:
        raise ConfigError("", "is nested too deeply") from None
    except ConfigError:
        raise
    except ValueError as error:
        # The parsers' errors, and integers of more digits than int() takes.
        raise ConfigError("", f"is not valid {kind}: {error}") from None


def _parse(content: str, kind: str) -> object:
    if kind == "TOML":
        return tomllib.loads(content)
    if kind == "JSON":
        return parse_json(content)
    # Not at the top: who writes JSON does not need the package.
    try:
        from fanout.server.config.yaml_schema import parse_yaml
    except ModuleNotFoundError:
        raise ConfigError("", "needs the package PyYAML: install fanout[server]") from None
    return parse_yaml(content)


def parse_json(content: str) -> object:
    """JSON as its standard has it: no NaN, and no name twice in an object."""
    return json.loads(content, object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json would let the last one win; whoever wrote the first would not know.
    table: dict[str, Any] = {}
    for key, value in pairs:
        if key in table:
            raise ValueError(f"{json.dumps(key)} stands twice in a table")
        table[key] = value
    return table


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
