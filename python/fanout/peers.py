"""The nodes of one system, as they tell each other of themselves."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from fanout._expiry import Expiry, Timer

__all__ = ["NodeInfo", "Peers"]

FORGOTTEN_AFTER = 7 / 3     # intervals without a word; one may be lost
ANSWER_WITHIN = 0.2         # seconds, so that all who answer a new node do not do it at once


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node tells the others; ``uptime`` is in seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subscriptions: int
    uptime: float

    def to_params(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_params(cls, params: bytes) -> NodeInfo:
        """Raises ``ValueError`` or ``TypeError`` for what no node has told."""
        return cls(**json.loads(params))


class Peers:
    """Tells the others of this node every ``interval`` seconds, and remembers what they tell."""

    def __init__(self, expiry: Expiry, interval: float, tell: Callable[[], None]) -> None:
        self._interval = interval
        self._tell = tell
        self._heard: dict[str, tuple[NodeInfo, float]] = {}
        self._timer = Timer(expiry, self._on_timer)

    def start(self) -> None:
        self._on_timer()

    def stop(self) -> None:
        self._timer.cancel()

    def heard(self, info: NodeInfo) -> None:
        if info.uid not in self._heard:
            # A new one need not wait an interval to know of us.
            self._timer.start(random.uniform(0, min(ANSWER_WITHIN, self._interval)))
        self._heard[info.uid] = info, time.monotonic()

    def left(self, uid: str) -> None:
        self._heard.pop(uid, None)

    def all(self) -> list[NodeInfo]:
        """Those heard of lately."""
        self._forget()
        return [info for info, _ in self._heard.values()]

    def _forget(self) -> None:
        oldest = time.monotonic() - FORGOTTEN_AFTER * self._interval
        for uid, (_, at) in list(self._heard.items()):
            if at < oldest:
                del self._heard[uid]

    def _on_timer(self) -> None:
        self._timer.start(self._interval)
        self._forget()
        self._tell()
