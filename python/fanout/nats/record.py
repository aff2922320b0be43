"""What JetStream keeps of a channel's stream: messages, and states without one.

The newest record of a channel tells everything about its stream. Its
``offset`` is the stream's top and its ``epoch`` the stream's. Messages before
it are kept as long as it is alive, up to its ``size``.

A record of fixed length comes first, so that whoever is delivered a message
finds what follows, the message as ``fanout._codec`` writes it, without reading
the rest.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fanout._codec import decode_message
from fanout.nats.wire import RECORD
from fanout.types import Message

__all__ = ["SIZE", "STATE", "Record", "Stored", "delivered", "pack", "unpack"]

STATE = 0x04
"""Where the stream is, when nothing of it is kept."""

_FORM = struct.Struct("<B16sQ16sIddddQQ")
_HEAD = struct.Struct("<B16sQ")
SIZE = _FORM.size


@dataclass(frozen=True, slots=True)
class Record:
    """One record; times in seconds.

    epoch, offset
        The message's place; of a state, the stream's top.
    mark
        16 bytes that no other publish has.
    size, lifetime, meta_lifetime
        What was asked for with the message.
    ends
        A state's only: when, by the server's clock, the stream is forgotten.
    guard
        Until when, by the server's clock, an earlier record of the channel
        could be taken for the newest one if this one were gone. It must stay
        until then.
    since
        The first offset of those that were asked to be kept with this ``size``,
        one after the other; they are in one ring.
    others
        Messages from this offset on may be in other rings, 0 when there are none.
    """

    epoch: str
    offset: int
    mark: bytes
    size: int = 0
    lifetime: float = 0.0
    meta_lifetime: float = 0.0
    ends: float = 0.0
    guard: float = 0.0
    since: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A record in the store: its sequence there, and when it came, by the server's clock."""

    sequence: int
    time: float
    is_message: bool
    record: Record
    data: bytes

    @property
    def alive_until(self) -> float:
        """Until when the history is kept that this record is the newest of."""
        return self.time + self.record.lifetime if self.is_message else 0.0

    @property
    def ends(self) -> float:
        """When the stream that this record is the newest of is forgotten."""
        record = self.record
        if self.is_message:
            return self.time + record.lifetime + record.meta_lifetime
        return record.ends

    def message(self, channel: str) -> Message:
        return decode_message(channel, self.data, SIZE, self.record.offset)


def pack(kind: int, record: Record) -> bytes:
    return _FORM.pack(
        kind, record.epoch.encode(), record.offset, record.mark, record.size, record.lifetime,
        record.meta_lifetime, record.ends, record.guard, record.since, record.others)


def unpack(sequence: int, time: float, data: bytes) -> Stored:
    """``ValueError`` for what :func:`pack` has not written."""
    try:
        kind, epoch, offset, mark, *rest = _FORM.unpack_from(data)
    except struct.error as error:
        raise ValueError(f"a record is cut short: {error}") from None
    if kind not in (RECORD, STATE):
        raise ValueError(f"unknown kind of record, 0x{kind:02x}")
    return Stored(
        sequence, time, kind == RECORD, Record(epoch.decode(), offset, mark, *rest), data)


def delivered(channel: str, data: bytes) -> tuple[Message, str]:
    """A message that was stored, and its epoch."""
    _, epoch, offset = _HEAD.unpack_from(data)
    return decode_message(channel, data, SIZE, offset), epoch.decode()
