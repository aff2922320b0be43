"""The client protocol's error, disconnect and unsubscribe codes.

A handler raises one of these (or one of its own: errors 400-1999,
disconnects 4000-4999) to refuse what a client asked for. Numbers, texts and
meanings are those of the Centrifuge client protocol v2.
"""

from __future__ import annotations

from fanout.errors import FanoutError

__all__ = ["ClientError", "Disconnect"]  # and every constant below


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


def forget_where(error: ClientError | Disconnect) -> None:
    """Drop the frames that ``error`` was raised in; for whoever handles it.

    The codes are constants, raised again and again: each would hold the
    frames of every time, and with them the sessions, for ever.
    """
    error.__traceback__ = None
    error.__context__ = None


ERROR_INTERNAL = ClientError(100, "internal server error", temporary=True)
ERROR_UNAUTHORIZED = ClientError(101, "unauthorized")
ERROR_UNKNOWN_CHANNEL = ClientError(102, "unknown channel")
ERROR_PERMISSION_DENIED = ClientError(103, "permission denied")
ERROR_METHOD_NOT_FOUND = ClientError(104, "method not found")
ERROR_ALREADY_SUBSCRIBED = ClientError(105, "already subscribed")
ERROR_LIMIT_EXCEEDED = ClientError(106, "limit exceeded")
ERROR_BAD_REQUEST = ClientError(107, "bad request")
ERROR_NOT_AVAILABLE = ClientError(108, "not available")
ERROR_TOKEN_EXPIRED = ClientError(109, "token expired")
ERROR_EXPIRED = ClientError(110, "expired")
ERROR_TOO_MANY_REQUESTS = ClientError(111, "too many requests", temporary=True)
ERROR_UNRECOVERABLE_POSITION = ClientError(112, "unrecoverable position")

DISCONNECT_CONNECTION_CLOSED = Disconnect(3000, "connection closed")
DISCONNECT_SHUTDOWN = Disconnect(3001, "shutdown")
DISCONNECT_INTERNAL = Disconnect(3004, "internal server error")
DISCONNECT_SLOW = Disconnect(3008, "slow")
DISCONNECT_WRITE_ERROR = Disconnect(3009, "write error")
DISCONNECT_INSUFFICIENT_STATE = Disconnect(3010, "insufficient state")
DISCONNECT_FORCE_RECONNECT = Disconnect(3011, "force reconnect")
DISCONNECT_NO_PONG = Disconnect(3012, "no pong")
DISCONNECT_TOO_MANY_REQUESTS = Disconnect(3013, "too many requests")
DISCONNECT_INVALID_TOKEN = Disconnect(3500, "invalid token")
DISCONNECT_BAD_REQUEST = Disconnect(3501, "bad request")
DISCONNECT_STALE = Disconnect(3502, "stale")
DISCONNECT_FORCE = Disconnect(3503, "force disconnect")
DISCONNECT_CONNECTION_LIMIT = Disconnect(3504, "connection limit")
DISCONNECT_CHANNEL_LIMIT = Disconnect(3505, "channel limit")
DISCONNECT_INAPPROPRIATE_PROTOCOL = Disconnect(3506, "inappropriate protocol")
DISCONNECT_PERMISSION_DENIED = Disconnect(3507, "permission denied")
DISCONNECT_NOT_AVAILABLE = Disconnect(3508, "not available")

UNSUBSCRIBE_SERVER = 2000
"""Unsubscribed by the application; the client does not come back by itself."""
UNSUBSCRIBE_INSUFFICIENT = 2500
"""Insufficient state; the client subscribes again."""
