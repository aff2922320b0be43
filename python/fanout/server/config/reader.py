"""From the tables of a file to a :class:`Config`: values, unknown keys, keys without effect."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, TypeVar

from fanout.server.config.errors import ConfigError
from fanout.server.config.model import Config
from fanout.server.config.suggest import nearest_key
from fanout.server.config.unsupported import IGNORED, REFUSED

__all__ = ["read"]

T = TypeVar("T")

# Tables that hold keys of both lists, or of none: looked into key by key.
_GROUPS = {path.rpartition(".")[0] for path in (*IGNORED, *REFUSED)} - IGNORED.keys() - {""}

_NO_TABLE = "must be a table of keys (in JSON: an object)"


def read(data: object) -> tuple[Config, list[str]]:
    """The configuration that ``data`` spells, and warnings: one line each.

    Raises :exc:`ConfigError` for a value that breaks its own rule. Rules
    between keys are :func:`fanout.server.config.check`'s.
    """
    reader = _Reader()
    return reader.table(Config, data, shown="", path=""), reader.warnings


class _Reader:
    """One pass over a file.

    ``shown`` is a key's path as a message names it, ``path`` the same with
    every namespace written ``channel.*``, as the lists of keys have it.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def table(self, cls: type[T], data: object, shown: str, path: str) -> T:
        if not isinstance(data, dict):
            raise ConfigError(shown, _NO_TABLE, data)
        supported = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for key, value in data.items():
            key_shown, key_path = _join(shown, key), _join(path, key)
            if key in supported:
                values[key] = self._supported(supported[key], value, key_shown, key_path)
            else:
                self._other(key, value, key_shown, key_path)
        return cls(**values)

    def _supported(self, entry: Field[Any], value: object, shown: str, path: str) -> object:
        how = entry.metadata
        if "section" in how:
            return self.table(how["section"], value, shown, how["path"] or path)
        if "tables" in how:
            if not isinstance(value, list):
                raise ConfigError(shown, "must be a list of tables", value)
            return tuple(
                self.table(how["tables"], item, f"{shown}[{_label(item, index)}]", how["path"])
                for index, item in enumerate(value)
            )
        try:
            return how["read"](value)
        except ValueError as error:
            if "secret" in how:
                raise ConfigError(shown, str(error)) from None
            raise ConfigError(shown, str(error), value) from None

    def _other(self, key: str, value: object, shown: str, path: str) -> None:
        _refuse(value, shown, path)
        if path in IGNORED:
            if not _is_off(value):
                note = f" ({IGNORED[path]})" if IGNORED[path] else ""
                self.warnings.append(f"{shown}: not supported yet, has no effect{note}")
        elif path in _GROUPS:
            if not isinstance(value, dict):
                raise ConfigError(shown, _NO_TABLE, value)
            for inner_key, inner in value.items():
                self._other(inner_key, inner, _join(shown, inner_key), _join(path, inner_key))
        elif path not in REFUSED:
            nearest = nearest_key(key, shown, path)
            hint = f"; did you mean {nearest}?" if nearest else ""
            self.warnings.append(f"{shown}: unknown key, ignored{hint}")


def _refuse(value: object, shown: str, path: str) -> None:
    """Raise for a key that must not be ignored, here or anywhere below."""
    if _is_off(value):
        return
    if path in REFUSED:
        refused = REFUSED[path]
        if value not in refused.harmless:
            raise ConfigError(shown, refused.rule, value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            _refuse(inner, _join(shown, key), _join(path, key))


def _is_off(value: object) -> bool:
    """True for what asks for nothing: leaving it out of account changes nothing."""
    return not value or (isinstance(value, dict) and value.get("enabled") is False)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _label(item: object, index: int) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    # The name, because who reads a message has not counted the namespaces.
    return name if isinstance(name, str) and name.isprintable() and name else str(index)
