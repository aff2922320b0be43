"""What is sent to a backend and what it answers, in Centrifugo's JSON.

Fields have the names of Centrifugo's ``proxy.proto``; unknown ones in an
answer are ignored, and ``null`` is the same as a field that is not there. A
payload (``data``, ``info``, ``meta``) is passed on as the bytes that stand
there, and for it ``null`` is a value like any other.
"""

from __future__ import annotations

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import Meta, Raw, Struct

__all__ = [
    "ConnectRequest",
    "ConnectResult",
    "DisconnectAnswer",
    "ErrorAnswer",
    "Override",
    "PublishRequest",
    "PublishResult",
    "RPCRequest",
    "RPCResult",
    "RefreshRequest",
    "RefreshResult",
    "Reply",
    "Request",
    "SubRefreshRequest",
    "SubRefreshResult",
    "SubscribeRequest",
    "SubscribeResult",
    "Subscription",
]

Result = TypeVar("Result", bound=Struct)
UInt32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
NOTHING = Raw()


class Request(Struct, kw_only=True, omit_defaults=True):
    """What every request has: the connection, by its id, and what it speaks.

    ``protocol`` is the client's own encoding, ``encoding`` that of the
    payloads in this request: ``"json"``, or ``"binary"`` for base64.
    """

    client: str
    transport: str
    protocol: str
    encoding: str


class ConnectRequest(Request, kw_only=True, omit_defaults=True):
    data: Raw = NOTHING
    b64data: str = ""
    name: str = ""
    version: str = ""
    channels: list[str] = []


class RefreshRequest(Request, kw_only=True, omit_defaults=True):
    user: str
    meta: Raw = NOTHING


class SubscribeRequest(Request, kw_only=True, omit_defaults=True):
    user: str
    channel: str
    token: str = ""
    meta: Raw = NOTHING
    data: Raw = NOTHING
    b64data: str = ""


class PublishRequest(Request, kw_only=True, omit_defaults=True):
    user: str
    channel: str
    data: Raw = NOTHING
    b64data: str = ""
    meta: Raw = NOTHING


class RPCRequest(Request, kw_only=True, omit_defaults=True):
    user: str
    method: str = ""
    data: Raw = NOTHING
    b64data: str = ""
    meta: Raw = NOTHING


class SubRefreshRequest(Request, kw_only=True, omit_defaults=True):
    user: str
    channel: str
    meta: Raw = NOTHING


class ErrorAnswer(Struct):
    """The client gets an error reply."""

    code: UInt32 | None = None
    message: str | None = None
    temporary: bool | None = None


class DisconnectAnswer(Struct):
    """The client is disconnected."""

    code: UInt32 | None = None
    reason: str | None = None


class Flag(Struct):
    """A boolean that can also be absent."""

    value: bool | None = None


class Override(Struct):
    """What holds for one subscription in place of the channel's options."""

    presence: Flag | None = None
    join_leave: Flag | None = None
    force_recovery: Flag | None = None
    force_positioning: Flag | None = None
    force_push_join_leave: Flag | None = None


class Subscription(Struct):
    """A subscription: one that the server makes, or the answer to a client's wish."""

    info: Raw = NOTHING
    b64info: str | None = None
    data: Raw = NOTHING
    b64data: str | None = None
    override: Override | None = None


class ChannelsCapability(Struct):
    channels: list[str] | None = None
    allow: list[str] | None = None
    match: Literal["", "wildcard", "regex"] | None = None


class ConnectResult(Struct):
    user: str | None = None
    expire_at: float | None = None
    info: Raw = NOTHING
    b64info: str | None = None
    data: Raw = NOTHING
    b64data: str | None = None
    channels: list[str] | None = None
    subs: dict[str, Subscription | None] | None = None
    meta: Raw = NOTHING
    caps: list[ChannelsCapability] | None = None


class RefreshResult(Struct):
    expired: bool | None = None
    expire_at: float | None = None
    info: Raw = NOTHING
    b64info: str | None = None
    meta: Raw = NOTHING


class SubscribeResult(Subscription):
    expire_at: float | None = None


class SubRefreshResult(Struct):
    expired: bool | None = None
    expire_at: float | None = None
    info: Raw = NOTHING
    b64info: str | None = None


class PublishResult(Struct):
    data: Raw = NOTHING
    b64data: str | None = None
    skip_history: bool | None = None
    tags: dict[str, str] | None = None
    idempotency_key: str | None = None
    delta: bool | None = None
    version: Annotated[int, Meta(ge=0)] | None = None
    version_epoch: str | None = None


class RPCResult(Struct):
    data: Raw = NOTHING
    b64data: str | None = None


class Reply(Struct, Generic[Result]):
    """An answer; a disconnect goes before an error, and that before a result."""

    result: Result | None = None
    error: ErrorAnswer | None = None
    disconnect: DisconnectAnswer | None = None
