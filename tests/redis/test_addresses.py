"""Addresses and options: what is taken, and what a wrong one is told."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from fanout import RedisEngine
from fanout.redis.address import parse_address

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("text", "kind", "tls", "hosts", "options"),
    [
        ("redis://localhost", "server", False, [("localhost", 6379)], {}),
        ("redis://localhost:1/", "server", False, [("localhost", 1)], {}),
        ("REDIS://h:1/5", "server", False, [("h", 1)], {"db": 5}),
        ("redis://h?db=5", "server", False, [("h", 6379)], {"db": 5}),
        ("redis://:p%40w@h", "server", False, [("h", 6379)], {"password": "p@w"}),
        ("redis://u:p@w@h", "server", False, [("h", 6379)], {"username": "u", "password": "p@w"}),
        ("redis://[::1]:7/0", "server", False, [("::1", 7)], {"db": 0}),
        ("redis://h?client_name=a%20b", "server", False, [("h", 6379)], {"client_name": "a b"}),
        ("redis+sentinel://a,b:2/main", "sentinel", False, [("a", 26379), ("b", 2)], {}),
        ("redis+sentinel://a/main/3", "sentinel", False, [("a", 26379)], {"db": 3}),
        ("redis+cluster://a,b:2", "cluster", False, [("a", 6379), ("b", 2)], {}),
        ("redis+cluster://a/0", "cluster", False, [("a", 6379)], {"db": 0}),
        ("unix:///run/redis.sock?db=2", "unix", False, [], {"db": 2}),
        ("unix://u:p@/run/x", "unix", False, [], {"username": "u", "password": "p"}),
        ("unix:///run/x?password=p", "unix", False, [], {"password": "p"}),
        ("rediss+cluster://a", "cluster", True, [("a", 6379)],
         {"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
        ("rediss://h?ssl_cert_reqs=none", "server", True, [("h", 6379)],
         {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("rediss://h?ssl_check_hostname=no&ssl_ca_certs=/x", "server", True, [("h", 6379)],
         {"ssl_cert_reqs": "required", "ssl_check_hostname": False, "ssl_ca_certs": "/x"}),
    ],
)
def test_addresses(
    text: str, kind: str, tls: bool, hosts: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    address = parse_address(text)
    assert (address.kind, address.tls, list(address.hosts)) == (kind, tls, hosts)
    assert address.options == options


def test_what_sentinels_are_told() -> None:
    address = parse_address(
        "rediss+sentinel://u:p@a/main?sentinel_username=v&sentinel_password=q&ssl_ca_certs=/x")
    assert address.master == "main"
    assert (address.options["username"], address.options["password"]) == ("u", "p")
    sentinel = address.sentinel_options
    assert (sentinel["username"], sentinel["password"]) == ("v", "q")
    assert sentinel["ssl_ca_certs"] == address.options["ssl_ca_certs"] == "/x"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "must be a URL"),
        ("localhost:6379", "must be a URL"),
        (f":{SECRET}@localhost:6379", "must be a URL"),
        (f"redis://:{SECRET}@h#f", "must be a URL"),
        (f"http://:{SECRET}@h", "http://h: the address must begin with one of redis://"),
        (f"redis+sentinels://:{SECRET}@h", "must begin with one of"),
        (f"redis://:{SECRET}@", "must be a host"),
        (f"redis://:{SECRET}@h:x", "'h:x' must be a host, or host:port"),
        (f"redis://:{SECRET}@h:0", "between 1 and 65535, not 0"),
        (f"redis://:{SECRET}@h:65536", "between 1 and 65535, not 65536"),
        (f"redis://:{SECRET}@a,b", "has one host; give several addresses for shards"),
        (f"redis://:{SECRET}@h/x", "a number from 0 on, not 'x'"),
        (f"redis://:{SECRET}@h/-1", "a number from 0 on, not '-1'"),
        (f"redis://:{SECRET}@h/1?db=2", "db is given twice"),
        (f"redis://:{SECRET}@h?db=1&db=2", "db is given twice"),
        (f"redis://:{SECRET}@h?socket_timeout=1", "unknown option 'socket_timeout'"),
        (f"redis://:{SECRET}@h?protocol=3", "unknown option 'protocol'"),
        (f"redis://:{SECRET}@h?ssl_ca_certs=x", "unknown option 'ssl_ca_certs'"),
        (f"rediss://:{SECRET}@h?ssl_cert_reqs=maybe", "none, optional or required, not 'maybe'"),
        (f"rediss://:{SECRET}@h?ssl_check_hostname=x", "true or false, not 'x'"),
        ("redis://user@h", "a user name needs a password"),
        (f"redis+sentinel://:{SECRET}@h", "name of the sentinels' master"),
        (f"redis+cluster://:{SECRET}@h/1", "only the database 0"),
        (f"unix://:{SECRET}@relative", "an absolute path"),
        (f"unix://:{SECRET}@/x?password={SECRET}", "password is given twice"),
    ],
)
def test_a_wrong_address_is_told_the_rule_and_shows_no_secret(text: str, rule: str) -> None:
    with pytest.raises(ValueError) as caught:
        RedisEngine(text)
    assert rule in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("address", [None, b"redis://h", 6379, ("redis://h",)])
def test_an_address_is_a_text(address: object) -> None:
    with pytest.raises(TypeError, match="an address must be a str"):
        RedisEngine(address)


def test_a_cluster_stands_alone() -> None:
    with pytest.raises(ValueError, match="a cluster must be the only address"):
        RedisEngine("redis+cluster://a", "redis://b")


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"prefix": 1}, TypeError, "prefix must be a str"),
        ({"timeout": 0}, ValueError, "timeout must be finite and above 0 seconds, not 0"),
        ({"timeout": float("inf")}, ValueError, "timeout must be finite"),
        ({"timeout": float("nan")}, ValueError, "timeout must be finite"),
        ({"timeout": "4"}, TypeError, "timeout must be a number of seconds"),
        ({"ping_interval": True}, TypeError, "ping_interval must be a number of seconds"),
        ({"presence_lifetime": -1}, ValueError, "presence_lifetime must be finite and above 0"),
        ({"history_meta_lifetime": 0}, ValueError, "history_meta_lifetime must be finite"),
        ({"history_lists": 1}, TypeError, "history_lists must be a bool"),
        ({"max_pending": 0}, ValueError, "max_pending must be 1 or more, not 0"),
        ({"max_pending": 1.5}, TypeError, "max_pending must be an int"),
        ({"max_pending_bytes": "1"}, TypeError, "max_pending_bytes must be an int"),
    ],
)
def test_a_wrong_option_is_told_the_rule(
    options: dict[str, Any], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        RedisEngine(**options)


def test_names() -> None:
    assert RedisEngine().name == "Redis"
    assert RedisEngine("redis://a", "redis://b", "unix:///c").name == "Redis, 3 shards"
    assert RedisEngine("redis+cluster://a,b").name == "Redis Cluster"


def run_python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_fanout_does_not_import_redis_by_itself() -> None:
    assert run_python(
        "import fanout, sys; print('redis' in sys.modules); fanout.RedisEngine; "
        "print('redis' in sys.modules)") == "False\nTrue\n"


@pytest.mark.parametrize("missing", ["redis", "hiredis"])
def test_a_missing_package_is_told_with_the_extra(missing: str) -> None:
    out = run_python(
        f"import sys, fanout; sys.modules[{missing!r}] = None\n"
        "try: fanout.RedisEngine\n"
        "except ImportError as error: print(error)")
    assert out == (
        f"RedisEngine needs {missing}, which is not installed: pip install 'fanout[redis]'\n")
