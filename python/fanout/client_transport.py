"""What a client needs of the connection that carries it, and tells it of a connect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fanout._outbox import Outbox
from fanout.client_subscription import SubscribeResult
from fanout.codes import Disconnect, DisconnectCode

__all__ = ["ClientTransport", "ClosedTransport", "ConnectResult"]


class ClientTransport(Protocol):
    """What a client needs of the connection that carries it."""

    @property
    def outbox(self) -> Outbox: ...

    @property
    def busy(self) -> bool:
        """True while commands of the peer are being worked on."""
        ...

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        """Tell the peer why, and close; the client is cleaned up already."""
        ...

    def push_message(self, data: bytes) -> None:
        """An asynchronous message to this client, outside of any channel."""
        ...

    def push_subscribe(self, channel: str, result: SubscribeResult) -> None:
        """The application subscribed the client to ``channel``."""
        ...

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        """The application ended the subscription to ``channel``."""
        ...

    def push_refresh(self, expire_at: float) -> None:
        """The application prolonged the connection until ``expire_at``; 0 is for ever."""
        ...


class ClosedTransport:
    """What a closed client has of its connection: ``outbox``, in no channel any more.

    An application may keep the client, and a command that was under way may
    end later: neither keeps the connection, and nothing is sent.
    """

    __slots__ = ("outbox",)

    busy = False

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        pass

    def push_message(self, data: bytes) -> None:
        pass

    def push_subscribe(self, channel: str, result: SubscribeResult) -> None:
        pass

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        pass

    def push_refresh(self, expire_at: float) -> None:
        pass


@dataclass(frozen=True, slots=True)
class ConnectResult:
    """What a connect came to: the application's answer, and its server-side subscriptions.

    ``expire_at`` is when the connection expires (seconds since 1970; 0:
    never), if the client is to refresh it.
    """

    data: bytes = b""
    subs: Mapping[str, SubscribeResult] = field(default_factory=dict)
    expire_at: float = 0.0
