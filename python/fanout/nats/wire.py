"""What is published to a channel's subject: its first byte says which kind it is."""

from __future__ import annotations

from fanout._codec import encode_info
from fanout.types import ClientInfo

__all__ = ["JOIN", "LEAVE", "MESSAGE", "PROBE", "RECORD", "VERSIONED", "join_payload",
           "leave_payload"]

MESSAGE = 0x11
"""A message without a place in a stream, as ``fanout._codec`` writes it."""
JOIN = 0x01
LEAVE = 0x02
RECORD = 0x03
"""A stored message: ``fanout.nats.record``."""
VERSIONED = 0x06
"""The same, of a stream that has a version."""
PROBE = 0x05
"""Nothing, to find out whether anybody listens."""

_JOIN = bytes([JOIN])
_LEAVE = bytes([LEAVE])


def join_payload(info: ClientInfo) -> bytes:
    return _JOIN + encode_info(info)


def leave_payload(info: ClientInfo) -> bytes:
    return _LEAVE + encode_info(info)
