"""How a class of the model declares its keys; what is declared here the reader acts on."""

from __future__ import annotations

from dataclasses import field
from typing import TypeVar

from fanout.server.config.values import Reader

__all__ = ["key", "secret", "tables"]

T = TypeVar("T")


def key(default: T, read: Reader[T]) -> T:
    """A key whose value ``read`` understands."""
    value: T = field(default=default, metadata={"read": read})
    return value


def secret(default: T, read: Reader[T]) -> T:
    """A key whose value may hold a password: no error and no ``repr`` shows it."""
    value: T = field(default=default, repr=False, metadata={"read": read, "secret": True})
    return value


def tables(cls: type[T]) -> tuple[T, ...]:
    """A list of tables."""
    value: tuple[T, ...] = field(default=(), metadata={"tables": cls})
    return value
