"""Commands in which ``null`` stands for what is not there.

``{"token": null}`` is what many languages make of a token that they do not
have, and Centrifugo's reader takes a null for the field's absence. Payloads
are left alone: there it is a value.
"""

from __future__ import annotations

import functools
from typing import TypeVar, get_args, get_origin

import msgspec
from msgspec import Raw, Struct

from fanout.server.protocol.messages import FilterNode

__all__ = ["decode_without_nulls"]

S = TypeVar("S", bound=Struct)
Members = dict[str, Raw]

_members = msgspec.json.Decoder(Members)
_encode = msgspec.json.Encoder().encode
_PAYLOAD = "data"       # in every request that has one


def decode_without_nulls(frame: bytes, decoder: msgspec.json.Decoder[S]) -> list[S]:
    """The objects of a frame that ``decoder`` refused, if nulls are the reason.

    Raises ``ValueError`` or ``RecursionError`` when they are not.
    """
    return [
        decoder.decode(_encode(_without_nulls(members, decoder.type)))
        for members in _members.decode_lines(frame)
    ]


@functools.cache
def _objects(struct: type[Struct]) -> dict[str, tuple[type[Struct], bool]]:
    """The fields that are objects with fields of their own, or, with True, tables of such.

    Filters are not among them: they are as deep as their sender likes, and each
    level is read once more here.
    """
    found = {}
    for field in msgspec.structs.fields(struct):
        for part in get_args(field.type):
            if isinstance(part, type) and issubclass(part, Struct) and part is not FilterNode:
                found[field.encode_name] = part, get_origin(field.type) is dict
    return found


def _without_nulls(members: Members, struct: type[Struct]) -> dict[str, object]:
    kept: dict[str, object] = {}
    for name, value in members.items():
        if name == _PAYLOAD or b"null" not in bytes(value):
            kept[name] = value
        elif bytes(value) == b"null":
            pass
        elif name in _objects(struct):
            part, is_table = _objects(struct)[name]
            inner = _members.decode(value)
            kept[name] = {
                key: _without_nulls(_members.decode(item), part) for key, item in inner.items()
            } if is_table else _without_nulls(inner, part)
        else:
            kept[name] = value
    return kept
