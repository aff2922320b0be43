"""The engine for several machines with NATS between them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import secrets
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, TypeVar

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
    check_idempotency_key,
    check_info,
    check_join,
    check_leave,
    check_limit,
    check_message,
    check_options,
    check_pattern,
    check_since,
    check_version,
)
from fanout.engine import EngineEvents
from fanout.errors import ClosedError, EngineUnavailableError, UnsupportedError
from fanout.failures import Failures
from fanout.nats.address import parse_login, parse_servers
from fanout.nats.link import Link
from fanout.nats.outcome import Share
from fanout.nats.peers import Peers
from fanout.nats.pipe import Batch, Pipe, too_large
from fanout.nats.record import delivered, epoch_mark
from fanout.nats.requests import Requests
from fanout.nats.sink import ChannelSink, Sink
from fanout.nats.storage import Storage
from fanout.nats.stream import NO_VERSION, Version
from fanout.nats.subjects import Subjects, check_wildcards
from fanout.nats.subscriptions import Subscriptions
from fanout.nats.wire import (
    JOIN,
    LEAVE,
    MESSAGE,
    PROBE,
    RECORD,
    VERSIONED,
    join_payload,
    leave_payload,
)
from fanout.pattern import channel_pattern
from fanout.results import Results
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

T = TypeVar("T")

_NO_POSITION = StreamPosition()


class NatsEngine:
    """An :class:`fanout.Engine` for several nodes, with NATS between them.

    Delivery is NATS's own: at most once. What is published while a node's link
    is broken does not reach that node, whose application is told of it
    (:meth:`fanout.Node.on_interruption`, ``on_restoration``). A publish has succeeded when the
    server has it; one that was on its way when the link broke has failed with
    ``maybe_done``, and is not sent again.

    A channel that is subscribed with ``wildcards`` in its options may have
    ``*`` for one of the tokens between the dots of a name, and ``>`` for all
    from there on. Joins and leaves are not delivered to such a channel. A name
    may have 3,000 bytes, three for each that NATS does not allow in a subject.

    ``channels()`` asks all nodes that were heard of during the last 8 seconds,
    and waits for those that do not answer for ``timeout`` at most.

    History and presence need ``jetstream=True``, and nats-server 2.11 or later.
    The first node creates two streams, ``<prefix>_history`` and
    ``<prefix>_presence``, and ``<prefix>_results`` when something is published
    with an idempotency key. Limits, beside those of NATS itself:

    * A channel's publishes with history are stored one after the other, each
      when the server has answered the one before it; channels do not wait for
      each other. Storing takes the longer, the larger ``history_size`` is.
    * The server gives the time, and is asked for it every 15 seconds. It
      removes what has ended in whole seconds: presence up to 2 seconds after
      its end, which nobody sees. A history that has ended is given back by the
      node that published last; when that is gone, by the next node that
      starts, or after the stream's life.
    * A message may end before its time when a channel's ``history_lifetime``
      is raised while the message is kept.
    * An offset that was given is not given again, whatever crashes, as long as
      the server keeps what it acknowledged: see JetStream's ``sync_interval``
      for a machine that loses power.

    Where several NATS servers are one system, they tell each other of
    subscriptions: what is published at another one in the moment after a
    subscription was done may not arrive yet. And the order of messages with
    history and without in one channel may differ for nodes at other servers.

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
    jetstream
        Keep history and presence in JetStream.
    replicas
        How many servers keep the streams (1, 3 or 5), if this engine creates
        them.
    presence_lifetime
        Seconds until a presence entry that is not refreshed is gone.
    history_meta_lifetime
        Seconds for which a stream's offset and epoch outlive its messages,
        where the channel's options do not say it.
    idempotency_lifetime
        Seconds for which the result of a publish with an ``idempotency_key``
        is remembered: with JetStream by the server, and for the same time on
        all nodes; without it by this node alone, a million results at most.
        There a publish that failed with ``maybe_done`` fails in the same way
        when it is repeated, for nobody can tell whether it was published.
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
        jetstream: bool = False,
        replicas: int = 1,
        presence_lifetime: float = 60.0,
        history_meta_lifetime: float = 30 * 24 * 3600.0,
        idempotency_lifetime: float = 300.0,
        max_pending: int = 100_000,
        max_pending_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        self._servers = parse_servers(url)
        self._login = parse_login(user, password, token, credentials, nkey_seed, tls)
        self._uid = secrets.token_hex(8)
        self._subjects = Subjects(prefix, self._uid)
        self._timeout = _seconds("timeout", timeout)
        if not isinstance(jetstream, bool):
            raise TypeError(f"jetstream must be a bool, not {jetstream!r}")
        self._jetstream = jetstream
        self._replicas = _number("replicas", replicas)
        if self._replicas not in (1, 3, 5):
            raise ValueError(f"replicas must be 1, 3 or 5, not {replicas!r}")
        self._presence_lifetime = _seconds("presence_lifetime", presence_lifetime)
        self._history_meta_lifetime = _seconds("history_meta_lifetime", history_meta_lifetime)
        self._idempotency_lifetime = _seconds("idempotency_lifetime", idempotency_lifetime)
        self._results: Results[Share[StreamPosition]] = Results(
            self._idempotency_lifetime, time.monotonic)
        self._results_end: asyncio.TimerHandle | None = None
        self._max_pending = _number("max_pending", max_pending)
        self._max_pending_bytes = _number("max_pending_bytes", max_pending_bytes)
        self._events: EngineEvents | None = None
        self._state = "new"
        self._link: Link
        self._pipe: Pipe
        self._peers: Peers
        self._requests: Requests
        self._subscriptions: Subscriptions
        self._storage: Storage | None = None
        self._failures = Failures(log)

    def __repr__(self) -> str:
        servers = ", ".join(server.label for server in self._servers)
        return f"<NatsEngine {servers} {self._state}>"

    @property
    def name(self) -> str:
        return "NATS"

    @property
    def num_failed(self) -> int:
        return self._failures.count

    # ---- life ----------------------------------------------------------

    async def run(self, events: EngineEvents) -> None:
        """Start.

        Raises :exc:`fanout.EngineUnavailableError` when no server can be
        reached within the time limit, :exc:`fanout.EngineError` when the
        server refuses, and :exc:`fanout.UnsupportedError` when it has no
        JetStream that can do what is needed.
        """
        if self._state == "closed":
            raise ClosedError("the engine is closed")
        if self._state != "new":
            raise RuntimeError("the engine runs already")
        self._state = "starting"
        subjects = self._subjects
        self._pipe = Pipe(
            self._timeout, self._max_pending, self._max_pending_bytes, lambda: self._link.label,
            self._failures)
        self._subscriptions = Subscriptions(self._pipe, self._take)
        self._requests = Requests(subjects.inbox, self._pipe)
        self._peers = Peers(
            self._uid, subjects, self._pipe, self._requests, self._wanted)
        if self._jetstream:
            self._storage = Storage(
                subjects, self._pipe, self._requests, self._subscriptions,
                self._presence_lifetime, self._history_meta_lifetime,
                self._idempotency_lifetime, self._replicas)
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
            if self._storage is not None:
                await self._storage.run(self._link)
            if self._state != "starting":
                raise ClosedError("the engine was closed while it started")
        except BaseException:
            await self.close()
            raise
        self._state = "running"

    async def close(self) -> None:
        state, self._state = self._state, "closed"
        if state in ("new", "closed"):
            return
        if self._storage is not None:
            await self._storage.close(finish=self._link.up)
        self._peers.close()
        await self._peers.closed()
        await self._link.close()
        self._events = None
        if self._results_end is not None:
            self._results_end.cancel()
        self._results.clear()
        self._subscriptions.close()
        self._requests.close()
        self._pipe.close()

    # ---- publishing ----------------------------------------------------

    def publish_message(
        self,
        channel: str,
        message: Message,
        options: ChannelOptions | None = None,
        *,
        idempotency_key: str = "",
        version: int = 0,
        version_epoch: str = "",
    ) -> Awaitable[StreamPosition]:
        self._check(channel)
        check_message(channel, message)
        check_options(options)
        # Most publishes have none, and are spared the calls.
        if idempotency_key != "":
            check_idempotency_key(idempotency_key)
        if version != 0 or version_epoch != "":
            check_version(version, version_epoch)
        if options is not None:
            if options.wildcards and check_wildcards(channel):
                raise ValueError(f"nothing can be published to a wildcard, {channel!r}")
            if options.keeps_history:
                return self._stored("history").publish(
                    channel, message, options, idempotency_key,
                    Version(version, epoch_mark(version_epoch)) if version else NO_VERSION,
                    self._link.max_payload)
        if idempotency_key:
            if self._storage is not None:
                return self._storage.publish_once(
                    channel, message, idempotency_key, self._link.max_payload)
            return self._publish_once(channel, message, idempotency_key)
        payload = encode_message(message)
        if self._waits(channel):
            return self._behind(channel, payload, _NO_POSITION)
        return Share(self._post(self._subjects.client(channel), payload), _NO_POSITION)

    def _publish_once(
        self, channel: str, message: Message, key: str
    ) -> Awaitable[StreamPosition]:
        """Publish what no other publish of this node had the key of."""
        known = self._results.get(channel, key)
        if known is not None:
            return known
        batch = self._post(self._subjects.client(channel), encode_message(message))
        result = Share(batch, _NO_POSITION)
        self._results.put(channel, key, result)

        def settle() -> None:
            error = batch.error
            if error is None or (isinstance(error, EngineUnavailableError) and error.maybe_done):
                return
            if self._results.get(channel, key) is result:
                self._results.forget(channel, key)

        batch.when_settled(settle)
        if self._results_end is None:
            self._purge_results()
        return result

    def _purge_results(self) -> None:
        left = self._results.purge()
        self._results_end = None if left is None else asyncio.get_running_loop().call_later(
            left, self._purge_results)

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

    def _publish(self, channel: str, payload: bytes) -> Awaitable[None]:
        if self._waits(channel):
            return self._behind(channel, payload, None)
        return self._post(self._subjects.client(channel), payload)

    def _post(self, subject: str, payload: bytes) -> Batch:
        self._check_size(payload)
        return self._pipe.post(subject, payload)

    def _check_size(self, payload: bytes) -> None:
        if len(payload) > self._link.max_payload:
            raise too_large(len(payload), self._link.max_payload)

    def _waits(self, channel: str) -> bool:
        """Whether what is published to a channel now must not overtake something."""
        return self._storage is not None and channel in self._storage.lanes

    def _behind(self, channel: str, payload: bytes, value: T) -> Awaitable[T]:
        assert self._storage is not None
        self._check_size(payload)
        subject = self._subjects.client(channel)
        return self._storage.lanes.post(
            channel, len(payload), lambda: self._pipe.post(subject, payload, counted=False), value)

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
        await self._stored("presence").presence.add(channel, conn_id, info)

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        self._check(channel)
        check_conn_id(conn_id)
        await self._stored("presence").presence.remove(channel, conn_id)

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        self._check(channel)
        return await self._stored("presence").presence.get(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        self._check(channel)
        return await self._stored("presence").presence.stats(channel)

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        self._check(channel)
        check_limit(limit, none_allowed=False)
        storage = self._stored("history")
        return await storage.history.newest_first(channel, limit, storage.api.deadline)

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
        storage = self._stored("history")
        return await storage.history.read(channel, since, limit, reverse, storage.api.deadline)

    async def remove_history(self, channel: str) -> None:
        self._check(channel)
        await self._stored("history").remove_history(channel)

    def _stored(self, what: str) -> Storage:
        """Where ``what`` is kept, if it is kept."""
        if self._storage is None:
            raise UnsupportedError(
                f"NATS keeps no {what} without JetStream: NatsEngine(..., jetstream=True)")
        return self._storage

    # ---- what arrives --------------------------------------------------

    def _take(self, sink: ChannelSink, message: Msg) -> None:
        events = self._events
        if events is None:
            return
        data = message.data
        channel = self._subjects.channel(message.subject) if sink.wildcard else sink.channel
        kind = data[0]
        if kind == MESSAGE:
            _tell(events.on_message, sink.channel, decode_message(channel, data), "")
        elif kind in (RECORD, VERSIONED):
            _tell(events.on_message, sink.channel, *delivered(channel, data))
        elif sink.wildcard or kind == PROBE:
            return
        elif kind == JOIN:
            _tell(events.on_join, channel, JoinMessage(channel, decode_info(data, 1)))
        elif kind == LEAVE:
            _tell(events.on_leave, channel, LeaveMessage(channel, decode_info(data, 1)))
        else:
            raise ValueError(f"unknown kind 0x{kind:02x}")

    def _take_control(self, message: Msg) -> None:
        if self._events is not None:
            _tell(self._events.on_control, decode_control(message.data))

    def _take_admin(self, message: Msg) -> None:
        if self._events is not None:
            _tell(self._events.on_admin, decode_admin(message.data))

    # ---- what the link tells -------------------------------------------

    def link_up(self) -> None:
        if self._storage is not None:
            self._storage.link_up()
        self._peers.link_up()

    def link_down(self) -> None:
        if self._storage is not None:
            self._storage.link_down()
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


def _tell(event: Callable[..., object], *arguments: object) -> None:
    try:
        event(*arguments)
    except Exception:
        # Whoever published has its answer from the server.
        log.exception("an event of the engine raised")


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
