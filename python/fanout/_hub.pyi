from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Protocol, final, type_check_only

from typing_extensions import disjoint_base

from fanout._filter import TagsFilter
from fanout._fossil import Base
from fanout._message import Message
from fanout.types import ClientInfo, HubStats

@type_check_only
class Encoder(Protocol):
    """Makes the bytes of one encoding, framed and ready for the transport.

    A method that returns None says that the message cannot be said in this
    encoding; its subscribers' owners are told so.
    """

    def publication(self, channel: str, message: Message) -> bytes | None: ...
    def publication_delta(
        self, channel: str, message: Message, base: Base | None
    ) -> bytes | None:
        """In the form that subscribers with deltas read.

        As a difference from ``base``, what they have, or in full without one
        or when that is not smaller. All encodings of one broadcast are given
        the same ``base``, so that its patch is made once.
        """
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
        """Register an encoding, of at most 32; the number is what an outbox is made with."""
    def subscribe(
        self,
        subscriber: Subscriber,
        channel: str,
        flags: int = 0,
        slow: int = 0,
        *,
        delta: bool = False,
        base: Message | None = None,
        tags_filter: TagsFilter | None = None,
    ) -> bool:
        """Add a subscription; True when it is the channel's first.

        Subscribing again replaces all but ``slow``. Flag 1: the subscriber
        wants the channel's joins and leaves; flag 2 is for the caller's use.
        ``slow`` is the channel's: what a full outbox does with its messages,
        0 disconnect, 1 drop oldest, 2 keep latest.

        With ``delta`` an outbox gets publications in the form of its
        encoder's ``publication_delta``: the first in full, and each that was
        made with ``delta`` as a difference from the one before. With ``base``
        it has this one already, and gets a difference at once, if ``base``
        has the data of what was last broadcast in the channel, or nothing was
        since somebody takes deltas. It is ignored for other subscribers, and
        where ``slow`` may drop what a difference starts from.

        Publications that ``tags_filter`` does not match are not given to the
        subscriber; the next one that does comes in full.
        """
    def unsubscribe(self, subscriber: Subscriber, channel: str) -> bool:
        """Remove a subscription; True when it was the channel's last."""
    def remove(self, subscriber: Subscriber) -> list[str]:
        """Remove all of a subscriber's subscriptions; the channels left empty."""
    def is_subscribed(self, subscriber: Subscriber, channel: str) -> bool: ...
    def subscriptions(self, subscriber: Subscriber) -> list[str]: ...
    def num_subscribers(self, channel: str) -> int: ...
    def subscribers(self, channel: str, flags: int = 0) -> list[Subscriber]:
        """The channel's subscribers that have all of these flags."""
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
