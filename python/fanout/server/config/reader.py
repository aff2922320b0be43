"""From tables to a :class:`Config`: values, unknown keys, keys without effect."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import Any, TypeVar

from fanout.server.config.environment import NamedItems, Variable
from fanout.server.config.errors import ConfigError, UnknownKey, on_one_line
from fanout.server.config.files import read_secret
from fanout.server.config.model import Config
from fanout.server.config.suggest import nearest_key
from fanout.server.config.unsupported import IGNORED, REFUSED

__all__ = ["read"]

T = TypeVar("T")

# Tables that hold keys of both lists, or of none: looked into key by key.
_GROUPS = {path.rpartition(".")[0] for path in (*IGNORED, *REFUSED)} - IGNORED.keys() - {""}

_NO_TABLE = "must be a table of keys (in JSON: an object)"


def read(
    data: object, errors: list[ConfigError] | None = None
) -> tuple[Config, list[str]]:
    """The configuration that ``data`` spells, and warnings: one line each.

    Raises :exc:`ConfigError` for a value that breaks its own rule; or, where
    ``errors`` is given, appends every one and takes the key's default. Rules
    between keys are :func:`fanout.server.config.check`'s.
    """
    reader = _Reader(errors)
    return reader.table(Config, data, shown="", path=""), reader.warnings


class _Reader:
    """One pass over a file.

    ``shown`` is a key's path as a message names it, ``path`` the same with
    every namespace written ``channel.*``, as the lists of keys have it.
    """

    def __init__(self, errors: list[ConfigError] | None) -> None:
        self.warnings: list[str] = []
        self._errors = errors

    def table(self, cls: type[T], data: object, shown: str, path: str) -> T:
        if not isinstance(data, dict):
            raise ConfigError(shown, _NO_TABLE, data)
        supported = {entry.name: entry for entry in fields(cls)}  # type: ignore[arg-type]
        values: dict[str, Any] = {}
        for key, value in data.items():
            try:
                self._key(supported, data, key, value, values, shown, path)
            except ConfigError as error:
                if self._errors is None:
                    raise
                self._errors.append(error)
        return cls(**values)

    def _key(
        self,
        supported: dict[str, Field[Any]],
        data: dict[str, Any],
        key: str,
        value: object,
        values: dict[str, Any],
        shown: str,
        path: str,
    ) -> None:
        key_shown, key_path = _join(shown, key), _join(path, key)
        plain = key.removesuffix("_file")
        if value is None and (key in supported or plain in supported):
            return  # as if it were not there: YAML's "key:" with nothing behind it
        if key in supported:
            values[key] = self._supported(supported[key], value, key_shown, key_path)
        elif plain in supported and supported[plain].metadata.get("from_file"):
            if data.get(plain) is not None:
                key_shown = value.name if isinstance(value, Variable) else key_shown
                raise ConfigError(key_shown, f"must not stand beside {plain}")
            values[plain] = self._from_file(supported[plain], value, key_shown)
        else:
            self._other(key, value, key_shown, key_path)

    def _supported(self, entry: Field[Any], value: object, shown: str, path: str) -> object:
        how = entry.metadata
        if "section" in how:
            return self.table(how["section"], value, shown, how["path"] or path)
        if "tables" in how:
            if not isinstance(value, list):
                raise ConfigError(shown, "must be a list of tables", value)
            if isinstance(value, NamedItems):
                shown = value.name
            return tuple(
                self.table(how["tables"], item, f"{shown}[{_label(item, index)}]", how["path"])
                for index, item in enumerate(value)
            )
        if isinstance(value, Variable):
            return _read(entry, value.value(entry), value.name, value.text)
        return _read(entry, value, shown, value)

    def _from_file(self, entry: Field[Any], value: object, shown: str) -> object:
        if isinstance(value, Variable):
            shown, value = value.name, value.text
        if not isinstance(value, str) or not value:
            raise ConfigError(shown, "must be the path of a file", value)
        return _read(entry, read_secret(value, shown), shown, value)

    def _other(self, key: str, value: object, shown: str, path: str) -> None:
        _refuse(value, shown, path)
        if path in IGNORED:
            if not _is_off(value):
                note = f" ({IGNORED[path]})" if IGNORED[path] else ""
                self.warnings.append(f"{shown}: not supported, has no effect{note}")
        elif path in _GROUPS:
            if not isinstance(value, dict):
                raise ConfigError(shown, _NO_TABLE, value)
            for inner_key, inner in value.items():
                self._other(inner_key, inner, _join(shown, inner_key), _join(path, inner_key))
        elif path not in REFUSED:
            nearest = nearest_key(key, shown, path)
            hint = f"; did you mean {nearest}?" if nearest else ""
            self.warnings.append(UnknownKey(f"{on_one_line(shown)}: unknown key, ignored{hint}"))


def _read(entry: Field[Any], value: object, shown: str, written: object) -> object:
    try:
        return entry.metadata["read"](value)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        if "secret" in entry.metadata:
            raise ConfigError(shown, str(error)) from None
        raise ConfigError(shown, str(error), written) from None


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
    if isinstance(value, dict):
        # As Centrifugo writes the defaults of a whole section.
        return value.get("enabled") is False or all(map(_is_off, value.values()))
    return not value or value == "0s"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _label(item: object, index: int) -> str:
    name = item.get("name") if isinstance(item, dict) else None
    # The name, because who reads a message has not counted the namespaces.
    return name if isinstance(name, str) and name.isprintable() and name else str(index)
