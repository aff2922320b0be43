"""One connection to a server, from its first byte to its last."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error

from fanout.nats.address import Login, Server
from fanout.nats.headers import Headers
from fanout.nats.sink import ChannelSink, Sink
from fanout.nats.transport import LinkTransport

__all__ = ["Connection"]

MOST_UNWRITTEN = 1 << 20
"""Bytes that are handed to nats-py before the transport has taken those before them."""
_NEVER = 1 << 30
_CLOSING_S = 1.0


class _Client(Client):
    async def _process_headers(self, headers: bytes) -> Any:
        # Were it not called any more, there would be a dictionary, which does too.
        return Headers(headers) if headers else None


class Connection:
    """A connection by nats-py that is used once: it does not come back by itself.

    nats-py's own way of reconnecting would send what it still holds to the next
    server, though it was reported as failed; and it gives no sign when all
    subscriptions are in place again.

    lost
        Done, with the reason, when the connection is of no more use.
    refusals
        Called with what the server refuses to do on a connection that stays.
    """

    def __init__(self, server: Server, login: Login, refusals: Any) -> None:
        self.server = server
        self._login = login
        self._refusals = refusals
        self._client = _Client()
        self._transport = LinkTransport(needs_tls=server.needs_tls, lost=self._on_lost)
        # nats-py does not document that it uses one that is there.
        self._client._transport = self._transport
        self.lost: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._trouble: Exception | None = None
        self._no_queue: asyncio.Queue[Any] = asyncio.Queue()

    async def open(self, name: str, timeout: float) -> None:  # noqa: ASYNC109 - nats-py's too
        """Connect and log in within ``timeout`` seconds; raises ``ConnectionError`` if not."""
        options: dict[str, Any] = {"tls": self._login.tls} if self._login.tls is not None else {}
        options.update(self.server.options or self._login.options)
        try:
            async with asyncio.timeout(timeout):
                await self._client.connect(
                    servers=[self.server.url],
                    name=name,
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                    allow_reconnect=False,
                    # Once more at the most: nats-py knows no "only once".
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=cast(int, timeout),
                    # Whether the server still answers is found out by the link.
                    ping_interval=_NEVER,
                    # No waiting inside a publish: what is unwritten is bounded here.
                    pending_size=0,
                    flusher_queue_size=0,
                    **options,
                )
        except BaseException as error:
            await self.abort()
            if isinstance(error, (OSError, Error, TimeoutError)):
                cause = self._trouble or error
                raise ConnectionError(_text(cause)) from None
            raise

    @property
    def version(self) -> tuple[int, int]:
        """The server's version, (0, 0) for one that cannot be read."""
        try:
            version = self._client.connected_server_version
            return version.major, version.minor
        except ValueError:
            return 0, 0

    @property
    def max_payload(self) -> int:
        """Bytes that a message may have, with its headers."""
        return self._client.max_payload

    async def publish(
        self, subject: str, payload: bytes, reply: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Hand a message to nats-py, which does not make this wait."""
        try:
            await self._client.publish(
                subject, payload, reply, cast("dict[str, str] | None", headers))
        except Error as error:
            raise ConnectionError(_text(error)) from None

    async def subscribe(self, sink: Sink | ChannelSink) -> Subscription:
        try:
            return await self._client.subscribe(
                sink.subject, sink.queue, future=cast("asyncio.Future[Any]", sink))
        except Error as error:
            raise ConnectionError(_text(error)) from None

    async def add(self, sink: ChannelSink) -> None:
        """Subscribe to a channel, unless it was done on this connection."""
        if sink.connection is not self:
            sink.subscription = subscription = await self.subscribe(sink)
            # The queue that nats-py gives to each is not used when there is a
            # future, and takes three quarters of all the memory of a channel.
            subscription._pending_queue = self._no_queue
            sink.connection = self

    async def remove(self, sink: ChannelSink) -> None:
        """Unsubscribe from a channel, if it was subscribed on this connection."""
        if sink.connection is self and sink.subscription is not None:
            sink.connection = None
            try:
                await sink.subscription.unsubscribe()
            except Error as error:
                raise ConnectionError(_text(error)) from None

    async def flow(self) -> None:
        """Let others have a turn; wait until the transport has taken most of what it was given."""
        await asyncio.sleep(0)
        while self._client.pending_data_size > MOST_UNWRITTEN and not self.lost.done():
            await self._transport.drain()
            await asyncio.sleep(0)

    def fail(self, error: Exception) -> None:
        """The connection is of no more use; the first reason counts."""
        if not self.lost.done():
            self.lost.set_result(error)

    async def close(self) -> None:
        """Close it when everything was written, or after a second."""
        with contextlib.suppress(TimeoutError, OSError, Error):
            async with asyncio.timeout(_CLOSING_S):
                await self._client.close()
        await self.abort()

    async def abort(self) -> None:
        """Close it now."""
        self._transport.abort()
        with contextlib.suppress(TimeoutError, OSError, Error):
            async with asyncio.timeout(_CLOSING_S):
                await self._client.close()
        # What nats-py cancelled ends in the next turns.
        for _ in range(3):
            await asyncio.sleep(0)

    async def _on_error(self, error: Exception) -> None:
        self._trouble = error
        if "permissions violation" in str(error):
            self._refusals(error)

    def _on_lost(self, error: Exception) -> None:
        # What the server said before it closed the connection says more.
        self.fail(ConnectionError(_text(self._client.last_error or error)))

    async def _on_closed(self) -> None:
        self._on_lost(self._trouble or ConnectionError("the server closed the connection"))


def _text(error: BaseException) -> str:
    text = str(error).removeprefix("nats: ")
    if isinstance(error, TimeoutError) or not text:
        return "no answer in time" if isinstance(error, TimeoutError) else type(error).__name__
    return text
