"""What a node's clients did, counted by kind; read when somebody asks."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

__all__ = ["BOUNDS", "OTHER", "Calls", "Counters", "Durations"]

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the durations that are told apart, in seconds."""

MOST_CODES = 200        # an application chooses codes; there must not be a counter for each it can
OTHER = 0               # stands for those that came later than so many others


class Durations:
    """How long something took, and how often: a histogram.

    ``counts[i]`` took at most ``BOUNDS[i]`` and longer than the bound before;
    the last took longer than them all. ``total`` is in seconds.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Calls:
    """Calls by method, how long they took, and their errors by code.

    Methods are named by our own code, never by who calls.
    """

    __slots__ = ("_durations", "_errors")

    def __init__(self) -> None:
        self._durations: dict[str, Durations] = {}
        self._errors: dict[str, dict[int, int]] = {}

    def done(self, method: str, seconds: float) -> None:
        durations = self._durations.get(method)
        if durations is None:
            durations = self._durations[method] = Durations()
        durations.add(seconds)

    def failed(self, method: str, code: int) -> None:
        """Beside :meth:`done`, when it was answered with an error."""
        _count(self._errors.setdefault(method, {}), code)

    @property
    def durations(self) -> Mapping[str, Durations]:
        return self._durations

    def errors(self) -> Iterator[tuple[str, int, int]]:
        """Method, code, and how often."""
        for method, codes in self._errors.items():
            for code, count in codes.items():
                yield method, code, count


class Counters:
    """One node's.

    ``connected`` and ``left`` are by transport and encoding, so that the
    difference is who is connected now. ``disconnects`` are by code, and
    include those of connections that never got as far as a connect.
    ``recovered`` and ``unrecovered`` are subscribes that asked for what was
    missed.
    """

    __slots__ = (
        "commands", "connected", "disconnects", "left", "recovered", "subscribed", "unrecovered",
        "unsubscribed",
    )

    def __init__(self) -> None:
        self.commands = Calls()
        self.connected: dict[tuple[str, str], int] = {}
        self.left: dict[tuple[str, str], int] = {}
        self.disconnects: dict[int, int] = {}
        self.subscribed = 0
        self.unsubscribed = 0
        self.recovered = 0
        self.unrecovered = 0

    def came(self, transport: str, encoding: str) -> None:
        key = transport, encoding
        self.connected[key] = self.connected.get(key, 0) + 1

    def went(self, transport: str, encoding: str) -> None:
        key = transport, encoding
        self.left[key] = self.left.get(key, 0) + 1

    def disconnected(self, code: int) -> None:
        _count(self.disconnects, code)


def _count(by_code: dict[int, int], code: int) -> None:
    if code not in by_code and len(by_code) >= MOST_CODES:
        code = OTHER
    by_code[code] = by_code.get(code, 0) + 1
