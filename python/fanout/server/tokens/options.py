"""What a verifier reads of a configuration."""

from __future__ import annotations

from typing import Protocol

__all__ = ["TokenOptions"]


class TokenOptions(Protocol):
    """``client.token``, with Centrifugo's key names; ``client.subscription_token`` has them too.

    ``""`` and 0 are "not configured". The public keys are PEM texts, of a key
    or of a certificate that holds it.
    """

    @property
    def hmac_secret_key(self) -> str: ...
    @property
    def hmac_previous_secret_key(self) -> str: ...
    @property
    def hmac_previous_secret_key_valid_until(self) -> int: ...
    @property
    def rsa_public_key(self) -> str: ...
    @property
    def ecdsa_public_key(self) -> str: ...
    @property
    def jwks_public_endpoint(self) -> str: ...
    @property
    def audience(self) -> str: ...
    @property
    def audience_regex(self) -> str: ...
    @property
    def issuer(self) -> str: ...
    @property
    def issuer_regex(self) -> str: ...
    @property
    def user_id_claim(self) -> str: ...
    @property
    def insecure_skip_jwks_endpoint_safety_check(self) -> bool: ...
