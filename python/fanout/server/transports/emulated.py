"""A two-way session on a stream: its later commands come in requests of their own."""

from __future__ import annotations

import asyncio

from fanout.node import Node
from fanout.server.session import Session
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import Encoding
from fanout.server.transports.stream import StreamConnection

__all__ = ["BusyError", "EmulatedConnection"]

MOST_WAITING = 16       # requests that wait until a session has room for more commands


class BusyError(Exception):
    """Too many requests wait for the session already."""


class EmulatedConnection(StreamConnection):
    """While it is open it is in ``emulated``, by the session's secret id."""

    __slots__ = ("_emulated", "_room", "_two_way", "_waiting")

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, session: Session,
        write_timeout: float, head: bytes, emulated: dict[str, EmulatedConnection],
    ) -> None:
        super().__init__(node, connections, encoding, session, write_timeout, head)
        self._two_way = session
        self._emulated = emulated
        self._room: asyncio.Event | None = None     # while the session has enough to do
        self._waiting = 0

    def begin(self, transport: asyncio.Transport, commands: bytes) -> None:
        """Open the session with the commands of the request."""
        self.take(transport)
        self._connections.added(self)
        self._two_way.open(self)
        self._emulated[self._two_way.client.session] = self
        self._two_way.on_frame(commands)

    async def take_commands(self, frame: bytes) -> bool:
        """Give more commands to the session, when it has room; False when it has ended.

        Raises :exc:`BusyError`.
        """
        if self._room is not None and self._waiting >= MOST_WAITING:
            raise BusyError
        self._waiting += 1
        try:
            while self._room is not None and not self._is_over():
                await self._room.wait()
        finally:
            self._waiting -= 1
        if self._is_over():
            return False
        self._two_way.on_frame(frame)
        return True

    def pause_reading(self) -> None:
        if self._room is None:
            self._room = asyncio.Event()

    def resume_reading(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.set()

    def close(self, code: int, reason: str) -> None:
        super().close(code, reason)
        self.resume_reading()

    def connection_lost(self, error: BaseException | None) -> None:
        if self._transport is not None:         # it was begun
            self._emulated.pop(self._two_way.client.session, None)
        super().connection_lost(error)
        self.resume_reading()

    def _is_over(self) -> bool:
        return self._closing or self._transport is None
