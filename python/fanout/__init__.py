"""fanout: deliver messages to many clients at once.

:class:`Node` is what an application uses; :class:`Engine` is where messages
travel, :class:`MemoryEngine` the one inside the process. ``RedisEngine`` and
``NatsEngine`` are for several machines; their packages are imported when they
are first asked for. :class:`fanout.server.Server` lets clients in over the
network.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fanout.client import Client
from fanout.codes import ClientError, Disconnect
from fanout.engine import Engine, EngineEvents
from fanout.errors import (
    BackpressureError,
    ClosedError,
    EngineError,
    EngineUnavailableError,
    FanoutError,
    InsufficientStateError,
    MessageTooLargeError,
    SlowConsumerError,
    SurveyError,
    UnknownChannelError,
    UnsupportedError,
)
from fanout.events import (
    Capability,
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    Interruption,
    PublishEvent,
    PublishReply,
    RefreshEvent,
    RefreshReply,
    Restoration,
    RPCEvent,
    RPCReply,
    SubRefreshEvent,
    SubRefreshReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.memory import MemoryEngine
from fanout.node import Node, NodeStats
from fanout.peers import NodeInfo
from fanout.subscription import Subscription
from fanout.types import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    HistoryPage,
    HubStats,
    JoinMessage,
    LeaveMessage,
    Message,
    Overflow,
    PresenceStats,
    RecoveryMode,
    SlowPolicy,
    StreamPosition,
)
from fanout.version import VERSION

if TYPE_CHECKING:
    from fanout import server as server
    from fanout.nats import NatsEngine as NatsEngine
    from fanout.redis import RedisEngine as RedisEngine

__all__ = [
    "AdminMessage",
    "BackpressureError",
    "Capability",
    "ChannelOptions",
    "Client",
    "ClientError",
    "ClientInfo",
    "ClosedError",
    "ConnectEvent",
    "ConnectReply",
    "ControlMessage",
    "Disconnect",
    "Engine",
    "EngineError",
    "EngineEvents",
    "EngineUnavailableError",
    "FanoutError",
    "HistoryEvent",
    "HistoryPage",
    "HubStats",
    "InsufficientStateError",
    "Interruption",
    "JoinMessage",
    "LeaveMessage",
    "MemoryEngine",
    "Message",
    "MessageTooLargeError",
    "Node",
    "NodeInfo",
    "NodeStats",
    "Overflow",
    "PresenceStats",
    "PublishEvent",
    "PublishReply",
    "RPCEvent",
    "RPCReply",
    "RecoveryMode",
    "RefreshEvent",
    "RefreshReply",
    "Restoration",
    "SlowConsumerError",
    "SlowPolicy",
    "StreamPosition",
    "SubRefreshEvent",
    "SubRefreshReply",
    "SubscribeEvent",
    "SubscribeReply",
    "Subscription",
    "SurveyError",
    "UnknownChannelError",
    "UnsupportedError",
]

__version__ = VERSION

_ENGINES = {
    # name: (package, extra, what the extra installs)
    "NatsEngine": ("fanout.nats", "nats", {"nats"}),
    "RedisEngine": ("fanout.redis", "redis", {"hiredis", "redis"}),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_ENGINES, "server"})


def __getattr__(name: str) -> object:
    if name == "server":
        return import_module("fanout.server")
    if name not in _ENGINES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package, extra, needed = _ENGINES[name]
    try:
        return getattr(import_module(package), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in needed:
            raise
        raise ImportError(
            f"{name} needs {error.name}, which is not installed: pip install 'fanout[{extra}]'"
        ) from error
