"""The client protocol's error, disconnect and unsubscribe codes.

A handler raises one of these, as in ``raise ERROR_PERMISSION_DENIED()``, or
a :class:`ClientError` (400-1999) or :class:`Disconnect` (4000-4999) of its
own, to refuse what a client asked for. Numbers, texts and meanings are those
of the Centrifuge client protocol v2.
"""

from __future__ import annotations

from dataclasses import dataclass

from fanout.errors import FanoutError

__all__ = ["ClientError", "Disconnect", "DisconnectCode", "ErrorCode"]  # and every constant below


class ClientError(FanoutError):
    """An error reply to one command; the connection goes on.

    ``temporary`` tells the client that the same command may work later.
    """

    def __init__(self, code: int, message: str, temporary: bool = False) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.temporary = temporary

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Disconnect(FanoutError):
    """The end of a connection.

    By its code the client knows whether to come back: it does for 3000-3499
    and 4000-4499 and does not for 3500-3999 and 4500-4999. ``reason`` must
    fit a WebSocket close frame: at most 123 bytes of UTF-8.
    """

    def __init__(self, code: int, reason: str) -> None:
        if not 3000 <= code <= 4999:
            raise ValueError(f"a disconnect code must be between 3000 and 4999, not {code!r}")
        if len(reason.encode()) > 123:
            raise ValueError(f"a disconnect reason must be at most 123 bytes, not {reason!r}")
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"

    @property
    def reconnect(self) -> bool:
        """True when the client will connect again by itself."""
        return self.code < 3500 or 4000 <= self.code < 4500


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One of the protocol's errors; call it for an exception to raise.

    Each raise needs an exception of its own: one that is shared keeps the
    frames of where it was raised, and with them the sessions, for ever.
    """

    code: int
    message: str
    temporary: bool = False

    def __call__(self) -> ClientError:
        return ClientError(self.code, self.message, self.temporary)


@dataclass(frozen=True, slots=True)
class DisconnectCode:
    """One of the protocol's disconnects; call it for an exception to raise.

    ``disconnect`` of clients and nodes takes it as it is.
    """

    code: int
    reason: str

    def __post_init__(self) -> None:
        self()      # what the exception refuses cannot be sent either

    def __call__(self) -> Disconnect:
        return Disconnect(self.code, self.reason)


ERROR_INTERNAL = ErrorCode(100, "internal server error", temporary=True)
ERROR_UNAUTHORIZED = ErrorCode(101, "unauthorized")
ERROR_UNKNOWN_CHANNEL = ErrorCode(102, "unknown channel")
ERROR_PERMISSION_DENIED = ErrorCode(103, "permission denied")
ERROR_METHOD_NOT_FOUND = ErrorCode(104, "method not found")
ERROR_ALREADY_SUBSCRIBED = ErrorCode(105, "already subscribed")
ERROR_LIMIT_EXCEEDED = ErrorCode(106, "limit exceeded")
ERROR_BAD_REQUEST = ErrorCode(107, "bad request")
ERROR_NOT_AVAILABLE = ErrorCode(108, "not available")
ERROR_TOKEN_EXPIRED = ErrorCode(109, "token expired")
ERROR_EXPIRED = ErrorCode(110, "expired")
ERROR_TOO_MANY_REQUESTS = ErrorCode(111, "too many requests", temporary=True)
ERROR_UNRECOVERABLE_POSITION = ErrorCode(112, "unrecoverable position")
ERROR_CONCURRENT_PAGINATION = ErrorCode(113, "concurrent pagination", temporary=True)

DISCONNECT_CONNECTION_CLOSED = DisconnectCode(3000, "connection closed")
DISCONNECT_SHUTDOWN = DisconnectCode(3001, "shutdown")
DISCONNECT_INTERNAL = DisconnectCode(3004, "internal server error")
DISCONNECT_EXPIRED = DisconnectCode(3005, "connection expired")
DISCONNECT_SUBSCRIPTION_EXPIRED = DisconnectCode(3006, "subscription expired")
DISCONNECT_SLOW = DisconnectCode(3008, "slow")
DISCONNECT_WRITE_ERROR = DisconnectCode(3009, "write error")
DISCONNECT_INSUFFICIENT_STATE = DisconnectCode(3010, "insufficient state")
DISCONNECT_FORCE_RECONNECT = DisconnectCode(3011, "force reconnect")
DISCONNECT_NO_PONG = DisconnectCode(3012, "no pong")
DISCONNECT_TOO_MANY_REQUESTS = DisconnectCode(3013, "too many requests")
DISCONNECT_STATE_INVALIDATED = DisconnectCode(3014, "state invalidated")
DISCONNECT_INVALID_TOKEN = DisconnectCode(3500, "invalid token")
DISCONNECT_BAD_REQUEST = DisconnectCode(3501, "bad request")
DISCONNECT_STALE = DisconnectCode(3502, "stale")
DISCONNECT_FORCE = DisconnectCode(3503, "force disconnect")
DISCONNECT_CONNECTION_LIMIT = DisconnectCode(3504, "connection limit")
DISCONNECT_CHANNEL_LIMIT = DisconnectCode(3505, "channel limit")
DISCONNECT_INAPPROPRIATE_PROTOCOL = DisconnectCode(3506, "inappropriate protocol")
DISCONNECT_PERMISSION_DENIED = DisconnectCode(3507, "permission denied")
DISCONNECT_NOT_AVAILABLE = DisconnectCode(3508, "not available")
DISCONNECT_TOO_MANY_ERRORS = DisconnectCode(3509, "too many errors")

UNSUBSCRIBE_SERVER = 2000
"""Unsubscribed by the application; the client does not come back by itself."""
UNSUBSCRIBE_INSUFFICIENT = 2500
"""Insufficient state; the client subscribes again."""
UNSUBSCRIBE_EXPIRED = 2501
"""The subscription expired; the client subscribes again, with a new token."""
UNSUBSCRIBE_STATE_INVALIDATED = 2502
"""What the client knows of the channel is void; it subscribes again, from the beginning."""
