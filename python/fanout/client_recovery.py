"""What a client that subscribes is given of the channel's stream."""

from __future__ import annotations

from fanout import codes
from fanout.events import SubscribeEvent, SubscribeReply
from fanout.positions import Positions
from fanout.types import ChannelOptions, Message, RecoveryMode, StreamPosition

__all__ = ["Recovery"]


class Recovery:
    """The place in a channel's stream at which a client enters, and what it missed before.

    ``positioned`` says whether its place is watched, ``recoverable`` whether it
    may ask for what it missed. ``since`` is where it said that it was, None
    where it may not ask. ``missed``, once read, and ``was_recovering`` are as in
    a :class:`fanout.client_subscription.SubscribeResult`.
    """

    __slots__ = (
        "_event", "_from_cache", "_positions", "_track", "_unasked", "missed", "positioned",
        "recoverable", "since",
    )

    def __init__(
        self, positions: Positions, event: SubscribeEvent, reply: SubscribeReply,
        options: ChannelOptions,
    ) -> None:
        self._positions = positions
        self._event = event
        # Before anything is awaited: what happens to the link is noted in it.
        self._track = positions.watch(event.channel, options)
        self.recoverable = self._track is not None and reply.recover is not False
        self.positioned = self.recoverable or (
            self._track is not None and reply.position is not False)
        self._from_cache = options.recovery_mode is RecoveryMode.CACHE
        self._unasked = self.recoverable and self._from_cache and options.recover_unasked
        self.since = event.since if self.recoverable else None
        self.missed: list[Message] | None = None

    async def read(self) -> None:
        """Read what is missing; nothing may be awaited between this and the entry into the hub.

        Raises :exc:`fanout.ClientError` when it cannot be had and the client
        wants no subscription without it, and what the engine raises.
        """
        track = self._track
        if track is not None:
            if self._from_cache and (self.since is not None or self._unasked):
                self.missed = await self._positions.recover_latest(
                    track, self.since, self._event.tags_filter)
            elif self.since is not None and not self._from_cache:
                self.missed = await self._positions.recover(track, self.since)
            # Awaits nothing when the place is known, as it is with what was missed.
            await self._positions.open(track)
        if self.since is not None and self.missed is None and self._event.reject_unrecovered:
            raise codes.ERROR_UNRECOVERABLE_POSITION()

    @property
    def position(self) -> StreamPosition | None:
        """Where the client is now, None when its place is not watched."""
        return self._track.position if self._track is not None and self.positioned else None

    @property
    def was_recovering(self) -> bool:
        return self._event.since is not None or self._unasked

    @property
    def wanted(self) -> list[Message] | None:
        """Of what it missed, that which the client's filter lets through."""
        tags_filter = self._event.tags_filter
        if not self.missed or tags_filter is None:
            return self.missed
        return [each for each in self.missed if tags_filter.matches(each.tags)]
