"""History and presence, for an engine that has JetStream."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable

from fanout._codec import encode_message
from fanout.nats.api import JetStreamApi
from fanout.nats.clock import ServerClock
from fanout.nats.history import OVERHEAD, History
from fanout.nats.janitor import Janitor
from fanout.nats.lanes import Lanes
from fanout.nats.link import Link
from fanout.nats.pipe import Batch, Pipe, too_large
from fanout.nats.presence import Presence
from fanout.nats.requests import Requests
from fanout.nats.results import Results
from fanout.nats.stream import Version
from fanout.nats.streams import Streams, check_server
from fanout.nats.subjects import Subjects
from fanout.nats.subscriptions import Subscriptions
from fanout.nats.wire import PROBE
from fanout.types import ChannelOptions, Message, StreamPosition

__all__ = ["Storage"]

_NO_POSITION = StreamPosition()
_PROBE = bytes([PROBE])


class Storage:
    """``history`` and ``presence``, and what they need.

    presence_lifetime, history_meta_lifetime, idempotency_lifetime
        In seconds, as the engine's.
    replicas
        Of streams that this engine is the first to need.
    """

    def __init__(
        self,
        subjects: Subjects,
        pipe: Pipe,
        requests: Requests,
        subscriptions: Subscriptions,
        presence_lifetime: float,
        history_meta_lifetime: float,
        idempotency_lifetime: float,
        replicas: int,
    ) -> None:
        prefix = subjects.prefix
        self._subjects = subjects
        self._pipe = pipe
        self._requests = requests
        self._subscriptions = subscriptions
        self._clock = ServerClock()
        self.api = JetStreamApi(requests, pipe)
        self._streams = Streams(prefix, replicas, idempotency_lifetime, self.api, self._clock)
        self._results = Results(prefix, self.api, self._streams, self._clock)
        self.history = History(
            prefix, history_meta_lifetime, self.api, self._streams, self._clock, self._due,
            self._results)
        self.presence = Presence(
            prefix, presence_lifetime, self.api, self._streams, self._clock)
        self._janitor = Janitor(
            self.api, self._streams, self._clock, self.history.compact, self.history.channels)
        self.lanes = Lanes(pipe)
        self._is_closing = False

    async def run(self, link: Link) -> None:
        """Raises :exc:`fanout.UnsupportedError` when the server cannot do what is needed."""
        await check_server(link.version, link.label, self._streams)
        self._janitor.start()

    async def close(self, *, finish: bool) -> None:
        """End; with ``finish``, and a link, not before what is under way has its answer."""
        self._is_closing = True
        if finish:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pipe.timeout):
                    await self.lanes.drain()
        await self.lanes.close()
        await self._janitor.close()

    def link_up(self) -> None:
        """The server may be another one, or have lost what it had."""
        self._clock.forget()
        self._streams.recheck()
        self.history.forget()

    def link_down(self) -> None:
        if self._is_closing:
            # Nobody waits for another connection.
            self.lanes.cancel()

    def publish(
        self, channel: str, message: Message, options: ChannelOptions, key: str,
        version: Version, max_payload: int,
    ) -> Awaitable[StreamPosition]:
        """Store a message behind everything that is under way in the channel."""
        subject, body, size = self._prepared(channel, message, max_payload)
        until = self.api.deadline

        def post() -> Batch:
            return self._pipe.post(subject, body, counted=False)

        async def work() -> StreamPosition:
            position = await self.history.publish(
                channel, body, options, key, version, until,
                lambda until: self._is_heard(channel, until))
            if position is not None:
                return position
            if key:
                return await self._results.publish(channel, key, body, until)
            await post()
            return _NO_POSITION

        return self.lanes.run(channel, size, work)

    def publish_once(
        self, channel: str, message: Message, key: str, max_payload: int
    ) -> Awaitable[StreamPosition]:
        """The same for a message that is not kept as history."""
        _, body, size = self._prepared(channel, message, max_payload)
        until = self.api.deadline
        return self.lanes.run(
            channel, size, lambda: self._results.publish(channel, key, body, until))

    def _prepared(
        self, channel: str, message: Message, max_payload: int
    ) -> tuple[str, bytes, int]:
        """A channel's subject, a message's bytes, and what they come to with all about them."""
        subject = self._subjects.client(channel)
        body = encode_message(message)
        size = len(body) + OVERHEAD + 2 * len(subject.encode())
        if size > max_payload:
            raise too_large(size, max_payload)
        return subject, body, size

    def remove_history(self, channel: str) -> Awaitable[None]:
        until = self.api.deadline
        return self.lanes.run(channel, 0, lambda: self.history.remove(channel, until))

    async def _is_heard(self, channel: str, until: float) -> bool:
        """Whether anybody on any node is subscribed.

        A server that knows of nobody says so at once to whoever wants an
        answer, before it goes on to what was published next.
        """
        if channel in self._subscriptions:
            return True
        token, call = self._requests.call(self._subjects.client(channel), _PROBE)
        try:
            async with asyncio.timeout_at(until):
                await call.batch
            return not call.settled
        finally:
            self._requests.forget(token)

    def _due(self, channel: str, at: float) -> None:
        self._janitor.due(channel, at)
