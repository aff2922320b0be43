"""``fanout token``: what it prints, how it ends, and what it never says."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from fanout import cli
from fanout.server.config import load
from fanout.server.tokens import TokenVerifier
from tests.server.tokens.support import OTHER_SECRET, SECRET, ec_key, ed_key, jwk, pem, rsa_key


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY", "FANOUT_CLIENT_TOKEN_HMAC_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


class Commands:
    """Runs ``fanout token ...``; every line that comes is looked at for secrets."""

    def __init__(self, capsys: pytest.CaptureFixture[str], directory: Path) -> None:
        self._capsys = capsys
        self._directory = directory

    def file(self, name: str, content: str | bytes) -> str:
        path = self._directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def config(self, **client: Any) -> str:
        return self.file("config.json", json.dumps({"client": client}))

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = cli.main(["token", *arguments])
        out, err = self._capsys.readouterr()
        for secret in (SECRET, OTHER_SECRET, "PRIVATE KEY"):
            assert secret not in out + err
        return status, out, err

    def token(self, *arguments: str) -> str:
        status, out, err = self(*arguments)
        assert (status, err) == (0, "")
        assert out.count("\n") == 1
        return out.rstrip("\n")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Commands:
    return Commands(capsys, tmp_path)


def said(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_connection_token_of_the_configuration(run: Commands) -> None:
    path = run.config(token={"hmac_secret_key": SECRET, "audience": "a", "issuer": "i"})
    before = int(time.time())
    token = run.token("connection", "-c", path, "-u", "42", "--ttl", "60", "--info", '{"n":1}',
                      "--meta", "[2]", "-s", "news", "-s", "chat", "--claim", "jti=\"j\"")
    claims = said(token)
    assert before <= claims.pop("iat") <= int(time.time())
    assert before + 60 <= claims.pop("exp") <= int(time.time()) + 60
    assert claims == {"sub": "42", "aud": "a", "iss": "i", "info": {"n": 1}, "meta": [2],
                      "channels": ["news", "chat"], "jti": "j"}
    config, warnings = load(path)
    assert warnings == [line for line in warnings if "token" not in line]
    found = TokenVerifier(config.client.token).connection(token)
    assert found is not None
    assert found.user == "42"
    status, out, err = run("check", "-c", path, token)
    assert (status, err) == (0, "")
    assert out.startswith('valid: connection token of user "42", until 2')
    assert json.loads(out.split("\n", 1)[1])["channels"] == ["news", "chat"]


def test_a_subscription_token_of_the_configuration(run: Commands) -> None:
    path = run.config(token={"hmac_secret_key": SECRET})
    token = run.token("subscription", "-c", path, "-u", "42", "--channel", "$news", "--client",
                      "c", "--data", "1", "--info", "2", "-t", "-1")
    claims = said(token)
    del claims["iat"]
    assert claims == {"sub": "42", "channel": "$news", "client": "c", "data": 1, "info": 2}
    status, out, _ = run("check", "-c", path, token)
    assert status == 0
    assert out.startswith('valid: subscription token for "$news" of user "42", without expiry\n')


def test_subscription_tokens_with_keys_of_their_own(run: Commands) -> None:
    path = run.config(token={"hmac_secret_key": SECRET},
                      subscription_token={"enabled": True, "hmac_secret_key": OTHER_SECRET})
    token = run.token("subscription", "-c", path, "-s", "a")
    jwt.decode(token, OTHER_SECRET, ["HS256"])
    assert run("check", "-c", path, token)[0] == 0


def test_without_a_user_it_is_an_anonymous_one(run: Commands) -> None:
    token = run.token("connection", "--secret-file", run.file("secret", SECRET + "\n"))
    assert "sub" not in said(token)
    assert "anonymous" in run("check", "--secret-file", run.file("secret", SECRET), token)[1]


def test_the_user_id_claim(run: Commands) -> None:
    path = run.config(token={"hmac_secret_key": SECRET, "user_id_claim": "uid"})
    token = run.token("connection", "-c", path, "-u", "42")
    assert said(token)["uid"] == "42"
    assert '"42"' in run("check", "-c", path, token)[1]


def test_the_environment_counts(run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY", SECRET)
    jwt.decode(run.token("connection"), SECRET, ["HS256"])


@pytest.mark.parametrize(("key", "option", "algorithm"), [
    (rsa_key(), "rsa_public_key", "RS256"), (ec_key(), "ecdsa_public_key", "ES256"),
    (ec_key(ec.SECP521R1), "ecdsa_public_key", "ES512"), (ed_key(), "", "EdDSA")])
def test_private_keys(run: Commands, key: Any, option: str, algorithm: str) -> None:
    private = run.file("key", key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    token = run.token("connection", "--private-key", private, "--key-id", "k")
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": "JWT", "kid": "k"}
    if option:
        assert run("check", "-c", run.config(token={option: pem(key)}), token)[0] == 0


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_another_algorithm(run: Commands, algorithm: str) -> None:
    secret = run.file("secret", SECRET)
    token = run.token("connection", "--secret-file", secret, "--algorithm", algorithm)
    assert jwt.get_unverified_header(token)["alg"] == algorithm
    assert run("check", "--secret-file", secret, token)[0] == 0


@pytest.mark.parametrize("arguments", [
    ["connection"], ["subscription", "--secret-file", "SECRET"],
    ["connection", "--secret-file", "SECRET", "--private-key", "SECRET"],
    ["connection", "--secret-file", "SECRET", "--info", "{"],
    ["connection", "--secret-file", "SECRET", "--claim", "x"],
    ["connection", "--secret-file", "SECRET", "--claim", "=1"],
    ["connection", "--secret-file", "SECRET", "--claim", "x={"],
    ["connection", "--secret-file", "SECRET", "--ttl", "-2"],
    ["connection", "--secret-file", "SECRET", "--ttl", "1h"],
    ["connection", "--secret-file", "SECRET", "--algorithm", "none"],
    ["connection", "--secret-file", "SECRET", "--algorithm", "RS256"],
    ["connection", "--secret-file", "PUBLIC"],
    ["connection", "-c", "/does/not/exist.json"], ["check"],
])
def test_bad_options(run: Commands, arguments: list[str]) -> None:
    files = {"SECRET": run.file("secret", SECRET), "PUBLIC": run.file("public", pem(rsa_key()))}
    status, out, err = run(*(files.get(argument, argument) for argument in arguments))
    assert (status, out) == (2, "")
    assert err.startswith("fanout: ")


@pytest.mark.parametrize("command", ["connection", "subscription", "check"])
def test_without_a_key(run: Commands, command: str) -> None:
    arguments = {"connection": [], "subscription": ["-s", "a"],
                 "check": [jwt.encode({"sub": "a"}, SECRET)]}[command]
    status, _, err = run(command, *arguments)
    assert status == 2
    assert err.startswith("fanout: the environment has no ") and "give --config" in err
    empty = run.config(token={})
    status, _, err = run(command, "-c", empty, *arguments)
    assert status == 2
    # Not to give what was given.
    assert err.startswith(f"fanout: {empty} has no ") and "--config" not in err
    if command != "check":
        public = run.config(token={"rsa_public_key": pem(rsa_key())})
        assert "only what checks them" in run(command, "-c", public, *arguments)[2]


@pytest.mark.parametrize(("content", "option"), [
    (b"", "--secret-file"), (b"\n", "--secret-file"), (b"\xff", "--secret-file"),
    (b"a" * 65537, "--secret-file"), (None, "--secret-file"), (b"x", "--private-key"),
    (ec_key(ec.SECP256K1).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "--private-key"),
    (ec_key().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")), "--private-key")])
def test_files_that_hold_no_key(run: Commands, content: bytes | None, option: str) -> None:
    path = "/does/not/exist" if content is None else run.file("key", content)
    status, out, err = run("connection", option, path)
    assert (status, out) == (1, "")
    assert err.startswith(f"fanout: {path}: ")
    assert err.count("\n") == 1


class TestCheck:
    def check(self, run: Commands, token: str) -> tuple[int, str]:
        status, out, err = run("check", "--secret-file", run.file("secret", SECRET), token)
        assert err == ""
        assert token == "" or token.split(".")[-1] not in out
        return status, out

    def test_expired(self, run: Commands) -> None:
        status, out = self.check(run, jwt.encode({"exp": 1, "sub": "a"}, SECRET))
        assert status == 3
        assert out.startswith("expired: the token expired\n{")

    def test_badly_signed(self, run: Commands) -> None:
        status, out = self.check(run, jwt.encode({"sub": "a"}, OTHER_SECRET))
        assert status == 1
        assert out.splitlines()[:2] == [
            "invalid: the token's signature is not of a key known here",
            "what it says, which nobody vouches for:"]

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "\ud800.."])
    def test_no_token(self, run: Commands, token: str) -> None:
        status, out, _ = run("check", token)
        assert status == 1
        assert out.startswith("invalid: ")
        assert out.count("\n") == 1

    def test_claims_cannot_paint_the_terminal(self, run: Commands) -> None:
        evil = "\x1b[2J\u202e\n"
        for secret in (SECRET, OTHER_SECRET):
            claims = {"sub": evil, evil: evil, "channel": evil}
            _, out = self.check(run, jwt.encode(claims, secret))
            assert out.replace("\n", "").isascii()
            assert "\x1b" not in out

    def test_from_standard_input(self, run: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(jwt.encode({}, SECRET) + "\n"))
        assert run("check", "--secret-file", run.file("secret", SECRET), "-")[0] == 0

    def test_a_configuration_that_cannot_be_used(self, run: Commands) -> None:
        path = run.config(token={"hmac_secret_key": SECRET, "issuer": "a", "issuer_regex": "a"})
        status, out, err = run("check", "-c", path, jwt.encode({}, SECRET))
        assert (status, out) == (2, "")
        assert "issuer_regex" in err


class _Keys(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": [jwk(ec_key(), "k")]}).encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A server in a thread: the command has a loop of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Keys) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_check_fetches_keys(run: Commands, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = run.config(token={"jwks_public_endpoint": endpoint})
    token = jwt.encode({}, ec_key(), "ES256", {"kid": "k"})
    assert run("check", "-c", path, token)[0] == 0
    assert run("check", "-c", path, jwt.encode({}, ec_key(), "ES256", {"kid": "x"}))[0] == 1
    monkeypatch.setattr(_Keys, "status", 500)
    status, out, _ = run("check", "-c", path, token)
    assert status == 4
    assert out.startswith("not checked: ")
