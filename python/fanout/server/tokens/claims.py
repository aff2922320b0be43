"""What tokens say, read strictly: a claim of the wrong type makes the token invalid.

Names and meanings are Centrifugo's (v6); claims that it does not know are the
application's own and are not looked at. ``null`` is the same as no claim.
JSON in ``info``, ``data`` and ``meta`` is kept byte by byte.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from fanout.events import Capability, SubscribeReply
from fanout.server.tokens.errors import InvalidTokenError, shown
from fanout.server.tokens.strict import check_json

__all__ = ["ConnectionClaims", "RegisteredClaims", "SubscriptionClaims",
           "read_connection", "read_registered", "read_subscription"]

_END_OF_TIME = 253402300799
"""The last second of the year 9999. Above are, as a rule, milliseconds."""

_NOTHING = msgspec.Raw()


class RegisteredClaims(msgspec.Struct, frozen=True, kw_only=True):
    """The claims of RFC 7519 that are checked alike in every token.

    Times are seconds since 1970, 0 for none.
    """

    issuer: str = ""
    audience: tuple[str, ...] = ()
    expires: float = 0.0
    not_before: float = 0.0
    issued: float = 0.0
    jti: str = ""
    has_expiry: bool = False


class ConnectionClaims(RegisteredClaims, frozen=True, kw_only=True):
    """A connection token that was found good.

    ``user`` is ``""`` for an anonymous client. The *connection* expires at
    ``expire_at`` (seconds since 1970; 0: never), which is the token's own
    expiry unless the token says otherwise. ``info`` and ``meta`` are JSON as
    the token has it (``info`` any bytes when it was ``b64info``), ``subs`` the
    server-side subscriptions, with None for what the channel's options decide.
    """

    user: str = ""
    expire_at: float = 0.0
    info: bytes = b""
    meta: bytes = b""
    subs: Mapping[str, SubscribeReply] = msgspec.field(default_factory=dict)
    capabilities: tuple[Capability, ...] = ()


class SubscriptionClaims(RegisteredClaims, frozen=True, kw_only=True):
    """A subscription token that was found good.

    ``client`` is ``""`` unless the token is for one connection. ``reply`` is
    what the subscription is, its expiry among it.
    """

    channel: str
    user: str = ""
    client: str = ""
    reply: SubscribeReply = SubscribeReply()


Number = int | float | None


class _Value(msgspec.Struct, frozen=True):
    value: bool


class _Override(msgspec.Struct, frozen=True):
    presence: _Value | None = None
    join_leave: _Value | None = None
    force_push_join_leave: _Value | None = None
    force_positioning: _Value | None = None
    force_recovery: _Value | None = None


class _Subscription(msgspec.Struct, frozen=True):
    info: msgspec.Raw = _NOTHING
    b64info: str | None = None
    data: msgspec.Raw = _NOTHING
    b64data: str | None = None
    override: _Override | None = None


class _Capability(msgspec.Struct, frozen=True):
    channels: list[str]
    allow: list[str]
    match: str = ""


class _Registered(msgspec.Struct, frozen=True):
    sub: str | None = None
    exp: Number = None
    nbf: Number = None
    iat: Number = None
    jti: str | None = None
    aud: str | list[str] | None = None
    iss: str | None = None


class _Connection(_Registered, frozen=True):
    expire_at: Number = None
    info: msgspec.Raw = _NOTHING
    b64info: str | None = None
    channels: list[str] | None = None
    subs: dict[str, _Subscription | None] | None = None
    meta: msgspec.Raw = _NOTHING
    caps: list[_Capability] | None = None
    channel: str | None = None


class _SubscriptionToken(_Registered, frozen=True):
    channel: str | None = None
    client: str | None = None
    expire_at: Number = None
    info: msgspec.Raw = _NOTHING
    b64info: str | None = None
    data: msgspec.Raw = _NOTHING
    b64data: str | None = None
    override: _Override | None = None


_registered = msgspec.json.Decoder(_Registered)
_connection = msgspec.json.Decoder(_Connection)
_subscription = msgspec.json.Decoder(_SubscriptionToken)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_user_id = msgspec.json.Decoder(str | int | None)

T = TypeVar("T", bound=_Registered)


def read_registered(payload: bytes) -> RegisteredClaims:
    """The registered claims of any token."""
    return RegisteredClaims(**_shared(_read(_registered, payload)))


def read_connection(payload: bytes, user_id_claim: str = "") -> ConnectionClaims:
    """The claims of a connection token.

    ``user_id_claim`` names the claim that holds the user id in place of
    ``sub``. Raises :exc:`InvalidTokenError`, here and below.
    """
    token = _read(_connection, payload)
    if token.channel:
        raise InvalidTokenError(
            "a connection token must not have the claim 'channel': this is a subscription token")
    shared = _shared(token)
    if token.subs:
        subs = {channel: _reply(value, f" of {shown(channel)} in 'subs'")
                for channel, value in token.subs.items()}
    else:
        subs = dict.fromkeys(token.channels or (), SubscribeReply())
    if "" in subs:
        raise InvalidTokenError("a channel in 'channels' or 'subs' has no name")
    return ConnectionClaims(
        user=_user(token, payload, user_id_claim),
        expire_at=_expiry(token, shared["expires"]),
        info=_content(token.info, token.b64info, "'b64info'"),
        meta=_json(token.meta),
        subs=subs,
        capabilities=tuple(_capability(value) for value in token.caps or ()),
        **shared,
    )


def read_subscription(payload: bytes, user_id_claim: str = "") -> SubscriptionClaims:
    """The claims of a subscription token."""
    token = _read(_subscription, payload)
    if not token.channel:
        raise InvalidTokenError("a subscription token must have the claim 'channel'")
    shared = _shared(token)
    return SubscriptionClaims(
        channel=token.channel,
        user=_user(token, payload, user_id_claim),
        client=token.client or "",
        reply=_reply(token, "", _expiry(token, shared["expires"])),
        **shared,
    )


def _read(decoder: msgspec.json.Decoder[T], payload: bytes) -> T:
    try:
        check_json(payload)
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise InvalidTokenError(f"the token's claims: {error}") from None
    except RecursionError:
        raise InvalidTokenError("the token's claims are too deep") from None
    except ValueError as error:
        raise InvalidTokenError(f"the token's payload {error}") from None


def _shared(token: _Registered) -> dict[str, Any]:
    audience = token.aud
    return {
        "issuer": token.iss or "",
        "audience": (audience,) if isinstance(audience, str) else tuple(audience or ()),
        "expires": _time(token.exp, "exp"),
        "not_before": _time(token.nbf, "nbf"),
        "issued": _time(token.iat, "iat"),
        "jti": token.jti or "",
        "has_expiry": token.exp is not None,
    }


def _time(value: Number, name: str) -> float:
    if value is None:
        return 0.0
    if not 0 <= value <= _END_OF_TIME:
        raise InvalidTokenError(
            f"the claim {name!r} must be seconds since 1970, from 0 to {_END_OF_TIME}")
    return float(value)


def _expiry(token: _Connection | _SubscriptionToken, expires: float) -> float:
    return expires if token.expire_at is None else _time(token.expire_at, "expire_at")


def _user(token: _Registered, payload: bytes, claim: str) -> str:
    if not claim:
        return token.sub or ""
    value = _members.decode(payload).get(claim)
    if value is None:
        return ""
    try:
        user = _user_id.decode(value)
    except msgspec.MsgspecError:
        raise InvalidTokenError(f"the claim {claim!r} must be a string or a whole number") from None
    return "" if user is None else str(user)


def _reply(
    token: _Subscription | _SubscriptionToken | None, place: str, expire_at: float = 0.0
) -> SubscribeReply:
    if token is None:
        return SubscribeReply()
    override = token.override or _Override()
    return SubscribeReply(
        info=_content(token.info, token.b64info, f"'b64info'{place}"),
        data=_content(token.data, token.b64data, f"'b64data'{place}"),
        push_join_leave=_flag(override.force_push_join_leave),
        recover=_flag(override.force_recovery),
        position=_flag(override.force_positioning),
        presence=_flag(override.presence),
        join_leave=_flag(override.join_leave),
        expire_at=expire_at,
    )


def _flag(value: _Value | None) -> bool | None:
    return None if value is None else value.value


def _content(plain: msgspec.Raw, encoded: str | None, name: str) -> bytes:
    if not encoded:
        return _json(plain)
    try:
        return binascii.a2b_base64(encoded, strict_mode=True)
    except ValueError:  # of which binascii.Error is one
        raise InvalidTokenError(f"the claim {name} is not base64") from None


def _json(raw: msgspec.Raw) -> bytes:
    text = bytes(raw)
    return b"" if text == b"null" else text


def _capability(value: _Capability) -> Capability:
    if value.match not in ("", "wildcard", "regex"):
        raise InvalidTokenError("'match' in 'caps' must be \"\", \"wildcard\" or \"regex\"")
    if not {"sub", "pub", "prs", "hst"}.issuperset(value.allow):
        raise InvalidTokenError("'allow' in 'caps' must be of \"sub\", \"pub\", \"prs\", \"hst\"")
    if value.match == "regex":
        for pattern in value.channels:
            _check_pattern(pattern)
    return Capability(tuple(value.channels), frozenset(value.allow), value.match)


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        raise InvalidTokenError("a channel in 'caps' is not a regular expression") from None
