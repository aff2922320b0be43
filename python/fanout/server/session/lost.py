"""What a session has below it when its connection is gone."""

from __future__ import annotations

from fanout._framing import Framing, LinesFraming
from fanout._outbox import Outbox

__all__ = ["LostSink"]


class LostSink:
    """Takes everything, and sends nothing: ``outbox`` is the connection's, about to be detached.

    A command that is under way may end later; it must not keep the connection,
    nor find nothing in its place.
    """

    __slots__ = ("outbox",)

    framing: Framing = LinesFraming()       # any: nobody reads it

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def close(self, code: int, reason: str) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
