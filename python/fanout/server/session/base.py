"""What sessions of both kinds share: connecting, pushes, pings and the end."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as TypingProtocol

from msgspec import Raw

from fanout import codes
from fanout._expiry import Timer
from fanout._framing import Framing
from fanout._outbox import Outbox
from fanout.client import Client
from fanout.client_subscription import SubscribeResult
from fanout.codes import Disconnect, DisconnectCode
from fanout.errors import BackpressureError, EngineUnavailableError
from fanout.events import ConnectEvent
from fanout.node import Node
from fanout.server.log import fields, logger
from fanout.server.protocol import Protocol
from fanout.server.protocol import messages as wire
from fanout.server.session.lost import LostSink
from fanout.server.session.requests import subscribe_event
from fanout.server.session.results import subscribe_push, subscribe_result, time_left

__all__ = ["BaseSession", "FrameSink", "SessionRequest", "SessionSettings", "start"]


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the sessions of one endpoint share; times are seconds, 0 is off."""

    version: str
    ping_interval: float = 25.0
    pong_timeout: float = 8.0
    stale_close_delay: float = 10.0
    history_limit: int = 300
    include_server_time: bool = False
    concurrency: int = 0


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """The HTTP request that opened a connection; header names are lower-case."""

    transport: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    address: str = ""


# Ends that say that something is wrong with the client, the server, or the way between them.
_WORTH_TELLING = frozenset(disconnect.code for disconnect in (
    codes.DISCONNECT_INTERNAL, codes.DISCONNECT_SLOW, codes.DISCONNECT_WRITE_ERROR,
    codes.DISCONNECT_INSUFFICIENT_STATE, codes.DISCONNECT_BAD_REQUEST, codes.DISCONNECT_STALE,
    codes.DISCONNECT_CONNECTION_LIMIT, codes.DISCONNECT_CHANNEL_LIMIT,
    codes.DISCONNECT_INAPPROPRIATE_PROTOCOL, codes.DISCONNECT_TOO_MANY_ERRORS))

# Where the client's commands, or the application's calls, name a session from outside.
_WITH_SESSION_ID = frozenset({"sse", "http_stream", "uni_sse", "uni_http_stream", "uni_websocket"})


