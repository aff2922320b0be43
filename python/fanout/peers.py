"""The nodes of one system, as they tell each other of themselves."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from fanout._expiry import Expiry, Timer

__all__ = ["NodeInfo", "Peers"]

FORGOTTEN_AFTER = 7 / 3     # intervals without a word; one may be lost
USUAL_INTERVAL = 3.0        # seconds; what a node that tells nothing expects of the others
MOST_PEERS = 10_000
MOST_METRICS = 1_000        # figures of one node
ANSWER_WITHIN = 0.2         # seconds, so that all who answer a new node do not do it at once


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a node tells the others; ``uptime`` is in seconds.

    ``metrics`` are figures by name that the application chose to tell, see
    :attr:`fanout.Node.measure`.
    """

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subscriptions: int
    uptime: float
    metrics: Mapping[str, float] = field(default_factory=dict)

    def to_params(self) -> bytes:
        told = asdict(self)
        if not self.metrics:
            del told["metrics"]
        return json.dumps(told).encode()

    @classmethod
    def from_params(cls, params: bytes) -> NodeInfo:
        """Raises ``ValueError`` or ``TypeError`` for what no node has told.

        What a later version tells beside it is passed over.
        """
        told = json.loads(params)
        if type(told) is not dict:
            raise TypeError(f"a node's info must not be {told!r}")
        info = cls(**{name: value for name, value in told.items() if name in cls.__slots__})
        for what, kind in _KINDS.items():
            value = getattr(info, what)
            if type(value) not in kind:
                raise TypeError(f"{what} must not be {value!r}")
        if len(info.metrics) > MOST_METRICS:
            raise ValueError(f"metrics must be at most {MOST_METRICS}, not {len(info.metrics)}")
        for value in info.metrics.values():
            if type(value) not in _SECONDS:
                raise TypeError(f"a metric must not be {value!r}")
        return info


_TEXT, _COUNT, _SECONDS = (str,), (int,), (int, float)
_KINDS: dict[str, tuple[type, ...]] = {
    "uid": _TEXT, "name": _TEXT, "version": _TEXT, "num_clients": _COUNT, "num_users": _COUNT,
    "num_channels": _COUNT, "num_subscriptions": _COUNT, "uptime": _SECONDS,
    "metrics": (dict,),
}


class Peers:
    """Tells the others of this node every ``interval`` seconds, and remembers what they tell.

    With an interval of 0 it only remembers.
    """

    def __init__(self, expiry: Expiry, interval: float, tell: Callable[[], None]) -> None:
        self._interval = interval
        self._tell = tell
        self._heard: dict[str, tuple[NodeInfo, float]] = {}
        self._answers = False       # the timer is set for those who are new
        self._stopped = False
        self._timer = Timer(expiry, self._on_timer)

    def start(self) -> None:
        if self._interval:
            self._on_timer()

    def stop(self) -> None:
        self._stopped = True
        self._timer.cancel()
        self._heard.clear()

    def heard(self, info: NodeInfo) -> None:
        if self._stopped:
            return
        if info.uid not in self._heard:
            if len(self._heard) >= MOST_PEERS:
                self._forget()
                if len(self._heard) >= MOST_PEERS:
                    return
            if self._interval and not self._answers:
                # A new one need not wait an interval to know of us.
                self._answers = True
                self._timer.start(random.uniform(0, min(ANSWER_WITHIN, self._interval)))
        self._heard[info.uid] = info, time.monotonic()

    def left(self, uid: str) -> None:
        self._heard.pop(uid, None)

    def uids(self) -> list[str]:
        """Those heard of lately, by their uids."""
        return [info.uid for info in self.all()]

    def all(self) -> list[NodeInfo]:
        """Those heard of lately."""
        self._forget()
        return [info for info, _ in self._heard.values()]

    def _forget(self) -> None:
        oldest = time.monotonic() - FORGOTTEN_AFTER * (self._interval or USUAL_INTERVAL)
        for uid, (_, at) in list(self._heard.items()):
            if at < oldest:
                del self._heard[uid]

    def _on_timer(self) -> None:
        self._answers = False
        self._timer.start(self._interval)
        self._forget()
        self._tell()
