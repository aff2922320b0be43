"""One client's session of the Centrifuge client protocol v2, in JSON."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import UNSET, Raw

from fanout import codes
from fanout._expiry import Timer
from fanout._frame import json_client_info, json_publication
from fanout._json import valid_json
from fanout._outbox import Outbox
from fanout.client import Client, SubscribeResult
from fanout.codes import ClientError, Disconnect, DisconnectCode, ErrorCode
from fanout.errors import BackpressureError, EngineUnavailableError, UnsupportedError
from fanout.events import ConnectEvent, HistoryEvent, PublishEvent, SubscribeEvent
from fanout.node import Node
from fanout.server import commands as wire
from fanout.server.commands import Command, Reply
from fanout.server.log import logger
from fanout.types import Message, StreamPosition

__all__ = ["FrameSink", "Session", "SessionSettings"]

PING = b"{}"
INBOX_LIMIT = 64        # frames that wait for the one being worked on; then reading pauses


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What the sessions of one endpoint share; times are seconds, 0 is off."""

    version: str
    ping_interval: float = 25.0
    pong_timeout: float = 8.0
    stale_close_delay: float = 10.0
    history_limit: int = 300
    include_server_time: bool = False


class FrameSink(Protocol):
    """The connection below a session."""

    @property
    def outbox(self) -> Outbox: ...

    def send(self, payload: bytes) -> None:
        """Queue one frame of text."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Send what is queued, say why, and close."""
        ...

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


