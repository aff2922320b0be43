"""Each way in which a token is not good."""

from __future__ import annotations

import hmac
from datetime import datetime
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from fanout.server.config import ConfigError
from fanout.server.tokens import ExpiredTokenError, InvalidTokenError, TokenVerifier
from tests.server.tokens.support import (
    NOW,
    OTHER_SECRET,
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


def refused(bad: str, match: str = ".", **options: Any) -> None:
    """Refused, and without a word of the token in the error."""
    with pytest.raises(InvalidTokenError, match=match) as caught:
        verifier(**options).connection(bad)
    for part in bad.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    assert caught.value.__cause__ is None


def header(**members: Any) -> str:
    return token({}, **members)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac(algorithm: str) -> None:
    assert verifier().connection(token({"sub": "1"}, algorithm=algorithm)) is not None
    refused(token({}, OTHER_SECRET, algorithm), "signature")


@pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
def test_rsa(algorithm: str) -> None:
    options = {"rsa_public_key": pem(rsa_key())}
    assert verifier(**options).connection(token({}, rsa_key(), algorithm)) is not None
    refused(token({}, rsa_key("another"), algorithm), "signature", **options)


@pytest.mark.parametrize(("curve", "algorithm"), [
    (ec.SECP256R1, "ES256"), (ec.SECP384R1, "ES384"), (ec.SECP521R1, "ES512")])
def test_ecdsa(curve: type[ec.EllipticCurve], algorithm: str) -> None:
    options = {"ecdsa_public_key": pem(ec_key(curve))}
    assert verifier(**options).connection(token({}, ec_key(curve), algorithm)) is not None
    refused(token({}, ec_key(curve, "another"), algorithm), "signature", **options)


def test_a_curves_key_knows_its_own_algorithm_alone() -> None:
    refused(token({}, ec_key(ec.SECP384R1), "ES384"), "ES384", ecdsa_public_key=pem(ec_key()))


def test_rsa_pss_is_not_allowed() -> None:
    refused(token({}, rsa_key(), "PS256"), "PS256", rsa_public_key=pem(rsa_key()))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
@pytest.mark.parametrize("form", [PublicFormat.SubjectPublicKeyInfo, PublicFormat.PKCS1])
def test_an_rsa_public_key_is_no_hmac_secret(algorithm: str, form: PublicFormat) -> None:
    bad = signed("{}", f'{{"alg":"{algorithm}"}}', pem(rsa_key(), form),
                 f"sha{algorithm[2:]}")
    refused(bad, algorithm, rsa_public_key=pem(rsa_key(), form))


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_an_ecdsa_public_key_is_no_hmac_secret(algorithm: str) -> None:
    bad = signed("{}", f'{{"alg":"{algorithm}"}}', pem(ec_key()), f"sha{algorithm[2:]}")
    refused(bad, algorithm, ecdsa_public_key=pem(ec_key()))


def test_nor_beside_a_secret() -> None:
    bad = signed("{}", secret=pem(rsa_key()))
    refused(bad, "signature", hmac_secret_key=SECRET, rsa_public_key=pem(rsa_key()))


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE", "", "null", "HS256 ", "hs256",
                                      "HS1", "RS256", "ES256", "EdDSA", "ES256K"])
def test_algorithms_without_a_key(spelling: str) -> None:
    refused(signed("{}", f'{{"alg":"{spelling}"}}'), "no key")


@pytest.mark.parametrize("spelling", ["none", "None", "NONE", "nOnE"])
@pytest.mark.parametrize("options", [
    {}, {"rsa_public_key": pem(rsa_key())}, {"ecdsa_public_key": pem(ec_key())}])
def test_unsigned(spelling: str, options: dict[str, str]) -> None:
    refused(encode(f'{{"alg":"{spelling}"}}') + "." + encode("{}") + ".", "no key", **options)


