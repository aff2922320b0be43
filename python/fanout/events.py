"""What a node's handlers are given, and what they may return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanout.types import StreamPosition

__all__ = [
    "ConnectEvent",
    "ConnectReply",
    "HistoryEvent",
    "PublishEvent",
    "PublishReply",
    "SubscribeEvent",
    "SubscribeReply",
]


@dataclass(frozen=True, slots=True)
class ConnectEvent:
    """A client asks to connect.

    ``token``, ``data``, ``name`` and ``version`` are what the client sent;
    ``headers`` are those of the HTTP request that opened the connection, with
    lower-case names. None of it is to be trusted before it is checked.
    """

    client: str
    token: str = ""
    data: bytes = b""
    name: str = ""
    version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectReply:
    """The client may connect.

    ``user`` is ``""`` for an anonymous client. ``info`` (JSON) is shown to
    others in presence, joins and publications; ``data`` (JSON) goes to the
    client itself.
    """

    user: str = ""
    info: bytes = b""
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class SubscribeEvent:
    """A client asks to subscribe to ``channel``.

    ``join_leave`` is true when it wants the joins and leaves of others.
    """

    channel: str
    token: str = ""
    data: bytes = b""
    join_leave: bool = False


@dataclass(frozen=True, slots=True)
class SubscribeReply:
    """The client may subscribe.

    ``info`` (JSON) is shown to others beside the connection's; ``data``
    (JSON) goes to the client itself. ``push_join_leave`` sends it joins and
    leaves: true, false, or None for what the client asked for, which is given
    to those who may read the channel's presence.
    """

    info: bytes = b""
    data: bytes = b""
    push_join_leave: bool | None = None


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """A client asks to publish ``data`` into ``channel``."""

    channel: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PublishReply:
    """The client may publish; ``data``, when given, is published in place of its own."""

    data: bytes | None = None
    tags: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """A client asks for a channel's history."""

    channel: str
    since: StreamPosition | None = None
    limit: int = 0
    reverse: bool = False
