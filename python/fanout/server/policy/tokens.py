"""Tokens, with the protocol's answer to each that is refused."""

from __future__ import annotations

from fanout import codes
from fanout.client import Client
from fanout.codes import DisconnectCode, ErrorCode
from fanout.server.config import Config
from fanout.server.log import logger
from fanout.server.tokens import (
    ConnectionClaims,
    ExpiredTokenError,
    InvalidTokenError,
    KeysUnavailableError,
    SubscriptionClaims,
    TokenError,
    TokenMismatchError,
    TokenVerifier,
)

__all__ = ["Tokens"]


class Tokens:
    """The verifiers of one configuration.

    Raises :exc:`~fanout.server.config.ConfigError` for options that cannot be
    used; ``warnings`` are what the operator should be told.
    """

    def __init__(self, config: Config) -> None:
        client = config.client
        skip = client.insecure_skip_token_signature_verify
        self._connection = TokenVerifier(client.token, skip_signature=skip)
        self._subscription = self._connection
        self.warnings = self._connection.warnings
        if client.subscription_token.enabled:
            self._subscription = TokenVerifier(
                client.subscription_token, path="client.subscription_token", skip_signature=skip)
            self.warnings += self._subscription.warnings

    async def connection(
        self, token: str, *, expired: ErrorCode | DisconnectCode = codes.ERROR_TOKEN_EXPIRED
    ) -> ConnectionClaims:
        """Raises disconnect 3500 for an invalid token, ``expired``, or error 100."""
        try:
            # A task's turn for nothing, when no key is to be fetched.
            claims = self._connection.connection(token)
            return claims or await self._connection.verify_connection(token)
        except TokenError as error:
            raise _refusal(error, codes.DISCONNECT_INVALID_TOKEN, expired)() from None

    async def subscription(
        self, client: Client, channel: str, token: str,
        *, expired: ErrorCode = codes.ERROR_TOKEN_EXPIRED,
    ) -> SubscriptionClaims:
        """Raises error 103 for an invalid token, disconnect 3500 for another's, and as above."""
        verifier = self._subscription
        wanted = {"channel": channel, "user": client.user, "client": client.id}
        try:
            claims = verifier.subscription(token, **wanted)
            return claims or await verifier.verify_subscription(token, **wanted)
        except TokenError as error:
            raise _refusal(error, codes.ERROR_PERMISSION_DENIED, expired)() from None

    async def close(self) -> None:
        await self._connection.close()
        if self._subscription is not self._connection:
            await self._subscription.close()


def _refusal(
    error: TokenError, invalid: ErrorCode | DisconnectCode, expired: ErrorCode | DisconnectCode
) -> ErrorCode | DisconnectCode:
    if isinstance(error, ExpiredTokenError):
        return expired
    if isinstance(error, KeysUnavailableError):
        logger.warning("a token could not be checked: %s", error)
        return codes.ERROR_INTERNAL
    logger.info("a token is refused: %s", error)
    if isinstance(error, TokenMismatchError):
        return codes.DISCONNECT_INVALID_TOKEN
    assert isinstance(error, InvalidTokenError)
    return invalid
