"""The figures that a node tells the others, and that ``info`` of the server API has."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from fanout.node import Node

__all__ = ["ToldFigures"]

MOST_SAMPLES = 1_000


class ToldFigures:
    """Rates in one second, averaged over the last ``interval`` seconds.

    It is asked whenever the node tells of itself; there is no timer.
    """

    def __init__(
        self, node: Node, interval: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._node = node
        self._interval = interval
        self._clock = clock
        self._samples: deque[tuple[float, dict[str, float]]] = deque(maxlen=MOST_SAMPLES)

    def __call__(self) -> Mapping[str, float]:
        now = self._clock()
        counted = self._counted()
        while len(self._samples) > 1 and self._samples[1][0] <= now - self._interval:
            self._samples.popleft()
        rates: Mapping[str, float] = {}
        if self._samples:
            # A second at least: what happens in the first moments is no rate.
            elapsed = max(1.0, now - self._samples[0][0])
            first = self._samples[0][1]
            rates = {
                f"{name}_per_second": round((value - first[name]) / elapsed, 3)
                for name, value in counted.items()}
        # So far apart that the interval fits.
        if not self._samples or now - self._samples[-1][0] >= self._interval / (MOST_SAMPLES - 2):
            self._samples.append((now, counted))
        return rates

    def _counted(self) -> dict[str, float]:
        stats, counters = self._node.stats(), self._node.counters
        return {
            "published": stats.num_published,
            "delivered": stats.num_delivered,
            "dropped": stats.num_dropped,
            "failed": stats.num_failed,
            "bytes_sent": stats.bytes_sent,
            "connects": sum(counters.connected.values()),
            "disconnects": sum(counters.disconnects.values()),
            "subscribes": counters.subscribed,
        }