class Session:
    """Turns frames into commands, runs them in order, and answers.

    Commands of one session never overlap: while one waits for a handler or
    the engine, later frames wait in a bounded inbox. An idle session has no
    task.
    """

    __slots__ = (
        "_awaits_pong", "_headers", "_inbox", "_next_ping", "_node", "_refused", "_settings",
        "_sink", "_task", "_timer", "client",
    )

    def __init__(
        self, node: Node, settings: SessionSettings, client_id: str, headers: Mapping[str, str]
    ) -> None:
        self._node = node
        self._settings = settings
        self.client = Client(node, client_id, self)
        self._headers: Mapping[str, str] | None = headers
        self._sink: FrameSink
        self._inbox: deque[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self._refused = False           # the connect command was answered with an error
        self._awaits_pong = False
        self._next_ping = 0.0
        self._timer = Timer(node.expiry, self._on_timer)

    # ---- the connection's side -----------------------------------------

    def open(self, sink: FrameSink) -> None:
        self._sink = sink
        self._timer.start(self._settings.stale_close_delay)

    def on_frame(self, frame: bytes) -> None:
        if self.client.closed:
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(frame)
        if self._task is None:
            self._task = _start(self._work())
            if self._task is not None and self._task.done():    # started eagerly
                self._task = None
        elif len(self._inbox) > INBOX_LIMIT:
            self._sink.pause_reading()

    def on_lost(self) -> None:
        """The connection is gone."""
        self._finish(codes.DISCONNECT_CONNECTION_CLOSED)

    def on_broken(self, code: int, reason: str) -> None:
        """The peer broke the transport's protocol; ``code`` is the transport's."""
        self._finish(codes.DISCONNECT_BAD_REQUEST)
        self._sink.close(code, reason)

    def on_binary(self) -> None:
        """A binary message, on a connection that speaks JSON."""
        self.client.disconnect(codes.DISCONNECT_BAD_REQUEST)

    # ---- OutboxOwner ---------------------------------------------------

    def on_slow(self) -> None:
        self.client.disconnect(codes.DISCONNECT_SLOW)

    def on_unencodable(self, channel: str) -> None:
        logger.warning("a message in %r is not JSON; its JSON clients are disconnected", channel)
        self.client.disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL)

    def on_insufficient(self, channel: str) -> None:
        self.client.unsubscribe_by_server(
            channel, codes.UNSUBSCRIBE_INSUFFICIENT, "insufficient state")

    # ---- ClientTransport -----------------------------------------------

    @property
    def outbox(self) -> Outbox:
        return self._sink.outbox

    def end(self, disconnect: Disconnect | DisconnectCode) -> None:
        self._timer.cancel()
        self._inbox = None
        self._sink.close(disconnect.code, disconnect.reason)

    def push_message(self, data: bytes) -> None:
        if not valid_json(data):
            self.client.disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL)
            return
        self._sink.send(wire.encode({"push": {"message": {"data": Raw(_one_line(data))}}}))

    def push_unsubscribe(self, channel: str, code: int, reason: str) -> None:
        self._sink.send(wire.encode(
            {"push": {"channel": channel, "unsubscribe": {"code": code, "reason": reason}}}))

    # ---- commands ------------------------------------------------------

    async def _work(self) -> None:
        try:
            while self._inbox:
                frame = self._inbox.popleft()
                try:
                    read = wire.decode_commands(frame)
                except (ValueError, RecursionError):
                    raise codes.DISCONNECT_BAD_REQUEST() from None
                for command in read:
                    await self._run(command)
                    if self.client.closed:
                        return
            if self._inbox is not None:
                self._inbox = None
                self._sink.resume_reading()
        except Disconnect as disconnect:
            self.client.disconnect(disconnect)
        except Exception:
            logger.exception("a session failed")
            self.client.disconnect(codes.DISCONNECT_INTERNAL)
        finally:
            self._task = None

    async def _run(self, command: Command) -> None:
        if command.connect is not None and command.id:
            if self.client.connected or self._refused:
                raise codes.DISCONNECT_BAD_REQUEST()
        elif not self.client.connected:
            raise codes.DISCONNECT_BAD_REQUEST()
        elif command.id == 0 and command.send is None:
            self._pong()
            return
        try:
            await self._dispatch(command)
        except ClientError as error:
            self._fail(command, error)
        except Disconnect:
            raise
        except UnsupportedError as error:
            logger.warning("a command failed: %s", error)
            self._fail(command, codes.ERROR_NOT_AVAILABLE)
        except (EngineUnavailableError, BackpressureError) as error:
            # The engine's link has told already: no place in the code for each command.
            logger.warning("a command failed: %s", error)
            self._fail(command, codes.ERROR_INTERNAL)
        except Exception:
            logger.exception("a command failed")
            self._fail(command, codes.ERROR_INTERNAL)

    async def _dispatch(self, command: Command) -> None:
        """Run the command's method; the order is the protocol's."""
        if command.connect is not None:
            await self._connect(command.id, command.connect)
        elif command.ping is not None:
            raise codes.DISCONNECT_BAD_REQUEST()
        elif command.subscribe is not None:
            await self._subscribe(command.id, command.subscribe)
        elif command.unsubscribe is not None:
            await self._unsubscribe(command.id, command.unsubscribe.channel)
        elif command.publish is not None:
            await self._publish(command.id, command.publish)
        elif command.presence is not None:
            await self._presence(command.id, command.presence.channel)
        elif command.presence_stats is not None:
            await self._presence_stats(command.id, command.presence_stats.channel)
        elif command.history is not None:
            await self._history(command.id, command.history)
        elif command.rpc is not None:
            raise codes.ERROR_NOT_AVAILABLE()
        elif command.send is not None:
            raise codes.DISCONNECT_NOT_AVAILABLE()
        elif command.refresh is not None:
            if command.refresh.token:
                raise codes.DISCONNECT_INVALID_TOKEN()
            raise codes.DISCONNECT_BAD_REQUEST()
        elif command.sub_refresh is not None:
            raise codes.ERROR_PERMISSION_DENIED()
        else:
            raise codes.DISCONNECT_BAD_REQUEST()

    async def _connect(self, id: int, request: wire.ConnectRequest) -> None:
        settings = self._settings
        headers, self._headers = self._headers, None
        reply = await self.client.connect(ConnectEvent(
            client=self.client.id, token=request.token, data=bytes(request.data),
            name=request.name, version=request.version, headers=headers or {}))
        self._reply(Reply(id=id, connect=wire.ConnectResult(
            client=self.client.id,
            version=settings.version,
            data=_embedded(reply.data, "ConnectReply.data"),
            ping=round(settings.ping_interval) or UNSET,
            pong=True if settings.ping_interval and settings.pong_timeout else UNSET,
            time=int(time.time() * 1000) if settings.include_server_time else UNSET,
        )))
        if settings.ping_interval:
            # Spread out: clients that came together must not be pinged together.
            self._start_ping(settings.ping_interval * random.uniform(0.5, 1.0))
        else:
            self._timer.cancel()

    async def _subscribe(self, id: int, request: wire.SubscribeRequest) -> None:
        if request.delta not in ("", "fossil"):
            raise codes.DISCONNECT_BAD_REQUEST()
        since = None
        if request.recover:
            since = _position(request.offset, request.epoch)
        result = await self.client.subscribe(SubscribeEvent(
            channel=request.channel, token=request.token, data=bytes(request.data),
            join_leave=request.join_leave, since=since))
        try:
            reply = _subscribe_result(result, since)
        except Exception:
            # It would get messages and not know which position they follow.
            await self.client.unsubscribe(request.channel)
            raise
        self._reply(Reply(id=id, subscribe=reply))
        self.client.announce(request.channel)

    async def _unsubscribe(self, id: int, channel: str) -> None:
        if not channel:
            raise codes.DISCONNECT_BAD_REQUEST()
        await self.client.unsubscribe(channel)
        self._reply(Reply(id=id, unsubscribe=_EMPTY))

    async def _publish(self, id: int, request: wire.PublishRequest) -> None:
        data = bytes(request.data)
        # The parser takes deeper values than can be embedded in a push: then
        # the channel's subscribers would be disconnected for them.
        if data and not valid_json(data):
            raise codes.ERROR_BAD_REQUEST()
        await self.client.publish(PublishEvent(request.channel, data))
        self._reply(Reply(id=id, publish=_EMPTY))

    async def _presence(self, id: int, channel: str) -> None:
        present = await self.client.presence(channel)
        infos = {client: _text(json_client_info(info)) for client, info in present.items()}
        self._reply(Reply(id=id, presence=wire.PresenceResult(infos)))

    async def _presence_stats(self, id: int, channel: str) -> None:
        stats = await self.client.presence_stats(channel)
        self._reply(Reply(id=id, presence_stats=wire.PresenceStatsResult(
            stats.num_clients, stats.num_users)))

    async def _history(self, id: int, request: wire.HistoryRequest) -> None:
        since = None
        if request.since is not None:
            if request.reverse and request.since.offset == 0:
                raise codes.ERROR_BAD_REQUEST()
            since = _position(request.since.offset, request.since.epoch)
        most = self._settings.history_limit
        limit = request.limit
        if most and (limit < 0 or limit > most):
            limit = most
        page = await self.client.history(
            HistoryEvent(request.channel, since, limit, request.reverse))
        self._reply(Reply(id=id, history=wire.HistoryResult(
            [_publication(message) for message in page.messages],
            page.position.epoch, page.position.offset)))

    def _fail(self, command: Command, error: ClientError | ErrorCode) -> None:
        self._refused = not self.client.connected
        self._reply(Reply(id=command.id, error=wire.Error(
            error.code, error.message, error.temporary)))

    def _reply(self, reply: Reply) -> None:
        if not self.client.closed:
            self._sink.send(wire.encode(reply))

    # ---- pings and the end ---------------------------------------------

    def _start_ping(self, delay: float) -> None:
        self._next_ping = time.monotonic() + delay
        self._timer.start(delay)

    def _on_timer(self) -> None:
        if not self.client.connected:
            self.client.disconnect(codes.DISCONNECT_STALE)
        elif self._awaits_pong and self._settings.pong_timeout:
            self.client.disconnect(codes.DISCONNECT_NO_PONG)
        else:
            self._sink.send(PING)
            self._sink.outbox.shrink()
            self._awaits_pong = True
            self._start_ping(self._settings.ping_interval)
            if self._settings.pong_timeout:
                self._timer.start(self._settings.pong_timeout)

    def _pong(self) -> None:
        if not self._awaits_pong:
            raise codes.DISCONNECT_BAD_REQUEST()
        self._awaits_pong = False
        self._timer.start(max(0.0, self._next_ping - time.monotonic()))

    def _finish(self, disconnect: DisconnectCode) -> None:
        self._timer.cancel()
        self._inbox = None
        self.client.close(disconnect)


