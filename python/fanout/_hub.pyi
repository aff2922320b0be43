from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol, final, type_check_only

from typing_extensions import disjoint_base

from fanout._message import Message
from fanout.types import ClientInfo, HubStats

@type_check_only
class Encoder(Protocol):
    """Makes the bytes of one encoding, framed and ready for the transport.

    A method that returns None says that the message cannot be said in this
    encoding; its subscribers' owners are told so.
    """

    def publication(self, channel: str, message: Message) -> bytes | None: ...
    def join(self, channel: str, info: ClientInfo) -> bytes | None: ...
    def leave(self, channel: str, info: ClientInfo) -> bytes | None: ...

@disjoint_base
class Subscriber:
    """Base of what can be subscribed: a connection's outbox or a local queue.

    A subscriber that is garbage-collected leaves its channels by itself.
    """

    @property
    def num_channels(self) -> int: ...

@final
class Hub:
    """Channel -> subscribers, and the flush at the end of a loop's tick.

    It belongs to one thread, that of its loop: a call from another raises
    ``RuntimeError``. ``on_vacated(channels)`` is called at the end of a tick
    with channels whose last subscriber left by itself: it was garbage-collected,
    closed, or closed because it was full.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        on_vacated: Callable[[list[str]], object] | None = None,
    ) -> None: ...
    def add_encoder(self, encoder: Encoder) -> int:
        """Register an encoding; the number is what an outbox is made with."""
    def subscribe(
        self, subscriber: Subscriber, channel: str, flags: int = 0, slow: int = 0
    ) -> bool:
        """Add a subscription; True when it is the channel's first.

        Subscribing again replaces the flags. Flag 1: the subscriber wants the
        channel's joins and leaves. ``slow`` is the channel's: what a full
        outbox does with its messages, 0 disconnect, 1 drop oldest, 2 keep
        latest.
        """
    def unsubscribe(self, subscriber: Subscriber, channel: str) -> bool:
        """Remove a subscription; True when it was the channel's last."""
    def remove(self, subscriber: Subscriber) -> list[str]:
        """Remove all of a subscriber's subscriptions; the channels left empty."""
    def is_subscribed(self, subscriber: Subscriber, channel: str) -> bool: ...
    def subscriptions(self, subscriber: Subscriber) -> list[str]: ...
    def num_subscribers(self, channel: str) -> int: ...
    def subscribers(self, channel: str) -> list[Subscriber]: ...
    def channels(self) -> list[str]: ...
    def broadcast(self, channel: str, message: Message) -> int:
        """Queue a message to every subscriber; returns how many took it."""
    def broadcast_join(self, channel: str, info: ClientInfo) -> int: ...
    def broadcast_leave(self, channel: str, info: ClientInfo) -> int: ...
    def flush(self) -> None:
        """Send what is queued now instead of at the end of the tick."""
    @property
    def turn_size(self) -> int:
        """How many broadcasts were made since the last end of a tick."""
    def stats(self) -> HubStats: ...
