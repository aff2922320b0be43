"""Centrifugo's keys that this server does not act on yet.

Two lists, divided by one question: *what does it mean to leave the key out of
account?* Where that only takes something away (a feature, a way in), the
server starts and a warning says that the key has no effect. Where it would let
somebody do or see what the file forbids, or split one system into two that do
not hear each other, the server refuses to start.

By that rule token keys are ignored: without them a client that shows a token
is turned away. A subscribe proxy is refused: with it Centrifugo asks the
proxy *instead of* the ``allow_`` flags, so without it the flags would decide.

Paths are dotted; ``channel.*`` stands for ``channel.without_namespace`` and
for each of ``channel.namespaces``. A path covers everything below it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANY_NAMESPACE", "IGNORED", "REFUSED", "Refused"]

ANY_NAMESPACE = "channel.*"


@dataclass(frozen=True, slots=True)
class Refused:
    """A key that only ``harmless`` values may have, and why."""

    harmless: tuple[object, ...]
    rule: str


_PROXY = "{} proxies are not supported yet, and without one the other settings would decide"
_ENGINE = 'must be "memory": here engine.type ("redis" or "nats") is for messages and presence both'
_ENGINE_TLS = "TLS is a matter of the address here: {}"
_TLS = "TLS is not supported yet, and the server would send in clear: end TLS in front of it"

REFUSED = {
    "client.proxy.connect.enabled": Refused((False,), _PROXY.format("connect")),
    "channel.*.subscribe_proxy_enabled": Refused((False,), _PROXY.format("subscribe")),
    "channel.*.publish_proxy_enabled": Refused((False,), _PROXY.format("publish")),
    "channel.*.subscribe_stream_proxy_enabled": Refused(
        (False,), _PROXY.format("subscribe stream")
    ),
    # A map channel takes no plain subscriptions and publications; here it would.
    "channel.*.subscription_type": Refused(
        ("", "stream"), 'must be "stream": other subscription types are not supported yet'
    ),
    "http_server.tls.enabled": Refused((False,), _TLS),
    "http_server.tls_autocert.enabled": Refused((False,), _TLS),
    "websocket.disabled": Refused((False,), "must be false: WebSocket is the only transport yet"),
    "engine.redis.tls.enabled": Refused((False,), _ENGINE_TLS.format("rediss://")),
    "engine.redis.sentinel_tls.enabled": Refused((False,), "TLS to sentinels is not supported"),
    "engine.nats.tls.enabled": Refused((False,), _ENGINE_TLS.format("tls://")),
    "engine.nats.raw_mode.enabled": Refused(
        (False,), "raw mode is not supported, and what is on its subjects would not be heard"
    ),
    "broker.type": Refused(("memory",), _ENGINE),
    "presence_manager.type": Refused(("memory",), _ENGINE),
}
"""Path -> the values that may stand there."""

_TOKENS = "a client that sends a token is refused"
_NO_EXPIRY = "nothing expires without tokens"

IGNORED = {
    "client.token": _TOKENS,
    "client.subscription_token": _TOKENS,
    "client.insecure_skip_token_signature_verify": _TOKENS,
    "client.disallow_anonymous_connection_tokens": _TOKENS,
    "client.proxy.connect": "",
    # A refresh proxy is asked when a connection expires; none does.
    "client.proxy.refresh": _NO_EXPIRY,
    "client.expired_close_delay": _NO_EXPIRY,
    "client.expired_sub_close_delay": _NO_EXPIRY,
    "client.concurrency": "commands of one connection are handled one at a time",
    "client.channel_position_max_time_lag": "",
    "client.connection_rate_limit": "new connections are not limited in rate",
    "client.subscribe_to_user_personal_channel": "",
    "client.connect_code_to_unidirectional_disconnect": "",
    "channel.proxy": "",
    "channel.*.force_recovery_mode": "what was missed is recovered whole",
    "channel.*.auto_cache_recover": "",
    "channel.*.allowed_delta_types": "",
    "channel.*.delta_publish": "",
    "channel.*.allow_tags_filter": "",
    "channel.*.subscribe_proxy_name": "",
    "channel.*.publish_proxy_name": "",
    "channel.*.sub_refresh_proxy_enabled": _NO_EXPIRY,
    "channel.*.sub_refresh_proxy_name": _NO_EXPIRY,
    "channel.*.subscribe_stream_proxy_name": "",
    "channel.*.subscribe_stream_proxy_bidirectional": "",
    "channel.*.map": "",
    "channel.*.map_clients_presence_channel_prefix": "",
    "channel.*.map_users_presence_channel_prefix": "",
    "channel.*.shared_poll": "",
    "websocket.handler_prefix": "the path is /connection/websocket",
    "websocket.compression": "",
    "websocket.compression_min_size": "",
    "websocket.compression_level": "",
    "websocket.decompressed_message_size_limit": "messages are not compressed",
    "websocket.read_buffer_size": "",
    "websocket.write_buffer_size": "",
    "websocket.use_write_buffer_pool": "",
    "websocket.write_timeout": "",
    "http_server.internal_address": "there are no internal endpoints",
    "http_server.internal_port": "there are no internal endpoints",
    "http_server.internal_tls": "there are no internal endpoints",
    "http_server.tls": "",
    "http_server.tls_autocert": "",
    "http_server.tls_external": "",
    "http_server.http3": "",
    "http_server.h2c_external": "",
    "log.file": "the log goes to standard error",
    "engine.redis.connect_timeout": "io_timeout is for connecting too",
    "engine.redis.force_resp2": "RESP2 is what is spoken",
    "engine.redis.tls": "",
    "engine.redis.sentinel_client_name": "",
    "engine.redis.sentinel_tls": "",
    "engine.redis.replica_client": "",
    "engine.redis.presence_hash_field_ttl": "each entry expires by itself in any case",
    "engine.redis.presence_user_mapping": "users are counted in any case",
    "engine.nats.dial_timeout": "io_timeout is for connecting too",
    "engine.nats.write_timeout": "io_timeout is for writing too",
    "engine.nats.tls": "",
    "engine.nats.raw_mode": "",
    "broker": "",
    "presence_manager": "",
    "map_broker": "",
    "controller": "",
    "shared_poll": "",
    "rpc": "",
    "proxies": "",
    "http_api": "",
    "grpc_api": "",
    "consumers": "",
    "sse": "",
    "http_stream": "",
    "webtransport": "",
    "uni_sse": "",
    "uni_http_stream": "",
    "uni_websocket": "",
    "uni_grpc": "",
    "emulation": "",
    "init": "",
    "admin": "",
    "prometheus": "",
    "health": "GET /health always answers",
    "swagger": "",
    "debug": "",
    "opentelemetry": "",
    "graphite": "",
    "usage_stats": "nothing is reported anywhere",
    "node.info_metrics_aggregate_interval": "",
    "pid_file": "",
    "enable_unreleased_features": "",
}
"""Path -> what holds instead, ``""`` where the key's name says it all."""
