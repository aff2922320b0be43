"""What a configuration file may say, what it means, and what is refused."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.server.config import (
    DEMO_NAMESPACE,
    Config,
    ConfigError,
    Namespace,
    NamespaceOptions,
    check,
    demo_config,
    load,
    with_demo,
)
from fanout.server.config.reader import read

Load = Callable[[object], tuple[Config, list[str]]]


@pytest.fixture
def load_data(tmp_path: Path) -> Load:
    """Load what a JSON file with the given data says."""

    def load_json(data: object) -> tuple[Config, list[str]]:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(data))
        return load(path)

    return load_json


def nested(path: str, value: object) -> dict[str, Any]:
    """The table that holds ``value`` at a dotted path."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def value_at(config: object, path: str) -> object:
    for key in path.split("."):
        config = getattr(config, key)
    return config


# Defaults


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("client.insecure", False),
        ("client.allow_anonymous_connect_without_token", False),
        ("client.allowed_origins", ()),
        ("client.ping_interval", 25.0),
        ("client.pong_timeout", 8.0),
        ("client.stale_close_delay", 10.0),
        ("client.channel_limit", 128),
        ("client.queue_max_size", 1048576),
        ("client.presence_update_interval", 27.0),
        ("client.connection_limit", 0),
        ("client.user_connection_limit", 0),
        ("client.history_max_publication_limit", 300),
        ("client.connect_include_server_time", False),
        ("channel.max_length", 255),
        ("channel.private_prefix", "$"),
        ("channel.namespace_boundary", ":"),
        ("channel.user_boundary", "#"),
        ("channel.user_separator", ","),
        ("channel.history_meta_ttl", 2592000.0),
        ("channel.publication_data_format", ""),
        ("channel.namespaces", ()),
        ("websocket.message_size_limit", 65536),
        ("http_server.address", "127.0.0.1"),
        ("http_server.port", 8000),
        ("shutdown.timeout", 30.0),
        ("log.level", "info"),
    ],
)
def test_default(path: str, default: object, load_data: Load) -> None:
    assert value_at(Config.default(), path) == default
    assert load_data({}) == (Config.default(), [])


@pytest.mark.parametrize("name", [entry.name for entry in fields(NamespaceOptions)])
def test_every_channel_option_is_off_by_default(name: str, load_data: Load) -> None:
    config, _ = load_data({"channel": {"namespaces": [{"name": "chat"}]}})
    for options in (config.channel.without_namespace, config.channel.namespaces[0]):
        # A proxy's name has no effect by itself.
        assert not getattr(options, name) or (name.endswith("_name") and name != "name")


# Values that are taken


