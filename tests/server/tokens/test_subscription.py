"""Subscription tokens: whose they are, and what for."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fanout.events import SubscribeReply
from fanout.server.tokens import (
    ExpiredTokenError,
    InvalidTokenError,
    SubscriptionClaims,
    TokenMismatchError,
)
from tests.server.tokens.support import NOW, token, verifier


def claims_of(claims: dict[str, Any], **expected: Any) -> SubscriptionClaims:
    found = verifier().subscription(token(claims), **expected)
    assert found is not None
    return found


def test_everything() -> None:
    claims = claims_of({
        "sub": "42", "channel": "$news", "client": "c1", "exp": NOW + 9, "info": {"x": 1},
        "b64data": base64.b64encode(b"d").decode(),
        "override": {"force_recovery": {"value": True}},
    }, channel="$news", user="42", client="c1")
    assert (claims.channel, claims.user, claims.client) == ("$news", "42", "c1")
    assert claims.reply == SubscribeReply(
        info=b'{"x":1}', data=b"d", recover=True, expire_at=NOW + 9)


@pytest.mark.parametrize(("expire_at", "expected"), [(NOW + 5, NOW + 5), (0, 0.0)])
def test_expire_at_is_the_subscriptions_expiry(expire_at: float, expected: float) -> None:
    claims = {"channel": "a", "exp": NOW + 1, "expire_at": expire_at}
    assert claims_of(claims).reply.expire_at == expected


@pytest.mark.parametrize("claims", [{"sub": "42"}, {"channel": ""}, {"channel": None}])
def test_a_channel_is_required(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidTokenError, match="channel"):
        claims_of(claims)


def test_another_channel() -> None:
    with pytest.raises(TokenMismatchError, match="channel"):
        claims_of({"channel": "a"}, channel="b")


@pytest.mark.parametrize(("sub", "user"), [("1", "2"), ("1", ""), ("", "1"), (None, "1")])
def test_another_user(sub: str | None, user: str) -> None:
    with pytest.raises(TokenMismatchError, match="user"):
        claims_of({"channel": "a", "sub": sub}, channel="a", user=user)


def test_another_client() -> None:
    with pytest.raises(TokenMismatchError, match="client"):
        claims_of({"channel": "a", "client": "x"}, channel="a", client="y")


def test_a_token_without_client_is_for_any() -> None:
    assert claims_of({"channel": "a"}, client="y").client == ""


def test_an_expired_token_of_another_channel_is_expired() -> None:
    with pytest.raises(ExpiredTokenError):
        claims_of({"channel": "a", "exp": NOW - 1}, channel="b")


def test_the_user_id_claim_counts_here_too() -> None:
    found = verifier(user_id_claim="uid").subscription(
        token({"channel": "a", "uid": 7, "sub": "x"}), user="7")
    assert found is not None
    assert found.user == "7"


async def test_verify_subscription_is_the_same() -> None:
    tokens = verifier()
    good = token({"channel": "a"})
    assert await tokens.verify_subscription(good, channel="a") == tokens.subscription(good)
    with pytest.raises(TokenMismatchError):
        await tokens.verify_subscription(good, channel="b")
