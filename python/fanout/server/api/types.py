"""What the methods of the server API are asked, and what they answer.

Names and shapes are Centrifugo's. In a request everything may be left out, or
be null, and stands then for nothing; what a method cannot do without it says
itself. In a result what is nothing is left out, except where a field has no
default here: clients look for those. ``Raw`` is JSON that goes through byte
for byte.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

__all__ = [
    "BoolValue",
    "BroadcastRequest",
    "BroadcastResult",
    "ChannelInfo",
    "ChannelsRequest",
    "ChannelsResult",
    "ClientInfo",
    "Disconnect",
    "DisconnectRequest",
    "DisconnectResult",
    "Error",
    "HistoryRemoveRequest",
    "HistoryRemoveResult",
    "HistoryRequest",
    "HistoryResult",
    "InfoRequest",
    "InfoResult",
    "MapRequest",
    "MapResult",
    "Metrics",
    "NodeResult",
    "PresenceRequest",
    "PresenceResult",
    "PresenceStatsRequest",
    "PresenceStatsResult",
    "Publication",
    "PublishRequest",
    "PublishResponse",
    "PublishResult",
    "RPCRequest",
    "RPCResult",
    "RefreshRequest",
    "RefreshResult",
    "Request",
    "Result",
    "StreamPosition",
    "SubscribeOverride",
    "SubscribeRequest",
    "SubscribeResult",
    "UnsubscribeRequest",
    "UnsubscribeResult",
]

UINT64 = {"maximum": 2**64 - 1}
Count = Annotated[int, Meta(ge=0, extra_json_schema=UINT64)]

Channel = Annotated[str | None, Meta(description="A channel's name.")]
User = Annotated[str | None, Meta(
    description='A user id. Anonymous users have none: `""` needs `client` or `session` too.')]
Client = Annotated[str | None, Meta(description="The id of one connection.")]
Session = Annotated[str | None, Meta(description="The session id of one connection.")]
Base64 = Annotated[str | None, Meta(
    description="The same as bytes in base64; counts when it is not empty.")]
Time = Annotated[int | None, Meta(description="Seconds since 1970; 0: never.")]


class Request(Struct, kw_only=True):
    """The parameters of a call."""


class Result(Struct, kw_only=True, omit_defaults=True):
    """The answer to a call."""


class Error(Result):
    """Why a call was not done."""

    code: int
    message: str


class StreamPosition(Request):
    """A place in a channel's stream."""

    offset: Count | None = None
    epoch: str | None = None


class BoolValue(Request):
    """A choice that is made."""

    value: bool | None = None


class SubscribeOverride(Request):
    """What is to hold in place of the channel's options."""

    presence: BoolValue | None = None
    join_leave: BoolValue | None = None
    force_recovery: BoolValue | None = None
    force_positioning: BoolValue | None = None
    force_push_join_leave: BoolValue | None = None


class Publishing(Request):
    """What is published, and how."""

    data: Annotated[Raw | UnsetType, Meta(description="Any JSON.")] = UNSET
    b64data: Base64 = None
    skip_history: Annotated[bool | None, Meta(description="Do not keep it.")] = None
    tags: dict[str, str] | None = None
    idempotency_key: Annotated[str | None, Meta(
        description="What was published with the same key within the last 300 seconds into the "
                    "same channel is not published again.")] = None
    delta: Annotated[bool | None, Meta(
        description="Send what changed to the clients that understand it.")] = None
    version: Annotated[Count | None, Meta(
        description="What has no higher version than the last of its `version_epoch` is not "
                    "published. For channels with history.")] = None
    version_epoch: str | None = None


class PublishRequest(Publishing):
    """Publish into a channel."""

    channel: Channel = None


class PublishResult(Result):
    """Where in its channel's stream it is; without history there is no place."""

    offset: Count = 0
    epoch: str = ""


class BroadcastRequest(Publishing):
    """Publish the same into many channels."""

    channels: list[str] | None = None


class PublishResponse(Result):
    """What became of it in one channel."""

    error: Error | None = None
    result: PublishResult | None = None


class BroadcastResult(Result):
    """In the order of the channels."""

    responses: list[PublishResponse]


class SubscribeRequest(Request):
    """Subscribe a user's connections to a channel."""

    channel: Channel = None
    user: User = None
    expire_at: Time = None
    info: Annotated[Raw | UnsetType, Meta(description="What others see beside the user.")] = UNSET
    b64info: Base64 = None
    client: Client = None
    data: Annotated[Raw | UnsetType, Meta(description="For the client itself.")] = UNSET
    b64data: Base64 = None
    recover_since: StreamPosition | None = None
    override: SubscribeOverride | None = None
    session: Session = None


