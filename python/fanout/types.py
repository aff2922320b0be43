"""The values that travel through an engine.

The field sets are those of Centrifugo's engine interface (v1.5); ``offset``,
``tags`` and :class:`StreamPosition` come from its successor, where a channel
with history is a numbered stream.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from fanout._message import Message

__all__ = [
    "AdminMessage",
    "ChannelOptions",
    "ClientInfo",
    "ControlMessage",
    "HistoryPage",
    "HubStats",
    "JoinMessage",
    "LeaveMessage",
    "Message",
    "Overflow",
    "PresenceStats",
    "RecoveryMode",
    "SlowPolicy",
    "StreamPosition",
]


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Who a connection is, as presence, join, leave and publications show it.

    ``user`` is the application's user id, ``""`` for an anonymous client.
    ``client`` is the connection id. ``default_info`` is about the connection
    and ``channel_info`` about its subscription to one channel; both are
    opaque bytes (JSON when JSON clients are to read them), ``b""`` for none.
    """

    user: str = ""
    client: str = ""
    default_info: bytes = b""
    channel_info: bytes = b""


@dataclass(frozen=True, slots=True)
class JoinMessage:
    """A client subscribed to ``channel``."""

    channel: str
    info: ClientInfo


@dataclass(frozen=True, slots=True)
class LeaveMessage:
    """A client's subscription to ``channel`` ended."""

    channel: str
    info: ClientInfo


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """A message between nodes; ``uid`` is the node that sent it."""

    uid: str
    method: str
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class AdminMessage:
    """A message to every connected admin."""

    method: str
    params: bytes = b""


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """A place in a channel's stream of publications.

    ``offset`` counts from 1; 0 is the place before the first publication.
    ``epoch`` names one life of the stream: when the stream's past is lost the
    epoch changes, and offsets of different epochs cannot be compared.
    """

    offset: int = 0
    epoch: str = ""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """What :meth:`fanout.Engine.history_stream` returns.

    ``position`` is the top of the stream at the moment of reading.
    ``recoverable`` is true when everything published after the asked-for
    position is still kept, whatever part of it ``limit`` let through.
    """

    messages: list[Message]
    position: StreamPosition
    recoverable: bool


@dataclass(frozen=True, slots=True)
class PresenceStats:
    """How many connections, and how many different users, are present."""

    num_clients: int
    num_users: int


@dataclass(frozen=True, slots=True)
class HubStats:
    """What a hub holds now, and what it has done since it was made.

    ``num_published`` counts broadcasts, ``num_delivered`` one per broadcast
    and subscriber that took it, ``num_dropped`` what a full queue or outbox
    did not keep. ``num_sends`` are system calls made for outboxes and
    ``num_ticks`` the ends of loop ticks at which something was settled.
    """

    num_channels: int
    num_subscriptions: int
    num_published: int
    num_delivered: int
    num_dropped: int
    num_sends: int
    bytes_sent: int
    num_ticks: int


class Overflow(enum.Enum):
    """What an in-process subscription does when its queue is full."""

    CLOSE = "close"
    """Close it; the reader gets what was queued, then :exc:`fanout.SlowConsumerError`."""
    DROP_NEWEST = "drop_newest"
    """Keep what is queued, drop the message that does not fit."""
    DROP_OLDEST = "drop_oldest"
    """Drop the oldest queued message to make room."""
    KEEP_LATEST = "keep_latest"
    """Keep only the newest message, whatever the queue's size."""


class SlowPolicy(enum.Enum):
    """What happens in a channel to a client connection that cannot keep up."""

    DISCONNECT = "disconnect"
    """Disconnect it with the protocol's "slow" code."""
    DROP_OLDEST = "drop_oldest"
    """Drop the channel's oldest undelivered publications to that client."""
    KEEP_LATEST = "keep_latest"
    """Keep only the channel's newest undelivered publication to that client."""


class RecoveryMode(enum.Enum):
    """What a client that comes back to a channel is given."""

    STREAM = "stream"
    """Everything that it missed, or the news that this cannot be had."""
    CACHE = "cache"
    """The newest publication, unless it has it already."""


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How a channel behaves.

    presence
        Keep who is subscribed.
    join_leave
        Publish join and leave messages into the channel.
    history_size, history_lifetime
        Keep at most so many messages for so many seconds after the last
        publish. History is kept only when both are above 0.
    history_meta_lifetime
        Seconds for which a stream's offset and epoch outlive its messages;
        0 leaves it to the engine's own setting.
    history_drop_inactive
        Do not store a message when nobody is subscribed and no unexpired
        history exists.
    recover
        Subscribers' positions in the stream are watched: clients may ask for
        what they missed while they were away, and what a broken link of the
        engine kept back is read from the history, or its loss told. Has no
        effect unless ``history_size`` and ``history_lifetime`` are above 0.
    recovery_mode
        What a client that was away is given, see :class:`RecoveryMode`.
    recover_unasked
        With ``RecoveryMode.CACHE``: also who did not ask gets the newest
        publication.
    delta
        Clients that understand it are sent what changed from one publication
        to the next, where the publisher asks for that.
    delta_publish
        All publications into the channel ask for it.
    tags_filter
        Clients may have publications selected by their tags.
    wildcards
        ``*`` and ``>`` in the name of a subscribed channel stand for others,
        where the engine can do that.
    publish
        A subscribed client may publish, without an ``on_publish`` handler.
    anonymous
        Clients without a user id may do what the other options allow.
    slow
        What happens to a client connection that cannot keep up; a channel
        with ``recover`` must disconnect it, so that no gap goes unnoticed.
    """

    presence: bool = False
    join_leave: bool = False
    history_size: int = 0
    history_lifetime: float = 0.0
    history_meta_lifetime: float = 0.0
    history_drop_inactive: bool = False
    recover: bool = False
    publish: bool = False
    anonymous: bool = False
    wildcards: bool = False
    recovery_mode: RecoveryMode = RecoveryMode.STREAM
    recover_unasked: bool = False
    delta: bool = False
    delta_publish: bool = False
    tags_filter: bool = False
    slow: SlowPolicy = SlowPolicy.DISCONNECT

    def __post_init__(self) -> None:
        for name in ("presence", "join_leave", "history_drop_inactive", "recover",
                     "publish", "anonymous", "wildcards", "recover_unasked", "delta",
                     "delta_publish", "tags_filter"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {getattr(self, name)!r}")
        if not isinstance(self.history_size, int) or isinstance(self.history_size, bool):
            raise TypeError(f"history_size must be an int, not {self.history_size!r}")
        if not 0 <= self.history_size <= 0xFFFFFFFF:
            raise ValueError(
                f"history_size must be between 0 and 4294967295, not {self.history_size!r}")
        for name in ("history_lifetime", "history_meta_lifetime"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise TypeError(f"{name} must be a number of seconds, not {value!r}")
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be finite and not negative, not {value!r}")
        if not isinstance(self.slow, SlowPolicy):
            raise TypeError(f"slow must be a SlowPolicy, not {self.slow!r}")
        if not isinstance(self.recovery_mode, RecoveryMode):
            raise TypeError(f"recovery_mode must be a RecoveryMode, not {self.recovery_mode!r}")
        if self.recover and self.slow is not SlowPolicy.DISCONNECT:
            raise ValueError(
                f"recover needs slow=SlowPolicy.DISCONNECT, not {self.slow!r}: "
                "a dropped publication would be a gap that the client is not told of")

    @property
    def keeps_history(self) -> bool:
        """True when both ``history_size`` and ``history_lifetime`` are above 0."""
        return self.history_size > 0 and self.history_lifetime > 0
