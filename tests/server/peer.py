"""A client that knows WebSocket and JSON, and nothing of the protocol by itself."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

TIMEOUT = 10.0


async def connect(url: str, **handshake: Any) -> Peer:
    """Open a connection; ``handshake`` goes to :func:`websockets.connect`."""
    # All that the server sends is read at once, so that a close frame is never far away.
    options: dict[str, Any] = {
        "ping_interval": None, "compression": None, "max_size": None, "max_queue": None}
    return Peer(await open_websocket(url, **{**options, **handshake}))


class Peer:
    """Commands out, replies and pushes in; the text of what came is in ``texts``."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket
        self.texts: list[str] = []
        self._lines: list[str] = []
        self._ids = itertools.count(1)

    async def __aenter__(self) -> Peer:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.websocket.close()

    async def send_text(self, text: str) -> None:
        """One text frame, as it is."""
        await self.websocket.send(text)

    async def send(self, *commands: dict[str, Any]) -> None:
        """Commands in one frame."""
        await self.send_text("\n".join(json.dumps(command) for command in commands))

    async def next_text(self) -> str:
        """The next object that came, undecoded."""
        while not self._lines:
            message = await asyncio.wait_for(self.websocket.recv(), TIMEOUT)
            assert isinstance(message, str), "a JSON connection gets text frames only"
            self._lines += message.removesuffix("\n").split("\n")
        self.texts.append(self._lines.pop(0))
        return self.texts[-1]

    async def next(self) -> Any:
        """The next reply or push."""
        return json.loads(await self.next_text())

    async def call(self, **command: Any) -> Any:
        """Send a command with an id of its own; its reply.

        Pushes that come before the reply are what ``next`` returns next.
        """
        id = command.setdefault("id", next(self._ids))
        await self.send(command)
        pushes = []
        while "id" not in (reply := json.loads(await self.next_text())):
            pushes.append(self.texts[-1])
        assert reply.pop("id") == id, reply
        self._lines[:0] = pushes
        return reply

    async def error(self, **command: Any) -> tuple[int, str]:
        """Code and message of the error reply to a command."""
        reply = await self.call(**command)
        assert list(reply) == ["error"], reply
        return reply["error"]["code"], reply["error"]["message"]

    async def closed(self) -> tuple[int, str]:
        """Code and reason with which the server ends the connection.

        Fails when anything comes before the close frame.
        """
        if not self._lines:
            try:
                message = await asyncio.wait_for(self.websocket.recv(), TIMEOUT)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None, "the connection was cut without a close frame"
                return closed.rcvd.code, closed.rcvd.reason
            self._lines.append(str(message))
        raise AssertionError(f"not a close frame: {self._lines}")
