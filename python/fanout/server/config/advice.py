"""Warnings about what is allowed, but seldom meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from fanout.server.config.checks import namespaces
from fanout.server.config.endpoints import serves_api
from fanout.server.config.engine import NatsConfig, RedisConfig
from fanout.server.config.errors import Mistake
from fanout.server.config.model import Config
from fanout.server.config.tokens import TokenConfig

__all__ = ["advice", "closed", "without_effect"]

# What concerns connections whoever decides; the rest of `client` is the node's.
_OF_CONNECTIONS = {
    "allowed_origins", "concurrency", "connect_code_to_unidirectional_disconnect",
    "connect_include_server_time", "connection_limit", "connection_rate_limit",
    "history_max_publication_limit", "ping_interval", "pong_timeout", "stale_close_delay",
}


def advice(config: Config) -> list[str]:
    """Warnings: one line each, and none holds a value."""
    return [
        *_client(config), *_tokens(config), *_engine(config), *_channels(config),
        *_endpoints(config),
    ]


def closed(config: Config) -> str:
    """A warning when no client at all can connect, else ``""``."""
    client = config.client
    if (
        client.insecure
        or client.insecure_skip_token_signature_verify
        or client.allow_anonymous_connect_without_token
        or client.user_id_http_header
        or client.proxy.connect.enabled
        or _has_key(client.token)
    ):
        return ""
    return Mistake(
        "nobody can connect: there is no key in client.token, no client.proxy.connect, "
        "and client.allow_anonymous_connect_without_token is off"
    )


def without_effect(config: Config) -> list[str]:
    """Warnings about keys that decide nothing where an application's node is served."""
    default = Config()
    given = [
        name for name in ("engine", "channel", "rpc", "proxies")
        if getattr(config, name) != getattr(default, name)
    ]
    given += [
        f"client.{entry.name}" for entry in fields(config.client)
        if entry.name not in _OF_CONNECTIONS
        and getattr(config.client, entry.name) != getattr(default.client, entry.name)
    ]
    if config.node.name != default.node.name:
        given.append("node.name")
    return [f"{name}: has no effect, the application's node decides" for name in given]


def _client(config: Config) -> Iterator[str]:
    client = config.client
    if client.insecure:
        yield (
            "client.insecure: anybody may connect, and do in any channel "
            "whatever its options do not allow; for development only"
        )
    if "*" in client.allowed_origins:
        yield 'client.allowed_origins: "*" lets pages of any site connect'


def _has_key(token: TokenConfig) -> bool:
    return bool(
        token.hmac_secret_key
        or token.rsa_public_key
        or token.ecdsa_public_key
        or token.jwks_public_endpoint
    )


def _tokens(config: Config) -> Iterator[str]:
    client = config.client
    if client.insecure_skip_token_signature_verify:
        yield (
            "client.insecure_skip_token_signature_verify: anybody may write a token "
            "for any user; for development only"
        )
    own = client.subscription_token
    if own.enabled and not _has_key(own):
        yield Mistake(
            "client.subscription_token: has no key, every subscription token is refused")
    if not own.enabled and _has_key(own):
        yield "client.subscription_token: has no effect without enabled"
    for name, token in (("token", client.token), ("subscription_token", own)):
        if token.hmac_previous_secret_key and not token.hmac_secret_key:
            yield f"client.{name}.hmac_previous_secret_key: has no effect without hmac_secret_key"


def _engine(config: Config) -> Iterator[str]:
    engine = config.engine
    for name, given in (
        ("redis", engine.redis != RedisConfig()), ("nats", engine.nats != NatsConfig())
    ):
        if given and engine.type != name:
            yield f'engine.{name}: has no effect with engine.type "{engine.type}"'


def _channels(config: Config) -> Iterator[str]:
    for path, options in namespaces(config):
        if options.subscription_type not in ("", "stream"):
            yield Mistake(
                f"{path}.subscription_type: not supported, "
                "every subscribe and publish there is refused"
            )
        if options.force_push_join_leave and not options.join_leave:
            yield f"{path}.force_push_join_leave: has no effect without join_leave"
        if options.delta_publish and not options.allowed_delta_types:
            yield f"{path}.delta_publish: has no effect without allowed_delta_types"
        if not options.history_size:
            for name in ("allow_recovery", "force_positioning", "allow_positioning"):
                if getattr(options, name):
                    yield f"{path}.{name}: has no effect without history_size and history_ttl"


def _endpoints(config: Config) -> Iterator[str]:
    server = config.http_server
    if config.http_api.insecure and not config.http_api.disabled:
        yield (
            "http_api.insecure: whoever reaches the server may publish and disconnect; "
            "for development only"
        )
    if config.admin.enabled and config.admin.insecure:
        yield "admin.insecure: the admin page needs no password; for development only"
    if config.swagger.enabled and not serves_api(config):
        yield "swagger.enabled: describes a server API that is off without http_api.key"
    if server.internal_port is None:
        for name in ("tls_external", "internal_address"):
            if getattr(server, name):
                yield f"http_server.{name}: has no effect without internal_port"
        if server.internal_tls.enabled:
            yield "http_server.internal_tls: has no effect without internal_port"
    if config.websocket.disabled and not any(
        getattr(config, name).enabled
        for name in ("sse", "http_stream", "uni_websocket", "uni_sse", "uni_http_stream")
    ):
        yield Mistake(
            "websocket.disabled: no client can connect, and no other transport is enabled")