class SubscribeResult(Result):
    """Nothing."""


class UnsubscribeRequest(Request):
    """End the subscriptions of a user's connections to a channel, or to all of them."""

    channel: Annotated[str | None, Meta(
        description='A channel\'s name; `""`: all channels.')] = None
    user: User = None
    client: Client = None
    session: Session = None


class UnsubscribeResult(Result):
    """Nothing."""


class Disconnect(Request):
    """What the clients are told."""

    code: Annotated[int | None, Meta(
        description="3000 to 4999; clients come back by themselves below 3500 and from 4000 "
                    "to 4499.")] = None
    reason: str | None = None


class DisconnectRequest(Request):
    """Disconnect a user's connections."""

    user: User = None
    client: Client = None
    session: Session = None
    whitelist: Annotated[list[str] | None, Meta(
        description="The ids of connections that stay.")] = None
    disconnect: Disconnect | None = None


class DisconnectResult(Result):
    """Nothing."""


class RefreshRequest(Request):
    """Prolong a user's connections, or end them as expired."""

    user: User = None
    client: Client = None
    session: Session = None
    expired: bool | None = None
    expire_at: Time = None
    info: Annotated[Raw | UnsetType, Meta(description="What others see beside the user.")] = UNSET


class RefreshResult(Result):
    """Nothing."""


class PresenceRequest(Request):
    """Who is in a channel?"""

    channel: Channel = None


class ClientInfo(Result):
    """Who a connection is. What is no JSON is in base64 in a ``b64`` field."""

    user: str
    client: str
    conn_info: Raw | UnsetType = UNSET
    chan_info: Raw | UnsetType = UNSET
    b64conn_info: str = ""
    b64chan_info: str = ""


class PresenceResult(Result):
    """By connection id."""

    presence: dict[str, ClientInfo]


class PresenceStatsRequest(Request):
    """How many are in a channel?"""

    channel: Channel = None


class PresenceStatsResult(Result):
    """How many connections, and of how many users."""

    num_clients: int
    num_users: int


class HistoryRequest(Request):
    """The publications that a channel keeps."""

    channel: Channel = None
    limit: Annotated[int | None, Meta(
        description="How many at most; 0: only the position; below 0: all.")] = None
    since: StreamPosition | None = None
    reverse: Annotated[bool | None, Meta(description="Newest first.")] = None


class Publication(Result):
    """One publication. Data that is no JSON is in ``b64data``, and ``data`` is null."""

    data: Raw
    info: ClientInfo | None = None
    offset: Count = 0
    tags: dict[str, str] | None = None
    b64data: str = ""


class HistoryResult(Result):
    """``offset`` and ``epoch`` are the top of the stream."""

    publications: list[Publication]
    epoch: str
    offset: Count


class HistoryRemoveRequest(Request):
    """Forget the publications that a channel keeps."""

    channel: Channel = None


class HistoryRemoveResult(Result):
    """Nothing."""


class InfoRequest(Request):
    """Which nodes are there?"""


class Metrics(Result):
    """Figures of a node; ``interval`` is in seconds."""

    interval: float
    items: dict[str, float]


class NodeResult(Result):
    """One node; ``uptime`` is in seconds."""

    uid: str
    name: str
    version: str
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    uptime: int = 0
    metrics: Metrics | None = None


class InfoResult(Result):
    """All nodes that were heard of lately."""

    nodes: list[NodeResult]


class RPCRequest(Request):
    """Call a method that the application registered with the server."""

    method: str | None = None
    params: Annotated[Raw | UnsetType, Meta(description="Any JSON.")] = UNSET


class RPCResult(Result):
    """What the method answers."""

    data: Raw | UnsetType = UNSET


class ChannelsRequest(Request):
    """The channels with clients in them."""

    pattern: Annotated[str | None, Meta(
        description="Names to tell of, with `*`, `?` and `[...]`; all when empty.")] = None


class ChannelInfo(Result):
    """How many connections are in a channel."""

    num_clients: int


class ChannelsResult(Result):
    """By name."""

    channels: dict[str, ChannelInfo]


class MapRequest(Request):
    """A request about a map or a shared-poll channel, which this server does not have."""

    channel: Channel = None


class MapResult(Result):
    """Nothing: these methods answer that they are not available."""
