"""Durations as Centrifugo's configuration spells them: ``"10s"``, ``"1m30s"``, ``"720h"``."""

from __future__ import annotations

import re
from decimal import Decimal

__all__ = ["MAX_DURATION", "format_duration", "parse_duration"]

MAX_DURATION = 10 * 365 * 24 * 3600.0
"""Seconds. Nothing here waits for ten years, but Centrifugo reads a plain
number as nanoseconds: a file that relies on it is refused, not misread."""

_UNITS = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "\u00b5s": Decimal("1e-6"),  # the micro sign
    "\u03bcs": Decimal("1e-6"),  # the Greek letter, which Go takes too
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_PART = re.compile(
    r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(" + "|".join(sorted(_UNITS, key=len, reverse=True)) + ")"
)
_WHOLE = re.compile(f"(?:{_PART.pattern})+")
# Longer than any sensible duration, short enough for exact sums.
_MAX_TEXT = 64

_RULE = 'must be a duration such as "10s", "1m30s" or "720h", or a number of seconds'


def parse_duration(value: object) -> float:
    """Seconds of a duration string, or of a plain number of seconds.

    A string is one or more numbers with a unit (``h m s ms us ns``), or
    ``"0"``. Raises ``ValueError`` with the rule for anything else, for what is
    negative and for more than :data:`MAX_DURATION`.
    """
    if isinstance(value, str):
        seconds = float(_parse_text(value))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        # Not Decimal(value) yet: NaN would not compare.
        seconds = float(min(value, MAX_DURATION + 1))
    else:
        raise ValueError(_RULE)
    if seconds < 0:
        raise ValueError("must not be negative")
    # Written so that NaN fails it too.
    if not seconds <= MAX_DURATION:
        raise ValueError(
            f"must be at most {format_duration(MAX_DURATION)} "
            "(a plain number counts seconds, not nanoseconds)"
        )
    return seconds


def _parse_text(text: str) -> Decimal:
    if text == "0":
        return Decimal(0)
    if text.startswith("-") and _WHOLE.fullmatch(text, 1):
        return Decimal(-1)
    if len(text) > _MAX_TEXT or not _WHOLE.fullmatch(text):
        raise ValueError(_RULE)
    # Decimals, because 0.1 + 0.2 of floats is not what the file says.
    return sum((Decimal(n) * _UNITS[unit] for n, unit in _PART.findall(text)), Decimal(0))


def format_duration(seconds: float) -> str:
    """The shortest spelling that :func:`parse_duration` reads back, to the nanosecond."""
    left = round(Decimal(seconds), 9)
    parts = []
    for unit in ("h", "m"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count:f}{unit}")
    if left or not parts:
        number = f"{left:f}"
        parts.append((number.rstrip("0").rstrip(".") if "." in number else number) + "s")
    return "".join(parts)
