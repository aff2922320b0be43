"""What happened in a node in each of the last seconds."""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections import deque

from fanout.node import Node

__all__ = ["KEPT", "Sampler", "resident_bytes"]

KEPT = 300              # seconds
FORGOTTEN_AFTER = 60.0  # seconds without anybody who looks

Sample = dict[str, float]


class Sampler:
    """A row of figures for each second; it runs while somebody looks.

    A sample's ``t`` is the second's end in seconds since 1970. ``clients`` and
    the like are what there was then; the others are rates in one second;
    ``cpu`` is in seconds for each second, ``lag`` in seconds: by how much the
    loop was late.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._samples: deque[Sample] = deque(maxlen=KEPT)
        self._timer: asyncio.TimerHandle | None = None
        self._always = False
        self._looked = 0.0
        self._last: tuple[float, Sample] = 0.0, {}

    def start(self) -> None:
        """Run until :meth:`stop`, whether somebody looks or not."""
        self._always = True
        self._run()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def latest(self, seconds: int) -> list[Sample]:
        """The samples of the last ``seconds``, oldest first; runs for a while from now on."""
        self._looked = time.monotonic()
        self._run()
        return list(self._samples)[-seconds:] if seconds > 0 else []

    def _run(self) -> None:
        if self._timer is None and self._node.running:
            self._last = time.monotonic(), self._counted()
            self._schedule()

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        # At the full second, so that those of all nodes fit together; a timer may be a bit
        # early, and that was this second then.
        delay = 1 - time.time() % 1
        if delay < 0.5:
            delay += 1
        self._timer = loop.call_later(delay, self._tick, loop.time() + delay)

    def _tick(self, due: float) -> None:
        now = time.monotonic()
        self._timer = None
        if not self._node.running:
            return
        if not self._always and now - self._looked > FORGOTTEN_AFTER:
            self._samples.clear()
            return
        before, counted_before = self._last
        counted = self._counted()
        self._last = now, counted
        elapsed = max(0.001, now - before)
        rates = {
            name: round((value - counted_before[name]) / elapsed, 3)
            for name, value in counted.items()}
        stats = self._node.stats()
        self._samples.append({
            "t": round(time.time()),
            "clients": stats.num_clients,
            "channels": stats.num_channels,
            "subscriptions": stats.num_subscriptions,
            "lag": round(max(0.0, asyncio.get_running_loop().time() - due), 4),
            **rates,
        })
        self._schedule()

    def _counted(self) -> Sample:
        stats, counters = self._node.stats(), self._node.counters
        return {
            "published": stats.num_published,
            "delivered": stats.num_delivered,
            "dropped": stats.num_dropped,
            "bytes": stats.bytes_sent,
            "connects": sum(counters.connected.values()),
            "disconnects": sum(counters.left.values()),
            "cpu": time.process_time(),
        }


def resident_bytes() -> int:
    """The process's memory; its highest where the system does not tell the present."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
