"""What a connection may do beside what its channels' options allow."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from fanout.events import Capability
from fanout.pattern import with_anything_between

__all__ = ["allows"]


def allows(capabilities: Sequence[Capability], action: str, channel: str) -> bool:
    """Whether one of them allows ``action`` (``"sub"``, ``"pub"``, ...) in ``channel``."""
    return any(
        action in capability.allow
        and any(_matches(capability.match, name, channel) for name in capability.channels)
        for capability in capabilities)


def _matches(match: str, name: str, channel: str) -> bool:
    if match == "":
        return name == channel
    pattern = _pattern(match, name)
    return pattern is not None and pattern.fullmatch(channel) is not None


@functools.lru_cache(maxsize=1024)
def _pattern(match: str, name: str) -> re.Pattern[str] | None:
    """None for a kind of match that is not known, or no pattern: it allows nothing."""
    if match == "wildcard":
        parts = [re.escape(part) for part in name.split("*")]
        return re.compile(with_anything_between(parts), re.DOTALL)
    try:
        return re.compile(name) if match == "regex" else None
    except (re.error, OverflowError, RecursionError):
        return None
