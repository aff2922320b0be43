"""Readers of single values: each takes what the file holds and returns what it means.

A reader raises ``ValueError`` with the rule that was broken; who calls it
knows the key and makes a :exc:`ConfigError` of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from fanout.server.config.duration import format_duration, parse_duration

__all__ = [
    "Reader",
    "address",
    "boolean",
    "duration",
    "header_name",
    "integer",
    "list_of",
    "name_mark",
    "off_or",
    "one_of",
    "text",
]

T = TypeVar("T")
Reader = Callable[[object], T]

MAX_UINT32 = 0xFFFFFFFF


def boolean(value: object) -> bool:
    """``true`` or ``false``, not the numbers or words that other programs take for them."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def integer(low: int, high: int = MAX_UINT32, zero: str = "") -> Reader[int]:
    """A whole number from ``low`` to ``high``; ``zero`` says what 0 means, for the rule."""
    rule = f"must be a whole number from {low} to {high}" + (f" (0: {zero})" if zero else "")

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(rule)
        return value

    return read


def text(value: object) -> str:
    """A string that is valid Unicode."""
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("must be a string")
    return value


def one_of(*choices: str) -> Reader[str]:
    """One of the given strings."""
    rule = "must be one of " + ", ".join(f'"{choice}"' for choice in choices)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(rule)
        return value

    return read


def name_mark(value: object) -> str:
    """A prefix or boundary inside channel names: short printable ASCII, ``""`` to have none."""
    if (
        not isinstance(value, str)
        or len(value) > 8
        or not all("!" <= char <= "~" for char in value)
    ):
        raise ValueError('must be up to 8 printable ASCII characters without spaces, or ""')
    return value


def address(value: object) -> str:
    """A host name or IP address to listen on, ``""`` for every interface."""
    rule = 'must be a host name or an IP address, or "" for every interface'
    if not isinstance(value, str) or not all("!" <= char <= "~" for char in value):
        raise ValueError(rule)
    try:
        value.encode("idna")  # as the resolver will, with less to say when it fails
    except UnicodeError:
        raise ValueError(rule) from None
    return value


def header_name(value: object) -> str:
    """The name of an HTTP header, ``""`` for none."""
    if not isinstance(value, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*", value):
        raise ValueError('must be the name of an HTTP header, or ""')
    return value


def duration(minimum: float = 0.0, *, whole: bool = False, zero: str = "") -> Reader[float]:
    """Seconds, at least ``minimum``.

    ``whole`` refuses fractions of a second. ``zero`` says what 0 means, and
    then 0 is allowed beside what the minimum allows.
    """

    def read(value: object) -> float:
        seconds = parse_duration(value)
        if zero and seconds == 0:
            return seconds
        if seconds < minimum:
            raise ValueError(
                f"must be at least {format_duration(minimum)}" + (f", or 0: {zero}" if zero else "")
            )
        if whole and seconds != int(seconds):
            raise ValueError("must be whole seconds")
        return seconds

    return read


def off_or(read: Reader[float]) -> Reader[float]:
    """``-1`` is Centrifugo's "off" for some durations: it reads as 0."""

    def read_or_off(value: object) -> float:
        off = isinstance(value, int) and not isinstance(value, bool) and value == -1
        return 0.0 if off else read(value)

    return read_or_off


def list_of(read: Reader[T], check: Callable[[T], Any] | None = None) -> Reader[tuple[T, ...]]:
    """A list whose items ``read`` understands and ``check`` (if given) does not refuse."""

    def read_list(value: object) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise ValueError("must be a list")
        items = []
        for index, item in enumerate(value):
            try:
                items.append(read(item))
                if check is not None:
                    check(items[-1])
            except ValueError as error:
                raise ValueError(f"item {index} {error}") from None
        return tuple(items)

    return read_list
