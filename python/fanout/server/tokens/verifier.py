"""Tokens are checked here: signature first, then what they say."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fanout.server.tokens.claims import (
    ConnectionClaims,
    SubscriptionClaims,
    read_connection,
    read_registered,
    read_subscription,
)
from fanout.server.tokens.compact import MAX_SIZE, Compact, base64url, split
from fanout.server.tokens.endpoint import Endpoint
from fanout.server.tokens.errors import InvalidTokenError, TokenMismatchError
from fanout.server.tokens.jwks import KeySets, Limits
from fanout.server.tokens.keys import Key, check_signature, configured_keys, key_warnings
from fanout.server.tokens.options import TokenOptions
from fanout.server.tokens.rules import Rules

__all__ = ["TokenVerifier"]


class TokenVerifier:
    """Checks tokens as ``client.token`` (or ``client.subscription_token``) says.

    With ``jwks_public_endpoint`` the keys come from there alone, as in
    Centrifugo; else they are those in the configuration. Without any key no
    token is valid. With ``skip_signature`` (Centrifugo's
    ``client.insecure_skip_token_signature_verify``) anybody can make tokens;
    everything else is checked still.

    ``path`` is where the options stand in the configuration. Raises
    :exc:`~fanout.server.config.ConfigError` for options that cannot be used.
    ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        options: TokenOptions,
        *,
        path: str = "client.token",
        skip_signature: bool = False,
        max_size: int = MAX_SIZE,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rules = Rules(options, path)
        self._user_id_claim = options.user_id_claim
        self._skip_signature = skip_signature
        self._max_size = max_size
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._key_sets: KeySets | None = None
        self.warnings: tuple[str, ...] = ()
        """What the operator should be told at start."""
        if options.jwks_public_endpoint:
            self._endpoint = Endpoint(options, self._rules.groups, path)
            self._key_sets = KeySets(self._endpoint, limits)
        else:
            self._keys = configured_keys(options, path)
            self.warnings = key_warnings(options, path)

    @property
    def algorithms(self) -> tuple[str, ...]:
        """What tokens may be signed with; empty when that is the endpoint's to say, or nothing."""
        return tuple(dict.fromkeys(name for key in self._keys for name in key.algorithms))

    def connection(self, token: str) -> ConnectionClaims | None:
        """The claims of a connection token; None when its key must be fetched first.

        Then :meth:`verify_connection` tells. What is raised is the same.
        """
        compact = split(token, self._max_size)
        keys = self._find(compact)
        return None if keys is None else self._connection(compact, keys)

    async def verify_connection(self, token: str) -> ConnectionClaims:
        """The claims of a connection token, its key fetched if need be.

        Raises :exc:`InvalidTokenError`, :exc:`ExpiredTokenError`, or
        :exc:`KeysUnavailableError` when the key cannot be had now.
        """
        compact = split(token, self._max_size)
        return self._connection(compact, await self._fetch(compact))

    def subscription(
        self,
        token: str,
        *,
        channel: str | None = None,
        user: str | None = None,
        client: str | None = None,
    ) -> SubscriptionClaims | None:
        """As :meth:`connection`, for a subscription token and :meth:`verify_subscription`."""
        compact = split(token, self._max_size)
        keys = self._find(compact)
        return None if keys is None else self._subscription(compact, keys, channel, user, client)

    async def verify_subscription(
        self,
        token: str,
        *,
        channel: str | None = None,
        user: str | None = None,
        client: str | None = None,
    ) -> SubscriptionClaims:
        """The claims of a subscription token, its key fetched if need be.

        Raises as :meth:`verify_connection`, and :exc:`TokenMismatchError` when
        it is for another channel, user or client than those that are given
        (None: not compared; a token without ``client`` is for any).
        """
        compact = split(token, self._max_size)
        keys = await self._fetch(compact)
        return self._subscription(compact, keys, channel, user, client)

    async def close(self) -> None:
        """Ends fetching; nothing else needs it."""
        if self._key_sets is not None:
            await self._key_sets.close()

    def _find(self, token: Compact) -> Sequence[Key] | None:
        if self._key_sets is None or self._skip_signature:
            return self._keys
        return self._key_sets.find(*self._place(token))

    async def _fetch(self, token: Compact) -> Sequence[Key]:
        if self._key_sets is None or self._skip_signature:
            return self._keys
        return await self._key_sets.fetch(*self._place(token))

    def _place(self, token: Compact) -> tuple[str, str]:
        """The URL of the token's key, and its id there."""
        if not token.header.kid:
            raise InvalidTokenError("the token's header has no 'kid' to find its key by")
        variables: dict[str, str] = {}
        if self._endpoint.names:
            variables = self._rules.variables(read_registered(_payload(token)))
        return self._endpoint.url(variables), token.header.kid

    def _checked(self, token: Compact, keys: Sequence[Key]) -> tuple[bytes, float]:
        now = self._clock()
        if not self._skip_signature:
            check_signature(keys, token, now)
        return _payload(token), now

    def _connection(self, token: Compact, keys: Sequence[Key]) -> ConnectionClaims:
        payload, now = self._checked(token, keys)
        claims = read_connection(payload, self._user_id_claim)
        self._rules.check(claims, now)
        return claims

    def _subscription(
        self,
        token: Compact,
        keys: Sequence[Key],
        channel: str | None,
        user: str | None,
        client: str | None,
    ) -> SubscriptionClaims:
        payload, now = self._checked(token, keys)
        claims = read_subscription(payload, self._user_id_claim)
        self._rules.check(claims, now)
        if channel is not None and claims.channel != channel:
            raise TokenMismatchError("the subscription token is for another channel")
        if user is not None and claims.user != user:
            raise TokenMismatchError("the subscription token is for another user")
        if client is not None and claims.client and claims.client != client:
            raise TokenMismatchError("the subscription token is for another client")
        return claims


def _payload(token: Compact) -> bytes:
    return base64url(token.payload, "payload")
