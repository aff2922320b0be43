"""How a class of the model declares its keys; what is declared here the reader acts on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeVar

from fanout.server.config.values import Reader

__all__ = ["key", "mapping", "secret", "section", "tables"]

T = TypeVar("T")


def key(default: T, read: Reader[T], *, from_file: bool = False, commas: bool = True) -> T:
    """A key whose value ``read`` understands.

    ``from_file``: the key of the same name with ``_file`` behind it names a
    file that holds the value. ``commas``: a list in an environment variable
    may have commas between its items, not only spaces.
    """
    value: T = field(
        default=default, metadata={"read": read, "from_file": from_file, "commas": commas}
    )
    return value


def secret(default: T, read: Reader[T], *, from_file: bool = True) -> T:
    """A key whose value may hold a password: no error and no ``repr`` shows it."""
    value: T = field(
        default=default,
        repr=False,
        metadata={"read": read, "from_file": from_file, "commas": False, "secret": True},
    )
    return value


def mapping(read: Reader[Mapping[str, str]]) -> Mapping[str, str]:
    """A key whose value is a table of strings, any of which may be a password."""
    value: Mapping[str, str] = field(
        default_factory=dict, repr=False, hash=False, metadata={"read": read, "secret": True}
    )
    return value


def section(cls: type[T], path: str = "") -> T:
    """A table.

    ``path`` is what the lists of keys call it, where several tables have the
    same keys; ``""``: its own path.
    """
    value: T = field(default_factory=cls, metadata={"section": cls, "path": path})
    return value


def tables(cls: type[T], path: str) -> tuple[T, ...]:
    """A list of tables; ``path`` as in :func:`section`."""
    value: tuple[T, ...] = field(default=(), metadata={"tables": cls, "path": path})
    return value
