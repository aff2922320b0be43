"""Configuration from the environment: names, values, precedence, and what is nobody's."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.server.config import Config, ConfigError, UnknownKey, load
from fanout.server.config.environment import variables
from fanout.server.config.unsupported import IGNORED
from tests.server.test_config import value_at

SECRET = "do-not-show-this"


def from_environment(data: object = None, /, **environ: str) -> tuple[Config, list[str]]:
    """What the variables say, beside a file with ``data`` if there is any."""
    if data is None:
        return load(None, environ=environ)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "c.json"
        path.write_text(json.dumps(data))
        return load(path, environ=environ)


@pytest.mark.parametrize(
    ("name", "text", "path", "meaning"),
    [
        ("CLIENT_INSECURE", "true", "client.insecure", True),
        ("CLIENT_INSECURE", "1", "client.insecure", True),
        ("HEALTH_ENABLED", "F", "health.enabled", False),
        ("CLIENT_CHANNEL_LIMIT", "7", "client.channel_limit", 7),
        ("CLIENT_PING_INTERVAL", "30s", "client.ping_interval", 30.0),
        ("CLIENT_PING_INTERVAL", "30", "client.ping_interval", 30.0),
        ("CLIENT_PONG_TIMEOUT", "-1", "client.pong_timeout", 0.0),
        ("CLIENT_ALLOWED_ORIGINS", "http://a http://b", "client.allowed_origins",
         ("http://a", "http://b")),
        ("CLIENT_ALLOWED_ORIGINS", "http://a, http://b", "client.allowed_origins",
         ("http://a", "http://b")),
        ("CLIENT_ALLOWED_ORIGINS", '["http://a"]', "client.allowed_origins", ("http://a",)),
        ("CLIENT_TOKEN_HMAC_SECRET_KEY", " a b,c ", "client.token.hmac_secret_key", " a b,c "),
        ("CLIENT_TOKEN_HMAC_SECRET_KEY", "[1]", "client.token.hmac_secret_key", "[1]"),
        ("CLIENT_PROXY_CONNECT_HTTP_HEADERS", "Cookie Origin", "client.proxy.connect.http_headers",
         ("Cookie", "Origin")),
        ("CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS", '{"X-A": "b: c"}',
         "client.proxy.connect.http.static_headers", {"X-A": "b: c"}),
        ("CHANNEL_WITHOUT_NAMESPACE_PRESENCE", "true", "channel.without_namespace.presence", True),
        ("CHANNEL_WITHOUT_NAMESPACE_ALLOWED_DELTA_TYPES", "fossil",
         "channel.without_namespace.allowed_delta_types", ("fossil",)),
        ("CHANNEL_PROXY_SUBSCRIBE_ENDPOINT", "http://a/b", "channel.proxy.subscribe.endpoint",
         "http://a/b"),
        ("ENGINE_REDIS_ADDRESS", "redis://a:1 redis://b:2", "engine.redis.address",
         ("redis://a:1", "redis://b:2")),
        ("ENGINE_REDIS_CLUSTER_ADDRESS", "a:1,b:2 c:3", "engine.redis.cluster_address",
         ("a:1,b:2", "c:3")),
        ("HTTP_SERVER_PORT", "9000", "http_server.port", 9000),
        ("HTTP_SERVER_INTERNAL_PORT", "9001", "http_server.internal_port", 9001),
        ("HTTP_API_KEY", "5", "http_api.key", "5"),
        ("UNI_SSE_CONNECT_CODE_TO_HTTP_RESPONSE_TRANSFORMS",
         '[{"code": 3503, "to": {"status_code": 403}}]',
         "uni_sse.connect_code_to_http_response.transforms.0.to.status_code", 403),
    ],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["CENTRIFUGO_", "FANOUT_"])
def test_a_variable_is_a_key(
    prefix: str, name: str, text: str, path: str, meaning: object
) -> None:
    config: Any
    config, warnings = from_environment(**{prefix + name: text})
    for part in path.split("."):
        config = config[int(part)] if part.isdigit() else getattr(config, part)
    assert config == meaning
    assert [w for w in warnings if isinstance(w, UnknownKey)] == []


def test_every_key_has_one_variable_and_no_two_share_one() -> None:
    names = list(variables())
    assert len(set(names)) == len(names)
    assert {"CLIENT_TOKEN_AUDIENCE", "SSE_ENABLED", "HTTP_API_KEY_FILE"} <= set(names)


def test_a_file_wins_over_defaults_and_a_variable_over_the_file() -> None:
    file = {"client": {"channel_limit": 5, "connection_limit": 6}}
    config, _ = from_environment(file, CENTRIFUGO_CLIENT_CHANNEL_LIMIT="7")
    assert (config.client.channel_limit, config.client.connection_limit) == (7, 6)
    assert config.client.history_max_publication_limit == 300


def test_our_own_prefix_wins() -> None:
    config, warnings = from_environment(
        FANOUT_CLIENT_CHANNEL_LIMIT="8", CENTRIFUGO_CLIENT_CHANNEL_LIMIT="7"
    )
    assert config.client.channel_limit == 8
    assert warnings == []


def test_an_empty_variable_counts_as_none() -> None:
    config, warnings = from_environment(
        {"http_server": {"address": "192.0.2.1"}}, CENTRIFUGO_HTTP_SERVER_ADDRESS=""
    )
    assert config.http_server.address == "192.0.2.1"
    assert warnings == []


def test_a_variable_wins_over_a_null_and_over_no_table() -> None:
    config, _ = from_environment({"log": None}, CENTRIFUGO_LOG_LEVEL="warn")
    assert config.log.level == "warn"
    with pytest.raises(ConfigError, match=r"^log = 5: must be a table"):
        from_environment({"log": 5}, CENTRIFUGO_LOG_LEVEL="warn")


# Lists of tables


def test_namespaces_as_json_take_the_place_of_the_files() -> None:
    config, warnings = from_environment(
        {"channel": {"namespaces": [{"name": "old"}]}},
        CENTRIFUGO_CHANNEL_NAMESPACES='[{"name": "chat", "presence": true}, {"name": "news"}]',
        CENTRIFUGO_CHANNEL_NAMESPACES_NEWS_HISTORY_SIZE="10",
        CENTRIFUGO_CHANNEL_NAMESPACES_NEWS_HISTORY_TTL="60s",
    )
    chat, news = config.channel.namespaces
    assert (chat.name, chat.presence, news.name) == ("chat", True, "news")
    assert (news.history_size, news.history_ttl, news.presence) == (10, 60.0, False)
    assert warnings == []


def test_namespaces_as_names_are_added_to_the_files() -> None:
    config, warnings = from_environment(
        {"channel": {"namespaces": [{"name": "eu.news", "presence": True}]}},
        CENTRIFUGO_CHANNEL_NAMESPACES="chat eu.news  with-dash",
        CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_JOIN_LEAVE="true",
        CENTRIFUGO_CHANNEL_NAMESPACES_WITH_DASH_PRESENCE="true",
        FANOUT_CHANNEL_NAMESPACES_EU_NEWS_ALLOW_SUBSCRIBE_FOR_CLIENT="true",
    )
    news, chat, dash = config.channel.namespaces
    assert [n.name for n in (news, chat, dash)] == ["eu.news", "chat", "with-dash"]
    assert news.presence and news.allow_subscribe_for_client
    assert chat.join_leave and dash.presence
    assert warnings == []


def test_proxies_and_rpc_namespaces_have_variables_too() -> None:
    config, warnings = from_environment(
        CENTRIFUGO_PROXIES="backend",
        CENTRIFUGO_PROXIES_BACKEND_ENDPOINT="http://a/rpc",
        CENTRIFUGO_PROXIES_BACKEND_TIMEOUT="3s",
        CENTRIFUGO_RPC_NAMESPACES="chat",
        CENTRIFUGO_RPC_NAMESPACES_CHAT_PROXY_ENABLED="true",
        CENTRIFUGO_RPC_NAMESPACES_CHAT_PROXY_NAME="backend",
    )
    (proxy,) = config.proxies
    assert (proxy.name, proxy.endpoint, proxy.timeout) == ("backend", "http://a/rpc", 3.0)
    assert config.rpc.namespaces[0].proxy_name == "backend"
    assert warnings == []


# What is wrong


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"FANOUT_CLIENT_CHANNEL_LIMIT": "many"},
         'FANOUT_CLIENT_CHANNEL_LIMIT = "many": must be a whole number from 0 to'),
        ({"CENTRIFUGO_CLIENT_INSECURE": "yes"},
         'CENTRIFUGO_CLIENT_INSECURE = "yes": must be true or false'),
        ({"CENTRIFUGO_CLIENT_PING_INTERVAL": "soon"},
         'CENTRIFUGO_CLIENT_PING_INTERVAL = "soon": must be a duration'),
        ({"CENTRIFUGO_ENGINE_REDIS_ADDRESS": "x://u:" + SECRET + "@a"},
         "CENTRIFUGO_ENGINE_REDIS_ADDRESS: must begin with one of redis://"),
        ({"CENTRIFUGO_CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS": '{"a": ' + SECRET},
         "CENTRIFUGO_CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS: is not valid JSON"),
        ({"CENTRIFUGO_CHANNEL_NAMESPACES": "[{]" + SECRET + "]"},
         "CENTRIFUGO_CHANNEL_NAMESPACES: is not valid JSON"),
        ({"CENTRIFUGO_CHANNEL_NAMESPACES": '{"name": "a"}'},
         "CENTRIFUGO_CHANNEL_NAMESPACES: must be a JSON array, or names"),
        ({"CENTRIFUGO_CHANNEL_NAMESPACES": '[{"name": "chat", "presence": "on"}]'},
         'CENTRIFUGO_CHANNEL_NAMESPACES[chat].presence = "on": must be true or false'),
        ({"CENTRIFUGO_CHANNEL_NAMESPACES": "chat",
          "CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE": "-1"},
         'CENTRIFUGO_CHANNEL_NAMESPACES_CHAT_HISTORY_SIZE = "-1": must be a whole number'),
        ({"CENTRIFUGO_BROKER_TYPE": "nats"}, 'CENTRIFUGO_BROKER_TYPE = "nats": must be "memory"'),
        ({"CENTRIFUGO_HTTP_SERVER_TLS_AUTOCERT_ENABLED": "true"},
         'CENTRIFUGO_HTTP_SERVER_TLS_AUTOCERT_ENABLED = "true": certificates are not fetched'),
        ({"CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_SUBSCRIBE_STREAM_PROXY_ENABLED": "true"},
         "subscribe-stream proxies are not supported"),
    ],
)  # fmt: skip
def test_an_error_names_the_variable_and_no_secret(environ: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_environment(**environ)
    assert message in str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("CENTRIFUGO_CLIENT_INSECUR", "unknown variable, ignored; "
         "did you mean CENTRIFUGO_CLIENT_INSECURE?"),
        ("FANOUT_TOKEN_HMAC_SECRET_KEY", "unknown variable, ignored; "
         "did you mean FANOUT_CLIENT_TOKEN_HMAC_SECRET_KEY?"),
        ("FANOUT_HTTP_SERVER_PRT", "unknown variable, ignored; "
         "did you mean FANOUT_HTTP_SERVER_PORT?"),
        ("FANOUT_ZZ", "unknown variable, ignored"),
        ("CENTRIFUGO_CHANNEL_NAMESPACES_NONE_PRESENCE", "unknown variable, ignored; "
         "did you mean CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_PRESENCE?"),
    ],
)  # fmt: skip
def test_an_unknown_variable_is_named_with_its_nearest(name: str, warning: str) -> None:
    config, warnings = from_environment(**{name: SECRET})
    assert warnings == [f"{name}: {warning}"]
    assert config == Config.default()
    with pytest.raises(ConfigError, match=name) as caught:
        load(None, environ={name: SECRET}, strict=True)
    assert "ignored" not in str(caught.value)


@pytest.mark.parametrize("path", [path for path in IGNORED if "*" not in path])
def test_a_variable_of_a_key_without_effect_is_named(path: str) -> None:
    name = "CENTRIFUGO_" + path.upper().replace(".", "_")
    for variable in (name, f"{name}_SOMETHING"):
        _, (warning,) = from_environment(**{variable: SECRET})
        assert warning.startswith(f"{variable}: not supported, has no effect")
        assert not isinstance(warning, UnknownKey)
    assert from_environment(**{name: "false"})[1] == []


@pytest.mark.parametrize("table", ["broker", "grpc_api", "engine.redis.tls", "uni_grpc"])
def test_variables_of_what_is_switched_off_are_not_worth_a_word(table: str) -> None:
    name = "CENTRIFUGO_" + table.upper().replace(".", "_")
    given = {f"{name}_TYPE": "nats", f"{name}_KEY": SECRET}
    assert from_environment(**given, **{f"{name}_ENABLED": "false"})[1] == []
    # What is above, or beside, switches nothing off.
    for other in (f"{name}_OTHER_ENABLED", "CENTRIFUGO_ENGINE_ENABLED"):
        if table == "broker":
            with pytest.raises(ConfigError, match="BROKER_TYPE"):
                from_environment(**given, **{other: "false"})
        else:
            assert len(from_environment(**given, **{other: "false"})[1]) >= 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("FANOUT_PORT", "tcp://10.0.0.1:8000"),
        ("FANOUT_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("FANOUT_SERVICE_HOST", "10.0.0.1"),
        ("CENTRIFUGO_MAIN_SERVICE_PORT_HTTP", "8000"),
        ("CENTRIFUGO_VAR_TOKEN", SECRET),
        ("FANOUT_DEBUG", "1"),
        ("CENTRIFUGOX", "1"),
        ("HOME", "/"),
    ],
)
def test_what_is_nobodys_is_not_worth_a_word(name: str, text: str) -> None:
    assert from_environment(**{name: text}) == (Config.default(), [])


def test_without_a_file_and_environment_the_defaults_hold() -> None:
    assert load(None) == (Config.default(), [])
    assert value_at(load(None, demo=True)[0], "client.allow_anonymous_connect_without_token")


# Secrets in files


@pytest.mark.parametrize("how", ["key", "CENTRIFUGO_", "FANOUT_"])
def test_a_secret_comes_from_a_file(how: str, tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text(f" {SECRET} \n")
    if how == "key":
        config, _ = from_environment({"http_api": {"key_file": str(secret)}})
    else:
        config, _ = from_environment(
            {"http_api": {"key": "other"}}, **{f"{how}HTTP_API_KEY_FILE": str(secret)}
        )
    # One line end is the editor's, all else the secret's.
    assert config.http_api.key == f" {SECRET} "
    assert SECRET not in repr(config)


def test_a_direct_variable_wins_over_the_files_secret_file() -> None:
    config, _ = from_environment(
        {"admin": {"password_file": "/nowhere"}}, CENTRIFUGO_ADMIN_PASSWORD="direct"
    )
    assert config.admin.password == "direct"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"\xff", "the file cannot be read: it is not UTF-8"),
        (b"x" * 65537, "the file is larger than 65536 bytes"),
    ],
)
def test_a_secret_file_that_cannot_be_used(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        from_environment({"client": {"token": {"hmac_secret_key_file": str(path)}}})
    assert str(caught.value).startswith("client.token.hmac_secret_key_file = ")
    assert str(caught.value).endswith(message)
    with pytest.raises(ConfigError, match=r"^FANOUT_ADMIN_PASSWORD_FILE = "):
        from_environment(FANOUT_ADMIN_PASSWORD_FILE=str(path))


def test_a_secret_stands_in_one_place() -> None:
    both = {"key": SECRET, "key_file": "/nowhere"}
    with pytest.raises(ConfigError, match=r"^http_api\.key_file: must not stand beside key$"):
        from_environment({"http_api": both})
    with pytest.raises(ConfigError, match=r"HTTP_API_KEY_FILE: must not stand beside key$"):
        from_environment(FANOUT_HTTP_API_KEY="a", FANOUT_HTTP_API_KEY_FILE="b")


def test_only_secrets_and_keys_come_from_files() -> None:
    _, warnings = from_environment({"client": {"channel_limit_file": "/nowhere"}})
    assert warnings[0].startswith("client.channel_limit_file: unknown key")


def test_a_header_may_hold_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = {"http": {"static_headers": {"Authorization": "Bearer ${CENTRIFUGO_VAR_TOKEN}!"}}}
    with pytest.raises(ConfigError, match="needs the environment variable CENTRIFUGO_VAR_TOKEN"):
        from_environment({"rpc": {"proxy": proxy}})
    monkeypatch.setenv("CENTRIFUGO_VAR_TOKEN", SECRET)
    config, _ = from_environment({"rpc": {"proxy": proxy}})
    assert config.rpc.proxy.http.static_headers == {"Authorization": f"Bearer {SECRET}!"}
    assert SECRET not in repr(config)


TEXTS = st.one_of(
    st.text(),
    st.text(st.sampled_from('[]{}":, 0123456789truefalsenmh-')),
    st.sampled_from(["[" * 10_000, "9" * 5000, "[null]", "[[]]", "{}", '{"a": null}', "\ud800"]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("name"), inner),
    ).map(json.dumps),
)


@given(st.dictionaries(st.sampled_from(sorted(variables())), TEXTS, max_size=4))
def test_any_text_is_taken_or_refused(environ: dict[str, str]) -> None:
    try:
        load(None, environ={f"FANOUT_{name}": text for name, text in environ.items()})
    except ConfigError as error:
        assert "\n" not in str(error)
