"""Two ways to publish: as a client, and as an application by the HTTP API."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Protocol

import aiohttp

from fanout.bench.connection import Connection
from fanout.bench.replies import Reply

__all__ = ["APIPublisher", "ClientPublisher", "Publisher"]

Answered = Callable[[str | None], None]
"""Gets why a publication was refused, ``""`` when it was accepted, None when nobody knows."""


class Publisher(Protocol):
    """Publishes for a run; ``ready`` when it may do so now."""

    number: int

    @property
    def is_open(self) -> bool: ...
    @property
    def ready(self) -> bool: ...
    def publish(self, channel: str, data: bytes, answered: Answered) -> None: ...


class ClientPublisher:
    """A connection of its own that publishes, and waits for the answers later."""

    def __init__(self, connection: Connection, in_flight: int) -> None:
        self.number = connection.number
        self._connection = connection
        self._limit = in_flight
        self._waiting = 0

    @property
    def is_open(self) -> bool:
        return self._connection.is_open

    @property
    def ready(self) -> bool:
        connection = self._connection
        return connection.is_open and connection.writable and self._waiting < self._limit

    def publish(self, channel: str, data: bytes, answered: Answered) -> None:
        self._waiting += 1

        def on_reply(reply: Reply | None) -> None:
            self._waiting -= 1
            if reply is None:
                answered(None)
            elif reply.error is not None:
                answered(f"error {reply.error.code} {reply.error.message}")
            else:
                answered("")

        self._connection.publish(channel, data, on_reply)


class APIPublisher:
    """One request at a time, with a connection that is kept."""

    is_open = True

    def __init__(
        self, number: int, session: aiohttp.ClientSession, url: str, key: str
    ) -> None:
        self.number = number
        self._session = session
        self._url = f"{url.rstrip('/')}/publish"
        self._headers = {"X-API-Key": key}
        self._request: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self._request is None

    def publish(self, channel: str, data: bytes, answered: Answered) -> None:
        self._request = asyncio.create_task(self._publish(channel, data, answered))

    async def close(self) -> None:
        """Wait for the answer that is outstanding."""
        if self._request is not None:
            await asyncio.wait([self._request])

    async def _publish(self, channel: str, data: bytes, answered: Answered) -> None:
        # By hand, because the data is JSON already.
        body = b'{"channel":%s,"data":%s}' % (json.dumps(channel).encode(), data)
        try:
            async with self._session.post(
                self._url, data=body,
                headers={**self._headers, "Content-Type": "application/json"},
            ) as response:
                outcome = _outcome(response.status, await response.read())
                if outcome == "HTTP 404":
                    outcome += f", no API at {self._url}: --api-url says where it is"
        except aiohttp.ClientConnectorError as error:
            answered(f"the API cannot be reached: {error.strerror or error.os_error}")
        except (aiohttp.ClientError, TimeoutError):
            answered(None)
        else:
            answered(outcome)
        finally:
            self._request = None


def _outcome(status: int, body: bytes) -> str:
    """Why the API refused, or ``""``."""
    try:
        answer = json.loads(body)
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict):
            return f"error {error['code']} {error['message']}"
    except (ValueError, KeyError):
        pass
    return "" if status == 200 else f"HTTP {status}"