class FrameSink(TypingProtocol):
    """The connection below a session.

    The session frames what it sends by ``framing``, and writes to ``outbox``.
    """

    @property
    def outbox(self) -> Outbox: ...

    @property
    def framing(self) -> Framing: ...

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, say why, and close."""
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class BaseSession:
    """A client's connection, whatever transport carries it and whoever speaks on it."""

    __slots__ = (
        "__weakref__", "_awaits_pong", "_next_ping", "_node", "_ping", "_protocol", "_request",
        "_settings", "_sink", "_timer", "client",
    )

    def __init__(
        self, node: Node, settings: SessionSettings, request: SessionRequest, protocol: Protocol
    ) -> None:
        self._node = node
        self._settings = settings
        self._protocol = protocol
        self._request: SessionRequest | None = request
        self.client: Client
        self._sink: FrameSink
        self._ping: Callable[[], None] | None = None
        self._awaits_pong = False
        self._next_ping = 0.0
        self._timer: Timer | None = None    # until it is cleaned up

    # ---- the connection's side -----------------------------------------

    def open(self, sink: FrameSink, ping: Callable[[], None] | None = None) -> None:
        """Begin. ``ping`` sends the transport's own pings in place of the protocol's.

        Client and timer refer back, so they are made here: a session that is
        never opened, for a peer that is gone, has nothing to end.
        """
        request = self._request
        assert request is not None      # until the connect
        self.client = Client(
            self._node, str(uuid.uuid4()), self,
            session=secrets.token_urlsafe(24) if request.transport in _WITH_SESSION_ID else "",
            transport_name=request.transport, encoding=self._protocol.name)
        self._sink = sink
        self._ping = ping
        self._timer = Timer(self._node.expiry, self._on_timer)
        self._timer.start(self._settings.stale_close_delay)
        if self.client.session:
            self._node.add_session(self.client.session, self)

    def on_lost(self) -> None:
        """The connection is gone."""
        self._finish(codes.DISCONNECT_CONNECTION_CLOSED)
        self._sink = LostSink(self._sink.outbox)
        self._ping = None

    def on_broken(self, code: int, reason: str) -> None:
        """The peer broke the transport's protocol; ``code`` is the transport's."""
        self._finish(codes.DISCONNECT_BAD_REQUEST)
        self._sink.close(code, reason)

    def on_pong(self) -> None:
        """The answer to a ping; raises a disconnect when there was none."""
        if not self._awaits_pong:
            raise codes.DISCONNECT_BAD_REQUEST()
        self._awaits_pong = False
        self._start_timer(max(0.0, self._next_ping - time.monotonic()))

    def disconnect_push(self, code: int, reason: str) -> bytes:
        """The push that says why, for transports without a close frame."""
        return self._protocol.push(wire.Push(disconnect=wire.Disconnect(code, reason)))

    # ---- OutboxOwner ---------------------------------------------------

    def on_slow(self) -> None:
        self.client.disconnect(codes.DISCONNECT_SLOW)

    def on_unencodable(self, channel: str) -> None:
        logger.warning("a message in %r is not JSON; its JSON clients are disconnected", channel)
        self.client.disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL)

    def on_insufficient(self, channel: str) -> None:
        self.client.lost_in(channel)

    # ---- ClientTransport -----------------------------------------------

    @property
    def outbox(self) -> Outbox:
        return self._sink.outbox

    @property
    def busy(self) -> bool:
        return False

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        self._log_end(disconnect)
        self._clean_up()
        self._sink.close(disconnect.code, disconnect.reason)

    def push_message(self, data: bytes) -> None:
        if not self._protocol.accepts(data):
            self.client.disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL)
            return
        self._push(wire.Push(message=wire.MessagePush(self._protocol.embedded(data))))

    def push_subscribe(self, channel: str, result: SubscribeResult) -> None:
        try:
            subscribed = subscribe_push(self._protocol, result)
            # Such a push has no room for them, so they follow it, before any live one.
            missed = self._protocol.publications(result.missed or ())
        except ValueError:
            self.on_unencodable(channel)
            return
        self._push(wire.Push(channel, subscribe=subscribed))
        for publication in missed:
            self._push(wire.Push(channel, pub=publication))

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        self._push(wire.Push(channel, unsubscribe=wire.Unsubscribe(code, reason)))

    def push_refresh(self, expire_at: float) -> None:
        pass        # who refreshes itself knows

    # ---- for the two kinds ---------------------------------------------

    async def _connect(self, request: wire.ConnectRequest) -> wire.ConnectResult:
        """Connect the client; what it is to be told.

        The outbox is held back when there are server-side subscriptions.
        """
        settings = self._settings
        opened, self._request = self._request, None
        result = await self.client.connect(ConnectEvent(
            client=self.client.id,
            token=request.token,
            data=bytes(request.data),
            name=request.name,
            version=request.version,
            headers=opened.headers if opened is not None else {},
            emulated_headers={
                name.lower(): value for name, value in request.headers.items()},
            subs={
                channel: subscribe_event(sub, channel)
                for channel, sub in request.subs.items()},
            transport=self.client.transport,
            encoding=self.client.encoding,
        ))
        pings = settings.ping_interval and self._ping is None
        return wire.ConnectResult(
            client=self.client.id,
            version=settings.version,
            expires=result.expire_at > 0,
            ttl=time_left(result.expire_at),
            data=self._connect_data(result.data),
            subs={
                channel: self._subscribe_result(channel, sub)
                for channel, sub in result.subs.items()},
            ping=round(settings.ping_interval) if pings else 0,
            session=self.client.session,
            node=self._node.uid if self.client.session else "",
            time=int(time.time() * 1000) if settings.include_server_time else 0,
        )

    def _connect_data(self, data: bytes) -> Raw | None:
        try:
            return self._protocol.embedded(data)
        except ValueError as error:
            logger.warning("the data of a connect reply cannot be said: %s", error)
            raise codes.DISCONNECT_INAPPROPRIATE_PROTOCOL() from None

    def _subscribe_result(self, channel: str, result: SubscribeResult) -> wire.SubscribeResult:
        """What the client is told; a disconnect where it cannot be: asking again were in vain."""
        try:
            return subscribe_result(self._protocol, result)
        except ValueError as error:
            logger.warning("the reply to a subscribe to %r cannot be said: %s", channel, error)
            raise codes.DISCONNECT_INAPPROPRIATE_PROTOCOL() from None

    def _log_failed_connect(self, error: Exception) -> None:
        known = fields(client=self.client.id, user=self.client.user)
        if isinstance(error, (EngineUnavailableError, BackpressureError)):
            # The engine's link has told already: no place in the code for each client.
            logger.warning("a connect failed: %s", error, extra=known)
        else:
            logger.error("a connect failed", exc_info=error, extra=known)

    def _connected(self, payload: bytes, channels: Iterable[str]) -> None:
        """Send the answer to a connect, before all that waits for it.

        ``channels`` are those that it says the client is subscribed to.
        """
        if self.client.closed:
            return
        self._sink.outbox.let_go(self._sink.framing.frame(payload))
        if self._settings.ping_interval:
            # Spread out: clients that came together must not be pinged together.
            self._start_ping(self._settings.ping_interval * random.uniform(0.5, 1.0))
        elif self._timer is not None:
            self._timer.cancel()
        self._log(logging.DEBUG, "a client connected")
        self.client.announce_connected(channels)

    def _send(self, payload: bytes) -> None:
        if not self.client.closed:
            self._sink.outbox.write(self._sink.framing.frame(payload))

    def _push(self, push: wire.Push) -> None:
        self._send(self._protocol.push(push))

    @property
    def _expects_pongs(self) -> bool:
        return bool(self._settings.pong_timeout)

    # ---- pings and the end ---------------------------------------------

    def _start_ping(self, delay: float) -> None:
        self._next_ping = time.monotonic() + delay
        self._start_timer(delay)

    def _start_timer(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.start(delay)

    def _on_timer(self) -> None:
        if not self._next_ping:         # its connect is not answered
            self.client.disconnect(codes.DISCONNECT_STALE)
        elif self._awaits_pong and self._expects_pongs:
            self.client.disconnect(codes.DISCONNECT_NO_PONG)
        else:
            if self._ping is not None:
                self._ping()
            else:
                self._send(self._protocol.ping)
            self._sink.outbox.shrink()
            self._awaits_pong = True
            self._start_ping(self._settings.ping_interval)
            if self._expects_pongs:
                self._start_timer(self._settings.pong_timeout)

    def _finish(self, disconnect: DisconnectCode) -> None:
        if not self.client.closed:
            self._log_end(disconnect)
        self._clean_up()
        self.client.close(disconnect)

    def _log_end(self, disconnect: Disconnect | DisconnectCode) -> None:
        level = logging.INFO if disconnect.code in _WORTH_TELLING else logging.DEBUG
        self._log(level, "a client was disconnected", disconnect)

    def _log(
        self, level: int, text: str, disconnect: Disconnect | DisconnectCode | None = None
    ) -> None:
        if logger.isEnabledFor(level):
            client = self.client
            told: dict[str, str | int] = {} if disconnect is None else {
                "code": disconnect.code, "reason": disconnect.reason}
            logger.log(level, text, extra=fields(
                client=client.id, user=client.user, transport=client.transport,
                encoding=client.encoding, **told))

    def _clean_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.client.session:
            self._node.remove_session(self.client.session)


def start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a coroutine as a task, where Python can do it without waiting for the next turn."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)
