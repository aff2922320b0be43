"""Keys from an endpoint: a real HTTP server that is up, down, slow, wrong, or has new keys."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from fanout.server.tokens import InvalidTokenError, KeysUnavailableError, TokenVerifier
from fanout.server.tokens.jwks import Limits
from tests.model.clock import ManualClock
from tests.server.tokens.key_server import KeyServer, key_server
from tests.server.tokens.support import (
    NOW,
    SECRET,
    Options,
    ec_key,
    ed_key,
    encode,
    jwk,
    pem,
    rsa_key,
    signed,
    token,
)

FAST = Limits(timeout=5.0, tries=1)


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with key_server() as running:
        yield running


class Fetching(TokenVerifier):
    """A verifier whose endpoint is ``server``, and whose keys age by ``clock``."""

    def __init__(self, server: KeyServer, clock: ManualClock, limits: Limits = FAST,
                 **options: Any) -> None:
        options.setdefault("jwks_public_endpoint", server.url)
        super().__init__(Options(**options), limits=limits, clock=lambda: NOW)
        assert self._key_sets is not None
        self._key_sets._clock = clock


@pytest.fixture
async def tokens(server: KeyServer, clock: ManualClock) -> AsyncIterator[Fetching]:
    verifier = Fetching(server, clock)
    yield verifier
    await verifier.close()


def good(kid: str = "one", name: str = "", **claims: Any) -> str:
    return token({"sub": "1", **claims}, ec_key(name=name), "ES256", kid=kid)


@pytest.mark.parametrize(("key", "algorithm"), [
    (rsa_key(), "RS256"), (rsa_key(), "RS384"), (rsa_key(), "RS512"), (ec_key(), "ES256"),
    (ec_key(ec.SECP384R1), "ES384"), (ec_key(ec.SECP521R1), "ES512"), (ed_key(), "EdDSA")])
async def test_every_kind_of_key(
    server: KeyServer, tokens: Fetching, key: Any, algorithm: str
) -> None:
    server.keys = [jwk(key, "one")]
    claims = await tokens.verify_connection(token({"sub": "1"}, key, algorithm, kid="one"))
    assert claims.user == "1"
    bad = token({}, key, algorithm, kid="one")
    with pytest.raises(InvalidTokenError, match="signature"):
        tokens.connection(f"{bad[:-12]}AAAAAAAAAAAA")


async def test_known_keys_need_no_task(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(ec_key(), "one")]
    assert tokens.connection(good()) is None
    await tokens.verify_connection(good())
    claims = tokens.connection(good())
    assert claims is not None
    assert claims.user == "1"
    subscription = tokens.subscription(good(channel="a"), channel="a")
    assert subscription is not None
    assert len(server.requests) == 1


async def test_one_fetch_for_all_who_wait(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(ec_key(), "one"), jwk(ec_key(name="b"), "two")]
    let_go = server.hold()
    waiting = [asyncio.create_task(tokens.verify_connection(good("one"))) for _ in range(50)]
    waiting += [asyncio.create_task(tokens.verify_connection(good("two", "b"))) for _ in range(50)]
    await server.asked.wait()
    let_go.set()
    assert {claims.user for claims in await asyncio.gather(*waiting)} == {"1"}
    assert len(server.requests) == 1


async def test_who_is_cancelled_leaves_the_others_their_fetch(
    server: KeyServer, tokens: Fetching
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    let_go = server.hold()
    first, second = (asyncio.create_task(tokens.verify_connection(good())) for _ in range(2))
    await server.asked.wait()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    let_go.set()
    assert (await second).user == "1"
    assert len(server.requests) == 1


async def test_rotation(server: KeyServer, tokens: Fetching, clock: ManualClock) -> None:
    server.keys = [jwk(ec_key(), "one")]
    await tokens.verify_connection(good())
    server.keys = [jwk(ec_key(), "one"), jwk(ec_key(name="b"), "two")]
    assert (await tokens.verify_connection(good("two", "b"))).user == "1"
    server.keys = [jwk(ec_key(name="b"), "two")]
    clock.now += FAST.lifetime - 1
    await tokens.verify_connection(good())
    clock.now += 1
    with pytest.raises(InvalidTokenError, match="'one'"):
        await tokens.verify_connection(good())
    assert (await tokens.verify_connection(good("two", "b"))).user == "1"


async def test_another_key_under_the_same_id(
    server: KeyServer, tokens: Fetching, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    await tokens.verify_connection(good())
    server.keys = [jwk(ec_key(name="b"), "one")]
    clock.now += FAST.lifetime
    with pytest.raises(InvalidTokenError, match="signature"):
        await tokens.verify_connection(good())
    await tokens.verify_connection(good("one", "b"))


async def test_old_keys_stay_while_the_endpoint_is_down(
    server: KeyServer, tokens: Fetching, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    await tokens.verify_connection(good())
    server.status = 503
    clock.now += FAST.lifetime + 1
    assert (await tokens.verify_connection(good())).user == "1"
    assert len(server.requests) == 2
    with pytest.raises(KeysUnavailableError, match="503"):
        await tokens.verify_connection(good("new"))
    clock.now += FAST.grace
    with pytest.raises(KeysUnavailableError):
        await tokens.verify_connection(good())
    server.status = 200
    assert (await tokens.verify_connection(good())).user == "1"


async def test_an_id_that_is_not_there_is_asked_for_once(
    server: KeyServer, tokens: Fetching, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    for _ in range(5):
        with pytest.raises(InvalidTokenError, match="'two'"):
            await tokens.verify_connection(good("two"))
    assert len(server.requests) == 1
    with pytest.raises(InvalidTokenError, match="'two'"):
        tokens.connection(good("two"))
    clock.now += FAST.absent_for
    assert tokens.connection(good("two")) is None


async def test_unknown_ids_cannot_hammer_the_endpoint(
    server: KeyServer, tokens: Fetching, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    refused = []
    for number in range(500):
        with pytest.raises((InvalidTokenError, KeysUnavailableError)) as caught:
            await tokens.verify_connection(good(f"bad{number}"))
        refused.append(caught.type)
    assert len(server.requests) == FAST.fetches
    # Nobody looked for the later ones, so nobody may say that they are bad for good.
    assert refused[:4] == [InvalidTokenError] * 4
    assert set(refused[4:]) == {KeysUnavailableError}
    assert (await tokens.verify_connection(good())).user == "1"
    clock.now += FAST.per
    with pytest.raises(InvalidTokenError):
        await tokens.verify_connection(good("bad499"))
    assert len(server.requests) == FAST.fetches + 1


async def test_what_is_remembered_of_unknown_ids_is_bounded(
    server: KeyServer, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    tokens = Fetching(server, clock, FAST._replace(max_absent=3, fetches=100))
    let_go = server.hold()
    waiting = [asyncio.create_task(tokens.verify_connection(good(f"bad{i}"))) for i in range(9)]
    await server.asked.wait()
    let_go.set()
    await asyncio.wait(waiting)
    assert {type(task.exception()) for task in waiting} == {InvalidTokenError}
    assert tokens._key_sets is not None
    (keys,) = tokens._key_sets._sets.values()
    assert len(keys._absent) == 3
    await tokens.close()


async def test_a_failing_endpoint_is_not_hammered_either(
    server: KeyServer, tokens: Fetching, clock: ManualClock
) -> None:
    server.status = 500
    for _ in range(20):
        with pytest.raises(KeysUnavailableError, match="500"):
            await tokens.verify_connection(good())
    assert len(server.requests) == FAST.fetches
    server.status = 200
    server.keys = [jwk(ec_key(), "one")]
    clock.now += FAST.per
    assert (await tokens.verify_connection(good())).user == "1"


async def test_a_second_try(server: KeyServer, clock: ManualClock) -> None:
    server.keys = [jwk(ec_key(), "one")]

    async def once_bad(request: web.Request) -> web.StreamResponse:
        server.answer = None
        return web.Response(status=502)

    server.answer = once_bad
    tokens = Fetching(server, clock, FAST._replace(tries=2))
    assert (await tokens.verify_connection(good())).user == "1"
    await tokens.close()


async def test_down(server: KeyServer, clock: ManualClock, unused_tcp_port: int) -> None:
    tokens = Fetching(
        server, clock, jwks_public_endpoint=f"http://127.0.0.1:{unused_tcp_port}/keys")
    with pytest.raises(KeysUnavailableError, match="cannot be had"):
        await tokens.verify_connection(good())
    await tokens.close()


async def test_slow(server: KeyServer, clock: ManualClock) -> None:
    let_go = server.hold()
    tokens = Fetching(server, clock, FAST._replace(timeout=0.05))
    with pytest.raises(KeysUnavailableError, match="in time"):
        await tokens.verify_connection(good())
    let_go.set()
    await tokens.close()


async def test_slow_to_end(server: KeyServer, clock: ManualClock) -> None:
    let_go = asyncio.Event()

    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"keys":[')
        await let_go.wait()
        return response

    server.answer = trickle
    tokens = Fetching(server, clock, FAST._replace(timeout=0.05))
    with pytest.raises(KeysUnavailableError, match="in time"):
        await tokens.verify_connection(good())
    let_go.set()
    await tokens.close()


@pytest.mark.parametrize("compressed", [False, True])
async def test_huge(server: KeyServer, tokens: Fetching, compressed: bool) -> None:
    text = b'{"keys":[]' + b" " * 20_000_000 + b"}"
    headers = {"Content-Encoding": "gzip"} if compressed else {}
    body = gzip.compress(text, 1) if compressed else text

    async def huge(request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers=headers)

    server.answer = huge
    with pytest.raises(KeysUnavailableError, match="more than 262144 bytes"):
        await tokens.verify_connection(good())


@pytest.mark.parametrize("text", [
    b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":null}', b"<html>", b'{"keys":[]}', b"\xff\xfe",
    b'{"keys":[1]}', b'{"keys":[{}]}', b'{"keys":[{"kty":"RSA","kid":"one"}]}',
    b'{"keys":[{"kty":"RSA","kid":"one","n":"AQAB","e":"AQAB"}]}',
    b'{"keys":[{"kty":"RSA","kid":"one","n":1,"e":2}]}',
    b'{"keys":[{"kty":"EC","kid":"one","crv":"P-256","x":"AA","y":"AA"}]}',
    b'{"keys":[{"kty":"EC","kid":"one","crv":"P-1","x":"AA","y":"AA"}]}',
    b'{"keys":[{"kty":"EC","kid":"one","crv":"P-256","x":"' + b"A" * 43 + b'","y":"' + b"A" * 43
    + b'"}]}',
    b'{"keys":[{"kty":"OKP","kid":"one","crv":"Ed25519","x":"AA"}]}',
    b'{"keys":[{"kty":"oct","kid":"one","k":"AAAA"}]}',
    b'{"keys":[' + b"[" * 20_000 + b"]" * 20_000 + b"]}",
    b'{"keys":[' + b",".join([b"{}"] * 257) + b"]}",
])
async def test_malformed(server: KeyServer, tokens: Fetching, text: bytes) -> None:
    server.text = text
    with pytest.raises(KeysUnavailableError, match="cannot be had"):
        await tokens.verify_connection(good())


async def test_sets_have_a_bound(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(ec_key(), str(number)) for number in range(257)]
    with pytest.raises(KeysUnavailableError, match="more than 256 keys"):
        await tokens.verify_connection(good("0"))
    server.keys.pop()
    assert (await tokens.verify_connection(good("0"))).user == "1"


async def test_rsa_keys_have_a_bound(server: KeyServer, tokens: Fetching) -> None:
    modulus = encode(b"\xff" * 1025)
    server.keys = [{"kty": "RSA", "kid": "one", "n": modulus, "e": "AQAB"}]
    with pytest.raises(KeysUnavailableError, match="1024 to 8192 bits, not 8200"):
        await tokens.verify_connection(good())


async def test_a_bad_key_does_not_take_the_others_with_it(
    server: KeyServer, tokens: Fetching, caplog: pytest.LogCaptureFixture
) -> None:
    server.keys = [{"kty": "new kind", "kid": "x"}, jwk(rsa_key(), "y", alg="RS999"),
                   jwk(ec_key(), "one"), jwk(rsa_key(), "", use="sig")]
    assert (await tokens.verify_connection(good())).user == "1"
    assert [line.split(": ")[-1].split()[:2] for line in caplog.messages] == [
        ["key", "0"], ["key", "1"], ["key", "3"]]


@pytest.mark.parametrize("members", [
    {"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RSA-OAEP"}, {"alg": "HS256"},
    {"alg": "none"}, {"alg": "RS256"}])
async def test_keys_for_other_things(
    server: KeyServer, tokens: Fetching, members: dict[str, Any]
) -> None:
    server.keys = [jwk(ec_key(), "one", **members), jwk(rsa_key(), "other")]
    with pytest.raises(InvalidTokenError, match="'one'"):
        await tokens.verify_connection(good())


@pytest.mark.parametrize("members", [{"use": None}, {"alg": "ES256"}, {"key_ops": ["verify"]}])
async def test_optional_members(
    server: KeyServer, tokens: Fetching, members: dict[str, Any]
) -> None:
    server.keys = [jwk(ec_key(), "one", **members)]
    assert (await tokens.verify_connection(good())).user == "1"


async def test_a_keys_alg_allows_no_other(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(rsa_key(), "one", alg="RS256")]
    with pytest.raises(InvalidTokenError, match="RS512"):
        await tokens.verify_connection(token({}, rsa_key(), "RS512", kid="one"))


async def test_two_kinds_of_key_under_one_id(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(rsa_key(), "one"), jwk(ec_key(), "one")]
    for key, algorithm in ((rsa_key(), "RS256"), (ec_key(), "ES256")):
        await tokens.verify_connection(token({}, key, algorithm, kid="one"))


async def test_a_published_key_is_no_hmac_secret(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(rsa_key(), "one")]
    for secret in (pem(rsa_key()), jwk(rsa_key(), "one")["n"]):
        bad = signed("{}", '{"alg":"HS256","kid":"one"}', secret)
        with pytest.raises(InvalidTokenError, match="HS256"):
            await tokens.verify_connection(bad)
    with pytest.raises(InvalidTokenError, match="none"):
        await tokens.verify_connection(f'{encode(b"""{"alg":"none","kid":"one"}""")}.e30.')


async def test_configured_keys_do_not_count_beside_an_endpoint(
    server: KeyServer, clock: ManualClock
) -> None:
    server.keys = [jwk(ec_key(), "one")]
    tokens = Fetching(server, clock, hmac_secret_key=SECRET)
    with pytest.raises(InvalidTokenError, match="HS256"):
        await tokens.verify_connection(token({}, kid="one"))
    await tokens.close()


async def test_a_token_without_a_key_id_asks_nobody(server: KeyServer, tokens: Fetching) -> None:
    for bad in (token({}, ec_key(), "ES256"), token({}, ec_key(), "ES256", kid="")):
        with pytest.raises(InvalidTokenError, match="kid"):
            await tokens.verify_connection(bad)
    assert server.requests == []


async def test_redirects_are_not_followed(server: KeyServer, tokens: Fetching) -> None:
    server.keys = [jwk(ec_key(), "one")]

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/other")

    server.answer = elsewhere
    with pytest.raises(KeysUnavailableError, match="302"):
        await tokens.verify_connection(good())
    assert server.requests == ["/keys"]


async def test_a_certificate_of_nobody_known(clock: ManualClock) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with key_server(tls) as server:
        server.keys = [jwk(ec_key(), "one")]
        tokens = Fetching(server, clock)
        with pytest.raises(KeysUnavailableError, match="certificate"):
            await tokens.verify_connection(good())
        assert server.requests == []
        await tokens.close()


async def test_closing_lets_nobody_wait(server: KeyServer, clock: ManualClock) -> None:
    let_go = server.hold()
    tokens = Fetching(server, clock)
    waiting = asyncio.create_task(tokens.verify_connection(good()))
    await server.asked.wait()
    await tokens.close()
    with pytest.raises(KeysUnavailableError, match="stopping"):
        await waiting
    with pytest.raises(KeysUnavailableError, match="stopping"):
        await tokens.verify_connection(good())
    let_go.set()


async def test_no_log_and_no_error_has_the_urls_query(
    server: KeyServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 500
    tokens = Fetching(server, clock, jwks_public_endpoint=f"{server.url}?key=hidden")
    with pytest.raises(KeysUnavailableError) as caught:
        await tokens.verify_connection(good())
    assert "hidden" not in str(caught.value) + caplog.text
    assert caplog.messages != []
    await tokens.close()


class TestTenants:
    OPTIONS = {"issuer_regex": r"^https://(?P<tenant>one|two)\.example$"}  # noqa: RUF012

    def verifier(self, server: KeyServer, clock: ManualClock, **options: Any) -> Fetching:
        endpoint = server.base + "/{{tenant}}/keys"
        return Fetching(
            server, clock, jwks_public_endpoint=endpoint, **{**self.OPTIONS, **options})

    async def test_each_has_its_own_keys(self, server: KeyServer, clock: ManualClock) -> None:
        tokens = self.verifier(server, clock)
        server.keys = [jwk(ec_key(), "one")]
        await tokens.verify_connection(good(iss="https://one.example"))
        server.keys = [jwk(ec_key(name="b"), "one")]
        # The first tenant's key has the id, but not a word here.
        with pytest.raises(InvalidTokenError, match="signature"):
            await tokens.verify_connection(good(iss="https://two.example"))
        await tokens.verify_connection(good("one", "b", iss="https://two.example"))
        assert server.requests == ["/one/keys", "/two/keys"]
        assert tokens.connection(good(iss="https://one.example")) is not None
        await tokens.close()

    async def test_strangers_ask_nobody(self, server: KeyServer, clock: ManualClock) -> None:
        tokens = self.verifier(server, clock)
        for issuer in ("https://six.example", "", "https://one.example/.."):
            with pytest.raises(InvalidTokenError, match="issuer"):
                await tokens.verify_connection(good(iss=issuer))
        with pytest.raises(InvalidTokenError, match="twice"):
            await tokens.verify_connection(
                signed('{"iss":"https://one.example","iss":"x"}', '{"alg":"ES256","kid":"a"}'))
        assert server.requests == []
        await tokens.close()

    async def test_by_audience(self, server: KeyServer, clock: ManualClock) -> None:
        server.keys = [jwk(ec_key(), "one")]
        tokens = self.verifier(
            server, clock, issuer_regex="", audience_regex="^app/(?P<tenant>one|two)$")
        await tokens.verify_connection(good(aud=["x", "app/two"]))
        assert server.requests == ["/two/keys"]
        await tokens.close()

    @pytest.mark.parametrize("value", ["..", "a/../b", "/a", "a//b", "a?b", "a#b", "a%2fb", "a@b",
                                       ".", "a\\b", "a b", "é", "a\nb"])
    async def test_open_patterns_do_not_leave_the_path(
        self, server: KeyServer, clock: ManualClock, value: str
    ) -> None:
        tokens = self.verifier(server, clock, issuer_regex="(?s)^(?P<tenant>.*)$",
                               insecure_skip_jwks_endpoint_safety_check=True)
        with pytest.raises(InvalidTokenError, match="URL"):
            await tokens.verify_connection(good(iss=value))
        assert server.requests == []
        await tokens.close()

    async def test_the_sets_that_are_kept_are_bounded(
        self, server: KeyServer, clock: ManualClock
    ) -> None:
        server.keys = [jwk(ec_key(), "one")]
        tokens = self.verifier(server, clock, issuer_regex="^(?P<tenant>[a-z0-9]+)$",
                               insecure_skip_jwks_endpoint_safety_check=True,
                               limits=FAST._replace(max_sets=3))
        for number in range(10):
            await tokens.verify_connection(good(iss=f"t{number}"))
        assert tokens._key_sets is not None
        assert list(tokens._key_sets._sets) == [
            f"{server.base}/t{number}/keys" for number in (7, 8, 9)]
        let_go = server.hold()
        waiting = []
        for number in range(3):
            server.asked.clear()
            waiting.append(asyncio.create_task(
                tokens.verify_connection(good(iss=f"u{number}"))))
            await server.asked.wait()
        with pytest.raises(KeysUnavailableError, match="too many"):
            await tokens.verify_connection(good(iss="u9"))
        let_go.set()
        await asyncio.gather(*waiting)
        await tokens.close()
