"""Who is present, in JetStream: a message for each connection that ends by itself."""

from __future__ import annotations

import math
import struct

from fanout._codec import decode_info, encode_info
from fanout.nats.api import JetStreamApi
from fanout.nats.clock import ServerClock
from fanout.nats.streams import Streams
from fanout.nats.subjects import escape, flatten, unescape
from fanout.types import ClientInfo, PresenceStats

__all__ = ["Presence"]

_LIFETIME = struct.Struct("<d")
_SHORTEST = 1       # seconds: the server has no shorter life for a message


class Presence:
    """One subject for each connection in each channel.

    The server removes an entry up to two seconds after its end; it is the
    server's clock that it ended by before. An entry that is removed is replaced
    by an empty one, which costs no more than adding it and goes by itself.
    """

    def __init__(
        self, prefix: str, lifetime: float, api: JetStreamApi, streams: Streams,
        clock: ServerClock,
    ) -> None:
        self._prefix = prefix
        self._lifetime = lifetime
        self._api = api
        self._streams = streams
        self._clock = clock

    async def add(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        payload = _LIFETIME.pack(self._lifetime) + encode_info(info)
        await self._store(channel, conn_id, payload, math.ceil(self._lifetime) + _SHORTEST)

    async def remove(self, channel: str, conn_id: str) -> None:
        await self._store(channel, conn_id, b"", _SHORTEST)

    async def get(self, channel: str) -> dict[str, ClientInfo]:
        async def work(until: float) -> dict[str, ClientInfo]:
            found = await self._api.all(
                self._streams.presence, [self._subject(channel, "*")], until)
            now = self._clock.now()
            present: dict[str, ClientInfo] = {}
            for each in found:
                if each.data and now < each.time + _LIFETIME.unpack_from(each.data)[0]:
                    name = each.subject.rpartition(".")[2].replace("|", ".")
                    present[unescape(name)] = decode_info(each.data, _LIFETIME.size)
            return present

        return await self._streams.again(work, self._api.deadline, changes=False)

    async def stats(self, channel: str) -> PresenceStats:
        present = await self.get(channel)
        return PresenceStats(len(present), len({info.user for info in present.values()}))

    async def _store(self, channel: str, conn_id: str, payload: bytes, ttl: int) -> None:
        subject = self._subject(channel, flatten(escape(conn_id)))

        async def work(until: float) -> None:
            await self._api.store(subject, payload, {"Nats-TTL": str(ttl)}, until)

        await self._streams.again(work, self._api.deadline, changes=True)

    def _subject(self, channel: str, which: str) -> str:
        return f"{self._prefix}.presence.{flatten(escape(channel))}.{which}"
