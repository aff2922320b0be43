"""The targets by name; each module has ``run(data)``, and ``MAX_LEN`` in bytes."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

__all__ = ["NAMES", "Target", "load"]

NAMES = (
    "api", "codec", "configuration", "connect", "emulation", "fossil", "frames", "payload",
    "proxy", "session", "tags_filter", "tokens", "websocket",
)


class Target(Protocol):
    MAX_LEN: int

    def run(self, data: bytes) -> None:
        """Read ``data``; raises for what must never happen."""
        ...


def load(name: str) -> Target:
    return cast(Target, importlib.import_module(f"{__name__}.{name}"))
