"""The engine for several machines with NATS between them."""

from __future__ import annotations

import logging
import math
import os
import secrets
import ssl
from collections.abc import Awaitable, Collection, Sequence
from typing import TYPE_CHECKING

from fanout._codec import (
    decode_admin,
    decode_control,
    decode_info,
    decode_message,
    encode_admin,
    encode_control,
    encode_message,
)
from fanout.checks import (
    check_admin,
    check_channel,
    check_conn_id,
    check_control,
    check_info,
    check_join,
    check_leave,
    check_limit,
    check_message,
    check_options,
    check_pattern,
    check_since,
)
from fanout.engine import EngineEvents
from fanout.errors import ClosedError, UnsupportedError
from fanout.nats.address import parse_login, parse_servers
from fanout.nats.link import Link
from fanout.nats.outcome import Share
from fanout.nats.peers import Peers
from fanout.nats.pipe import Batch, Pipe, too_large
from fanout.nats.requests import Requests
from fanout.nats.sink import ChannelSink, Sink
from fanout.nats.subjects import Subjects, check_wildcards
from fanout.nats.subscriptions import Subscriptions
from fanout.nats.wire import JOIN, LEAVE, MESSAGE, join_payload, leave_payload
from fanout.pattern import channel_pattern
from fanout.types import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    HistoryPage,
    JoinMessage,
    LeaveMessage,
    Message,
    PresenceStats,
    StreamPosition,
)

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["NatsEngine"]

log = logging.getLogger("fanout")

_NO_POSITION = StreamPosition()


