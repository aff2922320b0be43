"""The client's half of WebSocket framing (RFC 6455): frames out, messages in.

Nothing is negotiated: no compression, no extension.
"""

from __future__ import annotations

import secrets
import struct

__all__ = ["BINARY", "CLOSE", "PING", "PONG", "TEXT", "FrameError", "FrameReader", "masked_frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

MAX_MESSAGE = 64 * 1024 * 1024      # bytes: what no server under test should send

_SHORT = struct.Struct("!H")
_LONG = struct.Struct("!Q")


class FrameError(Exception):
    """The server broke the framing."""


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame of a client, masked as the RFC has it."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 0x10000:
        head = bytes((0x80 | opcode, 0xFE)) + _SHORT.pack(size)
    else:
        head = bytes((0x80 | opcode, 0xFF)) + _LONG.pack(size)
    mask = secrets.token_bytes(4)
    # One operation on a large integer instead of one for each byte.
    repeated = (mask * (size // 4 + 1))[:size]
    covered = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + mask + covered.to_bytes(size, "big")


class FrameReader:
    """Bytes of a server in, whole messages and control frames out."""

    __slots__ = ("_fragments", "_held", "_opcode")

    def __init__(self) -> None:
        self._held = b""
        self._fragments: list[bytes] = []
        self._opcode = CONTINUATION     # of the message whose fragments these are

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """What became whole: (opcode, payload). Raises :exc:`FrameError`."""
        if self._held:
            data = self._held + data
        messages: list[tuple[int, bytes]] = []
        at, size = 0, len(data)
        while size - at >= 2:
            first, length = data[at], data[at + 1]
            body = at + 2
            if length == 126:
                if size - at < 4:
                    break
                length = _SHORT.unpack_from(data, body)[0]
                body += 2
            elif length == 127:
                if size - at < 10:
                    break
                length = _LONG.unpack_from(data, body)[0]
                body += 8
                if length > MAX_MESSAGE:
                    raise FrameError(f"a frame of {length} bytes")
            elif length > 127:
                raise FrameError("a masked frame")
            if size - body < length:
                break
            at = body + length
            if first & 0x70:
                raise FrameError("reserved bits are set, and no extension was negotiated")
            if first & 0x80 and first & 0x0F:
                messages.append((first & 0x0F, data[body:at]))
            else:
                self._fragment(first, data[body:at], messages)
        self._held = data[at:] if at < size else b""
        return messages

    def _fragment(self, first: int, payload: bytes, messages: list[tuple[int, bytes]]) -> None:
        opcode = first & 0x0F
        if (opcode == CONTINUATION) != bool(self._fragments):
            raise FrameError("a fragment out of place")
        if opcode:
            self._opcode = opcode
        self._fragments.append(payload)
        if sum(map(len, self._fragments)) > MAX_MESSAGE:
            raise FrameError(f"a message of more than {MAX_MESSAGE} bytes")
        if first & 0x80:
            messages.append((self._opcode, b"".join(self._fragments)))
            self._fragments.clear()
