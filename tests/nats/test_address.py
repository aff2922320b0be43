"""What the engine is given: addresses, logins, limits. No error shows a secret."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from fanout import NatsEngine
from fanout.nats.address import parse_servers

SECRET = "s3cr:t/%40"


@pytest.mark.parametrize(
    ("url", "place", "needs_tls", "options"),
    [
        ("nats://localhost:4222", "localhost:4222", False, {}),
        ("nats://localhost", "localhost:4222", False, {}),
        ("localhost:5000", "localhost:5000", False, {}),
        ("localhost", "localhost:4222", False, {}),
        ("tls://host/", "host:4222", True, {}),
        ("NATS://[::1]:5", "[::1]:5", False, {}),
        ("nats://ann:pass@host", "host:4222", False, {"user": "ann", "password": "pass"}),
        ("nats://an%40n:p%3Aa%2Fss@host", "host:4222", False,
         {"user": "an@n", "password": "p:a/ss"}),
        ("nats://a:b@c:d@host", "host:4222", False, {"user": "a", "password": "b@c:d"}),
        ("nats://t%40ken@host", "host:4222", False, {"token": "t@ken"}),
    ],
)
def test_an_address(url: str, place: str, needs_tls: bool, options: dict[str, str]) -> None:
    (server,) = parse_servers(url)
    assert server.label == place
    assert server.url.endswith(f"://{place}")
    assert server.needs_tls is needs_tls
    assert server.options == options
    assert repr(options) not in repr(server)
    assert "pass" not in repr(server)


def test_several_addresses() -> None:
    servers = parse_servers(["nats://a", "nats://b:1"])
    assert [server.label for server in servers] == ["a:4222", "b:1"]


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "url-none": ({"url": None}, TypeError, "url must be"),
    "url-number": ({"url": [4222]}, TypeError, "url must be a str"),
    "url-none-at-all": ({"url": []}, ValueError, "at least one"),
    "url-empty": ({"url": ""}, ValueError, "host or host:port"),
    "scheme": ({"url": f"http://u:{SECRET}@host"}, ValueError, "nats:// or tls://"),
    "websocket": ({"url": "ws://host"}, ValueError, "nats:// or tls://"),
    "path": ({"url": f"nats://u:{SECRET}@host/path"}, ValueError, "host or host:port"),
    "query": ({"url": f"nats://u:{SECRET}@host?x=1"}, ValueError, "host or host:port"),
    "port": ({"url": f"nats://u:{SECRET}@host:0"}, ValueError, "between 1 and 65535"),
    "port-high": ({"url": "nats://host:65536"}, ValueError, "between 1 and 65535"),
    "port-text": ({"url": f"nats://u:{SECRET}@host:x"}, ValueError, "host or host:port"),
    "no-host": ({"url": "nats://ann:s3cret"}, ValueError, "host or host:port"),
    "no-user": ({"url": f"nats://:{SECRET}@host"}, ValueError, "user name"),
    "no-login": ({"url": "nats://@host"}, ValueError, "user name"),
    "prefix": ({"prefix": "a.b"}, ValueError, "prefix must be"),
    "prefix-none": ({"prefix": None}, TypeError, "prefix must be"),
    "timeout": ({"timeout": 0}, ValueError, "timeout must be finite and above 0"),
    "timeout-endless": ({"timeout": float("inf")}, ValueError, "timeout must be finite"),
    "timeout-text": ({"timeout": "4"}, TypeError, "timeout must be a number"),
    "user-alone": ({"user": "ann"}, ValueError, "together"),
    "password-alone": ({"password": SECRET}, ValueError, "together"),
    "password-bytes": ({"user": "ann", "password": SECRET.encode()}, TypeError, "password must"),
    "token-empty": ({"token": ""}, ValueError, "token must not be empty"),
    "two-logins": ({"token": SECRET, "user": "ann", "password": SECRET}, ValueError, "one way"),
    "credentials": ({"credentials": "/does/not/exist"}, ValueError, "must be a file"),
    "credentials-int": ({"credentials": 5}, TypeError, "must be a path"),
    "tls": ({"tls": True}, TypeError, "ssl.SSLContext"),
    "jetstream": ({"jetstream": 1}, TypeError, "jetstream must be a bool"),
    "replicas": ({"replicas": 2}, ValueError, "1, 3 or 5"),
    "replicas-text": ({"replicas": "3"}, TypeError, "replicas must be an int"),
    "presence": ({"presence_lifetime": -1}, ValueError, "presence_lifetime must be"),
    "meta": ({"history_meta_lifetime": 0}, ValueError, "history_meta_lifetime must be"),
    "pending": ({"max_pending": 0}, ValueError, "max_pending must be at least 1"),
    "pending-float": ({"max_pending": 1.5}, TypeError, "max_pending must be an int"),
    "bytes": ({"max_pending_bytes": 0}, ValueError, "max_pending_bytes must be at least 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_value_is_refused_with_the_rule(case: str) -> None:
    options, error, rule = BAD[case]
    with pytest.raises(error, match=rule) as raised:
        NatsEngine(**options)
    assert "s3cr" not in str(raised.value)


def test_a_seed_needs_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="nkeys") as raised:
        NatsEngine(nkey_seed=SECRET)
    assert SECRET not in str(raised.value)


def test_a_credentials_file_is_a_path_or_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    file = tmp_path / "user.creds"
    file.write_text("")
    NatsEngine(credentials=file)
    NatsEngine(credentials=str(file))


def test_nothing_shows_a_secret() -> None:
    engine = NatsEngine(
        [f"nats://ann:{SECRET}@host", f"nats://{SECRET}@other:1"], token=SECRET,
        tls=ssl.create_default_context())
    assert repr(engine) == "<NatsEngine host:4222, other:1 new>"
    assert engine.name == "NATS"
    for part in (engine._servers, engine._login):
        assert "s3cr" not in repr(part)
