"""The keys that the server supports, with their defaults and rules.

Every attribute is the key of the same name in the configuration file; names,
meanings and defaults are Centrifugo's (v6) unless the text beside one says
otherwise. Durations are seconds. With the defaults nobody connects, and in no
channel anybody may subscribe, publish, or read presence or history.

What a file says goes through :func:`fanout.server.config.load`, which checks
it; an object made in code is checked by :func:`fanout.server.config.check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fanout.server.config.engine import EngineConfig
from fanout.server.config.keys import key, tables
from fanout.server.config.patterns import compile_channel_regex, compile_origin
from fanout.server.config.values import (
    address,
    boolean,
    duration,
    header_name,
    integer,
    list_of,
    name_mark,
    off_or,
    one_of,
    text,
)

__all__ = [
    "LOG_LEVELS",
    "ChannelConfig",
    "ClientConfig",
    "Config",
    "HttpServerConfig",
    "LogConfig",
    "Namespace",
    "NamespaceOptions",
    "NodeConfig",
    "ShutdownConfig",
    "WebSocketConfig",
]

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal", "none")
DATA_FORMATS = ("", "json", "json_object", "binary")
NAMESPACE_NAME = "[-a-zA-Z0-9_.]{2,}"


def _channel_regex(value: object) -> str:
    pattern = text(value)
    compile_channel_regex(pattern)
    return pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig:
    """``client``: who may connect, and the limits of one connection."""

    insecure: bool = key(False, boolean)
    """Anybody connects without a token, and whatever a channel's options do not
    allow is allowed (private channels excepted). For development only."""
    allow_anonymous_connect_without_token: bool = key(False, boolean)
    """A client without a token connects, with the user id ``""``."""
    user_id_http_header: str = key("", header_name)
    """The request header in which a proxy in front tells who connects, if it is
    there. Clients must not be able to set it past that proxy."""
    allowed_origins: tuple[str, ...] = key((), list_of(text, compile_origin))
    """Patterns (``*``, ``?``, ``[...]``) of the browser origins that may connect.
    When empty: the origin whose host is the request's own."""
    ping_interval: float = key(25.0, duration(1, zero="no pings"))
    pong_timeout: float = key(8.0, off_or(duration(zero="pongs are not waited for")))
    """Shorter than ``ping_interval``. 0, or -1 as in Centrifugo: not checked."""
    stale_close_delay: float = key(10.0, duration(0.001))
    """A connection must have sent its connect command after so long."""
    channel_limit: int = key(128, integer(0, zero="no limit"))
    """Channels that one connection may be subscribed to."""
    queue_max_size: int = key(1024 * 1024, integer(1))
    """Bytes that may wait for one connection before it counts as slow."""
    presence_update_interval: float = key(27.0, duration(1))
    """How often the presence of a subscribed connection is refreshed."""
    connection_limit: int = key(0, integer(0, zero="no limit"))
    """Connections on this node."""
    user_connection_limit: int = key(0, integer(0, zero="no limit"))
    """Connections of one user id on this node; anonymous ones are not counted."""
    history_max_publication_limit: int = key(300, integer(0, zero="no limit"))
    """Publications in one history reply."""
    recovery_max_publication_limit: int = key(300, integer(0, zero="no limit"))
    """Publications that one subscribe may recover; who missed more is told so."""
    channel_position_check_delay: float = key(40.0, duration(0.1, zero="not checked"))
    """How often a subscriber's position is compared with the stream's, where a
    channel recovers."""
    connect_include_server_time: bool = key(False, boolean)
    """The connect reply tells the server's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceOptions:
    """What the channels of a namespace keep, and what clients may do in them.

    ``for_client`` means a connection with a user id, ``for_subscriber`` one
    that also is subscribed to the channel, ``for_anonymous`` extends what the
    other two allow to connections without a user id.
    """

    presence: bool = key(False, boolean)
    join_leave: bool = key(False, boolean)
    force_push_join_leave: bool = key(False, boolean)
    """Subscribers get join and leave pushes without having asked."""
    history_size: int = key(0, integer(0, zero="no history"))
    """Messages kept; needs ``history_ttl``."""
    history_ttl: float = key(0.0, duration(whole=True))
    """Seconds after the last publish; needs ``history_size``."""
    history_meta_ttl: float = key(0.0, duration(whole=True))
    """0: that of ``channel.history_meta_ttl``."""
    force_recovery: bool = key(False, boolean)
    """Clients that come back get what they missed; needs history."""
    allow_recovery: bool = key(False, boolean)
    """As ``force_recovery``, for clients that ask for it."""
    force_positioning: bool = key(False, boolean)
    """Who lost a publication is told so; has no effect without history."""
    allow_positioning: bool = key(False, boolean)
    """As ``force_positioning``, for clients that ask for it."""
    allow_subscribe_for_client: bool = key(False, boolean)
    allow_subscribe_for_anonymous: bool = key(False, boolean)
    allow_publish_for_client: bool = key(False, boolean)
    allow_publish_for_subscriber: bool = key(False, boolean)
    allow_publish_for_anonymous: bool = key(False, boolean)
    allow_presence_for_client: bool = key(False, boolean)
    allow_presence_for_subscriber: bool = key(False, boolean)
    allow_presence_for_anonymous: bool = key(False, boolean)
    allow_history_for_client: bool = key(False, boolean)
    allow_history_for_subscriber: bool = key(False, boolean)
    allow_history_for_anonymous: bool = key(False, boolean)
    allow_user_limited_channels: bool = key(False, boolean)
    """``dialog#42,43`` is for the users 42 and 43 alone, whatever the flags say."""
    channel_regex: str = key("", _channel_regex)
    """What a name without its namespace must match somewhere; with it, names
    need not be ASCII. See :func:`~fanout.server.config.patterns.compile_channel_regex`."""
    publication_data_format: str = key("", one_of(*DATA_FORMATS))
    """``""``: that of ``channel.publication_data_format``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace(NamespaceOptions):
    """One of ``channel.namespaces``: the options of the channels ``name:...``."""

    name: str = key("", text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelConfig:
    """``channel``: how names are read, and what channels do."""

    max_length: int = key(255, integer(1, 65535))
    """Bytes of a channel's name."""
    private_prefix: str = key("$", name_mark)
    """Channels that only a subscription token opens; ``""``: none."""
    namespace_boundary: str = key(":", name_mark)
    """``""``: no channel has a namespace."""
    user_boundary: str = key("#", name_mark)
    """``""``: no channel is user-limited."""
    user_separator: str = key(",", name_mark)
    """``""``: a user-limited channel is for one user."""
    history_meta_ttl: float = key(720 * 3600.0, duration(1, whole=True))
    """How long a stream's offset and epoch outlive its messages."""
    publication_data_format: str = key("", one_of(*DATA_FORMATS))
    """``""``: anything but empty; ``json``, ``json_object``; ``binary``: anything."""
    without_namespace: NamespaceOptions = field(
        default_factory=NamespaceOptions, metadata={"section": NamespaceOptions}
    )
    namespaces: tuple[Namespace, ...] = tables(Namespace)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketConfig:
    """``websocket``."""

    message_size_limit: int = key(65536, integer(1, 0x7FFFFFFF))
    """Bytes of one incoming message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpServerConfig:
    """``http_server``."""

    address: str = key("127.0.0.1", address)
    """Where to listen. Loopback, unlike Centrifugo, which listens on all
    interfaces: ``""`` or ``"0.0.0.0"`` does that here."""
    port: int = key(8000, integer(0, 65535, zero="any free port"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ShutdownConfig:
    """``shutdown``."""

    timeout: float = key(30.0, duration())
    """How long clients have to leave before their connections are cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """``node``."""

    name: str = key("", text)
    """What other nodes know this one by; ``""``: its uid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """``log``."""

    level: str = key("info", one_of(*LOG_LEVELS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration."""

    client: ClientConfig = field(default_factory=ClientConfig, metadata={"section": ClientConfig})
    channel: ChannelConfig = field(
        default_factory=ChannelConfig, metadata={"section": ChannelConfig}
    )
    engine: EngineConfig = field(default_factory=EngineConfig, metadata={"section": EngineConfig})
    websocket: WebSocketConfig = field(
        default_factory=WebSocketConfig, metadata={"section": WebSocketConfig}
    )
    http_server: HttpServerConfig = field(
        default_factory=HttpServerConfig, metadata={"section": HttpServerConfig}
    )
    shutdown: ShutdownConfig = field(
        default_factory=ShutdownConfig, metadata={"section": ShutdownConfig}
    )
    node: NodeConfig = field(default_factory=NodeConfig, metadata={"section": NodeConfig})
    log: LogConfig = field(default_factory=LogConfig, metadata={"section": LogConfig})

    @classmethod
    def default(cls) -> Config:
        """What holds without a configuration file: everything closed."""
        return cls()
