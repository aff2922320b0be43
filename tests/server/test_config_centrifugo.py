"""Whole configurations as deployments of Centrifugo v6 have them: each must load."""

from __future__ import annotations

import json
from pathlib import Path

from fanout.server.config import Config, load

FULL = """
http_server:
  address: 0.0.0.0
  port: "8000"
  internal_port: "9000"
log:
  level: info
engine:
  type: redis
  redis:
    address: redis://redis:6379/2
    prefix: app
    presence_ttl: 60s
client:
  proxy:
    connect:
      enabled: true
      endpoint: http://backend:3000/centrifugo/connect
      timeout: 3s
      http_headers: [Cookie, Authorization]
    refresh:
      enabled: true
      endpoint: http://backend:3000/centrifugo/refresh
  token:
    hmac_secret_key: ${SECRET}
    jwks_public_endpoint: https://sso.example.com/realms/app/protocol/openid-connect/certs
    audience: app
    issuer_regex: ^https://sso\\.example\\.com/realms/[a-z]+$
  subscription_token:
    enabled: true
    rsa_public_key: |
      -----BEGIN PUBLIC KEY-----
      AAAA
      -----END PUBLIC KEY-----
  allowed_origins:
    - https://app.example.com
    - https://*.example.com
  subscribe_to_user_personal_channel:
    enabled: true
    personal_channel_namespace: personal
  connect_code_to_unidirectional_disconnect:
    enabled: true
    transforms:
      - code: 109
        to: {code: 4001, reason: token expired}
  concurrency: 8
channel:
  proxy:
    subscribe:
      endpoint: http://backend:3000/centrifugo/subscribe
      include_connection_meta: true
      http:
        static_headers:
          - {key: X-Env, value: production}
        status_to_code_transforms:
          - {status_code: 404, to_error: {code: 404, message: not found, temporary: false}}
  without_namespace:
    allow_user_limited_channels: true
  namespaces:
    - name: personal
      presence: true
      allow_user_limited_channels: true
    - name: chat
      presence: true
      join_leave: true
      force_push_join_leave: true
      history_size: 100
      history_ttl: 300s
      force_recovery: true
      allow_publish_for_subscriber: true
      allow_presence_for_subscriber: true
      allow_history_for_subscriber: true
      subscribe_proxy_enabled: true
      publish_proxy_enabled: true
      publish_proxy_name: moderation
    - name: ticker
      history_size: 1
      history_ttl: 24h
      force_recovery: true
      force_recovery_mode: cache
      auto_cache_recover: true
      allowed_delta_types: [fossil]
      delta_publish: true
      allow_tags_filter: true
      allow_subscribe_for_client: true
      allow_subscribe_for_anonymous: true
      channel_regex: ^[A-Z]{3,6}$
      publication_data_format: json_object
proxies:
  - name: moderation
    endpoint: https://moderation.example.com/publish
    http:
      tls: {enabled: true, server_name: moderation.example.com}
rpc:
  without_namespace: {proxy_enabled: true}
  proxy: {endpoint: "http://backend:3000/centrifugo/rpc"}
  namespaces:
    - {name: chat, proxy_enabled: true, proxy_name: moderation}
  ping: {enabled: true}
websocket: {compression: true, message_size_limit: 131072, write_buffer_size: 512}
sse: {enabled: true}
http_stream: {enabled: true, max_request_body_size: 131072}
uni_sse:
  enabled: true
  connect_code_to_http_response:
    enabled: true
    transforms:
      - {code: 3500, to: {status_code: 401, body: "{}"}}
uni_websocket: {enabled: true}
http_api: {key: ${SECRET}, external: true, error_mode: transport}
grpc_api: {enabled: true, port: 10000}
admin: {enabled: true, password: ${SECRET}, secret: ${SECRET}, handler_prefix: /admin}
prometheus: {enabled: true}
health: {enabled: true}
swagger: {enabled: true}
usage_stats: {disabled: true}
node: {name: node-1}
shutdown: {timeout: 10s}
"""


