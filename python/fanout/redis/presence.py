"""Who is on a channel: the commands and their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fanout._codec import decode_info, encode_info
from fanout.redis.history import milliseconds
from fanout.redis.routes import Route
from fanout.redis.script import Script, words
from fanout.redis.scripts import PresenceScripts
from fanout.types import ClientInfo, PresenceStats

__all__ = ["Presence"]

T = TypeVar("T")


class Presence:
    """``lifetime`` is in seconds, by the server's clock."""

    def __init__(self, scripts: PresenceScripts, lifetime: float) -> None:
        self._scripts = scripts
        self._lifetime = milliseconds(lifetime)

    async def add(self, route: Route, channel: str, conn_id: str, info: ClientInfo) -> None:
        user = info.user.encode()
        value = b"%d:%b%b" % (len(user), user, encode_info(info))
        arguments = words(conn_id.encode(), user, value, b"%d" % self._lifetime)
        await route.commands.execute(
            arguments, _nothing, channel, self._scripts.add, route.presence)

    async def remove(self, route: Route, channel: str, conn_id: str) -> None:
        await route.commands.execute(
            words(conn_id.encode()), _nothing, channel, self._scripts.remove, route.presence)

    async def entries(self, route: Route, channel: str) -> dict[str, ClientInfo]:
        return await self._ask(route, channel, self._scripts.entries, _entries)

    async def stats(self, route: Route, channel: str) -> PresenceStats:
        return await self._ask(route, channel, self._scripts.stats, _stats)

    async def _ask(
        self, route: Route, channel: str, script: Script, convert: Callable[[Any], T | None]
    ) -> T:
        found = None
        # Nothing is returned while more has ended than one step removes.
        while found is None:
            found = await route.commands.execute(b"", convert, channel, script, route.presence)
        return found


def _entries(reply: list[bytes] | None) -> dict[str, ClientInfo] | None:
    if reply is None:
        return None
    return {
        str(conn_id, "utf-8"): _info(value)
        for conn_id, value in zip(reply[::2], reply[1::2], strict=True)
    }


def _stats(reply: list[int] | None) -> PresenceStats | None:
    return None if reply is None else PresenceStats(*reply)


def _info(value: bytes) -> ClientInfo:
    at = value.index(b":")
    return decode_info(value, at + 1 + int(value[:at]))


def _nothing(reply: object) -> None:
    return None
