"""A client's subscription to one channel, and what a subscribe came to."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from fanout.deadline import Deadline
from fanout.engine import Engine
from fanout.errors import BackpressureError, EngineUnavailableError
from fanout.events import SubscribeReply
from fanout.types import (
    ChannelOptions,
    ClientInfo,
    LeaveMessage,
    Message,
    SlowPolicy,
    StreamPosition,
)

__all__ = ["ClientSubscription", "Departure", "SubscribeResult", "effective_options"]

log = logging.getLogger("fanout")


@dataclass(slots=True)
class ClientSubscription:
    """What a subscription has beside its place in the hub.

    Most have nothing: then there is none of these. ``options`` are the
    channel's, as this subscription changes them, or None for the channel's.
    """

    info: bytes = b""
    options: ChannelOptions | None = None
    server_side: bool = False
    expire_at: float = 0.0
    client_refresh: bool = True
    deadline: Deadline | None = field(default=None, repr=False)

    @property
    def is_plain(self) -> bool:
        return not (self.info or self.options or self.server_side or self.expire_at)

    def end(self) -> None:
        """It is left: nothing expires any more."""
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


@dataclass(frozen=True, slots=True)
class SubscribeResult:
    """What a subscribe came to.

    ``position`` is where the client is in the stream, when its place is
    watched; ``recoverable`` says whether it may ask for what it missed.
    ``since`` is where it said that it was, and ``missed`` are the messages
    between there and ``position``, oldest first: None when it did not ask, or
    they are not all kept. In a channel with ``RecoveryMode.CACHE`` they are the
    newest alone, or nothing when the client had it. ``was_recovering`` says
    that it asked, or that everybody is given the newest. ``delta`` says that it
    gets publications in the delta form. ``expire_at`` is when the subscription
    expires (seconds since 1970; 0: never), if the client is to refresh it.
    """

    data: bytes = b""
    position: StreamPosition | None = None
    missed: list[Message] | None = None
    recoverable: bool = True
    since: StreamPosition | None = None
    was_recovering: bool = False
    delta: bool = False
    expire_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Departure:
    """A subscription that ended, and what is to be told of it."""

    channel: str
    info: ClientInfo
    options: ChannelOptions | None

    @property
    def has_a_trace(self) -> bool:
        return self.options is not None and (self.options.presence or self.options.join_leave)

    async def tell(self, engine: Engine) -> None:
        """Take the presence away, and publish the leave."""
        if self.options is None:
            return
        try:
            if self.options.presence:
                await engine.remove_presence(self.channel, self.info.client)
            if self.options.join_leave:
                await engine.publish_leave(self.channel, LeaveMessage(self.channel, self.info))
        except (EngineUnavailableError, BackpressureError) as error:
            # It has left all the same; its presence ends by itself.
            log.warning("leaving %r was not told: %s", self.channel, error)


def effective_options(options: ChannelOptions, reply: SubscribeReply) -> ChannelOptions:
    """A channel's options, as one subscription changes them; itself when it does not."""
    presence = options.presence if reply.presence is None else reply.presence
    join_leave = options.join_leave if reply.join_leave is None else reply.join_leave
    may_be_watched = options.keeps_history and options.slow is SlowPolicy.DISCONNECT
    watched = options.recover or (may_be_watched and bool(reply.recover or reply.position))
    if (presence, join_leave, watched) == (options.presence, options.join_leave, options.recover):
        return options
    return replace(options, presence=presence, join_leave=join_leave, recover=watched)
