"""What a node's handlers are given, and what they may return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fanout.types import StreamPosition

if TYPE_CHECKING:
    from fanout._filter import TagsFilter

__all__ = [
    "Capability",
    "ConnectEvent",
    "ConnectReply",
    "HistoryEvent",
    "Interruption",
    "PublishEvent",
    "PublishReply",
    "RPCEvent",
    "RPCReply",
    "RefreshEvent",
    "RefreshReply",
    "Restoration",
    "SubRefreshEvent",
    "SubRefreshReply",
    "SubscribeEvent",
    "SubscribeReply",
]


@dataclass(frozen=True, slots=True)
class ConnectEvent:
    """A client asks to connect.

    ``token``, ``data``, ``name`` and ``version`` are what the client sent;
    ``headers`` are those of the HTTP request that opened the connection, with
    lower-case names; ``emulated_headers`` those that the client put into its
    connect command. They are kept apart because a proxy in front can set or
    strip the former and never sees the latter.
    ``subs`` are the server-side subscriptions that it asks for, by channel,
    with where it was in each. ``transport`` and ``encoding`` are what it
    speaks, such as ``"websocket"`` and ``"json"``. None of it is to be
    trusted before it is checked. Tokens and headers, where passwords are, are
    not in the ``repr`` of an event.
    """

    client: str
    token: str = field(default="", repr=False)
    data: bytes = b""
    name: str = ""
    version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subs: Mapping[str, SubscribeEvent] = field(default_factory=dict)
    transport: str = ""
    encoding: str = ""
    emulated_headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectReply:
    """The client may connect.

    ``user`` is ``""`` for an anonymous client. ``info`` (JSON) is shown to
    others in presence, joins and publications; ``data`` (JSON) goes to the
    client itself; ``meta`` (JSON) is kept with the client for the
    application, and shown to nobody.

    The connection expires at ``expire_at`` (seconds since 1970; 0: never).
    With ``client_refresh`` the client is told and asks for a refresh itself;
    without, ``on_refresh`` is called for it. ``subs`` are the channels that it
    is subscribed to by the server. ``capabilities`` and ``state``, which may
    be anything, are what the application's handlers find in the attributes of
    that name of the client::

        @node.on_connect
        async def connect(event):
            account = await account_of(event.token)
            if account is None:
                raise fanout.Disconnect(4501, "unknown user")
            return fanout.ConnectReply(
                user=account.id,
                expire_at=account.session_ends,
                subs={f"personal:{account.id}": fanout.SubscribeReply(recover=True)},
                state=account)
    """

    user: str = ""
    info: bytes = b""
    data: bytes = b""
    meta: bytes = b""
    expire_at: float = 0.0
    client_refresh: bool = True
    subs: Mapping[str, SubscribeReply] = field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()
    state: Any = None


@dataclass(frozen=True, slots=True)
class Capability:
    """What a token allows in channels, beside what their options do.

    ``match`` says what ``channels`` are: ``""`` names, ``"wildcard"``
    patterns in which ``*`` is any text, ``"regex"`` regular expressions that
    match a whole name. ``allow`` has some of ``"sub"``, ``"pub"``, ``"prs"``
    and ``"hst"``.
    """

    channels: tuple[str, ...]
    allow: frozenset[str]
    match: str = ""


@dataclass(frozen=True, slots=True)
class SubscribeEvent:
    """A client asks to subscribe to ``channel``.

    ``join_leave``, ``positioned`` and ``recoverable`` are true when it wants
    the joins and leaves of others, its position watched, and to recover later
    what it misses. ``since`` is where it was in the channel's stream when it
    wants what it missed, else None; with ``reject_unrecovered`` it would
    rather be refused than begin anew. ``delta`` names the delta compression
    that it understands, ``tags_filter`` selects publications by their tags.
    """

    channel: str
    token: str = field(default="", repr=False)
    data: bytes = b""
    join_leave: bool = False
    since: StreamPosition | None = None
    positioned: bool = False
    recoverable: bool = False
    reject_unrecovered: bool = False
    delta: str = ""
    tags_filter: TagsFilter | None = None


@dataclass(frozen=True, slots=True)
class SubscribeReply:
    """The client may subscribe; also what a server-side subscription is.

    ``info`` (JSON) is shown to others beside the connection's; ``data``
    (JSON) goes to the client itself. ``push_join_leave`` sends it joins and
    leaves: true, false, or None for what the client asked for, which is given
    to those who may read the channel's presence.

    ``position`` and ``recover`` say whether its place in the stream is
    watched, and whether it may be given what it missed, where the channel has
    a history; ``presence`` and ``join_leave`` whether it is shown to others.
    None is what the channel's options say. The subscription expires at
    ``expire_at`` (seconds since 1970; 0: never), and ``client_refresh`` says
    whether the client is told and asks for a refresh itself.
    """

    info: bytes = b""
    data: bytes = b""
    push_join_leave: bool | None = None
    recover: bool | None = None
    position: bool | None = None
    presence: bool | None = None
    join_leave: bool | None = None
    expire_at: float = 0.0
    client_refresh: bool = True


@dataclass(frozen=True, slots=True)
class RefreshEvent:
    """A connection is about to expire, and asks to go on.

    ``token`` is what the client sent; ``""`` when the node asks for it, where
    the connection was made with ``client_refresh=False``.
    """

    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class RefreshReply:
    """The connection goes on until ``expire_at`` (seconds since 1970; 0: for ever).

    With ``expired`` it ends now. ``info`` and ``meta``, when given, replace
    the connection's.
    """

    expire_at: float = 0.0
    expired: bool = False
    info: bytes | None = None
    meta: bytes | None = None


@dataclass(frozen=True, slots=True)
class SubRefreshEvent:
    """A subscription is about to expire, and asks to go on; ``token`` as in a refresh."""

    channel: str
    token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class SubRefreshReply:
    """The subscription goes on until ``expire_at``; with ``expired`` it ends now."""

    expire_at: float = 0.0
    expired: bool = False
    info: bytes | None = None


@dataclass(frozen=True, slots=True)
class RPCEvent:
    """A client calls a method of the application's; ``data`` is what it sent along."""

    method: str
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class RPCReply:
    """The answer to a call; ``data`` (JSON) goes to the client."""

    data: bytes = b""


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """A client asks to publish ``data`` into ``channel``."""

    channel: str
    data: bytes


@dataclass(frozen=True, slots=True)
class PublishReply:
    """The client may publish; ``data``, when given, is published in place of its own.

    With ``skip_history`` it is not kept. The others are as in
    :meth:`fanout.Node.publish`.
    """

    data: bytes | None = None
    tags: Mapping[str, str] | None = None
    skip_history: bool = False
    delta: bool = False
    idempotency_key: str = ""
    version: int = 0
    version_epoch: str = ""


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