@pytest.mark.parametrize(
    ("path", "value", "meaning"),
    [
        ("client.insecure", True, True),
        ("client.allow_anonymous_connect_without_token", True, True),
        ("client.allowed_origins", ["https://*.example.com"], ("https://*.example.com",)),
        ("client.ping_interval", "1m30s", 90.0),
        ("client.ping_interval", 30, 30.0),
        ("client.ping_interval", 0, 0.0),
        ("client.pong_timeout", "2500ms", 2.5),
        ("client.pong_timeout", -1, 0.0),
        ("client.stale_close_delay", "500ms", 0.5),
        ("client.channel_limit", 0, 0),
        ("client.queue_max_size", 4096, 4096),
        ("client.presence_update_interval", "10s", 10.0),
        ("client.connection_limit", 10, 10),
        ("client.user_connection_limit", 2, 2),
        ("client.history_max_publication_limit", 1, 1),
        ("client.connect_include_server_time", True, True),
        ("client.recovery_max_publication_limit", 0, 0),
        ("client.channel_position_check_delay", "5s", 5.0),
        ("client.channel_position_check_delay", 0, 0.0),
        ("client.user_id_http_header", "X-User-Id", "X-User-Id"),
        ("engine.type", "redis", "redis"),
        ("engine.redis.address", "a:1", ("redis://a:1",)),
        ("engine.redis.address", ["redis://a", "b:2"], ("redis://a", "redis://b:2")),
        ("engine.redis.cluster_address", ["a:1,b:2"], ("a:1,b:2",)),
        ("engine.redis.sentinel_address", "a:1,b:2", ("a:1,b:2",)),
        ("engine.redis.db", 3, 3),
        ("engine.redis.user", "app", "app"),
        ("engine.redis.password", "pass", "pass"),
        ("engine.redis.prefix", "p", "p"),
        ("engine.redis.io_timeout", "500ms", 0.5),
        ("engine.redis.history_use_lists", True, True),
        ("engine.redis.presence_ttl", "3s", 3.0),
        ("engine.nats.url", "nats://a", ("nats://a",)),
        ("engine.nats.jetstream", True, True),
        ("engine.nats.replicas", 3, 3),
        ("engine.nats.presence_ttl", "40s", 40.0),
        ("engine.nats.allow_wildcards", True, True),
        ("node.name", "first", "first"),
        ("channel.max_length", 20, 20),
        ("channel.private_prefix", "", ""),
        ("channel.namespace_boundary", "::", "::"),
        ("channel.user_boundary", "@", "@"),
        ("channel.user_separator", ";", ";"),
        ("channel.history_meta_ttl", "1h", 3600.0),
        ("channel.publication_data_format", "json_object", "json_object"),
        ("channel.without_namespace.presence", True, True),
        ("channel.without_namespace.join_leave", True, True),
        ("channel.without_namespace.allow_user_limited_channels", True, True),
        ("channel.without_namespace.channel_regex", "^[a-z]+$", "^[a-z]+$"),
        ("channel.without_namespace.publication_data_format", "binary", "binary"),
        ("websocket.message_size_limit", 1024, 1024),
        ("http_server.address", "", ""),
        ("http_server.address", "::1", "::1"),
        ("http_server.port", 0, 0),
        ("http_server.port", "9000", 9000),
        ("http_server.port", None, 8000),
        ("client.insecure", None, False),
        ("client.insecure", "true", True),
        ("client.insecure", "false", False),
        ("client.channel_limit", "64", 64),
        ("channel.namespaces", [{"name": "ab", "presence": "true"}],
         (Namespace(name="ab", presence=True),)),
        ("client", None, Config.default().client),
        ("shutdown.timeout", "1s", 1.0),
        ("log.level", "none", "none"),
    ],
)
def test_a_value_is_taken(path: str, value: object, meaning: object, load_data: Load) -> None:
    config, _ = load_data(nested(path, value))
    assert value_at(config, path) == meaning


@pytest.mark.parametrize("name", [e.name for e in fields(NamespaceOptions) if e.type == "bool"])
def test_every_flag_opens_its_namespace_alone(name: str, load_data: Load) -> None:
    flag: dict[str, Any] = {name: True}
    if name in ("force_recovery", "auto_cache_recover"):
        flag |= {"history_size": 1, "history_ttl": 60.0}
    if name == "auto_cache_recover":
        flag |= {"force_recovery": True, "force_recovery_mode": "cache"}
    proxies = {}
    if name.endswith("_proxy_enabled"):
        proxies = {name.removesuffix("_proxy_enabled"): {"endpoint": "http://backend"}}
    config, _ = load_data(
        {"channel": {"proxy": proxies, "namespaces": [{"name": "chat", **flag}]}}
    )
    assert getattr(config.channel.namespaces[0], name) is True
    assert config.channel.namespaces[0] == Namespace(name="chat", **flag)
    assert config.channel.without_namespace == NamespaceOptions()


