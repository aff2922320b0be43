"""Commands in which ``null`` stands for what is not there.

``{"token": null}`` is what many languages make of a token that they do not
have, and Centrifugo's reader takes a null for the field's absence. Payloads
are left alone: there it is a value.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from fanout.server.protocol import messages as wire

__all__ = ["decode_without_nulls"]

S = TypeVar("S", bound=Struct)
Members = dict[str, Raw]

_members = msgspec.json.Decoder(Members)
_encode = msgspec.json.Encoder().encode

# Fields that are objects with fields of their own. Filters are not among them:
# they are as deep as their sender likes, and each level is read once more here.
_REQUESTS: dict[str, type[Struct]] = {
    "connect": wire.ConnectRequest,
    "subscribe": wire.SubscribeRequest,
    "unsubscribe": wire.ChannelRequest,
    "publish": wire.PublishRequest,
    "presence": wire.ChannelRequest,
    "presence_stats": wire.ChannelRequest,
    "history": wire.HistoryRequest,
    "rpc": wire.RPCRequest,
    "send": wire.DataRequest,
    "refresh": wire.RefreshRequest,
    "sub_refresh": wire.SubRefreshRequest,
}
_OBJECTS: dict[type[Struct], dict[str, type[Struct]]] = {
    wire.Command: _REQUESTS,
    wire.HistoryRequest: {"since": wire.Position},
}
_MAPS: dict[type[Struct], dict[str, type[Struct]]] = {
    wire.ConnectRequest: {"subs": wire.SubscribeRequest},
}
_PAYLOAD = "data"       # in every request that has one


def decode_without_nulls(frame: bytes, decoder: msgspec.json.Decoder[S]) -> list[S]:
    """The objects of a frame that ``decoder`` refused, if nulls are the reason.

    Raises ``ValueError`` or ``RecursionError`` when they are not.
    """
    return [
        decoder.decode(_encode(_without_nulls(members, decoder.type)))
        for members in _members.decode_lines(frame)
    ]


def _without_nulls(members: Members, struct: type[Struct]) -> dict[str, object]:
    objects, maps = _OBJECTS.get(struct, {}), _MAPS.get(struct, {})
    kept: dict[str, object] = {}
    for name, value in members.items():
        if name == _PAYLOAD or b"null" not in bytes(value):
            kept[name] = value
        elif bytes(value) == b"null":
            pass
        elif name in objects:
            kept[name] = _without_nulls(_members.decode(value), objects[name])
        elif name in maps:
            kept[name] = {
                key: _without_nulls(_members.decode(item), maps[name])
                for key, item in _members.decode(value).items()}
        else:
            kept[name] = value
    return kept
