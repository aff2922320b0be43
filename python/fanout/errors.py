"""What fanout raises, beside ``TypeError`` and ``ValueError`` for bad arguments."""

from __future__ import annotations

__all__ = [
    "BackpressureError",
    "ClosedError",
    "FanoutError",
    "MessageTooLargeError",
    "SlowConsumerError",
    "UnknownChannelError",
]


class FanoutError(Exception):
    """Base of the errors that are fanout's own."""


class ClosedError(FanoutError):
    """The engine, node or subscription is closed, or was never started."""


class SlowConsumerError(FanoutError):
    """An in-process subscription was closed because its reader fell behind."""


class MessageTooLargeError(FanoutError, ValueError):
    """A message's data is longer than the node's limit."""


class UnknownChannelError(FanoutError, ValueError):
    """The node's options do not know the channel."""


class BackpressureError(FanoutError):
    """More publishes wait to enter the loop from other threads than the bound allows."""
