"""Readers of single values: each takes what the file holds and returns what it means.

A reader raises ``ValueError`` with the rule that was broken; who calls it
knows the key and makes a :exc:`ConfigError` of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from fanout.server.config.duration import format_duration, parse_duration
from fanout.server.config.patterns import compile_channel_regex

__all__ = [
    "Choice",
    "Reader",
    "Whole",
    "address",
    "boolean",
    "duration",
    "header_name",
    "header_values",
    "http_path",
    "integer",
    "list_of",
    "name_mark",
    "off_or",
    "one_of",
    "optional_port",
    "port",
    "reason",
    "regex",
    "text",
    "url",
]

T = TypeVar("T")
Reader = Callable[[object], T]

MAX_UINT32 = 0xFFFFFFFF
_BOOLEANS = {"true": True, "false": False}
_DIGITS = re.compile("-?[0-9]{1,19}", re.ASCII)


def boolean(value: object) -> bool:
    """``true`` or ``false``, not the numbers or words that other programs take for them.

    In quotes too, as templates write them and Centrifugo takes them.
    """
    if isinstance(value, str) and value in _BOOLEANS:
        return _BOOLEANS[value]
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


@dataclass(frozen=True, slots=True)
class Whole:
    """Reads a whole number from ``low`` to ``high``; ``zero`` says what 0 means, for the rule.

    In quotes too, as templates write it and Centrifugo takes it.
    """

    low: int
    high: int = MAX_UINT32
    zero: str = ""

    def __call__(self, value: object) -> int:
        if isinstance(value, str) and _DIGITS.fullmatch(value):
            value = int(value)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or not self.low <= value <= self.high
        ):
            meaning = f" (0: {self.zero})" if self.zero else ""
            raise ValueError(f"must be a whole number from {self.low} to {self.high}{meaning}")
        return value


def integer(low: int, high: int = MAX_UINT32, zero: str = "") -> Reader[int]:
    """A whole number from ``low`` to ``high``; ``zero`` says what 0 means, for the rule."""
    return Whole(low, high, zero)


def text(value: object) -> str:
    """A string that is valid Unicode."""
    if not isinstance(value, str) or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError("must be a string")
    return value


@dataclass(frozen=True, slots=True)
class Choice:
    """Reads one of the given strings."""

    choices: tuple[str, ...]

    def __call__(self, value: object) -> str:
        if not isinstance(value, str) or value not in self.choices:
            listed = ", ".join(f'"{choice}"' for choice in self.choices)
            raise ValueError(f"must be one of {listed}")
        return value


def one_of(*choices: str) -> Reader[str]:
    """One of the given strings."""
    return Choice(choices)


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


def http_path(value: object) -> str:
    """Where an endpoint stands: ``"/connection/sse"``; without the slash at its end, if any."""
    if (
        not isinstance(value, str)
        or not re.fullmatch(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?", value)
        or any(part in (".", "..") for part in value.split("/"))
    ):
        raise ValueError('must be a path such as "/connection/sse", or ""')
    return value.removesuffix("/")


def port(value: object) -> int:
    """A port to listen on, also as a string, as Centrifugo takes it."""
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 65535:
        raise ValueError("must be a port from 0 to 65535 (0: any free port)")
    return number


def optional_port(value: object) -> int | None:
    """As :func:`port`; ``""``: none."""
    if value == "":
        return None
    try:
        return port(value)
    except ValueError as error:
        raise ValueError(f'{error}, or ""') from None


def url(*schemes: str) -> Reader[str]:
    """An absolute URL of one of the schemes, ``""`` for none. The rule never holds the URL."""
    rule = "must be a URL that begins with " + " or ".join(f"{name}://" for name in schemes)

    def read(value: object) -> str:
        if value == "":
            return ""
        if not isinstance(value, str) or not all("!" <= char <= "~" for char in value):
            raise ValueError(rule)
        try:
            parts = urlsplit(value)
            known = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            raise ValueError(rule)
        return value

    return read


def reason(value: object) -> str:
    """What a client is told: printable ASCII that fits a WebSocket close frame."""
    if (
        not isinstance(value, str)
        or len(value) > 123
        or not all(" " <= char <= "~" for char in value)
    ):
        raise ValueError("must be up to 123 printable ASCII characters")
    return value


def regex(value: object) -> str:
    """A regular expression, ``""`` for none; it is used with ``search``, as Go's are."""
    pattern = text(value)
    compile_channel_regex(pattern)
    return pattern


_VARIABLE = re.compile(r"\$\{((?:CENTRIFUGO|FANOUT)_VAR_[^}]+)\}")


def header_values(value: object) -> Mapping[str, str]:
    """Headers: a table, or as in Centrifugo a list of tables with ``key`` and ``value``.

    ``${CENTRIFUGO_VAR_NAME}`` (or ``${FANOUT_VAR_NAME}``) in a value is that
    environment variable. Raises ``ValueError`` when there is none of that name.
    """
    rule = 'must be a table of strings, or a list of tables with "key" and "value"'
    if isinstance(value, list):
        if not all(isinstance(item, dict) and item.keys() == {"key", "value"} for item in value):
            raise ValueError(rule)
        pairs = [(item["key"], item["value"]) for item in value]
    elif isinstance(value, dict):
        pairs = list(value.items())
    else:
        raise ValueError(rule)
    headers: dict[str, str] = {}
    for name, given in pairs:
        if not isinstance(name, str) or not isinstance(given, str):
            raise ValueError(rule)
        if not name or name in headers:
            raise ValueError("must have each name once, and none that is empty")
        header_name(name)
        content = _VARIABLE.sub(_variable, given)
        if any((char < " " and char != "\t") or char == "\x7f" for char in content):
            raise ValueError("must have no control characters in a header")
        headers[name] = content
    return headers


def _variable(found: re.Match[str]) -> str:
    content = os.environ.get(found[1])
    if content is None:
        raise ValueError(f"needs the environment variable {found[1]}, which is not set")
    return content


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