def test_toml_says_the_same_as_json(tmp_path: Path, load_data: Load) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [client]
        allowed_origins = ["https://example.com"]
        ping_interval = "10s"
        [channel.without_namespace]
        presence = true
        [[channel.namespaces]]
        name = "chat"
        history_size = 10
        history_ttl = 300
        [[channel.namespaces]]
        name = "news.eu"
        """
    )
    data = {
        "client": {"allowed_origins": ["https://example.com"], "ping_interval": "10s"},
        "channel": {
            "without_namespace": {"presence": True},
            "namespaces": [
                {"name": "chat", "history_size": 10, "history_ttl": "5m"},
                {"name": "news.eu"},
            ],
        },
    }
    assert load(path) == load_data(data)
    assert [n.name for n in load(path)[0].channel.namespaces] == ["chat", "news.eu"]


# Values that are refused


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("client", [], "client = [...]: must be a table of keys"),
        ("client.insecure", "yes", 'client.insecure = "yes": must be true or false'),
        ("client.insecure", 1, "client.insecure = 1: must be true or false"),
        ("client.channel_limit", -1, "client.channel_limit = -1: must be a whole number from 0 to"),
        ("client.channel_limit", True, "client.channel_limit = true: must be a whole number"),
        ("client.channel_limit", 1.5, "client.channel_limit = 1.5: must be a whole number"),
        ("client.queue_max_size", 0, "client.queue_max_size = 0: must be a whole number from 1"),
        ("client.ping_interval", "10", 'client.ping_interval = "10": must be a duration such as'),
        ("client.ping_interval", "-1s", 'client.ping_interval = "-1s": must not be negative'),
        ("client.ping_interval", "500ms", 'client.ping_interval = "500ms": must be at least 1s'),
        ("client.ping_interval", 25e9, "client.ping_interval = 25000000000.0: must be at most"),
        ("client.ping_interval", {}, "client.ping_interval = {...}: must be a duration"),
        ("client.pong_timeout", "25s", 'client.pong_timeout = "25s": must be shorter than '
         "client.ping_interval (25s)"),
        ("client.pong_timeout", -2, "client.pong_timeout = -2: must not be negative"),
        ("client.stale_close_delay", 0, "client.stale_close_delay = 0: must be at least"),
        ("client.allowed_origins", "*", 'client.allowed_origins = "*": must be a list'),
        ("client.allowed_origins", ["a", 1], "client.allowed_origins = [...]: item 1 must be a"),
        ("client.allowed_origins", ["{a,b}"], "item 0 must not use {...}"),
        ("channel.max_length", 0, "channel.max_length = 0: must be a whole number from 1"),
        ("channel.private_prefix", "é", "channel.private_prefix = "),
        ("channel.user_separator", " ", 'channel.user_separator = " ": must be up to 8 printable'),
        ("channel.history_meta_ttl", 0, "channel.history_meta_ttl = 0: must be at least 1s"),
        ("channel.publication_data_format", "xml", "must be one of "),
        ("channel.without_namespace", True, "channel.without_namespace = true: must be a table"),
        ("channel.without_namespace.channel_regex", "(", "must be a regular expression that"),
        ("channel.without_namespace.history_ttl", "1500ms", "must be whole seconds"),
        ("channel.without_namespace.history_size", 10, "channel.without_namespace.history_size "
         "= 10: needs history_ttl too"),
        ("channel.without_namespace.history_ttl", "10s", "channel.without_namespace.history_ttl "
         '= "10s": needs history_size too'),
        ("channel.without_namespace", {"history_size": 1, "history_ttl": "721h"},
         'history_ttl = "721h": must not be longer than channel.history_meta_ttl (720h)'),
        ("channel.without_namespace",
         {"history_size": 1, "history_ttl": "2m", "history_meta_ttl": "1m"},
         'history_ttl = "2m": must not be longer than channel.without_namespace.history_meta_ttl'),
        ("channel.namespaces", {}, "channel.namespaces = {...}: must be a list of tables"),
        ("channel.namespaces", ["chat"], "channel.namespaces[0] = \"chat\": must be a table"),
        ("channel.namespaces", [{}], 'channel.namespaces[0].name = "": must match ^[-a-zA-Z0-9_.]'),
        ("channel.namespaces", [{"name": "a"}], "must match"),
        ("channel.namespaces", [{"name": "ab"}, {"name": "ab"}],
         'channel.namespaces[1].name = "ab": must be unique'),
        ("channel.namespaces", [{"name": "chat", "presence": "on"}],
         'channel.namespaces[chat].presence = "on": must be true or false'),
        ("channel", {"namespace_boundary": ".", "namespaces": [{"name": "a.b"}]},
         'channel.namespaces[0].name = "a.b": must not contain channel.namespace_boundary'),
        ("websocket.message_size_limit", 0, "websocket.message_size_limit = 0: must be a whole"),
        ("http_server.port", 65536, "http_server.port = 65536: must be a port from 0 to 65535"),
        ("http_server.port", "http", 'http_server.port = "http": must be a port'),
        ("http_server.address", "a b", 'http_server.address = "a b": must be a host name'),
        ("http_server.address", "a..b", 'http_server.address = "a..b": must be a host name'),
        ("client.recovery_max_publication_limit", -1, "must be a whole number from 0 to"),
        ("client.channel_position_check_delay", "10ms", "must be at least 0.1s, or 0: not checked"),
        ("client.user_id_http_header", "X User", "must be the name of an HTTP header"),
        ("channel.without_namespace.force_recovery", True, "channel.without_namespace."
         "force_recovery = true: needs history_size and history_ttl"),
        ("engine.type", "kafka", 'must be one of "memory", "redis", "nats"'),
        ("engine.redis.address", 5, "engine.redis.address: must be an address or a list"),
        ("engine.redis.address", "http://u:s3cret@a", "must begin with one of redis://"),
        ("engine.redis.password", 5, "engine.redis.password: must be a string"),
        ("engine.redis.db", "0x1", "must be a whole number from 0 to"),
        ("engine.redis.db", "-1", 'engine.redis.db = "-1": must be a whole number from 0 to'),
        ("client.insecure", "True", 'client.insecure = "True": must be true or false'),
        ("engine.redis.cluster_address", ["a"], "item 0 must be host:port"),
        ("engine.redis.cluster_address", "u:s3cret@a:1", "item 0 must be host:port"),
        ("engine.redis.io_timeout", 0, "must be at least 0.01s"),
        ("engine.redis.tls", {"enabled": True}, "here: rediss://"),
        ("engine.nats.url", "nats://u:s3cret@a?x=y", 'may only have "jetstream=true"'),
        ("engine.nats.presence_ttl", "1500ms", "must be whole seconds"),
        ("engine.nats.replicas", 2, "engine.nats.replicas = 2: must be 1, 3 or 5"),
        ("engine.nats.raw_mode", {"enabled": True}, "raw mode is not supported"),
        ("broker", {"enabled": True, "type": "nats"}, "here engine.type"),
        ("engine", {"type": "redis", "redis": {"presence_ttl": "27s"}},
         "engine.redis.presence_ttl = \"27s\": must be longer than "
         "client.presence_update_interval (27s)"),
        ("engine", {"type": "nats", "nats": {"presence_ttl": "20s", "jetstream": True}},
         "engine.nats.presence_ttl = \"20s\": must be longer than"),
        ("engine", {"type": "redis", "redis": {"sentinel_address": "a:1"}},
         "engine.redis.sentinel_master_name: is needed with sentinel_address"),
        ("engine",
         {"type": "redis", "redis": {"sentinel_address": "a:1", "cluster_address": "b:1"}},
         "engine.redis.cluster_address: must not stand beside sentinel_address"),
        ("log.level", "loud", 'log.level = "loud": must be one of "trace", "debug", "info"'),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused(path: str, value: object, message: str, load_data: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load_data(nested(path, value))
    text = str(caught.value)
    assert message in text
    assert "s3cret" not in text
    assert "\n" not in text
    assert text.startswith(caught.value.key)
    assert text.endswith(caught.value.rule)


def test_without_pings_no_pong_is_late(load_data: Load) -> None:
    config, _ = load_data({"client": {"ping_interval": 0, "pong_timeout": "8s"}})
    assert (config.client.ping_interval, config.client.pong_timeout) == (0.0, 8.0)


NAME_CHARACTERS = string.ascii_letters + string.digits + "-_."


@given(st.text(NAME_CHARACTERS, min_size=2))
def test_namespace_names_that_are_taken(name: str) -> None:
    config, _ = read({"channel": {"namespaces": [{"name": name}]}})
    check(config)
    assert config.channel.namespaces == (Namespace(name=name),)


@given(
    st.text(NAME_CHARACTERS, max_size=1)
    | st.text().filter(lambda name: not set(name) <= set(NAME_CHARACTERS))
    | st.text(NAME_CHARACTERS, min_size=2).map(lambda name: name + "\n")
)
def test_namespace_names_that_are_refused(name: str) -> None:
    config, _ = read({"channel": {"namespaces": [{"name": name}]}})
    with pytest.raises(ConfigError, match="must match"):
        check(config)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = [entry.name for entry in fields(NamespaceOptions)]


@given(
    st.dictionaries(
        st.sampled_from(["client", "channel", "log", "engine", "http_server"]),
        st.dictionaries(
            st.sampled_from(["without_namespace", "namespaces", "level", "type", "tls", "proxy"]),
            JSON | st.dictionaries(st.sampled_from(KEYS), JSON) | st.lists(JSON),
        )
        | JSON,
    )
)
def test_whatever_a_file_holds_is_taken_or_refused_with_a_clear_error(data: object) -> None:
    try:
        config, warnings = read(data)
        check(config)
    except ConfigError as error:
        assert error.key
        assert error.rule
    else:
        assert all(isinstance(warning, str) for warning in warnings)


def test_advice_comes_after_the_warnings_about_keys(load_data: Load) -> None:
    _, warnings = load_data({"client": {"insecure": True, "insecur": True}})
    assert [warning.partition(":")[0] for warning in warnings] == [
        "client.insecur",
        "client.insecure",
    ]


NATS: dict[str, Any] = {"engine": {"type": "nats"}}
JETSTREAM: dict[str, Any] = {"engine": {"type": "nats", "nats": {"jetstream": True}}}
JETSTREAM_URL: dict[str, Any] = {
    "engine": {"type": "nats", "nats": {"url": "nats://a?jetstream=true"}}
}


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"history_size": 1, "history_ttl": "1s"}, "history_size = 1"),
        ({"presence": True}, "presence = true"),
    ],
)
def test_nats_keeps_something_with_jetstream_alone(
    options: dict[str, Any], key: str, load_data: Load
) -> None:
    channel = {"channel": {"without_namespace": options}}
    with pytest.raises(ConfigError) as caught:
        load_data({**NATS, **channel})
    assert str(caught.value).startswith(
        f'channel.without_namespace.{key}: needs JetStream with engine.type "nats": '
        'set engine.nats.jetstream, or put "?jetstream=true" behind the address'
    )
    assert load_data({**JETSTREAM, **channel})[0].engine.nats.uses_jetstream
    assert load_data({**JETSTREAM_URL, **channel})[0].engine.nats.uses_jetstream


def test_without_presence_its_lifetime_is_nobody_s_business(load_data: Load) -> None:
    load_data({"engine": {"type": "nats", "nats": {"presence_ttl": "1s"}}})


def test_wildcards_do_not_stand_beside_user_limited_channels(load_data: Load) -> None:
    limited = {"channel": {"without_namespace": {"allow_user_limited_channels": True}}}
    wildcards = {"type": "nats", "nats": {"allow_wildcards": True}}
    load_data({**limited, **NATS})
    load_data({**limited, "engine": {**wildcards, "type": "memory"}})
    with pytest.raises(ConfigError, match=r"must be off with engine\.nats\.allow_wildcards"):
        load_data({**limited, "engine": wildcards})


def test_the_other_engine_s_keys_have_no_effect(load_data: Load) -> None:
    engine = {"type": "redis", "redis": {"db": 1}, "nats": {"prefix": "p"}}
    _, warnings = load_data({"engine": engine})
    assert warnings == ['engine.nats: has no effect with engine.type "redis"']
    _, warnings = load_data({"engine": {"redis": {"address": "redis://u:s3cret@a"}}})
    assert warnings == ['engine.redis: has no effect with engine.type "memory"']


def test_recovery_without_history_is_worth_a_word(load_data: Load) -> None:
    options = {"allow_recovery": True, "force_positioning": True}
    _, warnings = load_data({"channel": {"without_namespace": options}})
    assert warnings == [
        f"channel.without_namespace.{name}: has no effect without history_size and history_ttl"
        for name in options
    ]


def test_an_option_wins_over_the_engine_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    # By itself this file is refused.
    path.write_text(json.dumps({**NATS, "channel": {"without_namespace": {"presence": True}}}))
    config, warnings = load(path, ["redis://a"])
    assert (config.engine.type, config.engine.redis.address) == ("redis", ("redis://a",))
    assert warnings == []


# Files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.ini", b"", "the file's name must end in .json, .toml, .yaml or .yml"),
        ("c.json", b"{", "is not valid JSON: Expecting property name"),
        ("c.json", b"", "is not valid JSON: Expecting value"),
        ("c.json", b'{"a": NaN}', "is not valid JSON: NaN is no JSON number"),
        ("c.json", b'{"log": {"level": "info", "level": "none"}}', '"level" stands twice'),
        ("c.json", b"[" * 100_000, "is nested too deeply"),
        ("c.json", b"[1" + b"0" * 5000 + b"]", "is not valid JSON: Exceeds the limit"),
        ("c.json", b"[]", "must be a table of keys"),
        ("c.json", b'{"log": "\xff"}', "is not UTF-8: bad byte at 9"),
        ("c.toml", b"log = ", "is not valid TOML: Invalid value"),
        ("c.toml", b"log = 1\nlog = 2", "is not valid TOML: Cannot overwrite a value"),
        ("c.toml", b"[client]\nping_interval = 2001-01-01", "ping_interval = 2001-01-01: must be"),
        ("c.toml", b"[client]\nping_interval = nan", "ping_interval = NaN: must be"),
        ("c.toml", b"[client]\nping_interval = inf", "ping_interval = Infinity: must be"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot be read: No such file or directory$"):
        load(tmp_path / "missing.json")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(ConfigError, match=r"^cannot be read: Is a directory$"):
        load(tmp_path / "folder.toml")


def test_a_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b'\xef\xbb\xbf{"log": {"level": "none"}}')
    assert load(tmp_path / "c.json")[0].log.level == "none"


# The demo


def test_the_demo_opens_its_room_and_nothing_else() -> None:
    config = demo_config()
    check(config)
    assert config.client.allow_anonymous_connect_without_token
    assert not config.client.insecure
    assert config.channel.without_namespace == NamespaceOptions()
    assert config.channel.namespaces == (DEMO_NAMESPACE,)
    off = {
        "allow_publish_for_client",
        "allow_presence_for_client",
        "allow_history_for_client",
        "allow_user_limited_channels",
        "allow_recovery",
        "force_positioning",
        "allow_positioning",
        "auto_cache_recover",
        "delta_publish",
        "allow_tags_filter",
        "subscribe_proxy_enabled",
        "publish_proxy_enabled",
        "sub_refresh_proxy_enabled",
    }
    flags = {e.name for e in fields(NamespaceOptions) if e.type == "bool"}
    assert {name for name in flags if not getattr(DEMO_NAMESPACE, name)} == off
    assert (DEMO_NAMESPACE.history_size, DEMO_NAMESPACE.history_ttl) == (100, 600.0)


def test_the_demo_adds_its_room_to_a_file(load_data: Load) -> None:
    config, _ = load_data({"channel": {"history_meta_ttl": "1m", "namespaces": [{"name": "chat"}]}})
    demo = with_demo(config)
    check(demo)
    assert [namespace.name for namespace in demo.channel.namespaces] == ["chat", "room"]
    assert demo.client == config.client


def test_the_demo_leaves_a_room_that_a_file_has(load_data: Load) -> None:
    config, _ = load_data({"channel": {"namespaces": [{"name": "room", "presence": True}]}})
    assert with_demo(config) == config
