"""Rules between keys: proxies, tokens, codes, endpoints; and advice about them."""

from __future__ import annotations

from typing import Any

import pytest

from fanout.server.config import Config, ConfigError, check, closed, serves_api
from fanout.server.config.advice import advice
from fanout.server.config.reader import read

HISTORY = {"history_size": 1, "history_ttl": "1m"}
ADMIN = {"enabled": True, "password": "p", "secret": "s"}
HTTP = {"endpoint": "http://backend/x"}
CONNECT_TO = "client.connect_code_to_unidirectional_disconnect.transforms[0]"


def refused(data: object) -> str:
    config, warnings = read(data)
    assert warnings == []
    with pytest.raises(ConfigError) as caught:
        check(config)
    return str(caught.value)


def without_namespace(**options: Any) -> dict[str, Any]:
    return {"channel": {"without_namespace": options}}


def status(**transform: Any) -> dict[str, Any]:
    return {"rpc": {"proxy": {"http": {"status_to_code_transforms": [transform]}}}}


def uni(**transform: Any) -> dict[str, Any]:
    return {"client": {"connect_code_to_unidirectional_disconnect": {"transforms": [transform]}}}


def response(**transform: Any) -> dict[str, Any]:
    return {"uni_sse": {"connect_code_to_http_response": {"transforms": [transform]}}}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"client": {"proxy": {"connect": {"enabled": True}}}},
         "client.proxy.connect.endpoint: is needed: the proxy is in use"),
        ({"client": {"proxy": {"refresh": {"enabled": True, "endpoint": "grpc://u:pw@a"}}}},
         "client.proxy.refresh.endpoint: must begin with http:// or https://: gRPC is not"),
        (without_namespace(subscribe_proxy_enabled=True),
         "channel.proxy.subscribe.endpoint: is needed"),
        (without_namespace(publish_proxy_enabled=True),
         "channel.proxy.publish.endpoint: is needed"),
        (without_namespace(sub_refresh_proxy_enabled=True),
         "channel.proxy.sub_refresh.endpoint: is needed"),
        (without_namespace(publish_proxy_enabled=True, publish_proxy_name="other"),
         'channel.without_namespace.publish_proxy_name = "other": must be one of proxies'),
        (without_namespace(publish_proxy_name="other"), "must be one of proxies"),
        (without_namespace(publish_proxy_enabled=True, publish_proxy_name=""),
         'channel.without_namespace.publish_proxy_name = "": must be one of proxies'),
        ({"rpc": {"without_namespace": {"proxy_enabled": True}}}, "rpc.proxy.endpoint: is needed"),
        ({"rpc": {"namespaces": [{"name": "chat", "proxy_name": "x1"}]}},
         'rpc.namespaces[chat].proxy_name = "x1": must be one of proxies'),
        ({"rpc": {"namespaces": [{"name": "chat"}, {"name": "chat"}]}},
         'rpc.namespaces[1].name = "chat": must be unique'),
        ({"rpc": {"namespaces": [{"name": "a b"}]}}, 'rpc.namespaces[0].name = "a b": must match'),
        ({"rpc": {"namespace_boundary": ".", "namespaces": [{"name": "a.b"}]}},
         "must not contain rpc.namespace_boundary (.)"),
        ({"proxies": [{"name": "default", **HTTP}]}, 'name = "default": must be another'),
        ({"proxies": [{"name": "one"}]}, "proxies[one].endpoint: is needed"),
        ({"proxies": [{"name": "one", **HTTP}, {"name": "one", **HTTP}]},
         'proxies[1].name = "one": must be unique'),
        (status(to_error={"code": 404}), "status_to_code_transforms[0].status_code: is needed"),
        (status(status_code=404), "[0]: needs a code in to_error or to_disconnect"),
        (status(status_code=404, to_error={"code": 1}, to_disconnect={"code": 4000}), "in both"),
        (status(status_code=404, to_disconnect={"code": 404}),
         "to_disconnect.code = 404: must be from 3000 to 4999"),
        (uni(to={"code": 4000}), f"{CONNECT_TO}.code: is needed"),
        (uni(code=100, to={"code": 5000}), f"{CONNECT_TO}.to.code = 5000: must be from 3000 to"),
        (response(to={"status_code": 403}), "transforms[0].code: is needed"),
        (response(code=3503, to={"status_code": 200}), "status_code = 200: must be from 400"),
        (without_namespace(auto_cache_recover=True), "auto_cache_recover = true: needs"),
        (without_namespace(auto_cache_recover=True, force_recovery=True, **HISTORY),
         'needs force_recovery, and the force_recovery_mode "cache"'),
        ({"client": {"subscribe_to_user_personal_channel":
                     {"enabled": True, "personal_channel_namespace": "own"}}},
         'personal_channel_namespace = "own": must be one of channel.namespaces'),
        ({"client": {"subscribe_to_user_personal_channel":
                     {"enabled": True, "single_connection": True}}},
         "single_connection = true: needs presence in the namespace"),
        ({"client": {"subscribe_to_user_personal_channel": {"enabled": True}},
          "channel": {"user_boundary": ""}}, "enabled = true: needs channel.user_boundary"),
        ({"client": {"token": {"audience": "a", "audience_regex": "b"}}},
         "client.token.audience_regex: must not stand beside audience"),
        ({"client": {"subscription_token": {"issuer": "a", "issuer_regex": "b"}}},
         "client.subscription_token.issuer_regex: must not stand beside issuer"),
        ({"admin": {"enabled": True, "secret": "s"}}, "admin.password: is needed with"),
        ({"admin": {"enabled": True, "password": "p"}}, "admin.secret: is needed with"),
        ({"sse": {"enabled": True, "handler_prefix": "/connection/websocket/"}},
         'sse.handler_prefix = "/connection/websocket": must not be that of websocket too'),
        ({"health": {"handler_prefix": "/"}}, 'health.handler_prefix = "": must not be ""'),
        ({"http_server": {"tls": {"enabled": True, "cert_pem": "c.pem"}}},
         "http_server.tls.key_pem: is needed with http_server.tls.enabled"),
        ({"http_server": {"internal_tls": {"enabled": True}}},
         "http_server.internal_tls.cert_pem: is needed"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named(data: object, message: str) -> None:
    text = refused(data)
    assert message in text
    assert "pw@" not in text


@pytest.mark.parametrize(
    "data",
    [
        {"client": {"proxy": {"connect": {"enabled": True, **HTTP}}}},
        {"channel": {"proxy": {"subscribe": HTTP},
                     "without_namespace": {"subscribe_proxy_enabled": True}}},
        {"proxies": [{"name": "one", **HTTP}],
         **without_namespace(publish_proxy_enabled=True, publish_proxy_name="one")},
        # Where nothing is asked nothing is needed.
        {"client": {"proxy": {"connect": {"endpoint": "grpc://a"}}}},
        status(status_code=404, to_error={"code": 404, "message": "gone"}),
        status(status_code=404, to_disconnect={"code": 4404, "reason": "gone"}),
        uni(code=109, to={"code": 3500, "reason": "expired"}),
        response(code=3503, to={"status_code": 403, "body": "no"}),
        without_namespace(
            auto_cache_recover=True, force_recovery=True, force_recovery_mode="cache", **HISTORY
        ),
        {"client": {"subscribe_to_user_personal_channel":
                    {"enabled": True, "single_connection": True}},
         **without_namespace(presence=True)},
        {"admin": ADMIN},
        {"admin": {"enabled": True, "insecure": True}},
        {"admin": {**ADMIN, "handler_prefix": "/"}},
        # Not served, so nobody's path is taken.
        {"sse": {"handler_prefix": "/connection/websocket"}},
        {"http_api": {"handler_prefix": "/health"}},
    ],
)  # fmt: skip
def test_a_kept_rule_is_not(data: object) -> None:
    config, warnings = read(data)
    assert warnings == []
    check(config)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("force_recovery_mode", "all", 'must be one of "", "stream", "cache"'),
        ("allowed_delta_types", ["xdelta"], 'item 0 must be one of "fossil"'),
        ("allowed_delta_types", "fossil", "must be a list"),
        ("subscription_type", "maps", 'must be one of "", "stream", "map"'),
    ],
)
def test_a_channel_option_takes_only_what_the_protocol_has(
    path: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        read(without_namespace(**{path: value}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [
        ("http://a", True), ("https://u:p@a:8/b?c=d", True), ("http://[::1]:80/", True),
        ("grpc://a:1", True), ("", True), ("a", False), ("ftp://a", False), ("http://", False),
        ("http://a b", False), ("http://a:port", False), ("http://a\n", False), (5, False),
        ("http://é", False), ("http://[::1", False),
    ],
)  # fmt: skip
def test_an_endpoint_is_a_url_and_never_shown(endpoint: object, good: bool) -> None:
    data = {"rpc": {"proxy": {"endpoint": endpoint}}}
    if good:
        config, _ = read(data)
        assert config.rpc.proxy.endpoint == endpoint
        assert "u:p@" not in repr(config)
    else:
        with pytest.raises(ConfigError, match=r"^rpc\.proxy\.endpoint: must be a URL that begins"):
            read(data)


@pytest.mark.parametrize(
    ("path", "meaning"),
    [
        ("/a/b", "/a/b"), ("/a/", "/a"), ("", ""), ("/", ""), ("/a.b_c-d~1", "/a.b_c-d~1"),
        ("a", None), ("/a//b", None), ("/a b", None), ("/{x}", None), ("/a?b", None),
        ("/../a", None), ("/a#", None), (5, None), ("/%41", None),
    ],
)  # fmt: skip
def test_a_handlers_prefix_is_a_plain_path(path: object, meaning: str | None) -> None:
    data = {"sse": {"handler_prefix": path}}
    if meaning is None:
        with pytest.raises(ConfigError, match=r"^sse\.handler_prefix = .*must be a path such as"):
            read(data)
    else:
        assert read(data)[0].sse.handler_prefix == meaning


@pytest.mark.parametrize(
    ("headers", "meaning"),
    [
        ({"X-A": "b"}, {"X-A": "b"}),
        ([{"key": "X-A", "value": "b"}, {"key": "X-B", "value": ""}], {"X-A": "b", "X-B": ""}),
        ({}, {}),
        ([{"key": "X-A", "value": "b"}, {"key": "X-A", "value": "c"}], None),
        ([{"key": "X-A"}], None), ({"X-A": 5}, None), ({"X A": "b"}, None), ({"": "b"}, None),
        ({"X-A": "b\r\nX-B: c"}, None), ("X-A: b", None),
    ],
)  # fmt: skip
def test_static_headers(headers: object, meaning: object) -> None:
    data = {"rpc": {"proxy": {"http": {"static_headers": headers}}}}
    if meaning is None:
        with pytest.raises(ConfigError, match=r"^rpc\.proxy\.http\.static_headers: must "):
            read(data)
    else:
        assert read(data)[0].rpc.proxy.http.static_headers == meaning


@pytest.mark.parametrize(
    ("data", "warning"),
    [
        ({"client": {"insecure_skip_token_signature_verify": True}},
         "client.insecure_skip_token_signature_verify: anybody may write a token"),
        ({"client": {"subscription_token": {"enabled": True}}},
         "client.subscription_token: has no key, every subscription token is refused"),
        ({"client": {"subscription_token": {"hmac_secret_key": "k"}}},
         "client.subscription_token: has no effect without enabled"),
        ({"client": {"token": {"hmac_previous_secret_key": "k"}}},
         "client.token.hmac_previous_secret_key: has no effect without hmac_secret_key"),
        (without_namespace(subscription_type="map"),
         "channel.without_namespace.subscription_type: not supported, every subscribe"),
        (without_namespace(delta_publish=True),
         "channel.without_namespace.delta_publish: has no effect without allowed_delta_types"),
        ({"http_api": {"insecure": True}}, "http_api.insecure: whoever reaches the server"),
        ({"admin": {"enabled": True, "insecure": True}}, "admin.insecure: the admin page needs no"),
        ({"swagger": {"enabled": True}}, "swagger.enabled: describes a server API that is off"),
        ({"http_server": {"tls_external": True}}, "http_server.tls_external: has no effect"),
        ({"http_server": {"internal_tls": {"enabled": True, "cert_pem": "c", "key_pem": "k"}}},
         "http_server.internal_tls: has no effect without internal_port"),
        ({"websocket": {"disabled": True}}, "websocket.disabled: no client can connect"),
    ],
)  # fmt: skip
def test_advice(data: object, warning: str) -> None:
    config, _ = read(data)
    check(config)
    (line,) = advice(config)
    assert line.startswith(warning)


@pytest.mark.parametrize(
    ("client", "open_"),
    [
        ({}, False),
        ({"insecure": True}, True),
        ({"insecure_skip_token_signature_verify": True}, True),
        ({"allow_anonymous_connect_without_token": True}, True),
        ({"user_id_http_header": "X-User"}, True),
        ({"proxy": {"connect": {"enabled": True, **HTTP}}}, True),
        ({"proxy": {"connect": HTTP}}, False),
        ({"token": {"hmac_secret_key": "k"}}, True),
        ({"token": {"rsa_public_key": "k"}}, True),
        ({"token": {"jwks_public_endpoint": "https://a"}}, True),
        ({"token": {"audience": "k"}}, False),
    ],
)
def test_a_closed_server_is_told(client: object, open_: bool) -> None:
    config, _ = read({"client": client})
    assert (closed(config) == "") == open_


@pytest.mark.parametrize(
    ("api", "served"),
    [({}, False), ({"key": "k"}, True), ({"insecure": True}, True),
     ({"key": "k", "disabled": True}, False)],
)  # fmt: skip
def test_the_server_api_is_off_without_a_key(api: object, served: bool) -> None:
    assert serves_api(read({"http_api": api})[0]) == served


def test_no_repr_shows_a_secret() -> None:
    config, _ = read(
        {
            "client": {
                "token": {"hmac_secret_key": "s3cret", "jwks_public_endpoint": "http://s3cret@a"},
                "subscription_token": {"hmac_previous_secret_key": "s3cret"},
                "proxy": {"connect": {"endpoint": "http://u:s3cret@a"}},
            },
            "proxies": [{"name": "one", "http": {"static_headers": {"X-Key": "s3cret"}}}],
            "http_api": {"key": "s3cret"},
            "admin": {"password": "s3cret", "secret": "s3cret"},
            "http_server": {"tls": {"key_pem": "s3cret"}},
            "engine": {"redis": {"address": "redis://:s3cret@a", "password": "s3cret"}},
        }
    )
    assert config != Config.default()
    assert "s3cret" not in repr(config)