def test_without_keys_nothing_is_good() -> None:
    tokens = TokenVerifier(Options())
    assert tokens.algorithms == ()
    for bad in (token({}), signed("{}", '{"alg":"none"}'), token({}, rsa_key(), "RS256")):
        with pytest.raises(InvalidTokenError, match="no key"):
            tokens.connection(bad)


@pytest.mark.parametrize("text", ["", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", "....", "é.é.é"])
def test_no_token(text: str) -> None:
    refused(text)


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("change", ["=", "+", "/", " ", "\n", "%", "A", "\x00"])
def test_a_part_that_is_not_base64url(part: int, change: str) -> None:
    parts = token({"sub": "1"}).split(".")
    parts[part] += change
    refused(".".join(parts))


def test_one_spelling_of_a_signature() -> None:
    """The last character's unused bits are part of no byte; only zeros are taken."""
    good = token({"sub": "1"})
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(good[-1])
    refused(good[:-1] + alphabet[last | 1], "base64url")


def test_a_truncated_signature() -> None:
    good = token({"sub": "1"})
    signature = good.rindex(".") + 1
    for end in range(signature, len(good)):
        refused(good[:end])


def test_another_payload_under_a_signature() -> None:
    first, _, last = token({"sub": "1"}).split(".")
    refused(f"{first}.{encode(b'{}')}.{last}", "signature")


def test_another_header_over_a_signature() -> None:
    _, payload, last = token({"sub": "1"}).split(".")
    first = encode('{"alg":"HS256","x":1}')
    refused(f"{first}.{payload}.{last}", "signature")


@pytest.mark.parametrize("text", [
    "", "[]", "null", '"HS256"', "{", '{"alg":256}', '{"alg":null}', "{}", '{"kid":"a"}',
    '{"alg":"HS256","kid":1}', '{"alg":"HS256","kid":{}}', '{"alg":"none","alg":"HS256"}',
    '{"alg":"HS256","alg":"HS256"}', '{"alg":"HS256","x":' + "[" * 65 + "]" * 65 + "}",
    '{"alg":"HS256","x":NaN}'])
def test_headers_that_are_none(text: str) -> None:
    refused(signed("{}", text), "header")


@pytest.mark.parametrize("member", [
    '"crit":["exp"]', '"crit":[]', '"crit":null', '"b64":false', '"b64":true', '"zip":"DEF"',
    '"crit":["b64"],"b64":false'])
def test_headers_that_change_how_a_token_is_read(member: str) -> None:
    refused(signed("{}", f'{{"alg":"HS256",{member}}}'), "not supported")


@pytest.mark.parametrize("member", [
    '"jku":"http://127.0.0.1:9/"', '"x5u":"http://127.0.0.1:9/"',
    '"jwk":{"kty":"oct","k":"' + encode(OTHER_SECRET) + '"}', '"x5c":["AA=="]'])
def test_keys_that_a_token_brings_are_not_used(member: str) -> None:
    refused(signed("{}", f'{{"alg":"HS256",{member}}}', OTHER_SECRET), "signature")


def test_a_long_header() -> None:
    refused(signed("{}", '{"alg":"HS256","x":"' + "a" * 8192 + '"}'), "header is longer")


def test_a_long_key_id() -> None:
    refused(header(kid="a" * 513), "key id is longer")
    assert verifier().connection(header(kid="a" * 512)) is not None


def test_a_long_token() -> None:
    room = 65536 - len(token({"info": ""}))
    longest = token({"info": "a" * (room * 3 // 4)})
    assert 65530 < len(longest) <= 65536
    assert verifier().connection(longest) is not None
    refused(longest + "A" * (65537 - len(longest)), "longer than 65536")


def test_a_huge_token_is_not_looked_at() -> None:
    class Untouchable(str):
        def encode(self, *arguments: Any) -> bytes:
            raise AssertionError("looked at")

    refused(Untouchable("a" * 10_000_000), "longer")


@pytest.mark.parametrize("claims", [{"exp": NOW}, {"exp": NOW - 1}, {"exp": 0},
                                    {"exp": NOW - 1, "expire_at": NOW + 100}])
def test_expired(claims: dict[str, Any]) -> None:
    with pytest.raises(ExpiredTokenError, match="expired"):
        verifier().connection(token(claims))


def test_not_valid_yet_counts_as_expired() -> None:
    with pytest.raises(ExpiredTokenError, match="yet"):
        verifier().connection(token({"nbf": NOW + 1}))


def test_a_badly_signed_expired_token_is_invalid() -> None:
    refused(token({"exp": NOW - 1}, OTHER_SECRET), "signature")


@pytest.mark.parametrize("audience", [None, "", "b", "aa", ["b"], ["A"], []])
def test_wrong_audience(audience: Any) -> None:
    refused(token({"aud": audience}), "audience", audience="a")


@pytest.mark.parametrize("audience", ["a", ["b", "a"]])
def test_right_audience(audience: Any) -> None:
    assert verifier(audience="a").connection(token({"aud": audience})) is not None


@pytest.mark.parametrize("issuer", [None, "", "b", "aa", "A"])
def test_wrong_issuer(issuer: Any) -> None:
    refused(token({"iss": issuer} if issuer is not None else {}), "issuer", issuer="a")


def test_right_issuer() -> None:
    assert verifier(issuer="a").connection(token({"iss": "a"})) is not None


def test_wrong_issuer_wins_over_expired() -> None:
    refused(token({"iss": "b", "exp": NOW - 1}), "issuer", issuer="a")


@pytest.mark.parametrize(("issuer", "good"), [
    ("https://one.example", True), ("https://two.example", True), ("https://six.example", False),
    ("https://one.example\n", False), ("https://oneXexample", False), ("", False)])
def test_issuer_pattern(issuer: str, good: bool) -> None:
    options = {"issuer_regex": r"^https://(one|two)\.example$"}
    if good:
        assert verifier(**options).connection(token({"iss": issuer})) is not None
    else:
        refused(token({"iss": issuer}), "issuer", **options)


def test_patterns_are_not_tried_on_long_names() -> None:
    assert verifier(issuer_regex="^a").connection(token({"iss": "a" * 1024})) is not None
    refused(token({"iss": "a" * 1025}), "issuer", issuer_regex="^a")


@pytest.mark.parametrize(("audience", "good"), [
    ("app1", True), (["x", "app2"], True), ("app", False), (["x"], False), ([], False)])
def test_audience_pattern(audience: Any, good: bool) -> None:
    options = {"audience_regex": r"^app\d$"}
    if good:
        assert verifier(**options).connection(token({"aud": audience})) is not None
    else:
        refused(token({"aud": audience}), "audience", **options)


@pytest.mark.parametrize("name", ["audience", "issuer"])
def test_a_name_and_a_pattern_cannot_both_be(name: str) -> None:
    with pytest.raises(ConfigError, match=f"client.token.{name}_regex"):
        verifier(**{name: "a", f"{name}_regex": "a"})


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"client\.token\.issuer_regex"):
        verifier(issuer_regex="(")


class TestRotationOfTheSecret:
    def test_both_secrets_are_good(self) -> None:
        tokens = verifier(hmac_secret_key=SECRET, hmac_previous_secret_key=OTHER_SECRET)
        for secret in (SECRET, OTHER_SECRET):
            assert tokens.connection(token({}, secret)) is not None

    def test_the_previous_one_ends(self) -> None:
        now = NOW
        tokens = verifier(lambda: now, hmac_secret_key=SECRET,
                          hmac_previous_secret_key=OTHER_SECRET,
                          hmac_previous_secret_key_valid_until=int(NOW) + 10)
        old = token({}, OTHER_SECRET)
        now = NOW + 10
        assert tokens.connection(old) is not None
        now = NOW + 10.5
        with pytest.raises(InvalidTokenError, match="signature"):
            tokens.connection(old)
        assert tokens.connection(token({})) is not None


class TestWithoutSignatures:
    def test_anybody_makes_tokens(self) -> None:
        tokens = verifier(skip_signature=True, hmac_secret_key="")
        for any_token in (token({"sub": "1"}, OTHER_SECRET),
                          encode('{"alg":"none"}') + "." + encode('{"sub":"1"}') + "."):
            claims = tokens.connection(any_token)
            assert claims is not None
            assert claims.user == "1"

    def test_claims_are_checked_still(self) -> None:
        with pytest.raises(ExpiredTokenError):
            verifier(skip_signature=True).connection(token({"exp": NOW - 1}))
        refused(token({"aud": "b"}), "audience", skip_signature=True, audience="a")
        refused(token({"channel": "b"}), "channel", skip_signature=True)
        refused(signed('{"sub":"a","sub":"b"}'), "twice", skip_signature=True)


class TestConfiguredKeys:
    @pytest.mark.parametrize(("option", "value"), [
        ("rsa_public_key", "nonsense"),
        ("rsa_public_key", pem(ec_key())),
        ("ecdsa_public_key", pem(rsa_key())),
        ("ecdsa_public_key", pem(ec_key(ec.SECP256K1))),
        ("rsa_public_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"),
        ("hmac_secret_key", pem(rsa_key())),
        ("hmac_previous_secret_key", pem(ec_key())),
        ("hmac_secret_key", '{"kty":"oct","k":"AAAA"}'),
        ("hmac_secret_key", "\ud800"),
    ])
    def test_one_that_cannot_be_used(self, option: str, value: str) -> None:
        with pytest.raises(ConfigError, match=rf"^client\.token\.{option}: must be") as caught:
            verifier(**{option: value})
        assert value not in str(caught.value)

    def test_a_private_key_is_told_apart(self) -> None:
        with pytest.raises(ConfigError, match="keep the private one"):
            verifier(rsa_public_key="-----BEGIN RSA PRIVATE KEY-----")

    def test_a_certificate_holds_a_key(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tokens")])
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(ec_key().public_key()).serial_number(1)
            .not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2021, 1, 1))
            .sign(ec_key(), hashes.SHA256()))
        text = certificate.public_bytes(Encoding.PEM).decode()
        tokens = verifier(ecdsa_public_key=text)
        assert tokens.connection(token({}, ec_key(), "ES256")) is not None

    def test_a_section_has_its_own_name(self) -> None:
        with pytest.raises(ConfigError, match=r"^client\.subscription_token\.rsa_public_key"):
            TokenVerifier(Options(rsa_public_key="x"), path="client.subscription_token")

    def test_weak_ones_are_told(self) -> None:
        told = verifier(hmac_secret_key="short").warnings
        assert [line.split(":")[0] for line in told] == ["client.token.hmac_secret_key has 5 bytes"]
        assert verifier().warnings == ()
        (line,) = verifier(rsa_public_key=pem(rsa_key("weak", 1024))).warnings
        assert "1024 bits" in line

    def test_no_repr_shows_a_key(self) -> None:
        tokens = verifier()
        assert SECRET not in repr(tokens) + repr(vars(tokens))

    def test_algorithms_follow_from_the_keys(self) -> None:
        tokens = verifier(hmac_secret_key=SECRET, ecdsa_public_key=pem(ec_key(ec.SECP384R1)))
        assert tokens.algorithms == ("HS256", "HS384", "HS512", "ES384")


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    real = hmac.compare_digest

    def compare(left: Any, right: Any) -> bool:
        compared.append((left, right))
        return bool(real(left, right))

    monkeypatch.setattr(jwt.algorithms.hmac, "compare_digest", compare)
    refused(token({}, OTHER_SECRET), "signature")
    assert len(compared) == 1


async def test_verify_connection_is_the_same() -> None:
    tokens = verifier()
    assert await tokens.verify_connection(token({"sub": "1"})) == tokens.connection(
        token({"sub": "1"}))
    with pytest.raises(InvalidTokenError):
        await tokens.verify_connection(token({}, OTHER_SECRET))
    await tokens.close()
