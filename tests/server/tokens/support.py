"""Keys, and tokens of every kind, good and bad."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fanout.server.tokens import TokenVerifier

NOW = 1_800_000_000.0
SECRET = "a secret of the tests, which is long enough for HS512: 0123456789abcdef"
OTHER_SECRET = SECRET[::-1]


@dataclass(frozen=True, kw_only=True)
class Options:
    """A ``client.token`` section."""

    hmac_secret_key: str = ""
    hmac_previous_secret_key: str = ""
    hmac_previous_secret_key_valid_until: int = 0
    rsa_public_key: str = ""
    ecdsa_public_key: str = ""
    jwks_public_endpoint: str = ""
    audience: str = ""
    audience_regex: str = ""
    issuer: str = ""
    issuer_regex: str = ""
    user_id_claim: str = ""
    insecure_skip_jwks_endpoint_safety_check: bool = False


def verifier(now: Callable[[], float] = lambda: NOW, **options: Any) -> TokenVerifier:
    """One that knows ``SECRET``, unless ``options`` have other keys."""
    skip = options.pop("skip_signature", False)
    if not any(name.endswith(("_key", "_endpoint")) for name in options):
        options["hmac_secret_key"] = SECRET
    return TokenVerifier(Options(**options), skip_signature=skip, clock=now)


def token(
    claims: dict[str, Any], key: Any = SECRET, algorithm: str = "HS256", **header: Any
) -> str:
    return jwt.encode(claims, key, algorithm, header)


def signed(payload: bytes | str, header: bytes | str = '{"alg":"HS256"}', secret: str = SECRET,
           digest: str = "sha256") -> str:
    """A token with exactly these bytes in its header and payload, signed with HMAC."""
    parts = f"{encode(header)}.{encode(payload)}"
    mac = hmac.digest(secret.encode(), parts.encode(), getattr(hashlib, digest))
    return f"{parts}.{encode(mac)}"


def encode(data: bytes | str) -> str:
    data = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@cache
def _made(kind: str, curve: Any, bits: int, name: str) -> Any:
    if kind == "RSA":
        return rsa.generate_private_key(65537, bits)
    return ec.generate_private_key(curve()) if kind == "EC" else (
        ed25519.Ed25519PrivateKey.generate())


def rsa_key(name: str = "", bits: int = 2048) -> Any:
    """A private key; always the same for the same arguments, as below."""
    return _made("RSA", None, bits, name)


def ec_key(curve: type[ec.EllipticCurve] = ec.SECP256R1, name: str = "") -> Any:
    return _made("EC", curve, 0, name)


def ed_key(name: str = "") -> Any:
    return _made("OKP", None, 0, name)


def pem(private: Any, form: PublicFormat = PublicFormat.SubjectPublicKeyInfo) -> str:
    return str(private.public_key().public_bytes(Encoding.PEM, form).decode())


def jwk(private: Any, kid: str, **members: Any) -> dict[str, Any]:
    """The public key as a key set has it; a member that is None is left out."""
    kinds = {rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
             ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
             ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm}
    for kind, algorithm in kinds.items():
        if isinstance(private, kind):
            public = algorithm.to_jwk(private.public_key())  # type: ignore[attr-defined]
            entry = {**json.loads(public), "kid": kid, "use": "sig", **members}
            return {name: value for name, value in entry.items() if value is not None}
    raise TypeError(private)
