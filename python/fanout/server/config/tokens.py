"""``client.token`` and ``client.subscription_token``: what makes a JWT valid."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fanout.server.config.keys import key, secret
from fanout.server.config.values import boolean, integer, regex, text, url

__all__ = ["SubscriptionTokenConfig", "TokenConfig"]


def _claim(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[a-zA-Z_]*", value):
        raise ValueError("must be letters and _, the name of a claim")
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenConfig:
    """Without any key here no token is valid."""

    hmac_secret_key: str = secret("", text)
    """The key of HS256, HS384 and HS512."""
    hmac_previous_secret_key: str = secret("", text)
    """While keys change: a second key that is good too."""
    hmac_previous_secret_key_valid_until: int = key(
        0, integer(0, 1 << 53, zero="as long as it stands here")
    )
    """Unix time (seconds) at which `hmac_previous_secret_key` ends."""
    rsa_public_key: str = key("", text, from_file=True)
    """PEM: the key of RS256, RS384 and RS512."""
    ecdsa_public_key: str = key("", text, from_file=True)
    """PEM: the key of ES256, ES384 and ES512."""
    jwks_public_endpoint: str = secret("", url("http", "https"), from_file=False)
    """Where public keys are fetched by the token's `kid`."""
    audience: str = key("", text)
    """What a token's `aud` must be or contain."""
    audience_regex: str = key("", regex)
    """What a token's `aud` must match; not beside `audience`."""
    issuer: str = key("", text)
    """What a token's `iss` must be."""
    issuer_regex: str = key("", regex)
    """What a token's `iss` must match; not beside `issuer`."""
    user_id_claim: str = key("", _claim)
    """The claim that holds the user id; `""`: `sub`."""
    insecure_skip_jwks_endpoint_safety_check: bool = key(False, boolean)
    """Allow `{{name}}` placeholders in `jwks_public_endpoint` whose values the
    regular expressions do not list one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionTokenConfig(TokenConfig):
    """Keys of their own for subscription tokens."""

    enabled: bool = key(False, boolean)
    """Subscription tokens are checked by what stands here, not by `client.token`."""
