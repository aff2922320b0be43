"""``channel``: how names are read, and what channels do."""

from __future__ import annotations

from dataclasses import dataclass

from fanout.server.config.keys import key, section, tables
from fanout.server.config.proxies import ChannelProxies
from fanout.server.config.values import (
    boolean,
    duration,
    integer,
    list_of,
    name_mark,
    one_of,
    regex,
    text,
)

__all__ = [
    "NAMESPACE",
    "NAMESPACE_NAME",
    "SUBSCRIPTION_TYPES",
    "ChannelConfig",
    "Namespace",
    "NamespaceOptions",
]

DATA_FORMATS = ("", "json", "json_object", "binary")
SUBSCRIPTION_TYPES = ("", "stream", "map", "map_clients", "map_users", "shared_poll")
NAMESPACE_NAME = "[-a-zA-Z0-9_.]{2,}"
NAMESPACE = "channel.*"
"""What the lists of keys call the options of any namespace, or of none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    """What the channels of a namespace keep, and what clients may do in them.

    `for_client` means a connection with a user id, `for_subscriber` one
    that also is subscribed to the channel, `for_anonymous` extends what the
    other two allow to connections without a user id.
    """

    presence: bool = key(False, boolean)
    """Who is subscribed is kept, with what tokens say of them."""
    join_leave: bool = key(False, boolean)
    """Subscribers are told who subscribes and who leaves."""
    force_push_join_leave: bool = key(False, boolean)
    """Subscribers get join and leave pushes without having asked."""
    history_size: int = key(0, integer(0, zero="no history"))
    """Messages kept; needs `history_ttl`."""
    history_ttl: float = key(0.0, duration(whole=True))
    """Seconds after the last publish; needs `history_size`."""
    history_meta_ttl: float = key(0.0, duration(whole=True))
    """0: that of `channel.history_meta_ttl`."""
    force_recovery: bool = key(False, boolean)
    """Clients that come back get what they missed; needs history."""
    allow_recovery: bool = key(False, boolean)
    """As `force_recovery`, for clients that ask for it."""
    force_positioning: bool = key(False, boolean)
    """Who lost a publication is told so; has no effect without history."""
    allow_positioning: bool = key(False, boolean)
    """As `force_positioning`, for clients that ask for it."""
    force_recovery_mode: str = key("", one_of("", "stream", "cache"))
    """What those who recover get: `stream` (or `""`), all that they missed;
    `cache`, the latest publication alone."""
    auto_cache_recover: bool = key(False, boolean)
    """Every subscribe recovers unasked; needs `force_recovery` and the mode `cache`."""
    allowed_delta_types: tuple[str, ...] = key((), list_of(one_of("fossil")))
    """Deltas that subscribers may ask for: `["fossil"]`."""
    delta_publish: bool = key(False, boolean)
    """Publications are sent as deltas to those who negotiated it, as if each
    publish had asked for it."""
    allow_tags_filter: bool = key(False, boolean)
    """Subscribers may name tags, and get the publications that have them alone."""
    subscription_type: str = key("", one_of(*SUBSCRIPTION_TYPES))
    """`stream` (or `""`). The other types are accepted with a warning; every
    subscribe and publish in such a namespace is refused."""
    subscribe_proxy_enabled: bool = key(False, boolean)
    """A proxy is asked whether a client may subscribe, in place of
    `allow_subscribe_for_client`."""
    subscribe_proxy_name: str = key("default", text)
    """One of `proxies`; `default`: `channel.proxy.subscribe`."""
    publish_proxy_enabled: bool = key(False, boolean)
    """A proxy is asked whether a client may publish."""
    publish_proxy_name: str = key("default", text)
    """One of `proxies`; `default`: `channel.proxy.publish`."""
    sub_refresh_proxy_enabled: bool = key(False, boolean)
    """A proxy is asked when a subscription expires."""
    sub_refresh_proxy_name: str = key("default", text)
    """One of `proxies`; `default`: `channel.proxy.sub_refresh`."""
    allow_subscribe_for_client: bool = key(False, boolean)
    """A connection with a user id may subscribe."""
    allow_subscribe_for_anonymous: bool = key(False, boolean)
    """What `allow_subscribe_for_client` allows, also without a user id."""
    allow_publish_for_client: bool = key(False, boolean)
    """A connection may publish."""
    allow_publish_for_subscriber: bool = key(False, boolean)
    """A subscriber may publish."""
    allow_publish_for_anonymous: bool = key(False, boolean)
    """What the two above allow, also without a user id."""
    allow_presence_for_client: bool = key(False, boolean)
    """A connection may read presence."""
    allow_presence_for_subscriber: bool = key(False, boolean)
    """A subscriber may read presence."""
    allow_presence_for_anonymous: bool = key(False, boolean)
    """What the two above allow, also without a user id."""
    allow_history_for_client: bool = key(False, boolean)
    """A connection may read history."""
    allow_history_for_subscriber: bool = key(False, boolean)
    """A subscriber may read history."""
    allow_history_for_anonymous: bool = key(False, boolean)
    """What the two above allow, also without a user id."""
    allow_user_limited_channels: bool = key(False, boolean)
    """`dialog#42,43` is for the users 42 and 43 alone, whatever the flags say."""
    channel_regex: str = key("", regex)
    """What a name without its namespace must match somewhere; with it, names
    need not be ASCII."""
    publication_data_format: str = key("", one_of(*DATA_FORMATS))
    """`""`: that of `channel.publication_data_format`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(NamespaceOptions):
    """One of `channel.namespaces`: the options of the channels `name:...`."""

    name: str = key("", text)
    """`[-a-zA-Z0-9_.]{2,}`"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """How names are read, and what channels do."""

    max_length: int = key(255, integer(1, 65535))
    """Bytes of a channel's name."""
    private_prefix: str = key("$", name_mark)
    """Channels that only a subscription token opens; `""`: none."""
    namespace_boundary: str = key(":", name_mark)
    """`""`: no channel has a namespace."""
    user_boundary: str = key("#", name_mark)
    """`""`: no channel is user-limited."""
    user_separator: str = key(",", name_mark)
    """`""`: a user-limited channel is for one user."""
    history_meta_ttl: float = key(720 * 3600.0, duration(1, whole=True))
    """How long a stream's offset and epoch outlive its messages."""
    publication_data_format: str = key("", one_of(*DATA_FORMATS))
    """`""`: anything but empty; `json`, `json_object`; `binary`: anything."""
    proxy: ChannelProxies = section(ChannelProxies)
    without_namespace: NamespaceOptions = section(NamespaceOptions, NAMESPACE)
    """The options of channels without a namespace."""
    namespaces: tuple[Namespace, ...] = tables(Namespace, NAMESPACE)
    """The namespaces, each with the options of the channels `name:...`."""
