"""Which of several servers a channel belongs to.

Jump consistent hashing (Lamping and Veach) over the 64-bit FNV-1a of the name,
as Centrifugo has it: with one server more, only those channels move that go to
the new one.
"""

from __future__ import annotations

__all__ = ["shard_of"]

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_JUMP = 2862933555777941757
_MASK = 0xFFFFFFFFFFFFFFFF


def shard_of(channel: bytes, count: int) -> int:
    """The index, from 0, of the shard of ``channel`` among ``count``."""
    if count == 1:
        return 0
    key = _FNV_OFFSET
    for byte in channel:
        key = ((key ^ byte) * _FNV_PRIME) & _MASK
    shard, jump = 0, 0
    while jump < count:
        shard = jump
        key = (key * _JUMP + 1) & _MASK
        jump = int((shard + 1) * (float(1 << 31) / float((key >> 33) + 1)))
    return shard
