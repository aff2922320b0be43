"""``client``: who may connect, and the limits of one connection."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.keys import key, section, tables
from fanout.server.config.patterns import compile_origin
from fanout.server.config.proxies import ClientProxies, DisconnectTransform
from fanout.server.config.tokens import SubscriptionTokenConfig, TokenConfig
from fanout.server.config.values import (
    boolean,
    duration,
    header_name,
    integer,
    list_of,
    off_or,
    text,
)

__all__ = [
    "ClientConfig",
    "PersonalChannelConfig",
    "UniDisconnectConfig",
    "UniDisconnectTransform",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalChannelConfig:
    """A server-side subscription of each user to a channel of their own, `#<user id>`."""

    enabled: bool = key(False, boolean)
    """Subscribe whoever connects with a user id."""
    personal_channel_namespace: str = key("", text)
    """The namespace of these channels."""
    single_connection: bool = key(False, boolean)
    """A user's new connection disconnects the older ones; needs `presence` in
    the namespace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UniDisconnectTransform:
    """A disconnect in place of an error at connect."""

    code: int = key(0, integer(0))
    """The error code."""
    to: DisconnectTransform = section(DisconnectTransform)


@dataclass(frozen=True, slots=True, kw_only=True)
class UniDisconnectConfig:
    """How one-way clients are told of an error at connect: their transports know none."""

    enabled: bool = key(False, boolean)
    """Use `transforms`; for what is not listed there, the built-in ones."""
    transforms: tuple[UniDisconnectTransform, ...] = tables(
        UniDisconnectTransform, "client.connect_code_to_unidirectional_disconnect.transforms"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """Who may connect, and the limits of one connection."""

    insecure: bool = key(False, boolean)
    """Anybody connects without a token, and whatever a channel's options do not
    allow is allowed (private channels excepted). For development only."""
    insecure_skip_token_signature_verify: bool = key(False, boolean)
    """Believe a token whoever signed it. For development only."""
    allow_anonymous_connect_without_token: bool = key(False, boolean)
    """A client without a token connects, with the user id `""`."""
    disallow_anonymous_connection_tokens: bool = key(False, boolean)
    """A token without a user id is refused."""
    user_id_http_header: str = key("", header_name)
    """The request header in which a proxy in front tells who connects, if it is
    there. Clients must not be able to set it past that proxy."""
    token: TokenConfig = section(TokenConfig)
    """What makes a token (JWT) valid; without any key none is."""
    subscription_token: SubscriptionTokenConfig = section(SubscriptionTokenConfig)
    """Keys of their own for subscription tokens."""
    proxy: ClientProxies = section(ClientProxies)
    allowed_origins: tuple[str, ...] = key((), list_of(text, compile_origin))
    """Patterns (`*`, `?`, `[...]`) of the browser origins that may connect.
    When empty: the origin whose host is the request's own."""
    ping_interval: float = key(25.0, duration(1, zero="no pings"))
    """How often a client is pinged; 0: never."""
    pong_timeout: float = key(8.0, off_or(duration(zero="pongs are not waited for")))
    """Shorter than `ping_interval`. 0, or -1 as in Centrifugo: not checked."""
    stale_close_delay: float = key(10.0, duration(0.001))
    """A connection must have sent its connect command after so long."""
    expired_close_delay: float = key(25.0, duration())
    """How long an expired connection has to bring a new token."""
    expired_sub_close_delay: float = key(25.0, duration())
    """How long an expired subscription has to bring a new token."""
    channel_limit: int = key(128, integer(0, zero="no limit"))
    """Channels that one connection may be subscribed to."""
    queue_max_size: int = key(1024 * 1024, integer(1))
    """Bytes that may wait for one connection before it counts as slow."""
    concurrency: int = key(0, integer(0, 1024, zero="one at a time"))
    """Commands of one connection that may wait for handlers or proxies at the
    same time; with more than 1, replies may come in another order."""
    presence_update_interval: float = key(27.0, duration(1))
    """How often the presence of a subscribed connection is refreshed."""
    connection_limit: int = key(0, integer(0, zero="no limit"))
    """Connections on this node."""
    user_connection_limit: int = key(0, integer(0, zero="no limit"))
    """Connections of one user id on this node; anonymous ones are not counted."""
    connection_rate_limit: int = key(0, integer(0, zero="no limit"))
    """New connections in a second on this node."""
    history_max_publication_limit: int = key(300, integer(0, zero="no limit"))
    """Publications in one history reply."""
    recovery_max_publication_limit: int = key(300, integer(0, zero="no limit"))
    """Publications that one subscribe may recover; who missed more is told so."""
    channel_position_check_delay: float = key(40.0, duration(0.1, zero="not checked"))
    """How often a subscriber's position is compared with the stream's, where a
    channel recovers."""
    connect_include_server_time: bool = key(False, boolean)
    """The connect reply tells the server's time."""
    subscribe_to_user_personal_channel: PersonalChannelConfig = section(PersonalChannelConfig)
    connect_code_to_unidirectional_disconnect: UniDisconnectConfig = section(UniDisconnectConfig)
