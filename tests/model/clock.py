"""A clock that the test moves."""

from __future__ import annotations


class ManualClock:
    """Returns seconds; they pass only by ``advance``.

    Steps that are multiples of a power of two keep sums exact, so that "at
    the very moment of expiry" can be tested.
    """

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass; never back."""
        if seconds < 0:
            raise ValueError(f"a clock does not go back: {seconds!r}")
        self.now += seconds
