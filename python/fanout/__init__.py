"""fanout: deliver messages to many clients at once.

:class:`Node` is what an application uses; :class:`Engine` is where messages
travel, and :class:`MemoryEngine` the one inside the process.
"""

from fanout.client import Client
from fanout.codes import ClientError, Disconnect
from fanout.engine import Engine, EngineEvents
from fanout.errors import (
    BackpressureError,
    ClosedError,
    EngineUnavailableError,
    FanoutError,
    InsufficientStateError,
    MessageTooLargeError,
    SlowConsumerError,
    UnknownChannelError,
    UnsupportedError,
)
from fanout.events import (
    ConnectEvent,
    ConnectReply,
    HistoryEvent,
    Interruption,
    PublishEvent,
    PublishReply,
    Restoration,
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
    SlowPolicy,
    StreamPosition,
)
from fanout.version import VERSION

__all__ = [
    "AdminMessage",
    "BackpressureError",
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
    "Restoration",
    "SlowConsumerError",
    "SlowPolicy",
    "StreamPosition",
    "SubscribeEvent",
    "SubscribeReply",
    "Subscription",
    "UnknownChannelError",
    "UnsupportedError",
]

__version__ = VERSION
