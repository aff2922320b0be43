"""Patterns of channel names, with the rules of Redis's ``PUBSUB CHANNELS``."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["channel_pattern", "with_anything_between"]


def with_anything_between(parts: Sequence[str]) -> str:
    """An expression for ``parts``, each of a fixed length, with any text between two of them.

    Each is taken where it comes first, once and for all. Else a name that
    nearly matches would be tried in as many ways as it has places for them.
    """
    if len(parts) == 1:
        return parts[0]
    first, *between, last = parts
    return "".join([first, *(f"(?>.*?{part})" for part in between), ".*", last])


def channel_pattern(pattern: str) -> re.Pattern[str]:
    """An expression to ``fullmatch``; see :meth:`fanout.Engine.channels` for the rules.

    A set that is not closed ends with the pattern, as in Redis. An empty set
    matches nothing.
    """
    parts = [""]
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append("")
        elif char == "?":
            parts[-1] += "."
        elif char == "[":
            part, at = _set(pattern, at)
            parts[-1] += part
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            parts[-1] += re.escape(char)
    return re.compile(with_anything_between(parts), re.DOTALL)


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The expression of a set whose bracket is in front of ``at``, and where it ends."""
    negated = pattern[at:at + 1] == "^"
    if negated:
        at += 1
    items: list[str] = []
    while at < len(pattern) and pattern[at] != "]":
        first, at = _member(pattern, at)
        last = first
        if pattern[at:at + 1] == "-" and at + 1 < len(pattern):
            last, at = _member(pattern, at + 1)
        low, high = sorted((first, last))
        items.append(f"{re.escape(low)}-{re.escape(high)}")
    at += 1
    if not items:
        return ("." if negated else "(?!)"), at
    return f"[{'^' if negated else ''}{''.join(items)}]", at


def _member(pattern: str, at: int) -> tuple[str, int]:
    if pattern[at] == "\\" and at + 1 < len(pattern):
        at += 1
    return pattern[at], at + 1
