"""The commands and replies of the Centrifuge client protocol v2, in JSON.

Payloads stay undecoded (``msgspec.Raw``): what one client published reaches
the others to the byte.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from fanout.server.surrogates import decode_with_surrogates

__all__ = ["Command", "Reply", "decode_commands", "encode"]

_NO_DATA = Raw(b"")

Int32 = Annotated[int, Meta(ge=-0x80000000, le=0x7FFFFFFF)]
UInt32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]


class ConnectRequest(Struct):
    token: str = ""
    data: Raw = _NO_DATA
    name: str = ""
    version: str = ""


class SubscribeRequest(Struct):
    channel: str = ""
    token: str = ""
    data: Raw = _NO_DATA
    join_leave: bool = False
    delta: str = ""
    recover: bool = False
    offset: int = 0
    epoch: str = ""


class ChannelRequest(Struct):
    """unsubscribe, presence, presence_stats."""

    channel: str = ""


class PublishRequest(Struct):
    channel: str = ""
    data: Raw = _NO_DATA


class Position(Struct):
    offset: int = 0
    epoch: str = ""


class HistoryRequest(Struct):
    channel: str = ""
    limit: Int32 = 0
    since: Position | None = None
    reverse: bool = False


class RefreshRequest(Struct):
    channel: str = ""       # sub_refresh only
    token: str = ""


class AnyRequest(Struct):
    """ping, send, rpc: what they carry is not looked at."""


class Command(Struct):
    """One command. Exactly one method should be set; the first in this order wins."""

    id: UInt32 = 0
    connect: ConnectRequest | None = None
    ping: AnyRequest | None = None
    subscribe: SubscribeRequest | None = None
    unsubscribe: ChannelRequest | None = None
    publish: PublishRequest | None = None
    presence: ChannelRequest | None = None
    presence_stats: ChannelRequest | None = None
    history: HistoryRequest | None = None
    rpc: AnyRequest | None = None
    send: AnyRequest | None = None
    refresh: RefreshRequest | None = None
    sub_refresh: RefreshRequest | None = None


class Error(Struct, omit_defaults=True):
    code: int
    message: str
    temporary: bool = False


class Empty(Struct):
    pass


class ConnectResult(Struct):
    client: str
    version: str
    data: Raw | UnsetType = UNSET
    ping: int | UnsetType = UNSET
    pong: bool | UnsetType = UNSET
    time: int | UnsetType = UNSET


class SubscribeResult(Struct):
    data: Raw | UnsetType = UNSET
    recoverable: bool | UnsetType = UNSET
    positioned: bool | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    offset: int | UnsetType = UNSET
    was_recovering: bool | UnsetType = UNSET
    recovered: bool | UnsetType = UNSET
    publications: list[Raw] | UnsetType = UNSET


class PresenceResult(Struct):
    presence: dict[str, Raw]


class PresenceStatsResult(Struct):
    num_clients: int
    num_users: int


class HistoryResult(Struct):
    publications: list[Raw]
    epoch: str
    offset: int


class Reply(Struct, omit_defaults=True):
    id: int = 0
    error: Error | None = None
    connect: ConnectResult | None = None
    subscribe: SubscribeResult | None = None
    unsubscribe: Empty | None = None
    publish: Empty | None = None
    presence: PresenceResult | None = None
    presence_stats: PresenceStatsResult | None = None
    history: HistoryResult | None = None


_decoder = msgspec.json.Decoder(Command)
encode = msgspec.json.Encoder().encode


def decode_commands(frame: bytes) -> list[Command]:
    """The commands of one frame, separated by newlines.

    Raises ``ValueError`` when the frame is empty or one cannot be read.
    """
    try:
        commands = _decoder.decode_lines(frame)
    except msgspec.DecodeError:
        if b"\\u" not in frame:
            raise
        commands = decode_with_surrogates(frame, _decoder.decode_lines)
    if not commands:
        raise ValueError("an empty frame")
    return commands
