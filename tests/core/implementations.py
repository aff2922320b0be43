"""The core and its model, by exact name: a missing extension is an import error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import fanout._expiry
import fanout._hub
import fanout._presence
import fanout._ring
import fanout._subscription
from tests.model import reference

__all__ = ["CORE", "REFERENCE", "Implementation"]


@dataclass(frozen=True)
class Implementation:
    name: str
    Expiry: Any
    Timer: Any
    HistoryStore: Any
    PresenceStore: Any
    Hub: Any
    LocalQueue: Any


CORE = Implementation(
    "core",
    fanout._expiry.Expiry,
    fanout._expiry.Timer,
    fanout._ring.HistoryStore,
    fanout._presence.PresenceStore,
    fanout._hub.Hub,
    fanout._subscription.LocalQueue,
)
REFERENCE = Implementation(
    "reference",
    reference.Expiry,
    reference.Timer,
    reference.HistoryStore,
    reference.PresenceStore,
    reference.Hub,
    reference.LocalQueue,
)
