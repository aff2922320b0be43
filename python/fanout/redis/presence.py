"""Who is on a channel: the commands and their answers."""

from __future__ import annotations

from typing import Any

from fanout._codec import decode_info, encode_info
from fanout.redis.history import milliseconds
from fanout.redis.routes import Route
from fanout.redis.script import Script, words
from fanout.redis.scripts import PresenceScripts
from fanout.types import ClientInfo, PresenceStats

__all__ = ["Presence"]


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
            arguments, _as_it_is, channel, self._scripts.add, route.presence)

    async def remove(self, route: Route, channel: str, conn_id: str) -> None:
        await route.commands.execute(
            words(conn_id.encode()), _as_it_is, channel, self._scripts.remove, route.presence)

    async def entries(self, route: Route, channel: str) -> dict[str, ClientInfo]:
        reply = await self._ask(route, channel, self._scripts.entries)
        return {
            str(conn_id, "utf-8"): _info(value)
            for conn_id, value in zip(reply[::2], reply[1::2], strict=True)
        }

    async def stats(self, route: Route, channel: str) -> PresenceStats:
        num_clients, num_users = await self._ask(route, channel, self._scripts.stats)
        return PresenceStats(num_clients, num_users)

    async def _ask(self, route: Route, channel: str, script: Script) -> Any:
        reply = None
        # Nothing is returned while more has ended than one step removes.
        while reply is None:
            reply = await route.commands.execute(
                b"", _as_it_is, channel, script, route.presence)
        return reply


def _info(value: bytes) -> ClientInfo:
    at = value.index(b":")
    return decode_info(value, at + 1 + int(value[:at]))


def _as_it_is(reply: Any) -> Any:
    return reply
