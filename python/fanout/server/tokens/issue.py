"""Making tokens: for trying things out, and for tests. Applications do it where users log in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from fanout.server.tokens.keys import EC_ALGORITHMS, HMAC_ALGORITHMS, RSA_ALGORITHMS

__all__ = ["Signer"]


@dataclass(frozen=True, slots=True)
class Signer:
    """A key to make tokens with. ``algorithms`` are those that it can do, the usual one first."""

    algorithms: tuple[str, ...]
    key: Any = field(repr=False)

    @classmethod
    def with_secret(cls, secret: str) -> Signer:
        """HMAC."""
        return cls(HMAC_ALGORITHMS, secret)

    @classmethod
    def with_private_key(cls, pem: bytes) -> Signer:
        """RSA, ECDSA or Ed25519, by the key; ``ValueError`` for one that cannot be used."""
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise ValueError("must not be encrypted") from None
        except (ValueError, UnsupportedAlgorithm):
            raise ValueError("must be a private key in PEM") from None
        if isinstance(key, RSAPrivateKey):
            return cls(RSA_ALGORITHMS, key)
        if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in EC_ALGORITHMS:
            return cls((EC_ALGORITHMS[key.curve.name],), key)
        if isinstance(key, Ed25519PrivateKey):
            return cls(("EdDSA",), key)
        raise ValueError("must be an RSA key, an ECDSA key on P-256, P-384 or P-521, or Ed25519")

    def sign(self, claims: Mapping[str, Any], algorithm: str = "", kid: str = "") -> str:
        """A token with ``claims``; ``ValueError`` for an algorithm that is not the key's."""
        name = algorithm or self.algorithms[0]
        if name not in self.algorithms:
            raise ValueError(f"the key is for {', '.join(self.algorithms)}, not for {name!r}")
        with warnings.catch_warnings():
            # Whoever checks the token tells of weak keys, in words that name the option.
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)
            try:
                return jwt.encode(dict(claims), self.key, name, {"kid": kid} if kid else None)
            except jwt.InvalidKeyError:
                raise ValueError("the secret must not be a key in PEM or another format") from None
