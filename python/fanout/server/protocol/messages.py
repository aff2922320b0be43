"""The messages of the Centrifuge client protocol v2, whatever they are encoded in.

Attributes are the protocol's field names. Payloads are ``msgspec.Raw``: JSON
text in JSON, any bytes in Protobuf. What one client published reaches the
others to the byte. What the encoders of the core make (publications and
client infos) is embedded as it is.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Raw, Struct

__all__ = [
    "AnyRequest",
    "ChannelRequest",
    "Command",
    "ConnectRequest",
    "ConnectResult",
    "DataRequest",
    "Disconnect",
    "Empty",
    "EmulationRequest",
    "Error",
    "FilterNode",
    "HistoryRequest",
    "HistoryResult",
    "MessagePush",
    "Position",
    "PresenceResult",
    "PresenceStatsResult",
    "PublishRequest",
    "Push",
    "RPCRequest",
    "RPCResult",
    "RefreshPush",
    "RefreshRequest",
    "RefreshResult",
    "Reply",
    "SubRefreshRequest",
    "SubRefreshResult",
    "SubscribePush",
    "SubscribeRequest",
    "SubscribeResult",
    "Unsubscribe",
]

NO_DATA = Raw(b"")

Int32 = Annotated[int, Meta(ge=-0x80000000, le=0x7FFFFFFF)]
UInt32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]

# ---- commands --------------------------------------------------------------


class FilterNode(Struct):
    """One node of a tree that selects publications by their tags."""

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: list[str] = []
    nodes: list[FilterNode] = []


class SubscribeRequest(Struct):
    """Also what a connect command says of one server-side subscription."""

    channel: str = ""
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    data: Raw = NO_DATA
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    delta: str = ""
    tf: FilterNode | None = None
    flag: int = 0
    type: Int32 = 0


class ConnectRequest(Struct):
    token: str = ""
    data: Raw = NO_DATA
    subs: dict[str, SubscribeRequest] = {}
    name: str = ""
    version: str = ""
    headers: dict[str, str] = {}


class ChannelRequest(Struct):
    """unsubscribe, presence, presence_stats."""

    channel: str = ""


class PublishRequest(Struct):
    channel: str = ""
    data: Raw = NO_DATA
    type: Int32 = 0


class Position(Struct):
    offset: int = 0
    epoch: str = ""


class HistoryRequest(Struct):
    channel: str = ""
    limit: Int32 = 0
    since: Position | None = None
    reverse: bool = False


class DataRequest(Struct):
    """send."""

    data: Raw = NO_DATA


class RPCRequest(Struct):
    data: Raw = NO_DATA
    method: str = ""


class RefreshRequest(Struct):
    token: str = ""


class SubRefreshRequest(Struct):
    channel: str = ""
    token: str = ""
    type: Int32 = 0


class AnyRequest(Struct):
    """ping: what it carries is not looked at."""


class Command(Struct):
    """One command. Exactly one method should be set; the first in the dispatch's order wins."""

    id: UInt32 = 0
    connect: ConnectRequest | None = None
    ping: AnyRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: ChannelRequest | None = None
    publish: PublishRequest | None = None
    presence: ChannelRequest | None = None
    presence_stats: ChannelRequest | None = None
    history: HistoryRequest | None = None
    rpc: RPCRequest | None = None
    send: DataRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: SubRefreshRequest | None = None


class EmulationRequest(Struct):
    """Commands that come apart from their session's connection; its own endpoint takes them."""

    node: str = ""
    session: str = ""
    data: Raw = NO_DATA


# ---- replies ---------------------------------------------------------------


class Error(Struct, omit_defaults=True):
    code: int
    message: str
    temporary: bool = False


class Empty(Struct):
    pass


class SubscribeResult(Struct, omit_defaults=True):
    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: list[Raw] = []
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    data: Raw | None = None
    was_recovering: bool = False
    delta: bool = False


class ConnectResult(Struct, omit_defaults=True):
    client: str
    version: str
    expires: bool = False
    ttl: int = 0
    data: Raw | None = None
    subs: dict[str, SubscribeResult] = {}
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    time: int = 0


class PresenceResult(Struct):
    presence: dict[str, Raw]


class PresenceStatsResult(Struct):
    num_clients: int
    num_users: int


class HistoryResult(Struct):
    publications: list[Raw]
    epoch: str
    offset: int


class RPCResult(Struct, omit_defaults=True):
    data: Raw | None = None


class RefreshResult(Struct, omit_defaults=True):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(Struct, omit_defaults=True):
    expires: bool = False
    ttl: int = 0


# ---- pushes ----------------------------------------------------------------


class Unsubscribe(Struct, omit_defaults=True):
    code: int = 0
    reason: str = ""


class MessagePush(Struct, omit_defaults=True):
    data: Raw | None = None


class SubscribePush(Struct, omit_defaults=True):
    recoverable: bool = False
    epoch: str = ""
    offset: int = 0
    positioned: bool = False
    data: Raw | None = None


class Disconnect(Struct, omit_defaults=True):
    code: int = 0
    reason: str = ""


class RefreshPush(Struct, omit_defaults=True):
    expires: bool = False
    ttl: int = 0


class Push(Struct, omit_defaults=True):
    """A push; live publications, joins and leaves are the core's encoders' work."""

    channel: str = ""
    pub: Raw | None = None
    unsubscribe: Unsubscribe | None = None
    message: MessagePush | None = None
    subscribe: SubscribePush | None = None
    connect: ConnectResult | None = None
    disconnect: Disconnect | None = None
    refresh: RefreshPush | None = None


class Reply(Struct, omit_defaults=True):
    id: int = 0
    error: Error | None = None
    push: Push | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: Empty | None = None
    publish: Empty | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None
    rpc: RPCResult | None = None
    refresh: RefreshResult | None = None
    sub_refresh: SubRefreshResult | None = None
