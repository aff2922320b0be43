"""The whole system as an admin page shows it: what all nodes answer, put together."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from fanout.errors import SurveyError
from fanout.node import Node
from fanout.server.admin.answers import (
    CHANNELS,
    CONNECTIONS,
    MOST_CHANNELS,
    MOST_CONNECTIONS,
    NODES,
)

__all__ = ["System"]

PATIENCE = 2.0          # seconds for the answers of the other nodes
FRESH = 0.4             # seconds for which an answer is given to whoever asks the same
MOST_FRESH = 100        # answers kept for that

View = dict[str, Any]


class System:
    """Asks the nodes; several pages that ask the same at a time make one survey.

    A view's ``missing`` says of which nodes nothing is in it, by uid, and why.
    """

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node = node
        self._clock = clock
        self._asked: dict[tuple[str, bytes], tuple[float, asyncio.Task[View]]] = {}

    async def nodes(self, last: int) -> View:
        view = await self._view(NODES, {"last": last}, _nodes)
        return {**view, "now": time.time(), "own": self._node.uid}

    async def channels(self, match: str) -> View:
        return await self._view(CHANNELS, {"match": match}, _channels)

    async def connections(self, match: str, channel: str, client: str) -> View:
        return await self._view(
            CONNECTIONS, {"match": match, "channel": channel, "client": client}, _connections)

    async def _view(
        self, method: str, request: dict[str, Any], join: Callable[[list[View]], View]
    ) -> View:
        params = json.dumps(request).encode()
        key, now = (method, params), self._clock()
        for old, (at, task) in list(self._asked.items()):
            if task.done() and now - at > FRESH:
                del self._asked[old]
        found = self._asked.get(key)
        if found is None:
            while len(self._asked) >= MOST_FRESH:
                del self._asked[next(iter(self._asked))]
            task = asyncio.ensure_future(self._ask(method, params, join))
            task.add_done_callback(_looked_at)
            found = self._asked[key] = now, task
        # Who asked first may go away; the others still want to know.
        return await asyncio.shield(found[1])

    async def _ask(
        self, method: str, params: bytes, join: Callable[[list[View]], View]
    ) -> View:
        missing: dict[str, str] = {}
        asked: Awaitable[dict[str, bytes]] = self._node.survey(method, params, timeout=PATIENCE)
        try:
            answers = await asked
        except SurveyError as error:
            answers, missing = dict(error.answers), dict(error.missing)
        return {**join([json.loads(answer) for answer in answers.values()]), "missing": missing}


def _looked_at(task: asyncio.Task[View]) -> None:
    """Who asked may have gone away: then nobody else takes the error."""
    if not task.cancelled():
        task.exception()


def _nodes(answers: list[View]) -> View:
    return {"nodes": sorted(answers, key=lambda node: (node["name"], node["uid"]))}


def _channels(answers: list[View]) -> View:
    """The largest; ``total`` is how many there are, a channel counting at each of its nodes.

    ``partial``: some are left out.
    """
    counts: dict[str, int] = {}
    for answer in answers:
        for name, count in answer["channels"].items():
            counts[name] = counts.get(name, 0) + count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    partial = len(ranked) > MOST_CHANNELS or any(
        answer["total"] > len(answer["channels"]) for answer in answers)
    return {
        "total": sum(answer["total"] for answer in answers) if partial else len(ranked),
        "partial": partial,
        "channels": [{"name": name, "subscribers": count} for name, count in
                     ranked[:MOST_CHANNELS]],
    }


def _connections(answers: list[View]) -> View:
    rows = [row for answer in answers for row in answer["connections"]]
    rows.sort(key=lambda row: -row["since"])
    return {
        "total": sum(answer["total"] for answer in answers),
        "connections": rows[:MOST_CONNECTIONS],
    }
