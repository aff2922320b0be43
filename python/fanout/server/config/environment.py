"""The environment: a variable for every key.

``CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY`` is ``client.token.hmac_secret_key``;
``FANOUT_`` in place of ``CENTRIFUGO_`` is the same and wins over it. A list of
tables with names (``channel.namespaces``, ``rpc.namespaces``, ``proxies``) is a
JSON array, or names with spaces between them; then, and for what the file
lists, ``CENTRIFUGO_CHANNEL_NAMESPACES_<NAME>_<KEY>`` is one key of one of
them, where ``<NAME>`` has ``_`` for ``-`` and ``.``. An empty variable counts as
none. All this is as in Centrifugo.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields
from difflib import get_close_matches
from typing import Any

from fanout.server.config.errors import ConfigError, UnknownKey, on_one_line
from fanout.server.config.model import Config
from fanout.server.config.parsing import parse_json
from fanout.server.config.unsupported import IGNORED, REFUSED

__all__ = ["PREFIXES", "NamedItems", "Variable", "is_variable", "merge", "variables"]

PREFIXES = ("CENTRIFUGO_", "FANOUT_")
"""The later ones win."""

# What Kubernetes puts into every container for a service of our name.
_KUBERNETES = re.compile(
    r"(.*_)?(SERVICE_(HOST|PORT(_[A-Z0-9_]+)?)|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_KUBERNETES_URL = re.compile(r"(tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+")
# Switches of the build.
_OURS = {"FANOUT_DEBUG", "FANOUT_SANITIZE"}
_WORDS = dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "false", "FALSE", "False"), False
)


@dataclass(frozen=True, slots=True)
class Variable:
    """A value that comes from the environment, in the place of one that a file has."""

    name: str
    text: str

    def value(self, entry: Field[Any]) -> object:
        """What a file would have in its place; what cannot be that is left as text.

        The key's own reader refuses it then, with its rule. Raises
        :exc:`ConfigError` for a list or table that is not valid JSON.
        """
        text, default = self.text, entry.default
        if isinstance(default, bool):
            return _WORDS.get(text, text)
        if isinstance(default, (int, float)):
            return int(text) if re.fullmatch("-?[0-9]{1,20}", text) else text
        if isinstance(default, tuple) and not text.startswith("["):
            return re.split(r"[\s,]+" if entry.metadata["commas"] else r"\s+", text.strip())
        is_text = isinstance(default, str) or default is None
        return text if is_text else _json(self)


def is_variable(key: str) -> bool:
    """Whether ``key`` of a :exc:`ConfigError` is a variable's name, not a path in the file."""
    return key.startswith(PREFIXES)


def merge(data: object, environ: Mapping[str, str]) -> tuple[object, list[str]]:
    """``data`` (a file's tables) with the variables of ``environ`` in it, and warnings.

    Raises :exc:`ConfigError` for a variable that must not be ignored, and for
    a list of tables that cannot be read.
    """
    given = _given(environ)
    if not given or not isinstance(data, dict):
        return data, []
    merging = _Merging(given)
    merged = merging.table(Config, data, "", "")
    return merged, merging.rest()


def variables(cls: type[Any] = Config, prefix: str = "") -> Iterator[str]:
    """The name of every key's variable, without ``CENTRIFUGO_`` in front."""
    for entry in fields(cls):
        suffix = f"{prefix}{entry.name.upper()}"
        if "section" in entry.metadata:
            yield from variables(entry.metadata["section"], f"{suffix}_")
        else:
            yield suffix
            if entry.metadata.get("from_file"):
                yield f"{suffix}_FILE"


def _given(environ: Mapping[str, str]) -> dict[str, Variable]:
    given = {}
    for prefix in PREFIXES:
        for name in sorted(environ):
            suffix = name.removeprefix(prefix)
            if name in _OURS or suffix == name or not environ[name]:
                continue
            if not _is_foreign(suffix, environ[name]):
                given[suffix] = Variable(name, environ[name])
    return given


def _is_foreign(suffix: str, text: str) -> bool:
    return (
        suffix.startswith("VAR_")  # for what header_values expands
        or _KUBERNETES.fullmatch(suffix) is not None
        or (suffix.endswith("PORT") and _KUBERNETES_URL.fullmatch(text) is not None)
    )


