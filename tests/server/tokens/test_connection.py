"""What a good connection token gives, claim by claim."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fanout.events import Capability, SubscribeReply
from fanout.server.tokens import ConnectionClaims, InvalidTokenError
from tests.server.tokens.support import NOW, signed, verifier


def claims_of(claims: dict[str, Any], **options: Any) -> ConnectionClaims:
    found = verifier(**options).connection(signed(json.dumps(claims)))
    assert found is not None
    return found


def refusal(claims: dict[str, Any], **options: Any) -> str:
    with pytest.raises(InvalidTokenError) as caught:
        claims_of(claims, **options)
    return str(caught.value)


def test_a_token_without_claims_is_an_anonymous_user_who_stays() -> None:
    claims = claims_of({})
    assert (claims.user, claims.expire_at, claims.info, claims.meta) == ("", 0.0, b"", b"")
    assert (dict(claims.subs), claims.capabilities) == ({}, ())


def test_registered_claims() -> None:
    claims = claims_of({"sub": "42", "iss": "me", "aud": ["a", "b"], "jti": "j",
                        "exp": NOW + 60, "nbf": NOW, "iat": NOW - 1})
    assert claims.user == "42"
    assert (claims.issuer, claims.audience, claims.jti) == ("me", ("a", "b"), "j")
    assert (claims.expires, claims.not_before, claims.issued) == (NOW + 60, NOW, NOW - 1)
    assert claims.expire_at == NOW + 60


def test_audience_may_be_a_string() -> None:
    assert claims_of({"aud": "a"}).audience == ("a",)


@pytest.mark.parametrize(("expire_at", "expected"), [(NOW + 5, NOW + 5), (0, 0.0), (None, NOW + 1)])
def test_expire_at_is_the_connections_expiry(expire_at: float | None, expected: float) -> None:
    assert claims_of({"exp": NOW + 1, "expire_at": expire_at}).expire_at == expected


@pytest.mark.parametrize("text", ['{"b":1.0,  "a": "\\u00e9"}', '"x"', "[1e2,\n-0]", "12"])
def test_info_and_meta_keep_their_bytes(text: str) -> None:
    claims = verifier().connection(signed(f'{{"info": {text},"meta" : {text} }}'))
    assert claims is not None
    assert (claims.info, claims.meta) == (text.encode(), text.encode())


def test_null_is_no_claim() -> None:
    names = ("sub", "exp", "nbf", "iat", "jti", "aud", "iss", "info", "b64info", "channels",
             "subs", "meta", "expire_at", "caps", "channel")
    assert claims_of(dict.fromkeys(names)) == claims_of({})


def test_b64info_is_any_bytes_and_wins() -> None:
    encoded = base64.b64encode(b"\x00\xff").decode()
    assert claims_of({"info": {}, "b64info": encoded}).info == b"\x00\xff"


@pytest.mark.parametrize("encoded", ["?", "AA", "AA=", "A A=", "é", "AA==x"])
def test_b64info_that_is_not_base64(encoded: str) -> None:
    assert "b64info" in refusal({"b64info": encoded})


def test_channels() -> None:
    assert claims_of({"channels": ["a", "b", "a"]}).subs == {
        "a": SubscribeReply(), "b": SubscribeReply()}


def test_subs_with_everything() -> None:
    options = {
        "info": {"x": 1}, "b64data": base64.b64encode(b"d").decode(),
        "override": {"presence": {"value": True}, "join_leave": {"value": False},
                     "force_push_join_leave": {"value": True},
                     "force_positioning": {"value": False}, "force_recovery": {"value": True}},
    }
    claims = claims_of({"channels": ["ignored"], "subs": {"a": options, "b": {}, "c": None}})
    assert claims.subs == {
        "a": SubscribeReply(info=b'{"x": 1}', data=b"d", presence=True, join_leave=False,
                            push_join_leave=True, position=False, recover=True),
        "b": SubscribeReply(),
        "c": SubscribeReply(),
    }


@pytest.mark.parametrize("claims", [{"channels": [""]}, {"subs": {"": {}}}])
def test_a_channel_without_a_name(claims: dict[str, Any]) -> None:
    assert "no name" in refusal(claims)


def test_capabilities() -> None:
    claims = claims_of({"caps": [
        {"channels": ["news", "x"], "allow": ["sub", "hst"]},
        {"channels": ["user_*"], "match": "wildcard", "allow": ["pub"]},
        {"channels": ["^a[0-9]+$"], "match": "regex", "allow": ["prs"]},
    ]})
    assert claims.capabilities == (
        Capability(("news", "x"), frozenset({"sub", "hst"})),
        Capability(("user_*",), frozenset({"pub"}), "wildcard"),
        Capability(("^a[0-9]+$",), frozenset({"prs"}), "regex"),
    )


@pytest.mark.parametrize("capability", [
    {"channels": ["a"], "allow": ["all"]},
    {"channels": ["a"], "match": "glob", "allow": ["sub"]},
    {"channels": ["("], "match": "regex", "allow": ["sub"]},
    {"channels": "a", "allow": ["sub"]},
    {"channels": ["a"]},
])
def test_bad_capabilities(capability: dict[str, Any]) -> None:
    assert "caps" in refusal({"caps": [capability]})


@pytest.mark.parametrize(("value", "user"), [("ann", "ann"), (7, "7"), (None, ""), ("", "")])
def test_another_claim_for_the_user_id(value: Any, user: str) -> None:
    assert claims_of({"sub": "not this", "uid": value}, user_id_claim="uid").user == user


@pytest.mark.parametrize("value", [1.5, True, ["a"], {"a": 1}])
def test_a_user_id_that_is_none(value: Any) -> None:
    assert "'uid'" in refusal({"uid": value}, user_id_claim="uid")


def test_a_connection_token_has_no_channel() -> None:
    assert "channel" in refusal({"channel": "news"})


@pytest.mark.parametrize("claims", [
    {"sub": 42}, {"sub": ["a"]}, {"jti": 1}, {"iss": {}}, {"aud": 1}, {"aud": [1]},
    {"channels": "a"}, {"channels": [1]}, {"subs": ["a"]}, {"subs": {"a": 1}},
    {"subs": {"a": {"override": {"presence": True}}}},
    {"subs": {"a": {"override": {"presence": {"value": 1}}}}}, {"b64info": 1}, {"channel": 1},
    {"caps": {}},
])
def test_claims_of_the_wrong_type(claims: dict[str, Any]) -> None:
    assert next(iter(claims)) in refusal(claims)


@pytest.mark.parametrize("name", ["exp", "nbf", "iat", "expire_at"])
@pytest.mark.parametrize("value", [
    '"1900000000"', "true", "[]", "{}", "-1", "-0.5", "253402300800", "1e300", "1" * 500])
def test_times_that_are_none(name: str, value: str) -> None:
    with pytest.raises(InvalidTokenError, match=name):
        verifier().connection(signed(f'{{"{name}":{value}}}'))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "0x10", "01", "+1"])
def test_numbers_that_are_not_jsons(value: str) -> None:
    with pytest.raises(InvalidTokenError):
        verifier().connection(signed(f'{{"exp":{value}}}'))


def test_fractions_of_a_second() -> None:
    assert claims_of({"exp": NOW + 0.5}).expires == NOW + 0.5


@pytest.mark.parametrize("payload", [
    '{"sub":"a","sub":"b"}', '{"info":{"x":1,"x":2}}', '{"s\\u0075b":"a","sub":"b"}',
    '{"subs":{"a":{},"a":{}}}'])
def test_doubled_names(payload: str) -> None:
    with pytest.raises(InvalidTokenError, match="twice"):
        verifier().connection(signed(payload))


@pytest.mark.parametrize("payload", [
    b"", b"[]", b'"a"', b"null", b"{", b"{}{}", b"{'a':1}", b'{"sub":"\xff"}', b"\xef\xbb\xbf{}",
    '{"sub":"a"}'.encode("utf-16"), b'{"sub":"\x00"}'])
def test_payloads_that_are_no_json_object(payload: bytes) -> None:
    with pytest.raises(InvalidTokenError):
        verifier().connection(signed(payload))


@pytest.mark.parametrize("depth", [63, 64])
def test_depth_has_a_bound(depth: int) -> None:
    payload = '{"info":' + "[" * depth + "]" * depth + "}"
    if depth == 63:
        assert verifier().connection(signed(payload)) is not None
    else:
        with pytest.raises(InvalidTokenError, match="deep"):
            verifier().connection(signed(payload))


@pytest.mark.parametrize("payload", [
    '{"info":' + "[" * 30_000 + "]" * 30_000 + "}", "[" * 40_000, '{"a":' * 8_000])
def test_very_deep(payload: str) -> None:
    with pytest.raises(InvalidTokenError, match=r"longer|deep"):
        verifier().connection(signed(payload))


def test_many_brackets_are_not_depth() -> None:
    info = json.dumps([[]] * 500 + ["[" * 500, '"[' * 100])
    claims = verifier().connection(signed(f'{{"info":{info}}}'))
    assert claims is not None
    assert claims.info == info.encode()
