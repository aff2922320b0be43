"""Payloads with half a surrogate pair.

``"\\ud83d"`` alone is what JavaScript's ``JSON.stringify`` makes of a string
that was cut in the middle of an emoji. RFC 8259 allows the text and warns that
readers differ (section 8.2): msgspec refuses it, also where it only passes a
payload on. Ending a client's connection for it would be harsh, so such a
frame is read with stand-ins for its surrogate escapes, and the payloads get
their own bytes back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Raw, Struct

__all__ = ["decode_with_surrogates"]

S = TypeVar("S", bound=Struct)

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_SURROGATE = re.compile(rb"[dD][89abABcdefCDEF]")
_STAND_INS = range(0xE000, 0xF900)      # private use: rarely in a frame already
# Their bytes, and those of the others that begin with the same one.
_PRIVATE = re.compile(rb"[\xee\xef][\x80-\xbf]{2}")


def decode_with_surrogates(frame: bytes, decode: Callable[[bytes], list[S]]) -> list[S]:
    """What ``decode`` makes of a frame that it refused, if surrogates are the reason.

    Raises ``ValueError`` when they are not, and when one stands in a field
    that is not a payload, such as a channel's name.
    """
    taken = {int(digits, 16) for digits in _ESCAPE.findall(frame) if digits}
    # One look at the frame for all: it may be long, and the surrogates many.
    taken.update(ord(character.decode()) for character in _PRIVATE.findall(frame))
    free = (code for code in _STAND_INS if code not in taken)
    stand_ins: dict[bytes, bytes] = {}

    def stand_in(escape: re.Match[bytes]) -> bytes:
        if escape[1] is None or not _SURROGATE.match(escape[1]):
            return escape[0]
        if escape[0] not in stand_ins:
            code = next(free, None)
            if code is None:
                raise ValueError("too many different surrogates")
            stand_ins[escape[0]] = b"\\u%04x" % code
        return stand_ins[escape[0]]

    replaced = _ESCAPE.sub(stand_in, frame)
    if not stand_ins:
        raise ValueError("not JSON")
    originals = {ours: theirs for theirs, ours in stand_ins.items()}
    characters = frozenset(chr(int(ours[2:], 16)) for ours in originals)

    def original(escape: re.Match[bytes]) -> bytes:
        return originals.get(escape[0], escape[0])

    commands = decode(replaced)
    for command in commands:
        _restore(command, original, characters)
    return commands


def _restore(
    value: Any, original: Callable[[re.Match[bytes]], bytes], characters: frozenset[str]
) -> None:
    """Give the payloads inside of ``value`` their bytes back."""
    if isinstance(value, Struct):
        for name in value.__struct_fields__:
            inner = getattr(value, name)
            if isinstance(inner, Raw):
                setattr(value, name, Raw(_ESCAPE.sub(original, bytes(inner))))
            else:
                _restore(inner, original, characters)
    elif isinstance(value, dict):
        _restore([*value.keys(), *value.values()], original, characters)
    elif isinstance(value, list):
        for inner in value:
            _restore(inner, original, characters)
    elif isinstance(value, str) and not characters.isdisjoint(value):
        raise ValueError("half a surrogate pair in what is no payload")
