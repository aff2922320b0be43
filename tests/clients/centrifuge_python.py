"""The published client centrifuge-python, in either of its encodings, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from centrifuge import (  # type: ignore[import-untyped]
    Client,
    ClientEventHandler,
    ReplyError,
    Subscription,
    SubscriptionEventHandler,
)

__all__ = ["JSON", "PROTOBUF", "Encoding", "Told", "error_of", "settled"]


class Told(ClientEventHandler, SubscriptionEventHandler):  # type: ignore[misc]
    """Everything that the client tells, in order."""

    def __init__(self, encoding: Encoding) -> None:
        self.encoding = encoding
        self.queue: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

    async def until(self, name: str) -> Any:
        """Wait for an event; what came with it. Others before it are passed over."""
        passed = []
        try:
            async with asyncio.timeout(15):
                while True:
                    told, context = await self.queue.get()
                    if told == name:
                        return context
                    passed.append((told, context))
        except TimeoutError:
            raise AssertionError(f"no {name}, but {passed}") from None

    async def publications(self, count: int) -> list[Any]:
        """The data of the next publications."""
        return [(await self.until("publication")).pub.data for _ in range(count)]

    def seen(self) -> list[str]:
        """The names of all events that nobody waited for."""
        return [self.queue.get_nowait()[0] for _ in range(self.queue.qsize())]


def _teller(name: str) -> Any:
    async def tell(self: Told, ctx: Any) -> None:
        if name == "publication":
            ctx.pub.data = self.encoding.back(ctx.pub.data)
        self.queue.put_nowait((name, ctx))

    return tell


for _name in ("connecting", "connected", "disconnected", "error", "subscribing", "subscribed",
              "unsubscribed", "publication", "join", "leave"):
    setattr(Told, f"on_{_name}", _teller(_name))


@dataclass(frozen=True)
class Encoding:
    """How the client speaks; in Protobuf it takes and gives bytes where it has values in JSON."""

    name: str

    def __str__(self) -> str:
        return self.name

    def out(self, value: Any) -> Any:
        return json.dumps(value).encode() if self.name == "protobuf" else value

    def back(self, data: Any) -> Any:
        return json.loads(data) if self.name == "protobuf" and data else data

    def client(self, url: str, **options: Any) -> tuple[Client, Told]:
        """A client that is not connected yet."""
        told = Told(self)
        binary = self.name == "protobuf"
        return Client(url, events=told, use_protobuf=binary, proxy=None, **options), told

    @contextlib.asynccontextmanager
    async def connected(self, url: str, **options: Any) -> AsyncIterator[tuple[Client, Told]]:
        client, told = self.client(url, **options)
        await client.connect()
        try:
            await client.ready(10)
            yield client, told
        finally:
            await client.disconnect()

    async def subscribed(
        self, client: Client, channel: str, **options: Any
    ) -> tuple[Subscription, Told]:
        subscription, told = await self.subscribing(client, channel, **options)
        await subscription.ready(10)
        return subscription, told

    async def subscribing(
        self, client: Client, channel: str, **options: Any
    ) -> tuple[Subscription, Told]:
        """A subscription that is under way; what becomes of it are its events."""
        told = Told(self)
        subscription = client.new_subscription(channel, events=told, **options)
        await subscription.subscribe()
        return subscription, told


JSON = Encoding("json")
PROTOBUF = Encoding("protobuf")


async def error_of(calling: Any) -> tuple[int, str, bool]:
    """Code, message and temporariness of the error that a call ends with."""
    with pytest.raises(ReplyError) as caught:
        await calling
    return caught.value.code, caught.value.message, caught.value.temporary


async def settled() -> None:
    """Wait for what clients do in the background: not in a loop that is gone."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=15)
        assert not pending
