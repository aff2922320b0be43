"""Names of the tables in a list: namespaces and proxies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

from fanout.server.config.channel import NAMESPACE_NAME
from fanout.server.config.errors import ConfigError

__all__ = ["check_names"]


class Named(Protocol):
    @property
    def name(self) -> str: ...


def check_names(path: str, items: Iterable[Named], boundary: str = "") -> None:
    """Each name must be there once, and be one that a lookup finds."""
    seen = set()
    for index, item in enumerate(items):
        name, place = item.name, f"{path}[{index}].name"
        if not re.fullmatch(NAMESPACE_NAME, name):
            raise ConfigError(place, f"must match ^{NAMESPACE_NAME}$", name)
        if name in seen:
            raise ConfigError(place, "must be unique", name)
        # Only a name in front of the first boundary is ever looked up.
        if boundary and boundary in name:
            raise ConfigError(
                place, f"must not contain {path.partition('.')[0]}.namespace_boundary ({boundary})",
                name,
            )
        seen.add(name)
