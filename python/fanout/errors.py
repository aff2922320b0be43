"""What fanout raises, beside ``TypeError`` and ``ValueError`` for bad arguments."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "BackpressureError",
    "ClosedError",
    "EngineError",
    "EngineUnavailableError",
    "FanoutError",
    "InsufficientStateError",
    "MessageTooLargeError",
    "SlowConsumerError",
    "SurveyError",
    "UnknownChannelError",
    "UnsupportedError",
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


class UnsupportedError(FanoutError):
    """The engine, as it is set up, cannot do what was asked for."""


class InsufficientStateError(FanoutError):
    """An in-process subscription was closed because messages are missing.

    The channel recovers (:attr:`fanout.ChannelOptions.recover`), messages did
    not arrive, and the history no longer has them all.
    """


class EngineUnavailableError(FanoutError, ConnectionError):
    """The engine's server cannot be reached, or did not answer in time.

    maybe_done
        True when the operation had been sent and only its answer is missing:
        it may have taken effect. False when it certainly did not.
    """

    def __init__(self, message: str, *, maybe_done: bool = False) -> None:
        super().__init__(message)
        self.maybe_done = maybe_done


class EngineError(FanoutError):
    """The engine's server refused the operation, with the text that this has."""


class BackpressureError(FanoutError):
    """More operations wait than the bound allows: from other threads, or for the engine."""


class SurveyError(FanoutError):
    """Not every node answered.

    answers
        What the others answered, by node uid.
    missing
        Why there is no answer, by node uid.
    """

    def __init__(
        self, method: str, answers: Mapping[str, bytes], missing: Mapping[str, str]
    ) -> None:
        reasons = "; ".join(f"{uid}: {why}" for uid, why in sorted(missing.items()))
        super().__init__(f"survey {method!r}: {len(missing)} nodes are missing ({reasons})")
        self.answers = dict(answers)
        self.missing = dict(missing)
