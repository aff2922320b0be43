"""Key sets as endpoints publish them (RFC 7517), read into keys."""

from __future__ import annotations

from typing import Any

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import PyJWTError

from fanout.server.tokens.keys import Key, public_key

__all__ = ["read_key_set"]

_MAX_KEYS = 256
_MAX_SAME_ID = 4


class _JWK(msgspec.Struct, frozen=True):
    """One key. Private members and certificates are not even read."""

    kty: str
    kid: str | None = None
    use: str | None = None
    key_ops: list[str] | None = None
    alg: str | None = None
    n: str | None = None
    e: str | None = None
    crv: str | None = None
    x: str | None = None
    y: str | None = None


class _KeySet(msgspec.Struct, frozen=True):
    keys: list[msgspec.Raw]


_key_set = msgspec.json.Decoder(_KeySet)
_jwk = msgspec.json.Decoder(_JWK)


def read_key_set(text: bytes) -> tuple[dict[str, tuple[Key, ...]], list[str]]:
    """The keys for checking signatures, by key id, and what is wrong with others.

    A key of a kind that is unknown here must not take the others with it, so
    it is left out. Raises ``ValueError`` when ``text`` is no key set, or has
    no key to use.
    """
    try:
        entries = _key_set.decode(text).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise ValueError("is not a JSON Web Key Set") from None
    if len(entries) > _MAX_KEYS:
        raise ValueError(f"has more than {_MAX_KEYS} keys")
    keys: dict[str, tuple[Key, ...]] = {}
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            jwk = _jwk.decode(entry)
            if not _checks_signatures(jwk):
                continue
            if not jwk.kid:
                raise ValueError("has no 'kid'")
            same = keys.get(jwk.kid, ())
            if len(same) == _MAX_SAME_ID:
                raise ValueError(f"is one of more than {_MAX_SAME_ID} with its 'kid'")
            keys[jwk.kid] = (*same, _public(jwk))
        except (ValueError, TypeError, PyJWTError, UnsupportedAlgorithm) as error:
            problems.append(f"key {index} {error}")
    if not keys:
        raise ValueError("; ".join(["has no key that can check signatures", *problems[:3]]))
    return keys, problems


def _checks_signatures(jwk: _JWK) -> bool:
    return jwk.use in (None, "sig") and (jwk.key_ops is None or "verify" in jwk.key_ops)


def _public(jwk: _JWK) -> Key:
    loaded: Any
    if jwk.kty == "RSA":
        if jwk.n is None or jwk.e is None:
            raise ValueError("has no 'n' or no 'e'")
        if len(jwk.n) > 2048 or len(jwk.e) > 16:
            raise ValueError("is too long")
        loaded = RSAAlgorithm.from_jwk({"kty": "RSA", "n": jwk.n, "e": jwk.e})
    elif jwk.kty == "EC":
        loaded = ECAlgorithm.from_jwk(_members(jwk, "crv", "x", "y"))
    elif jwk.kty == "OKP":
        loaded = OKPAlgorithm.from_jwk(_members(jwk, "crv", "x"))
    else:
        raise ValueError(f"is of the kind {jwk.kty[:20]!r}, which is not supported")
    return public_key(loaded, None if jwk.alg is None else (jwk.alg,))


def _members(jwk: _JWK, *names: str) -> dict[str, str]:
    members = {"kty": jwk.kty}
    for name in names:
        value: str | None = getattr(jwk, name)
        if value is None:
            raise ValueError(f"has no {name!r}")
        if len(value) > 128:
            raise ValueError("is too long")
        members[name] = value
    return members
