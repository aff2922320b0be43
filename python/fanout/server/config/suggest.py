"""Which known key somebody may have meant by one that is not known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from fanout.server.config.channel import NAMESPACE
from fanout.server.config.model import Config
from fanout.server.config.unsupported import IGNORED, REFUSED

__all__ = ["nearest_key"]

# High enough that a key of another kind is not suggested for a short one.
_ALIKE = 0.7


def nearest_key(key: str, shown: str, path: str) -> str | None:
    """The full path of the known key most like ``key``, which stands at ``shown``.

    ``path`` is ``shown`` with ``channel.*`` for a namespace's options. Near
    names in the same table come first, then the same name elsewhere, then the
    names that older versions gave to keys of the top level, such as
    ``client_channel_limit``.
    """
    table = path.rpartition(".")[0]
    here = {p.rpartition(".")[2] for p in _KNOWN if p.rpartition(".")[0] == table}
    here.discard(key)  # a namespace's "name", in the options without one; no other is meant
    if alike := get_close_matches(key, here, 1, _ALIKE):
        return shown.removesuffix(key) + alike[0]
    if path in _KNOWN:
        return None
    elsewhere = [p for p in _KNOWN if p.rpartition(".")[2] == key]
    if not elsewhere:
        flat = {p.replace(".*", "").replace(".", "_"): p for p in _KNOWN if "." in p}
        elsewhere = [flat[name] for name in get_close_matches(key, flat, 1, _ALIKE)]
    if not elsewhere:
        return None
    # Where one table of many has the key, the one that every file has.
    known = elsewhere[0].replace(NAMESPACE, "channel.without_namespace")
    known = known.replace("rpc.*", "rpc.without_namespace")
    return None if "*" in known else known


def _supported(cls: type[Any], path: str) -> Iterator[str]:
    for entry in fields(cls):
        inner = f"{path}.{entry.name}" if path else entry.name
        yield inner
        if entry.metadata.get("from_file"):
            yield f"{inner}_file"
        table = entry.metadata.get("section") or entry.metadata.get("tables")
        if table is not None:
            yield from _supported(table, entry.metadata["path"] or inner)


def _with_tables(paths: Iterator[str]) -> Iterator[str]:
    for path in paths:
        yield path
        while path := path.rpartition(".")[0]:
            if not path.endswith("*"):
                yield path


# A dict for its order: what is supported is suggested before what is not.
_KNOWN = dict.fromkeys([*_supported(Config, ""), *_with_tables(iter([*IGNORED, *REFUSED]))])
