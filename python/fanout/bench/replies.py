"""The few replies and pushes that a run looks at, in whatever format they come."""

from __future__ import annotations

from msgspec import Raw, Struct

__all__ = ["Connect", "Disconnect", "Error", "Publication", "Push", "Reply"]


class Error(Struct):
    code: int = 0
    message: str = ""


class Connect(Struct):
    client: str = ""
    pong: bool = False


class Publication(Struct):
    data: Raw = Raw(b"")


class Disconnect(Struct):
    code: int = 0
    reason: str = ""


class Push(Struct):
    channel: str = ""
    pub: Publication | None = None
    unsubscribe: Disconnect | None = None
    disconnect: Disconnect | None = None


class Reply(Struct):
    """A reply to the command of this ``id``; with 0 it is a push, or a ping when it is empty."""

    id: int = 0
    error: Error | None = None
    push: Push | None = None
    connect: Connect | None = None

    @property
    def is_ping(self) -> bool:
        return not self.id and self.push is None
