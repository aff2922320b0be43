"""Centrifugo's keys that this server does not act on yet.

Two lists, divided by one question: *what does it mean to leave the key out of
account?* Where that only takes something away (a feature, a way in), the
server starts and a warning says that the key has no effect. Where it would let
somebody do or see what the file forbids, or split one system into two that do
not hear each other, the server refuses to start.

By that rule a gRPC API is ignored: without it a backend is not heard. A
subscribe-stream proxy is refused: with it Centrifugo asks the proxy *instead
of* the ``allow_`` flags, so without it the flags would decide.

Paths are dotted; ``channel.*`` stands for ``channel.without_namespace`` and
for each of ``channel.namespaces``, ``proxy.*`` for every table that describes a
proxy. A path covers everything below it.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["IGNORED", "REFUSED", "Refused"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A key that only ``harmless`` values may have, and why."""

    harmless: tuple[object, ...]
    rule: str


_ENGINE = 'must be "memory": here engine.type ("redis" or "nats") is for messages and presence both'
_ENGINE_TLS = "TLS is a matter of the address here: {}"

REFUSED = {
    "channel.*.subscribe_stream_proxy_enabled": Refused(
        (False,), "subscribe-stream proxies are not supported, and the other settings would decide"
    ),
    "http_server.tls_autocert.enabled": Refused(
        (False,),
        "certificates are not fetched, and the server would send in clear: set http_server.tls, "
        "or end TLS in front of the server",
    ),
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

_NO_MAPS = "there are no map subscriptions"
_NO_POLLS = "there are no shared-poll subscriptions"
_NO_GRPC = "gRPC is not supported"

IGNORED = {
    "client.channel_position_max_time_lag": "how long a publication travelled is not measured",
    "uni_websocket.join_push_messages": "each push has a frame of its own",
    "channel.proxy.subscribe_stream": "",
    "channel.proxy.map_publish": _NO_MAPS,
    "channel.proxy.map_remove": _NO_MAPS,
    "channel.proxy.shared_poll_refresh": _NO_POLLS,
    "channel.*.subscribe_stream_proxy_name": "",
    "channel.*.subscribe_stream_proxy_bidirectional": "",
    "channel.*.map": _NO_MAPS,
    "channel.*.map_clients_presence_channel_prefix": _NO_MAPS,
    "channel.*.map_users_presence_channel_prefix": _NO_MAPS,
    "channel.*.shared_poll": _NO_POLLS,
    "proxy.*.grpc": _NO_GRPC,
    "proxy.*.grpc_metadata": _NO_GRPC,
    "websocket.read_buffer_size": "",
    "websocket.write_buffer_size": "",
    "websocket.use_write_buffer_pool": "",
    "uni_websocket.read_buffer_size": "",
    "uni_websocket.write_buffer_size": "",
    "uni_websocket.use_write_buffer_pool": "",
    "http_server.tls_autocert": "",
    "http_server.http3": "",
    "http_server.h2c_external": "",
    "admin.web_path": "the page is part of the package",
    "admin.web_proxy_address": "the page is part of the package",
    "prometheus.instrument_http_handlers": "",
    "prometheus.recovered_publications_histogram": "",
    "prometheus.native_histograms": "",
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
    "map_broker": _NO_MAPS,
    "controller": "",
    "shared_poll": _NO_POLLS,
    "grpc_api": _NO_GRPC,
    "consumers": "nothing is read from queues and databases",
    "webtransport": "",
    "uni_grpc": _NO_GRPC,
    "debug": "",
    "opentelemetry": "",
    "graphite": "",
    "usage_stats": "nothing is reported anywhere",
    "pid_file": "",
    "enable_unreleased_features": "",
}
"""Path -> what holds instead, ``""`` where the key's name says it all."""