def test_a_full_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FULL.replace("${SECRET}", "a-secret"))
    config, warnings = load(path, strict=True)
    assert warnings == [
        "websocket.write_buffer_size: not supported, has no effect",
        "grpc_api: not supported, has no effect (gRPC is not supported)",
        "usage_stats: not supported, has no effect (nothing is reported anywhere)",
    ]
    assert (config.http_server.port, config.http_server.internal_port) == (8000, 9000)
    assert config.client.token.issuer_regex == r"^https://sso\.example\.com/realms/[a-z]+$"
    assert config.client.subscription_token.rsa_public_key.count("\n") == 3
    (transform,) = config.client.connect_code_to_unidirectional_disconnect.transforms
    assert (transform.code, transform.to.code, transform.to.reason) == (109, 4001, "token expired")
    (status,) = config.channel.proxy.subscribe.http.status_to_code_transforms
    assert (status.status_code, status.to_error.code, status.to_disconnect.code) == (404, 404, 0)
    assert config.channel.proxy.subscribe.http.static_headers == {"X-Env": "production"}
    chat = config.channel.namespaces[1]
    assert (chat.subscribe_proxy_name, chat.publish_proxy_name) == ("default", "moderation")
    assert config.channel.namespaces[2].force_recovery_mode == "cache"
    assert config.proxies[0].http.tls.server_name == "moderation.example.com"
    assert config.rpc.namespaces[0].proxy_name == "moderation"
    assert "a-secret" not in repr(config)


def test_a_small_file(tmp_path: Path) -> None:
    data = {
        "client": {
            "token": {"hmac_secret_key": "a"},
            "allowed_origins": ["http://localhost:3000"],
        },
        "admin": {"enabled": False, "password": "b", "secret": "c"},
        "http_api": {"key": "d"},
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(data))
    config, warnings = load(path, strict=True)
    assert warnings == []
    assert config.http_api.key == "d"
    assert config.channel == Config.default().channel


def test_the_environment_of_a_container() -> None:
    environ = {
        "CENTRIFUGO_HTTP_SERVER_ADDRESS": "0.0.0.0",
        "CENTRIFUGO_LOG_LEVEL": "debug",
        "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY": "a",
        "CENTRIFUGO_CLIENT_ALLOWED_ORIGINS": "http://localhost:3000 http://localhost:8080",
        "CENTRIFUGO_CLIENT_PROXY_CONNECT_ENABLED": "true",
        "CENTRIFUGO_CLIENT_PROXY_CONNECT_ENDPOINT": "http://host.docker.internal:3000/connect",
        "CENTRIFUGO_CLIENT_PROXY_CONNECT_HTTP_HEADERS": "Cookie Origin User-Agent",
        "CENTRIFUGO_CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS": '{"X-Env": "dev"}',
        "CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_ALLOW_SUBSCRIBE_FOR_CLIENT": "true",
        "CENTRIFUGO_CHANNEL_NAMESPACES": '[{"name": "chat", "presence": true, '
        '"history_size": 50, "history_ttl": "300s", "force_recovery": true}]',
        "CENTRIFUGO_HTTP_API_KEY": "b",
        "CENTRIFUGO_ADMIN_ENABLED": "true",
        "CENTRIFUGO_ADMIN_PASSWORD": "c",
        "CENTRIFUGO_ADMIN_SECRET": "d",
        "CENTRIFUGO_PROMETHEUS_ENABLED": "1",
        "CENTRIFUGO_UNI_SSE_ENABLED": "true",
        "CENTRIFUGO_ENGINE_TYPE": "redis",
        "CENTRIFUGO_ENGINE_REDIS_ADDRESS": "redis://redis:6379",
        "CENTRIFUGO_GRPC_API_ENABLED": "true",
        "CENTRIFUGO_PORT": "tcp://10.96.0.12:8000",
        "PATH": "/bin",
    }
    config, warnings = load(None, environ=environ, strict=True)
    assert warnings == [
        "CENTRIFUGO_GRPC_API_ENABLED: not supported, has no effect (gRPC is not supported)"
    ]
    assert config.http_server.address == "0.0.0.0"
    assert config.client.allowed_origins == ("http://localhost:3000", "http://localhost:8080")
    assert config.client.proxy.connect.http_headers == ("Cookie", "Origin", "User-Agent")
    assert config.client.proxy.connect.http.static_headers == {"X-Env": "dev"}
    assert config.channel.namespaces[0].history_ttl == 300.0
    assert config.admin.enabled and config.prometheus.enabled and config.uni_sse.enabled
    assert config.engine.redis.address == ("redis://redis:6379",)
