"""Whatever comes in place of a token: a declared error, and soon."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fanout.server.tokens import TokenError, TokenVerifier
from fanout.server.tokens.compact import base64url
from fanout.server.tokens.errors import InvalidTokenError
from tests.server.tokens.support import (
    NOW,
    SECRET,
    Options,
    ec_key,
    encode,
    pem,
    rsa_key,
    signed,
    token,
    verifier,
)

KEYS = TokenVerifier(
    Options(hmac_secret_key=SECRET, rsa_public_key=pem(rsa_key()), ecdsa_public_key=pem(ec_key()),
            user_id_claim="uid"),
    clock=lambda: NOW)
ANYBODYS = TokenVerifier(Options(user_id_claim="uid"), skip_signature=True, clock=lambda: NOW)
GOOD = [
    token({"sub": "1", "exp": NOW + 9, "info": {"a": [1]}, "subs": {"a": {"data": 1}}}),
    token({"channel": "a", "client": "b"}, rsa_key(), "RS256"),
    token({"channels": ["a"], "caps": [{"channels": ["a"], "allow": ["sub"]}]}, ec_key(), "ES256"),
]
MEMBERS = ("sub", "uid", "exp", "nbf", "iat", "jti", "aud", "iss", "info", "b64info", "data",
           "b64data", "channel", "channels", "subs", "meta", "expire_at", "caps", "override",
           "client", "alg", "kid", "crit", "allow", "match", "value", "presence", "a", "")

# A slow machine is nobody's mistake.
any_time = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(MEMBERS) | st.text(max_size=5), inner, max_size=3),
    max_leaves=12)
objects = st.dictionaries(st.sampled_from(MEMBERS), json_values, max_size=6)


def look(tokens: TokenVerifier, text: str) -> None:
    for read in (tokens.connection, tokens.subscription):
        try:
            claims = read(text)
        except TokenError as error:
            assert error.__cause__ is None
            assert len(str(error)) < 1000
        else:
            assert claims is not None


@any_time
@given(st.text(alphabet=string.printable + "é\ud800\x00", max_size=300))
@example("." * 65_536)
@example("e30." * 20_000)
def test_any_text(text: str) -> None:
    look(KEYS, text)
    look(ANYBODYS, text)


@any_time
@given(st.binary(max_size=60), st.binary(max_size=200), st.binary(max_size=70))
def test_any_bytes_in_the_parts(header: bytes, payload: bytes, signature: bytes) -> None:
    text = ".".join((encode(header), encode(payload), encode(signature)))
    look(KEYS, text)
    look(ANYBODYS, text)


@any_time
@given(st.binary(max_size=200))
def test_any_bytes_that_are_signed(payload: bytes) -> None:
    look(KEYS, signed(payload))


@any_time
@given(objects, st.sampled_from([None, "HS256"]) | json_values)
def test_any_json(claims: dict[str, Any], algorithm: Any) -> None:
    header = {"alg": "HS256" if algorithm is None else algorithm}
    look(KEYS, signed(json.dumps(claims), json.dumps(header)))
    look(KEYS, signed(json.dumps(claims, ensure_ascii=False).encode("utf-8", "surrogatepass")))
    look(ANYBODYS, signed(json.dumps(claims), json.dumps({**claims, **header})))


@any_time
@given(st.sampled_from(GOOD), st.data())
def test_a_changed_token_is_refused(good: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(good) - 1))
    kind = data.draw(st.sampled_from(["replace", "delete", "insert", "cut"]))
    char = data.draw(st.sampled_from(string.ascii_letters + string.digits + "-_.=+/ \0"))
    changed = {
        "replace": good[:at] + char + good[at + 1:],
        "delete": good[:at] + good[at + 1:],
        "insert": good[:at] + char + good[at:],
        "cut": good[:at],
    }[kind]
    if changed != good:
        with pytest.raises(TokenError):
            KEYS.connection(changed)
        with pytest.raises(TokenError):
            KEYS.subscription(changed)


utf8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@any_time
@given(user=utf8, info=json_values, meta=objects, left=st.integers(1, 10**9),
       channels=st.lists(utf8.filter(bool), max_size=4))
def test_what_is_put_in_comes_out(
    user: str, info: Any, meta: dict[str, Any], left: int, channels: list[str]
) -> None:
    try:
        texts = {name: json.dumps(value, allow_nan=False)
                 for name, value in (("info", info), ("meta", meta))}
    except ValueError:
        return
    claims = json.dumps({"sub": user, "exp": NOW + left, "channels": channels})
    payload = f'{claims[:-1]}, "info": {texts["info"]}, "meta":{texts["meta"]}}}'
    found = verifier().connection(signed(payload))
    assert found is not None
    assert found.user == user
    assert found.expire_at == NOW + left
    assert list(found.subs) == list(dict.fromkeys(channels))
    assert found.info == (b"" if info is None else texts["info"].encode())
    assert found.meta == texts["meta"].encode()


@any_time
@given(st.binary(max_size=100))
def test_base64url_round_trip(data: bytes) -> None:
    assert base64url(encode(data).encode(), "part") == data


@any_time
@given(st.binary(max_size=8))
def test_base64url_has_one_spelling(part: bytes) -> None:
    try:
        data = base64url(part, "part")
    except InvalidTokenError:
        return
    assert encode(data).encode() == part
