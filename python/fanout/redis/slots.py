"""The slots of a cluster, and which node has which."""

from __future__ import annotations

from typing import NamedTuple

from redis.crc import key_slot

from fanout.redis.address import Address
from fanout.redis.dial import ask

__all__ = ["NUM_SLOTS", "Place", "SlotRange", "fetch_slots", "parse_redirect", "slot_of"]

NUM_SLOTS = 16384

Place = tuple[str, int]
"""Host and port of a node."""


class SlotRange(NamedTuple):
    """The slots from ``first`` to ``last``, and the node that has them."""

    first: int
    last: int
    place: Place


def slot_of(key: bytes) -> int:
    """The slot of a key or sharded topic."""
    slot: int = key_slot(key)
    return slot


async def fetch_slots(address: Address, place: Place, seconds: float) -> list[SlotRange]:
    """What the node at ``place`` thinks; any ``Exception`` when it does not answer."""
    reply = await ask(address, place, address.options, seconds, "CLUSTER", "SLOTS")
    ranges = []
    for first, last, master, *_ in reply:
        host, port = master[:2]
        name = host.decode() if host else ""
        # A node that does not know how it is called is where it was asked.
        if name in ("", "?"):
            name = place[0]
        ranges.append(SlotRange(first, last, (name, port)))
    if not ranges:
        raise ConnectionError(f"{place[0]}:{place[1]} knows of no slots")
    return ranges


def parse_redirect(text: str, asked: Place) -> tuple[int, Place]:
    """Slot and node of a MOVED or ASK reply; ``ValueError`` for another form."""
    _, slot, target = text.split(" ")[:3]
    host, _, port = target.rpartition(":")
    return int(slot), (host or asked[0], int(port))
