"""How often a password may be guessed."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

__all__ = ["Throttle"]

MOST_ADDRESSES = 10_000


class Allowance:
    """``burst`` at once, and one more after each ``every`` seconds."""

    __slots__ = ("_burst", "_every", "_left", "_since")

    def __init__(self, burst: int, every: float, now: float) -> None:
        self._burst = burst
        self._every = every
        self._left = float(burst)
        self._since = now

    def wait(self, now: float) -> float:
        """Seconds until there is one; 0 when there is."""
        self._left = min(self._burst, self._left + (now - self._since) / self._every)
        self._since = now
        return 0.0 if self._left >= 1 else (1 - self._left) * self._every

    def take(self) -> None:
        self._left -= 1


class Throttle:
    """Wrong passwords cost something: for who tried, and for all together.

    An address has 5 tries and one more every 10 s; all have 50, and one more
    every 2 s. A right password is not looked at either when there is none left.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._of_all = Allowance(50, 2.0, clock())
        self._of: dict[str, Allowance] = {}

    def wait(self, address: str) -> float:
        """Seconds until this address may try again; 0 when it may now."""
        now = self._clock()
        own = self._of.get(_network(address))
        return max(self._of_all.wait(now), own.wait(now) if own is not None else 0.0)

    def failed(self, address: str) -> None:
        """It tried, and was wrong."""
        network = _network(address)
        # At the end of the line: who tries most is forgotten last.
        own = self._of.pop(network, None) or Allowance(5, 10.0, self._clock())
        if len(self._of) >= MOST_ADDRESSES:
            del self._of[next(iter(self._of))]
        self._of[network] = own
        own.take()
        self._of_all.take()


def _network(address: str) -> str:
    """Who has one address of IPv6 has as many as 64 bits can say."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
