"""Patterns of channel names, with the rules of Redis's ``PUBSUB CHANNELS``."""

from __future__ import annotations

import re

__all__ = ["channel_pattern"]


def channel_pattern(pattern: str) -> re.Pattern[str]:
    """An expression to ``fullmatch``; see :meth:`fanout.Engine.channels` for the rules.

    A set that is not closed ends with the pattern, as in Redis. An empty set
    matches nothing.
    """
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            parts.append(".*")
        elif char == "?":
            parts.append(".")
        elif char == "[":
            part, at = _set(pattern, at)
            parts.append(part)
        else:
            if char == "\\" and at < len(pattern):
                char = pattern[at]
                at += 1
            parts.append(re.escape(char))
    return re.compile("".join(parts), re.DOTALL)


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
