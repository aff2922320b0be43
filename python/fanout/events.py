"""What a node's handlers are given, and what they may return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fanout.types import StreamPosition

__all__ = [
    "ConnectEvent",
    "ConnectReply",
    "HistoryEvent",
    "Interruption",
    "PublishEvent",
    "PublishReply",
    "Restoration",
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
    ``since`` is where it was in the channel's stream when it wants what it
    missed, else None.
    """

    channel: str
    token: str = ""
    data: bytes = b""
    join_leave: bool = False
    since: StreamPosition | None = None


@dataclass(frozen=True, slots=True)
class SubscribeReply:
    """The client may subscribe.

    ``info`` (JSON) is shown to others beside the connection's; ``data``
    (JSON) goes to the client itself. ``push_join_leave`` sends it joins and
    leaves: true, false, or None for what the client asked for, which is given
    to those who may read the channel's presence. Without ``recover`` it is
    told that it missed something in a channel that recovers, but not what.
    """

    info: bytes = b""
    data: bytes = b""
    push_join_leave: bool | None = None
    recover: bool = True


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


@dataclass(frozen=True, slots=True)
class Interruption:
    """The engine's link broke: nothing arrives for ``channels`` until it is restored.

    ``channels`` are those that this node is subscribed to and that are
    concerned. Control messages of other nodes do not arrive either.
    """

    channels: tuple[str, ...]
    error: Exception


@dataclass(frozen=True, slots=True)
class Restoration:
    """The engine delivers ``channels`` again.

    Of those that recover, ``whole`` lost nothing, or what they missed was
    read from the history and delivered; the subscribers of those in ``lost``
    were told to begin anew. ``unwatched`` do not recover: what was published
    into them meanwhile did not arrive here, and nobody knows whether anything
    was.
    """

    whole: tuple[str, ...]
    lost: tuple[str, ...]
    unwatched: tuple[str, ...]
