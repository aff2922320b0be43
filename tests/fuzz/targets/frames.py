"""One frame of commands, and the same as a connect request.

The first byte is ``P`` for Protobuf, else it is JSON.
"""

from __future__ import annotations

import contextlib
from typing import Any

from centrifuge.protocol import client_pb2 as pb
from msgspec import Raw, Struct

from fanout.codes import ClientError, Disconnect
from fanout.server.protocol import JSON, PROTOBUF
from fanout.server.protocol.protobuf import _parts
from fanout.server.session.requests import subscribe_event

MAX_LEN = 16384


def run(data: bytes) -> None:
    protocol = PROTOBUF if data[:1] == b"P" else JSON
    frame = data[1:]
    with contextlib.suppress(ValueError, RecursionError):
        protocol.decode_connect(frame)
    try:
        commands = protocol.decode_commands(frame)
    except (ValueError, RecursionError):
        return
    assert 0 < len(commands) <= len(frame)
    assert list(protocol.read_commands(frame)) == commands
    for command in commands:
        assert 0 <= command.id < 1 << 32
        if command.subscribe is not None:
            with contextlib.suppress(ClientError, Disconnect):
                event = subscribe_event(command.subscribe, command.subscribe.channel)
                if event.tags_filter is not None:
                    event.tags_filter.matches({"a": "1"})
    if protocol is PROTOBUF:
        theirs = [pb.Command.FromString(part) for part in _parts(frame)]
        for ours, their in zip(commands, theirs, strict=True):
            assert _is_same(ours, their)


def _is_same(ours: Any, theirs: Any) -> bool:
    """Whether the published schema reads the same, as far as our messages go."""
    if isinstance(ours, Struct):
        for name in ours.__struct_fields__:
            value = getattr(ours, name)
            if name not in theirs.DESCRIPTOR.fields_by_name:
                continue        # newer than that schema
            if (value is None or isinstance(value, Struct)) and (
                theirs.HasField(name) != (value is not None)
            ):
                return False
            if value is not None and not _is_same(value, getattr(theirs, name)):
                return False
        return True
    if isinstance(ours, Raw):
        return bytes(ours) == theirs
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(_is_same, ours, theirs))
    if isinstance(ours, dict):
        return ours.keys() == set(theirs) and all(
            _is_same(value, theirs[key]) for key, value in ours.items())
    return bool(ours == theirs)
