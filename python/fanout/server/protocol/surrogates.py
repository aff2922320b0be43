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
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Raw, Struct

__all__ = ["decode_with_surrogates"]

S = TypeVar("S", bound=Struct)

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_SURROGATE = re.compile(rb"[dD][89abABcdefCDEF]")
_STAND_INS = range(0xE000, 0xF900)      # private use: rarely in a frame already


def decode_with_surrogates(frame: bytes, decode: Callable[[bytes], list[S]]) -> list[S]:
    """What ``decode`` makes of a frame that it refused, if surrogates are the reason.

    Raises ``ValueError`` when they are not, and when one stands in a field
    that is not a payload, such as a channel's name.
    """
    taken = {int(digits, 16) for digits in _ESCAPE.findall(frame) if digits}
    free = (code for code in _STAND_INS if code not in taken and chr(code).encode() not in frame)
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
    for request in _requests(commands):
        for name in request.__struct_fields__:
            value = getattr(request, name)
            if isinstance(value, Raw):
                setattr(request, name, Raw(_ESCAPE.sub(original, bytes(value))))
            elif isinstance(value, str) and not characters.isdisjoint(value):
                raise ValueError(f"half a surrogate pair in {name}")
    return commands


def _requests(structs: Iterable[Struct]) -> Iterable[Struct]:
    """The structs and those inside of them."""
    for struct in structs:
        yield struct
        yield from _requests(
            value for name in struct.__struct_fields__
            if isinstance(value := getattr(struct, name), Struct))
