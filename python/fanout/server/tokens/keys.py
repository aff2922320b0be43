"""Keys, and the algorithms that each of them allows.

Which algorithm a token may use follows from the key alone: an HMAC secret
knows no RSA, a public key knows no HMAC, and nothing knows ``none``. So a
token cannot choose how it is checked, only which of our keys is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import Algorithm, get_default_algorithms
from jwt.exceptions import InvalidKeyError

from fanout.server.config.errors import ConfigError
from fanout.server.tokens.compact import Compact
from fanout.server.tokens.errors import InvalidTokenError, shown
from fanout.server.tokens.options import TokenOptions

__all__ = [
    "EC_ALGORITHMS",
    "HMAC_ALGORITHMS",
    "RSA_ALGORITHMS",
    "Key",
    "check_signature",
    "configured_keys",
    "key_warnings",
    "public_key",
    "secret_key",
]

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
RSA_ALGORITHMS = ("RS256", "RS384", "RS512")
EC_ALGORITHMS = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
"""By the name of the curve (RFC 7518, section 3.4)."""

_RSA_BITS = (1024, 8192)
_GOOD_SECRET = 32
_GOOD_RSA_BITS = 2048
_ALGORITHMS: Mapping[str, Algorithm] = get_default_algorithms()


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A key that is ready to check signatures: by algorithm, what checks and with what.

    ``valid_until`` is in seconds since 1970, 0 for no end.
    """

    algorithms: Mapping[str, tuple[Algorithm, Any]]
    valid_until: float = 0.0

    def __repr__(self) -> str:
        return f"Key({', '.join(self.algorithms)})"


def secret_key(secret: str, valid_until: float = 0.0) -> Key:
    """An HMAC secret. Raises ``ValueError`` for one that is a public key."""
    try:
        return _key(HMAC_ALGORITHMS, secret.encode(), valid_until)
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    except InvalidKeyError:
        # An RSA public key here would let anybody sign who has it.
        raise ValueError("must be a secret, not a key in PEM, SSH, DER or JWK format") from None


def public_key(loaded: object, algorithms: Iterable[str] | None = None) -> Key:
    """A public key (of ``cryptography``): RSA, ECDSA on a curve of NIST, or Ed25519.

    ``algorithms`` narrows what the key could do. Raises ``ValueError`` for a
    key, or an algorithm, that cannot be used.
    """
    if isinstance(loaded, RSAPublicKey):
        if not _RSA_BITS[0] <= loaded.key_size <= _RSA_BITS[1]:
            raise ValueError(
                f"must be an RSA key of {_RSA_BITS[0]} to {_RSA_BITS[1]} bits, "
                f"not {loaded.key_size}")
        possible: tuple[str, ...] = RSA_ALGORITHMS
    elif isinstance(loaded, EllipticCurvePublicKey):
        if loaded.curve.name not in EC_ALGORITHMS:
            raise ValueError(
                f"must be on the curve P-256, P-384 or P-521, not {loaded.curve.name}")
        possible = (EC_ALGORITHMS[loaded.curve.name],)
    elif isinstance(loaded, Ed25519PublicKey):
        possible = ("EdDSA",)
    else:
        raise ValueError("must be an RSA, ECDSA or Ed25519 public key")
    names = possible if algorithms is None else tuple(algorithms)
    for name in names:
        if name not in possible:
            raise ValueError(f"is a key for {', '.join(possible)}, not for {shown(name)}")
    return _key(names, loaded, 0.0)


def _key(names: Iterable[str], material: Any, valid_until: float) -> Key:
    # Prepared once: for a secret PyJWT looks at length whether it is a key of another kind.
    prepared = _ALGORITHMS[next(iter(names))].prepare_key(material)
    return Key({name: (_ALGORITHMS[name], prepared) for name in names}, valid_until)


def check_signature(keys: Iterable[Key], token: Compact, now: float) -> None:
    """Raises :exc:`InvalidTokenError` unless one of ``keys`` made the token's signature.

    ``now`` is in seconds since 1970.
    """
    name = token.header.alg
    found = False
    for key in keys:
        entry = key.algorithms.get(name)
        if entry is None or (key.valid_until and now > key.valid_until):
            continue
        found = True
        algorithm, prepared = entry
        if algorithm.verify(token.signed, prepared, token.signature):
            return
    if not found:
        raise InvalidTokenError(f"no key for a token of the algorithm {shown(name)}")
    raise InvalidTokenError("the token's signature is not of a key known here")


def configured_keys(options: TokenOptions, path: str) -> tuple[Key, ...]:
    """The keys that a configuration holds itself; ``path`` is the section's, for errors."""
    keys = []
    if options.hmac_secret_key:
        keys.append(_secret(options.hmac_secret_key, f"{path}.hmac_secret_key"))
    if options.hmac_previous_secret_key:
        keys.append(_secret(
            options.hmac_previous_secret_key,
            f"{path}.hmac_previous_secret_key",
            float(options.hmac_previous_secret_key_valid_until),
        ))
    for name, kind, family in (
        ("rsa_public_key", RSAPublicKey, "RSA"),
        ("ecdsa_public_key", EllipticCurvePublicKey, "ECDSA"),
    ):
        text = getattr(options, name)
        if text:
            keys.append(_public(text, f"{path}.{name}", kind, family))
    return tuple(keys)


def key_warnings(options: TokenOptions, path: str) -> tuple[str, ...]:
    """What is allowed, as Centrifugo allows it, but weak."""
    found = []
    for name in ("hmac_secret_key", "hmac_previous_secret_key"):
        size = len(getattr(options, name).encode())
        if 0 < size < _GOOD_SECRET:
            found.append(
                f"{path}.{name} has {size} bytes: with fewer than {_GOOD_SECRET} it can be "
                "found by trying")
    if options.rsa_public_key:
        bits = getattr(_load_pem(options.rsa_public_key), "key_size", _GOOD_RSA_BITS)
        if bits < _GOOD_RSA_BITS:
            found.append(f"{path}.rsa_public_key has {bits} bits: use at least {_GOOD_RSA_BITS}")
    return tuple(found)


def _secret(secret: str, key: str, valid_until: float = 0.0) -> Key:
    try:
        return secret_key(secret, valid_until)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None


def _public(text: str, key: str, kind: type, family: str) -> Key:
    if "PRIVATE KEY" in text:
        raise ConfigError(key, "must be the public key: keep the private one where tokens are made")
    try:
        loaded = _load_pem(text)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(key, "must be a public key or a certificate in PEM") from None
    if not isinstance(loaded, kind):
        raise ConfigError(key, f"must be an {family} key")
    try:
        return public_key(loaded)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None


def _load_pem(text: str) -> object:
    data = text.strip().encode()
    if data.startswith(b"-----BEGIN CERTIFICATE"):
        return x509.load_pem_x509_certificate(data).public_key()
    return load_pem_public_key(data)
