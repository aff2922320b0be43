"""Keys that are unknown, and keys of Centrifugo without effect here."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.server.config import Config, ConfigError
from fanout.server.config.advice import advice
from fanout.server.config.reader import read
from fanout.server.config.suggest import nearest_key
from fanout.server.config.unsupported import IGNORED, REFUSED

SECRET = "do-not-show-this"


def at(path: str, value: object) -> dict[str, Any]:
    """The file that holds ``value`` at a path, ``channel.*`` being one namespace."""
    if path.startswith("channel.*."):
        inner = at(path.removeprefix("channel.*."), value)
        return {"channel": {"namespaces": [{"name": "chat", **inner}]}}
    if path.startswith("proxy.*."):
        return {"rpc": {"proxy": at(path.removeprefix("proxy.*."), value)}}
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


def shown(path: str) -> str:
    return path.replace("channel.*", "channel.namespaces[chat]").replace("proxy.*", "rpc.proxy")


@pytest.mark.parametrize("path", IGNORED)
def test_a_key_without_effect_is_named_in_a_warning(path: str) -> None:
    config, warnings = read(at(path, SECRET))
    (warning,) = warnings
    assert warning.startswith(f"{shown(path)}: not supported, has no effect")
    assert SECRET not in warning
    assert config == read(at(path, False))[0]


@pytest.mark.parametrize("path", IGNORED)
def test_a_table_without_effect_is_named_once(path: str) -> None:
    _, warnings = read(at(path, {"key": SECRET, "password": SECRET}))
    (warning,) = warnings
    assert warning.startswith(f"{shown(path)}: not supported")
    assert SECRET not in warning


@pytest.mark.parametrize("off", [
    False, 0, "", "0s", [], {}, None, {"enabled": False, "key": SECRET},
    {"key": "", "tls": {"enabled": False, "key": SECRET}, "list": [], "delay": "0s"}])
@pytest.mark.parametrize("path", ["debug", "channel.*.map", "proxy.*.grpc"])
def test_what_is_switched_off_is_not_worth_a_word(path: str, off: object) -> None:
    assert read(at(path, off))[1] == []


@pytest.mark.parametrize("path", REFUSED)
@pytest.mark.parametrize("value", [True, "redis", "map", SECRET, 1])
def test_a_key_that_must_not_be_ignored_is_refused(path: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        read(at(path, value))
    assert caught.value.key == shown(path)
    assert caught.value.rule == REFUSED[path].rule


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path in REFUSED for value in REFUSED[path].harmless]
)
def test_a_key_that_must_not_be_ignored_may_say_what_holds_anyway(path: str, value: object) -> None:
    config, warnings = read(at(path, value))
    assert config == read(at(path, None))[0]
    # broker and presence_manager are tables without effect, whatever they hold.
    assert [w for w in warnings if not w.startswith(("broker:", "presence_manager:"))] == []


def test_a_switched_off_table_is_not_searched_for_what_must_not_be_ignored() -> None:
    off = {"enabled": False, "type": "redis"}
    assert read({"broker": off}) == (Config.default(), [])
    with pytest.raises(ConfigError, match=r"broker\.type"):
        read({"broker": {**off, "enabled": True}})


def test_options_without_a_namespace_follow_the_same_lists() -> None:
    refused = "subscribe_stream_proxy_enabled"
    with pytest.raises(ConfigError, match=rf"^channel\.without_namespace\.{refused} = "):
        read({"channel": {"without_namespace": {refused: True}}})
    _, warnings = read({"channel": {"without_namespace": {"map": {"mode": "ephemeral"}}}})
    assert warnings == [
        "channel.without_namespace.map: not supported, has no effect "
        "(there are no map subscriptions)"
    ]


def test_a_proxy_that_would_be_missing_beside_open_flags_does_not_start() -> None:
    options = {"allow_subscribe_for_client": True, "subscribe_stream_proxy_enabled": True}
    with pytest.raises(ConfigError, match="subscribe-stream proxies are not supported"):
        read({"channel": {"without_namespace": options}})


@pytest.mark.parametrize("path", ["client.proxy", "engine"])
def test_a_table_that_is_no_table(path: str) -> None:
    with pytest.raises(ConfigError, match="must be a table of keys"):
        read(at(path, 5))


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        ({"clinet": {}}, "clinet: unknown key, ignored; did you mean client?"),
        (
            {"client": {"ping_intervall": "10s"}},
            "client.ping_intervall: unknown key, ignored; did you mean client.ping_interval?",
        ),
        (
            {"channel": {"namespaces": [{"name": "chat", "history_tll": "10s"}]}},
            "channel.namespaces[chat].history_tll: unknown key, ignored; "
            "did you mean channel.namespaces[chat].history_ttl?",
        ),
        (
            {"channel": {"without_namespace": {"name": "chat"}}},
            "channel.without_namespace.name: unknown key, ignored",
        ),
        (
            {"client": {"proxy": {"conect": {"endpoint": SECRET}}}},
            "client.proxy.conect: unknown key, ignored; did you mean client.proxy.connect?",
        ),
        ({"zzz": {"secret": SECRET}}, "zzz: unknown key, ignored"),
        # Where the keys of older versions went.
        ({"presence": True}, "presence: unknown key, ignored; "
         "did you mean channel.without_namespace.presence?"),
        ({"namespaces": []}, "namespaces: unknown key, ignored; did you mean channel.namespaces?"),
        ({"client_channel_limit": 1}, "client_channel_limit: unknown key, ignored; "
         "did you mean client.channel_limit?"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_named_with_its_nearest(data: object, warning: str) -> None:
    config, warnings = read(data)
    assert warnings == [warning]
    assert config.client == Config.default().client
    assert config.channel.without_namespace == Config.default().channel.without_namespace


def test_each_unknown_key_has_its_warning() -> None:
    _, warnings = read({"aa": 1, "client": {"bb": 1}, "channel": {"namespaces": [{"cc": 1}]}})
    assert [warning.split(":")[0] for warning in warnings] == [
        "aa",
        "client.bb",
        "channel.namespaces[0].cc",
    ]


def test_a_warning_is_one_line_whatever_the_key_is() -> None:
    _, warnings = read({"client": {"insec\nure": True}, "\x1b[2Ja": 1})
    assert [warning.partition(":")[0] for warning in warnings] == [
        '"client.insec\\nure"', '"\\u001b[2Ja"']
    assert all(warning.isprintable() for warning in warnings)


@pytest.mark.parametrize("path", ["client.insecure", "channel.*.presence", "log.level", *IGNORED])
def test_a_key_with_a_letter_too_many_is_known_again(path: str) -> None:
    key = path.rpartition(".")[2] + "x"
    nearest = nearest_key(key, shown(path) + "x", path + "x")
    # "ssex" may as well have been another short one.
    assert nearest == shown(path) or len(key) < 6


@pytest.mark.parametrize(
    ("data", "start"),
    [
        ({"client": {"insecure": True}}, "client.insecure: anybody may connect"),
        ({"client": {"allowed_origins": ["*"]}}, 'client.allowed_origins: "*" lets'),
        (
            {"channel": {"namespaces": [{"name": "chat", "force_push_join_leave": True}]}},
            "channel.namespaces[chat].force_push_join_leave: has no effect without join_leave",
        ),
    ],
)
def test_advice(data: object, start: str) -> None:
    config, warnings = read(data)
    assert warnings == []
    (warning,) = advice(config)
    assert warning.startswith(start)
    assert advice(Config.default()) == []
