"""Deltas: two texts behind a length, or a base and a patch of a stranger's."""

from __future__ import annotations

from centrifuge.fossil import apply_delta

from fanout._fossil import apply, create
from fanout._frame import json_publication
from fanout._message import Message
from fanout._protobuf import protobuf_publication

MAX_LEN = 4096


def run(data: bytes) -> None:
    size = int.from_bytes(data[:2], "big")
    base, other = data[2:2 + size], data[2 + size:]
    patch = create(base, other)
    assert apply(base, patch) == other
    assert bytes(apply_delta(base, patch)) == other
    message = Message("a", other)
    json_publication(message, delta=True, base=base)
    protobuf_publication(message, delta=True, base=base)
    # And what nobody made as one.
    try:
        target = apply(base, other)
    except ValueError:
        return
    assert bytes(apply_delta(base, other)) == target
