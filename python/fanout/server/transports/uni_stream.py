"""A one-way session on a stream, and how it ends before it began."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fanout.codes import ClientError, Disconnect
from fanout.node import Node
from fanout.server.protocol.messages import ConnectRequest
from fanout.server.session import UniSession
from fanout.server.session.base import start
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import Encoding
from fanout.server.transports.refusals import Refusals, Statuses
from fanout.server.transports.stream import StreamConnection

__all__ = ["UniStreamConnection"]


class UniStreamConnection(StreamConnection):
    """``headers`` go with a refusal that is a whole HTTP response of its own."""

    __slots__ = ("_connecting", "_headers", "_one_way", "_refusal", "_refusals", "_statuses")

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, session: UniSession,
        write_timeout: float, head: bytes, refusals: Refusals, statuses: Statuses,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(node, connections, encoding, session, write_timeout, head)
        self._one_way = session
        self._refusals = refusals
        self._statuses = statuses
        self._headers = headers
        self._refusal = b""
        self._connecting: asyncio.Task[None] | None = None

    def begin(self, transport: asyncio.Transport, request: ConnectRequest) -> None:
        self.take(transport)
        self._connections.added(self)
        self._one_way.open(self)
        connecting = start(self._connect(request))
        if not connecting.done():       # as one that was started eagerly may be
            self._connecting = connecting

    async def _connect(self, request: ConnectRequest) -> None:
        try:
            await self._one_way.connect(request)
        except (ClientError, Disconnect) as refusal:
            if self._statuses.enabled:
                self._refusal = self._statuses.response(refusal, self._headers)
            self._one_way.client.disconnect(self._refusals.disconnect(refusal))
        finally:
            self._connecting = None

    def _farewell(self, code: int, reason: str) -> bytes:
        return self._refusal or super()._farewell(code, reason)
