"""A steady load, and the proof at its end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fanout import Node, StreamPosition
from tests.system.checker import check
from tests.system.load import Load
from tests.system.subscriber import Subscriber
from tests.system.waiting import until

__all__ = ["assert_kept", "everywhere", "under_load"]


@asynccontextmanager
async def under_load(
    subscribers: AbstractAsyncContextManager[list[Subscriber]], node: Node, rooms: Sequence[str]
) -> AsyncIterator[tuple[list[Subscriber], Load]]:
    """``subscribers`` of ``rooms``, and publishes by ``node``.

    It begins when all works. At the end, when all works again, everybody must
    come to have the last publish, and then the logs are checked.
    """
    async with subscribers as clients:
        async with Load(node, rooms) as load:
            await load.more(50)
            yield clients, load
            # All is well again: what is published from here on must arrive everywhere.
            await load.more(50)
        for room in rooms:
            await everywhere(clients, room, await load.mark(room))
            logs = {each.name: each.logs[room] for each in clients}
            assert check(logs, load.acknowledged[room]) == []


async def everywhere(subscribers: list[Subscriber], room: str, top: StreamPosition) -> None:
    """Wait until all subscribers of ``room`` have what was published last."""
    await until(
        lambda: all(each.place(room) == (top.epoch, top.offset) for each in subscribers),
        lambda: f"all at {top}: {[each.place(room) for each in subscribers]}",
    )


async def assert_kept(node: Node, room: str, load: Load) -> None:
    """All that was acknowledged is in the history, where the acknowledgement said."""
    page = await node.history_stream(room, StreamPosition(0, ""))
    assert page.recoverable
    places = {
        (item.epoch, item.offset, item.number) for item in load.acknowledged[room]
    }
    kept = {
        (page.position.epoch, message.offset, _number(message.data)) for message in page.messages
    }
    assert places <= kept, f"acknowledged, and gone: {sorted(places - kept)[:5]}"


def _number(data: bytes) -> int:
    number: int = json.loads(data)["number"]
    return number