_EMPTY = wire.Empty()
def _start(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run a coroutine as a task, where Python can do it without waiting for the next turn."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


def _one_line(data: bytes) -> bytes:
    """JSON with its newlines, which can only be white space, left out."""
    return data.replace(b"\n", b"") if b"\n" in data else data


def _embedded(data: bytes, what: str) -> Raw | msgspec.UnsetType:
    if not data:
        return UNSET
    if not valid_json(data):
        raise ValueError(f"{what} must be JSON for a JSON client, not {data[:80]!r}")
    return Raw(_one_line(data))


def _text(json: bytes | None) -> Raw:
    if json is None:
        raise codes.DISCONNECT_INAPPROPRIATE_PROTOCOL()
    return Raw(json)


def _publication(message: Message) -> Raw:
    return _text(json_publication(message))


def _position(offset: int, epoch: str) -> StreamPosition:
    if not 0 <= offset < 1 << 64:
        raise codes.ERROR_BAD_REQUEST()
    return StreamPosition(offset, epoch)


def _subscribe_result(
    result: SubscribeResult, since: StreamPosition | None
) -> wire.SubscribeResult:
    reply = wire.SubscribeResult(data=_embedded(result.data, "SubscribeReply.data"))
    if result.position is None:
        return reply
    reply.recoverable = True if result.recoverable else UNSET
    reply.positioned = True
    reply.epoch = result.position.epoch
    reply.offset = result.position.offset
    if since is not None:
        reply.was_recovering = True
        if result.missed is not None:
            reply.recovered = True
            reply.publications = [_publication(message) for message in result.missed]
            # The client counts on from where it was with each of them.
            reply.offset = since.offset
    return reply
