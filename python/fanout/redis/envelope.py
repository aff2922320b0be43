"""What travels in a channel's topic: messages, joins and leaves.

A message that is not stored goes as the codec wrote it; the first byte of its
format is below every letter. Others have a letter in front, and a stored one
its offset and epoch behind that, which the script on the server puts there.
"""

from __future__ import annotations

from fanout._codec import decode_info, decode_message, encode_info
from fanout.types import ClientInfo, JoinMessage, LeaveMessage, Message

__all__ = ["STORED", "join_payload", "leave_payload", "read"]

STORED = "s"
"""In front of ``<offset>:<epoch>:<message>``."""

_STORED = ord(STORED)
_JOIN = ord("j")
_LEAVE = ord("l")
_FIRST_LETTER = ord("A")
_LARGEST_OFFSET = 2**64 - 1


def join_payload(info: ClientInfo) -> bytes:
    return b"j" + encode_info(info)


def leave_payload(info: ClientInfo) -> bytes:
    return b"l" + encode_info(info)


def read(channel: str, payload: bytes) -> tuple[Message | JoinMessage | LeaveMessage, str]:
    """What ``payload`` is, and the epoch of a stored message, ``""`` for others.

    Raises ``ValueError`` for what no engine has written.
    """
    kind = payload[0] if payload else 0
    if kind == _STORED:
        middle = payload.index(b":", 1)
        end = payload.index(b":", middle + 1)
        offset = int(payload[1:middle])
        if offset > _LARGEST_OFFSET:
            raise ValueError(f"an offset of more than 64 bits: {offset}")
        epoch = str(payload[middle + 1:end], "ascii")
        return decode_message(channel, payload, end + 1, offset), epoch
    if kind < _FIRST_LETTER:
        return decode_message(channel, payload), ""
    if kind == _JOIN:
        return JoinMessage(channel, decode_info(payload, 1)), ""
    if kind == _LEAVE:
        return LeaveMessage(channel, decode_info(payload, 1)), ""
    raise ValueError(f"unknown kind 0x{kind:02x}")
