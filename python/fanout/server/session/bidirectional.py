"""A session whose client sends commands."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import Any

from fanout import codes
from fanout.codes import ClientError, Disconnect, ErrorCode
from fanout.errors import BackpressureError, EngineUnavailableError, UnsupportedError
from fanout.events import (
    HistoryEvent,
    PublishEvent,
    RefreshEvent,
    RPCEvent,
    SubRefreshEvent,
)
from fanout.node import Node
from fanout.server.log import fields, logger
from fanout.server.protocol import Protocol
from fanout.server.protocol import messages as wire
from fanout.server.protocol.messages import Command, Reply
from fanout.server.session.base import BaseSession, SessionRequest, SessionSettings, start
from fanout.server.session.requests import position, subscribe_event
from fanout.server.session.results import time_left

__all__ = ["Session"]

INBOX_LIMIT = 64        # frames that wait for the one being worked on; then reading pauses
INBOX_SIZE = 1_048_576  # bytes of them; a peer that compresses sends many in little
COMMANDS_AT_ONCE = 64   # then others have their turn


class Session(BaseSession):
    """Turns frames into commands, runs them in order, and answers.

    Commands of one session do not overlap: while one waits for a handler or
    the engine, later frames wait in a bounded inbox. With a ``concurrency``
    above 1 in the settings, so many of those that ask a handler may be under
    way at once, and their replies come as they are done. A pong waits for
    none of them. An idle session has no task.
    """

    __slots__ = ("_beside", "_inbox", "_inbox_size", "_refused", "_task")

    def __init__(
        self, node: Node, settings: SessionSettings, request: SessionRequest, protocol: Protocol
    ) -> None:
        super().__init__(node, settings, request, protocol)
        self._inbox: deque[bytes] | None = None
        self._inbox_size = 0
        self._task: asyncio.Task[None] | None = None
        self._beside: set[asyncio.Task[None]] | None = None     # commands that overlap
        self._refused = False           # the connect command was answered with an error

    def on_frame(self, frame: bytes) -> None:
        if self.client.closed:
            return
        if self._awaits_pong and self._task is not None and frame.strip() == self._protocol.ping:
            # It answers in time, however long what came before it takes us. An
            # empty command has the bytes of the empty reply that a ping is.
            self.on_pong()
            return
        if self._inbox is None:
            self._inbox = deque()
        self._inbox.append(frame)
        self._inbox_size += len(frame)
        if self._task is None:
            self._task = start(self._work())
            if self._task is not None and self._task.done():    # started eagerly
                self._task = None
        if self._inbox is not None and (
            len(self._inbox) > INBOX_LIMIT or self._inbox_size > INBOX_SIZE
        ):
            self._sink.pause_reading()

    @property
    def busy(self) -> bool:
        return self._task is not None or bool(self._beside)

    def _clean_up(self) -> None:
        super()._clean_up()
        self._inbox = None
        self._inbox_size = 0

    # ---- commands ------------------------------------------------------

    async def _work(self) -> None:
        taken = 0
        try:
            while self._inbox:
                frame = self._inbox.popleft()
                self._inbox_size -= len(frame)
                commands = self._protocol.read_commands(frame)
                while (command := _next(commands)) is not None:
                    await self._take(command)
                    taken += 1
                    if taken % COMMANDS_AT_ONCE == 0:
                        await asyncio.sleep(0)
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

    async def _take(self, command: Command) -> None:
        if self._settings.concurrency > 1 and not _is_pong(command):
            if self._beside is None:
                self._beside = set()
            overlaps = self.client.connected and _may_overlap(command)
            most = self._settings.concurrency if overlaps else 1
            # What ends or begins something comes after all that was asked before.
            while len(self._beside) >= most:
                await asyncio.wait(self._beside, return_when=asyncio.FIRST_COMPLETED)
            if overlaps:
                task = start(self._run_beside(command))
                if not task.done():
                    self._beside.add(task)
                    task.add_done_callback(self._beside.discard)
                return
        await self._run(command)

    async def _run_beside(self, command: Command) -> None:
        try:
            await self._run(command)
        except Disconnect as disconnect:
            self.client.disconnect(disconnect)

    async def _run(self, command: Command) -> None:
        if command.connect is not None and command.id:
            if self.client.connected or self._refused:
                raise codes.DISCONNECT_BAD_REQUEST()
        elif not self.client.connected:
            raise codes.DISCONNECT_BAD_REQUEST()
        elif _is_pong(command):
            self.on_pong()
            return
        began = perf_counter()
        try:
            await self._dispatch(command)
        except ClientError as error:
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("a command is refused: %s", error, extra=self._known(command))
            self._fail(command, error)
        except Disconnect:
            raise
        except UnsupportedError as error:
            logger.warning("a command failed: %s", error, extra=self._known(command))
            self._fail(command, codes.ERROR_NOT_AVAILABLE)
        except (EngineUnavailableError, BackpressureError) as error:
            # The engine's link has told already: no place in the code for each command.
            logger.warning("a command failed: %s", error, extra=self._known(command))
            self._fail(command, codes.ERROR_INTERNAL)
        except Exception:
            logger.exception("a command failed", extra=self._known(command))
            self._fail(command, codes.ERROR_INTERNAL)
        finally:
            self._node.counters.commands.done(_method(command), perf_counter() - began)

    def _known(self, command: Command) -> dict[str, Any]:
        """What the log says of a command: whose, and of which channel; never its payload."""
        method = _method(command)
        asked = getattr(command, method, None)
        return fields(
            client=self.client.id, user=self.client.user, command=method,
            channel=getattr(asked, "channel", ""))

    async def _dispatch(self, command: Command) -> None:
        """Run the command's method; the order is the protocol's."""
        if command.connect is not None:
            await self._on_connect(command.id, command.connect)
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
            await self._rpc(command.id, command.rpc)
        elif command.send is not None:
            await self.client.message(bytes(command.send.data))
        elif command.refresh is not None:
            await self._refresh(command.id, command.refresh)
        elif command.sub_refresh is not None:
            await self._sub_refresh(command.id, command.sub_refresh)
        else:
            raise codes.DISCONNECT_BAD_REQUEST()

    async def _on_connect(self, id: int, request: wire.ConnectRequest) -> None:
        try:
            result = await self._connect(request)
        except (Disconnect, ClientError):
            raise
        except Exception as error:
            if not self.client.connected:
                raise
            # It is half connected, to some channels perhaps: it must begin anew.
            self._log_failed_connect(error)
            raise codes.DISCONNECT_INTERNAL() from None
        result.pong = bool(result.ping) and self._expects_pongs
        self._connected(self._protocol.reply(Reply(id=id, connect=result)), result.subs)

    async def _subscribe(self, id: int, request: wire.SubscribeRequest) -> None:
        result = await self.client.subscribe(subscribe_event(request, request.channel))
        try:
            reply = self._subscribe_result(request.channel, result)
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
        if request.type:
            raise codes.ERROR_NOT_AVAILABLE()       # into a map
        data = bytes(request.data)
        # The parser takes deeper values than can be embedded in a push: then
        # the channel's subscribers would be disconnected for them.
        if data and not self._protocol.accepts(data):
            raise codes.ERROR_BAD_REQUEST()
        await self.client.publish(PublishEvent(request.channel, data))
        self._reply(Reply(id=id, publish=_EMPTY))

    async def _presence(self, id: int, channel: str) -> None:
        present = await self.client.presence(channel)
        try:
            infos = {
                client: self._protocol.client_info(info) for client, info in present.items()}
        except ValueError:
            raise codes.DISCONNECT_INAPPROPRIATE_PROTOCOL() from None
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
            since = position(request.since.offset, request.since.epoch)
        most = self._settings.history_limit
        limit = request.limit
        if most and (limit < 0 or limit > most):
            limit = most
        page = await self.client.history(
            HistoryEvent(request.channel, since, limit, request.reverse))
        try:
            publications = self._protocol.publications(page.messages)
        except ValueError:
            raise codes.DISCONNECT_INAPPROPRIATE_PROTOCOL() from None
        self._reply(Reply(id=id, history=wire.HistoryResult(
            publications, page.position.epoch, page.position.offset)))

    async def _rpc(self, id: int, request: wire.RPCRequest) -> None:
        reply = await self.client.rpc(RPCEvent(request.method, bytes(request.data)))
        self._reply(Reply(id=id, rpc=wire.RPCResult(self._protocol.embedded(reply.data))))

    async def _refresh(self, id: int, request: wire.RefreshRequest) -> None:
        expire_at = await self.client.refresh(RefreshEvent(request.token))
        self._reply(Reply(id=id, refresh=wire.RefreshResult(
            self.client.id, self._settings.version, expire_at > 0, time_left(expire_at))))

    async def _sub_refresh(self, id: int, request: wire.SubRefreshRequest) -> None:
        if request.type:
            raise codes.ERROR_PERMISSION_DENIED()       # of tracked keys
        expire_at = await self.client.sub_refresh(
            SubRefreshEvent(request.channel, request.token))
        self._reply(Reply(id=id, sub_refresh=wire.SubRefreshResult(
            expire_at > 0, time_left(expire_at))))

    def _fail(self, command: Command, error: ClientError | ErrorCode) -> None:
        self._node.counters.commands.failed(_method(command), error.code)
        if command.send is not None and not command.id:
            return      # nobody waits for an answer to this
        self._refused = not self.client.connected
        self._reply(Reply(id=command.id, error=wire.Error(
            error.code, error.message, error.temporary)))

    def _reply(self, reply: Reply) -> None:
        if not self.client.closed:
            self._send(self._protocol.reply(reply))


def _next(commands: Iterator[Command]) -> Command | None:
    try:
        return next(commands, None)
    except (ValueError, RecursionError):
        raise codes.DISCONNECT_BAD_REQUEST() from None


def _is_pong(command: Command) -> bool:
    return command.id == 0 and command.send is None


def _method(command: Command) -> str:
    """Which of its methods is run; ``"none"`` when it has none."""
    for method in _METHODS:
        if getattr(command, method) is not None:
            return method
    return "none"


def _may_overlap(command: Command) -> bool:
    """Whether it waits for a handler that others need not wait for."""
    return command.id != 0 and command.unsubscribe is None and command.connect is None


_EMPTY = wire.Empty()
# In the order in which one wins.
_METHODS = Command.__struct_fields__[1:]
