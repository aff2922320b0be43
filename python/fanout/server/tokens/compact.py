"""A token's three parts (RFC 7515, compact serialization), before anything is believed."""

from __future__ import annotations

import binascii
from functools import lru_cache

import msgspec

from fanout.server.tokens.errors import InvalidTokenError, shown
from fanout.server.tokens.strict import check_json

__all__ = ["MAX_SIZE", "Compact", "Header", "base64url", "split"]

MAX_SIZE = 65536
"""Bytes of a token, as many as a command may have by default."""
_MAX_HEADER = 8192
_MAX_KEY_ID = 512


class Header(msgspec.Struct, frozen=True):
    """What a token says of its signature. Keys that it brings along are not even read."""

    alg: str
    kid: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    b64: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    zip: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Compact(msgspec.Struct, frozen=True):
    """A token taken apart; ``payload`` is not decoded yet, ``signature`` is."""

    header: Header
    payload: bytes
    signed: bytes
    signature: bytes


def split(token: str, max_size: int = MAX_SIZE) -> Compact:
    """Takes ``token`` apart; raises :exc:`InvalidTokenError` for what is none."""
    if len(token) > max_size:
        raise InvalidTokenError(f"the token is longer than {max_size} bytes")
    try:
        data = token.encode("ascii")
    except UnicodeEncodeError:
        raise InvalidTokenError("the token is not ASCII") from None
    parts = data.split(b".", 3)
    if len(parts) != 3:
        raise InvalidTokenError("the token does not have three parts")
    first, payload, last = parts
    header = _header(first)
    return Compact(header, payload, data[: len(first) + 1 + len(payload)],
                   base64url(last, "signature"))


# Tokens of one issuer have one header: it is looked at once.
@lru_cache(maxsize=64)
def _header(part: bytes) -> Header:
    if len(part) > _MAX_HEADER:
        raise InvalidTokenError(f"the token's header is longer than {_MAX_HEADER} bytes")
    text = base64url(part, "header")
    try:
        check_json(text)
        header = _decode_header(text)
    except msgspec.MsgspecError as error:
        raise InvalidTokenError(f"the token's header: {error}") from None
    except ValueError as error:
        raise InvalidTokenError(f"the token's header {error}") from None
    for name in ("crit", "b64", "zip"):
        if getattr(header, name) is not msgspec.UNSET:
            raise InvalidTokenError(f"the token's header has {name!r}, which is not supported")
    if header.kid is not None and len(header.kid) > _MAX_KEY_ID:
        raise InvalidTokenError(
            f"the token's key id is longer than {_MAX_KEY_ID} characters: {shown(header.kid)}")
    return header


_decode_header = msgspec.json.Decoder(Header).decode

# The alphabet of base64url becomes that of base64; all else, with the two
# characters that only base64 has, becomes what the strict decoder refuses.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_TO_BASE64 = bytes(
    {ord("-"): ord("+"), ord("_"): ord("/")}.get(code, code if code in _PLAIN else ord("!"))
    for code in range(256)
)
# Bits of the last character that no byte uses must be 0: one text for one value.
_LAST_OF_2 = b"AQgw"
_LAST_OF_3 = b"AEIMQUYcgkosw048"


def base64url(part: bytes, name: str) -> bytes:
    """The bytes behind ``part``, which must be unpadded base64url in its one spelling."""
    rest = len(part) % 4
    if rest == 1 or (rest and part[-1] not in (_LAST_OF_2 if rest == 2 else _LAST_OF_3)):
        raise InvalidTokenError(f"the token's {name} is not base64url")
    try:
        return binascii.a2b_base64(
            part.translate(_TO_BASE64) + b"=="[: -rest % 4], strict_mode=True)
    except binascii.Error:
        raise InvalidTokenError(f"the token's {name} is not base64url") from None
