"""Objects to watch: fresh ones to count references of, and ones that act when they die."""

from __future__ import annotations

import sys
from collections.abc import Callable

from fanout.types import ClientInfo, Message

__all__ = ["Bomb", "fresh_bytes", "fresh_str", "info_with", "message_with", "references"]


def _counted(value: object) -> int:
    return sys.getrefcount(value)


def _counted_alone() -> int:
    value = object()
    return _counted(value)


_ALONE = _counted_alone()   # the caller's reference and those that counting takes


def references(value: object) -> int:
    """How many references there are beside the caller's own one."""
    return sys.getrefcount(value) - _ALONE


def fresh_str(text: str) -> str:
    """A str that nobody else has; a literal may be interned, even immortal."""
    return "".join([text[:1], text[1:]])


def fresh_bytes(text: bytes) -> bytes:
    return bytes(bytearray(text))


class Bomb:
    """Runs ``action`` when its last reference goes."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action = action

    def __del__(self) -> None:
        self.action()


def info_with(action: Callable[[], object]) -> ClientInfo:
    """A client info that runs ``action`` when it is freed."""
    return ClientInfo(user=Bomb(action))


def message_with(channel: str, action: Callable[[], object]) -> Message:
    """A message that runs ``action`` when it and its copies are freed."""
    return Message(channel, b"", info=info_with(action))
