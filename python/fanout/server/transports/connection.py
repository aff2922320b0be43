"""What the connections of every transport share: the outbox, its progress, the end."""

from __future__ import annotations

import asyncio
from typing import Protocol

from fanout import codes
from fanout._expiry import Timer
from fanout._framing import Framing
from fanout._outbox import Outbox
from fanout.client import Client
from fanout.node import Node
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import Encoding

__all__ = ["AnySession", "Connection"]

CLOSE_TIMEOUT = 5.0     # seconds for the peer to answer our end, and to read what is left


class AnySession(Protocol):
    """What a connection needs of a session, of either kind; it owns the outbox."""

    @property
    def client(self) -> Client: ...
    def on_lost(self) -> None: ...
    def on_slow(self) -> None: ...
    def on_unencodable(self, channel: str) -> None: ...
    def on_insufficient(self, channel: str) -> None: ...


class Connection(asyncio.Protocol):
    """A taken-over connection; a subclass says what its bytes mean.

    Once :meth:`take` was called it is known to the server's ``connections``
    until it is lost. ``write_timeout`` is how long, in seconds, the peer may
    take nothing of what waits for it; 0 is no limit.
    """

    __slots__ = (
        "__weakref__", "_closing", "_connections", "_encoding", "_ending", "_giving_up", "_node",
        "_owner", "_paused", "_stall", "_transport", "_unsent", "_write_timeout", "outbox",
    )

    def __init__(
        self, node: Node, connections: Connections, encoding: Encoding, owner: AnySession,
        write_timeout: float,
    ) -> None:
        self._node = node
        self._connections = connections
        self._encoding = encoding
        self._owner = owner
        self._write_timeout = write_timeout
        self._transport: asyncio.Transport | None = None
        self.outbox: Outbox
        self._paused = False        # bytes waited before there was an outbox
        self._closing = False       # the last that we say is queued
        self._ending = False        # behind it the stream ends
        self._giving_up: asyncio.TimerHandle | None = None
        self._stall: Timer | None = None
        self._unsent = 0            # bytes that waited when the peer was last looked at

    def take(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.outbox = Outbox(
            self._node.hub, transport, self._owner, self._encoding.number,
            self._node.client_queue_size)
        if self._paused:
            self.pause_writing()

    def abort(self) -> None:
        """Cut the connection; what waits is lost."""
        if self._transport is not None:
            self._transport.abort()

    # ---- asyncio.Protocol ----------------------------------------------

    def eof_received(self) -> None:
        pass        # None: the transport closes itself

    def pause_writing(self) -> None:
        if not hasattr(self, "outbox"):
            # While the outbox is made: of TLS the handshake's answer may still wait.
            self._paused = True
            return
        self.outbox.pause()
        if self._write_timeout and not self._closing and self._transport is not None:
            if self._stall is None:
                self._stall = Timer(self._node.expiry, self._on_stall)
            self._unsent = self._transport.get_write_buffer_size()
            self._stall.start(self._write_timeout)

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        self.outbox.resume()
        if self._ending:
            self._end_soon()

    def connection_lost(self, error: BaseException | None) -> None:
        if self._giving_up is not None:
            self._giving_up.cancel()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None          # it refers back
        if self._transport is None:         # lost while it was taken over
            return
        self._transport = None
        self._owner.on_lost()
        self.outbox.detach()
        self._connections.lost(self)

    # ---- FrameSink -----------------------------------------------------

    @property
    def framing(self) -> Framing:
        return self._encoding.framing

    def close(self, code: int, reason: str) -> None:
        """Queue what says why, and wait for the peer; may be called twice."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self.outbox.write_last(self._farewell(code, reason))
        self.resume_reading()
        self._give_up_later()
        self._after_farewell()

    def pause_reading(self) -> None:
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    # ---- for subclasses ------------------------------------------------

    def _farewell(self, code: int, reason: str) -> bytes:
        """The last bytes of a connection that we end."""
        raise NotImplementedError

    def _after_farewell(self) -> None:
        """The farewell is queued."""

    def _give_up_later(self) -> None:
        # A peer that reads nothing more must not keep the connection.
        if self._stall is not None:
            self._stall.cancel()
        if self._giving_up is None:
            self._giving_up = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.abort)

    def _end_soon(self) -> None:
        """Send the end of the stream behind all that is queued, when this turn is over."""
        self._ending = True
        asyncio.get_running_loop().call_soon(self._end)

    def _end(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._node.hub.flush()
        if self.outbox.queued_bytes:
            if not self.outbox.blocked:     # too much for one turn
                self._end_soon()
        elif transport.can_write_eof():
            # Not closed: what the peer still sends would reset what it has not read yet.
            transport.write_eof()
        else:
            transport.close()

    def _on_stall(self) -> None:
        transport = self._transport
        if transport is None or self._closing or self._stall is None:
            return
        unsent = transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent = unsent
            self._stall.start(self._write_timeout)
        else:
            self._owner.client.disconnect(codes.DISCONNECT_WRITE_ERROR)
