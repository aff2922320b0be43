"""Finding the master that sentinels watch over."""

from __future__ import annotations

import asyncio
from collections import Counter

from fanout.redis.address import Address
from fanout.redis.dial import ServerDialer, ask

__all__ = ["SentinelDialer"]


class SentinelDialer:
    """Asks the sentinels of ``address`` before each connection where the master is.

    ``timeout`` is in seconds, for each step.
    """

    def __init__(self, address: Address, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self.label = address.label
        # What redis-py does not take shows here, and not first when it connects.
        ServerDialer(address, timeout)

    async def dial(self) -> asyncio.StreamWriter:
        """A connection to the server that most sentinels name, if that is a master."""
        place = await self._master()
        writer = await ServerDialer(self._address, self._timeout, place, self.label).dial()
        try:
            # One that hung meanwhile still thinks that it is what it was before.
            if await self._master() != place:
                raise ConnectionError("the sentinels have named another master meanwhile")
        except BaseException:
            writer.transport.abort()
            raise
        return writer

    async def _master(self) -> tuple[str, int]:
        answers = await asyncio.gather(
            *[self._ask(host) for host in self._address.hosts], return_exceptions=True)
        named = Counter(answer for answer in answers if isinstance(answer, tuple))
        if named:
            return named.most_common(1)[0][0]
        refusals = [answer for answer in answers if isinstance(answer, Exception)]
        raise refusals[0] if refusals else ConnectionError(
            f"the sentinels know no master {self._address.master!r}")

    async def _ask(self, sentinel: tuple[str, int]) -> tuple[str, int] | None:
        reply = await ask(
            # One that hangs must leave time for the connection.
            self._address, sentinel, self._address.sentinel_options, self._timeout / 4,
            "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._address.master)
        if reply is None:
            return None
        host, port = reply
        return host.decode(), int(port)
