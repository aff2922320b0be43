"""What publishes with an idempotency key came to, in JetStream."""

from __future__ import annotations

import math
from hashlib import blake2b

from fanout.nats.api import WRONG_SEQUENCE, ApiError, Behind, JetStreamApi, RawMessage
from fanout.nats.clock import ServerClock
from fanout.nats.streams import SENT, Streams
from fanout.nats.subjects import escape, flatten
from fanout.types import StreamPosition

__all__ = ["Results", "message_id"]

_NO_POSITION = StreamPosition()
_STORED = "stored"
_SLACK = 2          # seconds, for clocks that do not quite agree


def message_id(channel: str, key: str) -> str:
    """What the server knows a message of a channel by that has this key."""
    name = channel.encode()
    return blake2b(b"%d:%b%b" % (len(name), name, key.encode()), digest_size=16).hexdigest()


class Results:
    """A message for each channel and key, which the server removes some time.

    It is what was published, when that is not kept as history: then one write
    publishes it and remembers that. Else it is the position, written after the
    message; until then the server knows that message by its ``Nats-Msg-Id``.
    """

    def __init__(
        self, prefix: str, api: JetStreamApi, streams: Streams, clock: ServerClock
    ) -> None:
        self._prefix = prefix
        self._api = api
        self._streams = streams
        self._clock = clock

    def is_over(self, message: RawMessage) -> bool:
        """Whether a key counts no more whose message this is."""
        return self._clock.now() >= message.time + self._streams.result_lifetime

    async def find(self, channel: str, key: str, until: float) -> StreamPosition | None:
        """What the first publish came to, if it is known."""
        found = await self._last(channel, key, until)
        return None if found is None or self.is_over(found) else _position(found)

    async def keep(self, channel: str, key: str, position: StreamPosition, until: float) -> None:
        """Remember what a publish came to that is done; nothing without a key."""
        if not key:
            return
        await self._streams.results_ready(until)
        await self._api.store(
            f"{self._subject(channel, key)}.{_STORED}",
            b"%d:%b" % (position.offset, position.epoch.encode()), self._headers(), until)

    async def publish(self, channel: str, key: str, body: bytes, until: float) -> StreamPosition:
        """Deliver a message that is not stored as history, unless that was done before."""

        async def work(until: float) -> StreamPosition:
            found = await self._last(channel, key, until)
            if found is not None and not self.is_over(found):
                return _position(found)
            subject = self._subject(channel, key)
            headers = self._headers() | {
                "Nats-Expected-Last-Subject-Sequence": str(found.sequence if found else 0),
                "Nats-Expected-Last-Subject-Sequence-Subject": f"{subject}.*",
            }
            try:
                await self._api.store(f"{subject}.{SENT}", body, headers, until)
            except ApiError as error:
                if error.code in WRONG_SEQUENCE:
                    raise Behind from None      # another was faster
                raise
            return _NO_POSITION

        return await self._streams.again(work, until, changes=True)

    async def _last(self, channel: str, key: str, until: float) -> RawMessage | None:
        await self._streams.results_ready(until)
        return await self._api.of_leader(
            self._streams.results, {"last_by_subj": f"{self._subject(channel, key)}.*"}, until)

    def _headers(self) -> dict[str, str]:
        return {"Nats-TTL": str(math.ceil(self._streams.result_lifetime) + _SLACK)}

    def _subject(self, channel: str, key: str) -> str:
        name = flatten(escape(channel))
        return f"{self._prefix}.results.{name}.{message_id(channel, key)}"


def _position(message: RawMessage) -> StreamPosition:
    if message.subject.endswith(SENT):
        return _NO_POSITION
    offset, _, epoch = message.data.partition(b":")
    return StreamPosition(int(offset), epoch.decode())