class NatsEngine:
    """An :class:`fanout.Engine` for several nodes, with NATS between them.

    Delivery is NATS's own: at most once. What is published while a node's link
    is broken does not reach that node, which is told of it
    (``on_link_lost``, ``on_link_restored``).

    A channel that is subscribed with ``wildcards`` in its options may have
    ``*`` for one of the tokens between the dots of a name, and ``>`` for all
    from there on. Joins and leaves are not delivered to such a channel.

    ``channels()`` asks all nodes that were heard of during the last 8 seconds,
    and waits for those that do not answer for ``timeout`` at most.

    url
        ``nats://host:port``, ``tls://host:port``, or several of one NATS
        system; ``user:password@`` or ``token@`` before the host.
    prefix
        The first token of all subjects; nodes with the same one belong together.
    timeout
        Seconds within which an operation is done or has failed, and a server
        that does not answer is given up.
    user, password, token, credentials, nkey_seed
        Who logs in at servers whose address does not say it; ``credentials``
        is the path of a file with a JWT and its key.
    tls
        How to encrypt, for servers that ask for it or have ``tls://``; by
        default with the system's certificates.
    max_pending, max_pending_bytes
        How many operations may wait for the server, and with how many bytes;
        beyond that :exc:`fanout.BackpressureError` is raised.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "nats://localhost:4222",
        *,
        prefix: str = "fanout",
        timeout: float = 4.0,
        user: str | None = None,
        password: str | None = None,
        token: str | None = None,
        credentials: str | os.PathLike[str] | None = None,
        nkey_seed: str | None = None,
        tls: ssl.SSLContext | None = None,
        max_pending: int = 100_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._servers = parse_servers(url)
        self._login = parse_login(user, password, token, credentials, nkey_seed, tls)
        self._uid = secrets.token_hex(8)
        self._subjects = Subjects(prefix, self._uid)
        self._timeout = _seconds("timeout", timeout)
        self._max_pending = _number("max_pending", max_pending)
        self._max_pending_bytes = _number("max_pending_bytes", max_pending_bytes)
        self._events: EngineEvents | None = None
        self._state = "new"
        self._link: Link
        self._pipe: Pipe
        self._peers: Peers
        self._requests: Requests
        self._subscriptions: Subscriptions

    def __repr__(self) -> str:
        servers = ", ".join(server.label for server in self._servers)
        return f"<NatsEngine {servers} {self._state}>"

    @property
    def name(self) -> str:
        return "NATS"

    # ---- life ----------------------------------------------------------

    async def run(self, events: EngineEvents) -> None:
        """Start.

        Raises :exc:`fanout.EngineUnavailableError` when no server can be
        reached within the time limit, and :exc:`fanout.EngineError` when the
        server refuses.
        """
        if self._state == "closed":
            raise ClosedError("the engine is closed")
        if self._state != "new":
            raise RuntimeError("the engine runs already")
        self._state = "starting"
        subjects = self._subjects
        self._pipe = Pipe(
            self._timeout, self._max_pending, self._max_pending_bytes, lambda: self._link.label)
        self._subscriptions = Subscriptions(self._pipe, self._take)
        self._requests = Requests(subjects.inbox, self._pipe)
        self._peers = Peers(
            self._uid, subjects, self._pipe, self._requests, self._wanted)
        sinks = [
            Sink(subjects.control, self._take_control),
            Sink(subjects.admin, self._take_admin),
            self._requests.sink,
            *self._peers.sinks,
        ]
        self._link = Link(
            self._servers, self._login, f"fanout-{self._uid}", subjects.inbox, sinks,
            self._pipe, self._subscriptions, self)
        self._events = events
        try:
            await self._link.open()
            await self._peers.settled()
        except BaseException:
            await self.close()
            raise
        self._state = "running"

    async def close(self) -> None:
        state, self._state = self._state, "closed"
        if state in ("new", "closed"):
            return
        self._peers.close()
        await self._peers.closed()
        await self._link.close()
        self._events = None
        self._subscriptions.close()
        self._requests.close()
        self._pipe.close()

    # ---- publishing ----------------------------------------------------

    def publish_message(
        self, channel: str, message: Message, options: ChannelOptions | None = None
    ) -> Awaitable[StreamPosition]:
        self._check(channel)
        check_message(channel, message)
        check_options(options)
        if options is not None:
            if options.wildcards and check_wildcards(channel):
                raise ValueError(f"nothing can be published to a wildcard, {channel!r}")
            if options.keeps_history:
                raise self._unsupported("history")
        return Share(self._publish(channel, encode_message(message)), _NO_POSITION)

    def publish_join(self, channel: str, message: JoinMessage) -> Awaitable[None]:
        self._check(channel)
        check_join(message)
        return self._publish(channel, join_payload(message.info))

    def publish_leave(self, channel: str, message: LeaveMessage) -> Awaitable[None]:
        self._check(channel)
        check_leave(message)
        return self._publish(channel, leave_payload(message.info))

    def publish_control(self, message: ControlMessage) -> Awaitable[None]:
        self._check()
        check_control(message)
        return self._post(self._subjects.control, encode_control(message))

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        self._check()
        check_admin(message)
        return self._post(self._subjects.admin, encode_admin(message))

    def _publish(self, channel: str, payload: bytes) -> Batch:
        return self._post(self._subjects.client(channel), payload)

    def _post(self, subject: str, payload: bytes) -> Batch:
        if len(payload) > self._link.max_payload:
            raise too_large(len(payload), self._link.max_payload)
        return self._pipe.post(subject, payload)

    # ---- subscribing ---------------------------------------------------

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        self._check(channel)
        check_options(options)
        if options is not None and options.wildcards and check_wildcards(channel):
            return self._subscriptions.subscribe(channel, self._subjects.clients(channel), True)
        return self._subscriptions.subscribe(channel, self._subjects.client(channel), False)

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        self._check(channel)
        return self._subscriptions.unsubscribe(channel)

    async def channels(self, pattern: str | None = None) -> list[str]:
        self._check()
        check_pattern(pattern)
        return await self._peers.channels(pattern)

    def _wanted(self, pattern: str | None) -> list[str]:
        channels = self._subscriptions.channels
        if pattern is None:
            return channels
        matches = channel_pattern(pattern).fullmatch
        return [channel for channel in channels if matches(channel)]

    # ---- what is kept --------------------------------------------------

    async def add_presence(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        self._check(channel)
        check_conn_id(conn_id)
        check_info(info)
        raise self._unsupported("presence")

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        self._check(channel)
        check_conn_id(conn_id)
        raise self._unsupported("presence")

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        self._check(channel)
        raise self._unsupported("presence")

    async def presence_stats(self, channel: str) -> PresenceStats:
        self._check(channel)
        raise self._unsupported("presence")

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        self._check(channel)
        check_limit(limit, none_allowed=False)
        raise self._unsupported("history")

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        self._check(channel)
        check_since(since)
        check_limit(limit)
        raise self._unsupported("history")

    async def remove_history(self, channel: str) -> None:
        self._check(channel)
        raise self._unsupported("history")

    def _unsupported(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"NATS keeps no {what} without JetStream: NatsEngine(..., jetstream=True)")

    # ---- what arrives --------------------------------------------------

    def _take(self, sink: ChannelSink, message: Msg) -> None:
        events = self._events
        if events is None:
            return
        data = message.data
        channel = self._subjects.channel(message.subject) if sink.wildcard else sink.channel
        kind = data[0]
        if kind == MESSAGE:
            events.on_message(sink.channel, decode_message(channel, data), "")
        elif sink.wildcard:
            return
        elif kind == JOIN:
            events.on_join(channel, JoinMessage(channel, decode_info(data, 1)))
        elif kind == LEAVE:
            events.on_leave(channel, LeaveMessage(channel, decode_info(data, 1)))
        else:
            raise ValueError(f"unknown kind 0x{kind:02x}")

    def _take_control(self, message: Msg) -> None:
        if self._events is not None:
            self._events.on_control(decode_control(message.data))

    def _take_admin(self, message: Msg) -> None:
        if self._events is not None:
            self._events.on_admin(decode_admin(message.data))

    # ---- what the link tells -------------------------------------------

    def link_up(self) -> None:
        self._peers.link_up()

    def link_down(self) -> None:
        self._requests.link_down()
        self._peers.link_down()

    def on_link_lost(self, channels: Collection[str], error: Exception) -> None:
        if self._events is not None and self._state == "running":
            self._events.on_link_lost(channels, error)

    def on_link_restored(self, channels: Collection[str]) -> None:
        if self._events is not None and self._state == "running":
            self._events.on_link_restored(channels)

    def _check(self, channel: str = "-") -> None:
        """The engine runs, and the channel's name can be one."""
        if self._state != "running":
            raise ClosedError(
                "the engine is closed" if self._state == "closed"
                else "the engine was not started: run() first")
        check_channel(channel)


def _seconds(name: str, value: float) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be finite and above 0 seconds, not {value!r}")
    return float(value)


def _number(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value!r}")
    return value
