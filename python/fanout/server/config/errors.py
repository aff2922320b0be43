"""What a configuration that cannot be used raises."""

from __future__ import annotations

import json

from fanout.errors import FanoutError

__all__ = ["ConfigError", "Mistake", "UnknownKey", "on_one_line"]

_NO_VALUE = object()
_SHOWN = 60


class ConfigError(FanoutError, ValueError):
    """A configuration that the server must not start with.

    ``key`` is the key's full path (``"client.ping_interval"``), ``""`` when
    the file as a whole is at fault; ``rule`` says what is wrong. The text of
    the error is one line with the path, the value and the rule.
    """

    def __init__(self, key: str, rule: str, value: object = _NO_VALUE) -> None:
        place = key if value is _NO_VALUE else f"{key} = {_show(value)}"
        super().__init__(f"{place}: {rule}" if place else rule)
        self.key = key
        self.rule = rule


class UnknownKey(str):
    """A warning about a key or a variable that nobody knows: an error where that is asked for."""

    __slots__ = ()


class Mistake(str):
    """A warning about what nobody can mean, such as that no client can connect.

    A server starts with it, for an application or the demo may add what is
    missing; a strict check of the configuration alone ends with an error.
    """

    __slots__ = ()


def on_one_line(name: str) -> str:
    """A name of somebody's, as a message can have it: JSON may have line ends in names."""
    return name if name.isprintable() else _show(name)


def _show(value: object) -> str:
    # Only scalars are shown: what a table or a list holds may be long, and secret.
    if isinstance(value, dict):
        return "{...}"
    if isinstance(value, (list, tuple)):
        return "[...]"
    if isinstance(value, (str, bool, int, float)) or value is None:
        text = json.dumps(value)
    else:
        text = str(value)  # TOML's dates and times
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