class _Merging:
    """One pass over the model, the file's tables beside it."""

    def __init__(self, given: dict[str, Variable]) -> None:
        self.given = given
        self.known: set[str] = set()
        # The prefix of each table's variables, and what the lists of keys call it.
        self.tables: list[tuple[str, str]] = []

    def table(self, cls: type[Any], data: object, prefix: str, path: str) -> object:
        if data is None:
            data = {}
        if not isinstance(data, dict):
            return data  # the reader says what is wrong with it
        self.tables.append((prefix, path))
        merged = dict(data)
        for entry in fields(cls):
            name, how = entry.name, entry.metadata
            suffix = f"{prefix}{name.upper()}"
            if "section" in how:
                inner_path = how["path"] or (f"{path}.{name}" if path else name)
                inner = self.table(how["section"], data.get(name), f"{suffix}_", inner_path)
                if inner or name in data:
                    merged[name] = inner
            elif "tables" in how:
                items = self._items(suffix, data.get(name), how["path"], how["tables"])
                if items is not None:
                    merged[name] = items
            else:
                self._key(merged, suffix, name, from_file=bool(how.get("from_file")))
        return merged

    def _key(self, merged: dict[str, Any], suffix: str, name: str, *, from_file: bool) -> None:
        self.known.add(suffix)
        direct = self.given.get(suffix)
        indirect = None
        if from_file:
            self.known.add(f"{suffix}_FILE")
            indirect = self.given.get(f"{suffix}_FILE")
        if direct or indirect:
            # Either wins over both that a file has.
            merged.pop(name, None)
            merged.pop(f"{name}_file", None)
        if direct:
            merged[name] = direct
        if indirect:
            merged[f"{name}_file"] = indirect

    def _items(self, suffix: str, data: object, path: str, cls: type[Any]) -> object:
        self.known.add(suffix)
        variable = self.given.get(suffix)
        items = data if variable is None else _listed(variable, data)
        if not isinstance(items, list) or not any(e.name == "name" for e in fields(cls)):
            return items
        merged = [self._item(suffix, item, path, cls) for item in items]
        return NamedItems(merged, items.name) if isinstance(items, NamedItems) else merged

    def _item(self, suffix: str, item: object, path: str, cls: type[Any]) -> object:
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            return item
        own = re.sub("[-.]", "_", name).upper()
        return self.table(cls, item, f"{suffix}_{own}_", path)

    def rest(self) -> list[str]:
        """Warnings about the variables that are no key's.

        Raises :exc:`ConfigError` for one that must not be ignored.
        """
        warnings: list[str] = []
        left = [suffix for suffix in self.given if suffix not in self.known]
        unsupported = dict(self._unsupported()) if left else {}
        for suffix in left:
            variable = self.given[suffix]
            parts = suffix.split("_")
            heads = ["_".join(parts[:end]) for end in range(len(parts), 0, -1)]
            path = next((unsupported[head] for head in heads if head in unsupported), None)
            if any(unsupported.get(head) in IGNORED and self._is_off(head) for head in heads):
                continue
            if path is None:
                near = get_close_matches(suffix, sorted(self.known), 1, 0.7)
                hint = f"; did you mean {_prefix(variable.name)}{near[0]}?" if near else ""
                name = on_one_line(variable.name)
                warnings.append(UnknownKey(f"{name}: unknown variable, ignored{hint}"))
            elif (value := _WORDS.get(variable.text, variable.text)) is False:
                continue
            elif path not in REFUSED:
                note = f" ({IGNORED[path]})" if IGNORED[path] else ""
                warnings.append(f"{variable.name}: not supported, has no effect{note}")
            elif value not in REFUSED[path].harmless:
                raise ConfigError(variable.name, REFUSED[path].rule, variable.text)
        return warnings

    def _is_off(self, table: str) -> bool:
        """Whether a variable says that the table is not in use, as in a file its ``enabled``."""
        enabled = self.given.get(f"{table}_ENABLED")
        return enabled is not None and _WORDS.get(enabled.text) is False

    def _unsupported(self) -> Iterator[tuple[str, str]]:
        for prefix, table in self.tables:
            for path in (*IGNORED, *REFUSED):
                key = path.removeprefix(f"{table}.") if table else path
                if "*" not in key and (key != path or not table):
                    yield prefix + key.upper().replace(".", "_"), path


class NamedItems(list[object]):
    """A list that comes from a variable, with the variable's name."""

    def __init__(self, items: list[object], name: str) -> None:
        super().__init__(items)
        self.name = name


def _listed(variable: Variable, data: object) -> object:
    """The list that ``variable`` holds: JSON, or names that are added to the file's."""
    text = variable.text.strip()
    if text.startswith("["):
        items = _json(variable)
        return NamedItems(items, variable.name) if isinstance(items, list) else items
    if not re.fullmatch(r"[^{}\"\s]+(\s+[^{}\"\s]+)*", text):
        raise ConfigError(variable.name, "must be a JSON array, or names with spaces between them")
    file = data if isinstance(data, list) else []
    has = {item.get("name") for item in file if isinstance(item, dict)}
    return [*file, *({"name": name} for name in dict.fromkeys(text.split()) if name not in has)]


def _json(variable: Variable) -> object:
    try:
        return parse_json(variable.text)
    except (ValueError, RecursionError):
        # Without the parser's words: they may hold what a secret stands in.
        raise ConfigError(variable.name, "is not valid JSON") from None


def _prefix(name: str) -> str:
    return next(prefix for prefix in PREFIXES if name.startswith(prefix))
