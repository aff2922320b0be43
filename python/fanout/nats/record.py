"""What JetStream keeps of a channel's stream: messages, and states without one.

The newest record of a channel tells everything about its stream. Its
``offset`` is the stream's top and its ``epoch`` the stream's. Messages before
it are kept as long as it is alive, up to its ``size``.

A record of fixed length comes first, so that whoever is delivered a message
finds what follows, the message as ``fanout._codec`` writes it, without reading
the rest. Where the stream has a version, that stands between the two.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from hashlib import blake2b

from fanout._codec import decode_message
from fanout.nats.wire import RECORD, VERSIONED
from fanout.types import Message

__all__ = ["SIZE", "STATE", "Record", "Stored", "delivered", "epoch_mark", "pack", "unpack"]

STATE = 0x04
"""Where the stream is, when nothing of it is kept."""
_VERSIONED_STATE = 0x07
_VERSIONED = {RECORD: VERSIONED, STATE: _VERSIONED_STATE}
_PLAIN = {versioned: kind for kind, versioned in _VERSIONED.items()}

_FORM = struct.Struct("<B16sQ16sIddddQQ")
_HEAD = struct.Struct("<B16sQ")
_VERSION = struct.Struct("<Q16s")
SIZE = _FORM.size + _VERSION.size
"""Bytes in front of a message, at most."""


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
    version, version_mark
        Those of the stream's last message that had a version, 0 when none had;
        the mark stands for its epoch, see :func:`epoch_mark`.
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
    version: int = 0
    version_mark: bytes = b""


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

    @property
    def body(self) -> bytes:
        """The message as ``fanout._codec`` writes it."""
        return self.data[_start(self.data):]

    def message(self, channel: str) -> Message:
        return decode_message(channel, self.data, _start(self.data), self.record.offset)


def epoch_mark(version_epoch: str) -> bytes:
    """16 bytes that no other version's epoch has."""
    return blake2b(version_epoch.encode(), digest_size=16).digest()


def _start(data: bytes) -> int:
    """Where the message of a record is."""
    return SIZE if data[0] == VERSIONED else _FORM.size


def pack(kind: int, record: Record) -> bytes:
    version = b""
    if record.version:
        kind = _VERSIONED[kind]
        version = _VERSION.pack(record.version, record.version_mark)
    return _FORM.pack(
        kind, record.epoch.encode(), record.offset, record.mark, record.size, record.lifetime,
        record.meta_lifetime, record.ends, record.guard, record.since, record.others) + version


def unpack(sequence: int, time: float, data: bytes) -> Stored:
    """``ValueError`` for what :func:`pack` has not written."""
    try:
        kind, epoch, offset, mark, *rest = _FORM.unpack_from(data)
        if kind in _PLAIN:
            kind = _PLAIN[kind]
            rest += _VERSION.unpack_from(data, _FORM.size)
    except struct.error as error:
        raise ValueError(f"a record is cut short: {error}") from None
    if kind not in (RECORD, STATE):
        raise ValueError(f"unknown kind of record, 0x{kind:02x}")
    return Stored(
        sequence, time, kind == RECORD, Record(epoch.decode(), offset, mark, *rest), data)


def delivered(channel: str, data: bytes) -> tuple[Message, str]:
    """A message that was stored, and its epoch."""
    _, epoch, offset = _HEAD.unpack_from(data)
    return decode_message(channel, data, _start(data), offset), epoch.decode()
