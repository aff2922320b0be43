"""Measured inside a process of its own: what one more thing of a kind takes.

    python -m benches.memory.inside subscription fanout 100 400

makes things up to the first size, reads the resident memory, makes them up to
the second, reads it again, and prints one JSON line. A fresh process for each
measurement: nothing fits into holes that an earlier one left.
"""

import argparse
import asyncio
import json
from collections.abc import Callable
from typing import Any

from benches.memory.rss import collected_bytes

QUEUES = 1_000
"""Subscribers that the subscriptions belong to."""


def cores() -> dict[str, tuple[Any, Any, Any, Any]]:
    """Hub, LocalQueue, HistoryStore and Expiry of both implementations."""
    from fanout import _expiry, _hub, _ring, _subscription
    from tests.model import reference as model

    return {
        "fanout": (
            _hub.Hub, _subscription.LocalQueue, _ring.HistoryStore, _expiry.Expiry),
        "reference": (model.Hub, model.LocalQueue, model.HistoryStore, model.Expiry),
    }


def subscriptions(core: str, largest: int) -> Callable[[int], int]:
    """Every one of the queues joins the first so many of channels that exist already."""
    from fanout.types import Overflow

    hub_class, queue_class, _, _ = cores()[core]
    hub = hub_class(asyncio.get_running_loop())
    queues = [queue_class(hub, 16, Overflow.CLOSE) for _ in range(QUEUES + 1)]
    names = [f"channel:{at}" for at in range(largest)]
    for name in names:
        hub.subscribe(queues[0], name)  # keeps the channel
    joined = 0

    def grow(size: int) -> int:
        nonlocal joined
        for queue in queues[1:]:
            for name in names[joined:size]:
                hub.subscribe(queue, name)
        joined = size
        return size * QUEUES

    return grow


def channels(core: str) -> Callable[[int], int]:
    """Channels with one subscriber each."""
    from fanout.types import Overflow

    hub_class, queue_class, _, _ = cores()[core]
    hub = hub_class(asyncio.get_running_loop())
    queues = [queue_class(hub, 16, Overflow.CLOSE) for _ in range(QUEUES)]
    made = 0

    def grow(size: int) -> int:
        nonlocal made
        for at in range(made, size):
            hub.subscribe(queues[at % QUEUES], f"channel:{at}")
        made = size
        return size

    return grow


def stored(core: str, payload: int, per_channel: int) -> Callable[[int], int]:
    """Messages in history, ``per_channel`` in each channel; 0: all in one."""
    from fanout.types import Message

    _, _, store_class, expiry_class = cores()[core]
    store = store_class(expiry_class(), 3600.0)
    made = 0

    def grow(size: int) -> int:
        nonlocal made
        for at in range(made, size):
            channel = f"channel:{at // per_channel}" if per_channel else "channel"
            data = b"%0*d" % (payload, at)  # an object of its own, as from a socket
            store.append(channel, Message(channel, data), per_channel or 1 << 24, 3600.0)
        made = size
        return size

    return grow


async def published(payload: int) -> tuple[Any, Callable[[int], int]]:
    """Messages published by a node into one channel that keeps them all."""
    from fanout import ChannelOptions, Node

    node = Node(options=ChannelOptions(history_size=1 << 24, history_lifetime=3600.0))
    await node.run()
    made = 0

    def grow(size: int) -> int:
        nonlocal made
        for at in range(made, size):
            node.publish("channel", b"%0*d" % (payload, at))
        made = size
        return size

    return node, grow


async def measure(kind: str, core: str, sizes: tuple[int, int], payload: int) -> dict[str, Any]:
    node = None
    if kind == "subscription":
        grow = subscriptions(core, sizes[1])
    elif kind == "channel":
        grow = channels(core)
    elif kind == "message":
        grow = stored(core, payload, 0)
    elif kind == "message-of-ten":
        grow = stored(core, payload, 10)
    else:
        node, grow = await published(payload)
    counts, residents = [], []
    for size in sizes:
        counts.append(grow(size))
        await asyncio.sleep(0)  # the end of the tick: what it gives back, it has given back
        residents.append(collected_bytes())
    if node is not None:
        await node.shutdown()
    return {
        "bytes_each": (residents[1] - residents[0]) / (counts[1] - counts[0]),
        "counts": counts,
        "resident": residents,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "kind",
        choices=("subscription", "channel", "message", "message-of-ten", "published-message"),
    )
    parser.add_argument("core", choices=("fanout", "reference"))
    parser.add_argument("small", type=int)
    parser.add_argument("large", type=int)
    parser.add_argument("--payload", type=int, default=128)
    asked = parser.parse_args()
    found = asyncio.run(measure(asked.kind, asked.core, (asked.small, asked.large), asked.payload))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
