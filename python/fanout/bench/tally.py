"""What was published, what arrived, and what did not.

Each publisher numbers what it publishes into a channel: 0, 1, 2... Together
they are a stream. A subscription counts each of its channel's streams.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["Arrival", "Received", "Stream"]


class Arrival(Enum):
    """What a delivery is to its subscription."""

    NEW = "new"
    LATE = "late"               # behind one that was published after it
    DUPLICATE = "duplicate"


class Stream:
    """What one publisher published into one channel.

    A publication without an answer may or may not have been published, so
    nobody can be said to miss it; one that was refused was not.
    """

    __slots__ = ("refused", "sent", "unanswered")

    def __init__(self) -> None:
        self.sent = 0
        self.refused: set[int] = set()
        self.unanswered: set[int] = set()

    def take(self) -> int:
        """The number of the next publication."""
        number = self.sent
        self.sent += 1
        self.unanswered.add(number)
        return number

    def answer(self, number: int, accepted: bool) -> None:
        self.unanswered.discard(number)
        if not accepted:
            self.refused.add(number)

    @property
    def accepted(self) -> int:
        """How many the server said it published."""
        return self.sent - len(self.refused) - len(self.unanswered)


class Received:
    """What one subscription got of one stream.

    It holds the next number and the gaps before it, so its size does not grow
    with the messages that arrive.
    """

    __slots__ = ("_gaps", "_next")

    def __init__(self) -> None:
        self._next = 0
        self._gaps: list[tuple[int, int]] | None = None     # [first, end), in order

    def add(self, number: int) -> Arrival:
        """Count the delivery of ``number``."""
        following = self._next
        if number == following:
            self._next = number + 1
            return Arrival.NEW
        if number > following:
            if self._gaps is None:
                self._gaps = []
            self._gaps.append((following, number))
            self._next = number + 1
            return Arrival.NEW
        for at, (first, end) in enumerate(self._gaps or ()):
            if first <= number < end:
                assert self._gaps is not None
                parts = [(first, number), (number + 1, end)]
                self._gaps[at : at + 1] = [part for part in parts if part[0] < part[1]]
                return Arrival.LATE
        return Arrival.DUPLICATE

    def missing(self, stream: Stream) -> int:
        """How many of those that the server accepted did not arrive."""
        count = 0
        gaps = list(self._gaps or ())
        if self._next < stream.sent:
            gaps.append((self._next, stream.sent))
        for first, end in gaps:
            count += end - first
            for excused in (stream.refused, stream.unanswered):
                count -= sum(first <= number < end for number in excused)
        return count
