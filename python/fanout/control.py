"""What nodes tell each other to do to the connections of a user.

An order goes to all nodes as a control message, and each carries it out on
the connections that it has. Nobody answers: a node that cannot be reached, or
that a connection comes to a moment later, has not heard of it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from fanout import codes
from fanout.codes import Disconnect, DisconnectCode
from fanout.errors import BackpressureError, ClosedError, FanoutError
from fanout.events import RefreshReply, SubscribeReply
from fanout.roster import Roster, Target
from fanout.types import StreamPosition

__all__ = [
    "READERS",
    "DisconnectOrder",
    "Order",
    "Orders",
    "RefreshOrder",
    "SubscribeOrder",
    "UnsubscribeOrder",
]

log = logging.getLogger("fanout")

WHITELIST_SIZE = 10_000     # connections that one order may spare
MOST_ORDERS = 10_000        # orders about channels that are not finished


class Order(Protocol):
    """Something to do to every connection of ``target``."""

    method: ClassVar[str]

    @property
    def target(self) -> Target: ...

    @property
    def channel(self) -> str | None:
        """What it is about: a channel, ``""`` for all of them, or None for none."""
        ...

    def to_params(self) -> bytes: ...

    def carry_out(self, roster: Roster) -> list[Awaitable[None]]:
        """Begin; what is left to do is in what is returned."""
        ...


@dataclass(frozen=True, slots=True)
class DisconnectOrder:
    """Disconnect all but the connections whose ids are in ``whitelist``."""

    method: ClassVar[str] = "disconnect"
    channel: ClassVar[None] = None
    target: Target
    disconnect: DisconnectCode = codes.DISCONNECT_FORCE
    whitelist: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if len(self.whitelist) > WHITELIST_SIZE:
            raise ValueError(
                f"whitelist must have at most {WHITELIST_SIZE} clients, "
                f"not {len(self.whitelist)}")
        for client in self.whitelist:
            _check("a whitelist's client", client, str)

    def to_params(self) -> bytes:
        return _encode(
            self.target, code=self.disconnect.code, reason=self.disconnect.reason,
            whitelist=list(self.whitelist))

    @classmethod
    def from_params(cls, params: bytes) -> DisconnectOrder:
        said, target = _decode(params)
        code, reason, whitelist = said["code"], said["reason"], said.get("whitelist", [])
        _check("code", code, int)
        _check("reason", reason, str)
        _check("whitelist", whitelist, list)
        for client in whitelist:
            _check("a whitelist's client", client, str)
        return cls(target, DisconnectCode(code, reason), frozenset(whitelist))

    def carry_out(self, roster: Roster) -> list[Awaitable[None]]:
        for client in roster.matching(self.target, self.whitelist):
            client.disconnect(self.disconnect)
        return []


@dataclass(frozen=True, slots=True)
class UnsubscribeOrder:
    """End the subscriptions to ``channel``, or all of them for ``""``."""

    method: ClassVar[str] = "unsubscribe"
    target: Target
    channel: str
    code: int = codes.UNSUBSCRIBE_SERVER
    reason: str = "server unsubscribe"

    def __post_init__(self) -> None:
        _check("channel", self.channel, str)
        _check("code", self.code, int)
        _check("reason", self.reason, str)
        if not 0 <= self.code <= 0xFFFFFFFF:
            raise ValueError(f"code must be between 0 and 4294967295, not {self.code!r}")

    def to_params(self) -> bytes:
        return _encode(self.target, channel=self.channel, code=self.code, reason=self.reason)

    @classmethod
    def from_params(cls, params: bytes) -> UnsubscribeOrder:
        said, target = _decode(params)
        return cls(target, said["channel"], said.get("code", codes.UNSUBSCRIBE_SERVER),
                   said.get("reason", "server unsubscribe"))

    def carry_out(self, roster: Roster) -> list[Awaitable[None]]:
        return [
            client.unsubscribe_by_server(channel, self.code, self.reason)
            for client in roster.matching(self.target)
            for channel in (
                [self.channel] if self.channel else [*client.channels, *client.channels_to_be])
        ]


@dataclass(frozen=True, slots=True)
class SubscribeOrder:
    """Subscribe to ``channel``, in place of the clients themselves."""

    method: ClassVar[str] = "subscribe"
    target: Target
    channel: str
    reply: SubscribeReply = field(default_factory=SubscribeReply)
    since: StreamPosition | None = None

    def __post_init__(self) -> None:
        _check("channel", self.channel, str)
        _check("reply", self.reply, SubscribeReply)
        _check("info", self.reply.info, bytes)
        _check("data", self.reply.data, bytes)
        for name in _CHOICES:
            _check(name, getattr(self.reply, name), bool, type(None))
        _check("client_refresh", self.reply.client_refresh, bool)
        _check_time(self.reply.expire_at)
        if self.since is not None:
            _check("since", self.since, StreamPosition)
            _check("since.offset", self.since.offset, int)
            _check("since.epoch", self.since.epoch, str)
            if not 0 <= self.since.offset < 1 << 64:
                raise ValueError(
                    f"since.offset must be between 0 and 2**64 - 1, not {self.since.offset!r}")

    def to_params(self) -> bytes:
        reply, since = self.reply, self.since
        return _encode(
            self.target,
            channel=self.channel,
            info=_from_bytes(reply.info),
            data=_from_bytes(reply.data),
            expire_at=reply.expire_at,
            client_refresh=reply.client_refresh,
            since=None if since is None else [since.offset, since.epoch],
            **{name: getattr(reply, name) for name in _CHOICES},
        )

    @classmethod
    def from_params(cls, params: bytes) -> SubscribeOrder:
        said, target = _decode(params)
        reply = SubscribeReply(
            info=_to_bytes(said["info"]),
            data=_to_bytes(said["data"]),
            expire_at=said["expire_at"],
            client_refresh=said["client_refresh"],
            **{name: said[name] for name in _CHOICES},
        )
        since = said["since"]
        if since is not None:
            offset, epoch = since
            since = StreamPosition(offset, epoch)
        return cls(target, said["channel"], reply, since)

    def carry_out(self, roster: Roster) -> list[Awaitable[None]]:
        return [
            client.subscribe_by_server(self.channel, self.reply, self.since)
            for client in roster.matching(self.target)
        ]


@dataclass(frozen=True, slots=True)
class RefreshOrder:
    """Prolong the connections, or end them as expired."""

    method: ClassVar[str] = "refresh"
    channel: ClassVar[None] = None
    target: Target
    reply: RefreshReply

    def __post_init__(self) -> None:
        _check("reply", self.reply, RefreshReply)
        _check_time(self.reply.expire_at)
        _check("expired", self.reply.expired, bool)
        _check("info", self.reply.info, bytes, type(None))
        _check("meta", self.reply.meta, bytes, type(None))

    def to_params(self) -> bytes:
        reply = self.reply
        return _encode(
            self.target,
            expire_at=reply.expire_at,
            expired=reply.expired,
            info=None if reply.info is None else _from_bytes(reply.info),
            meta=None if reply.meta is None else _from_bytes(reply.meta),
        )

    @classmethod
    def from_params(cls, params: bytes) -> RefreshOrder:
        said, target = _decode(params)
        info, meta = said["info"], said["meta"]
        return cls(target, RefreshReply(
            expire_at=said["expire_at"],
            expired=said["expired"],
            info=None if info is None else _to_bytes(info),
            meta=None if meta is None else _to_bytes(meta),
        ))

    def carry_out(self, roster: Roster) -> list[Awaitable[None]]:
        for client in roster.matching(self.target):
            client.refresh_by_server(self.reply)
        return []


READERS: Mapping[str, Callable[[bytes], Order]] = {
    order.method: order.from_params
    for order in (DisconnectOrder, UnsubscribeOrder, SubscribeOrder, RefreshOrder)
}
"""How to read the control messages that are orders, by their method."""

_CHOICES = ("push_join_leave", "recover", "position", "presence", "join_leave")


class Orders:
    """Carries orders out at this node, those about one channel one after the other.

    Else the end of a subscription could come before its beginning is done, and
    be without effect. ``background`` does what a shutdown waits for.
    """

    def __init__(
        self,
        roster: Roster,
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._roster = roster
        self._background = background
        self._under_way: set[asyncio.Future[None]] = set()
        self._last: dict[str, asyncio.Future[None]] = {}    # by channel, "" for all of them

    def carry_out(self, order: Order) -> asyncio.Future[None] | None:
        """Begin; None when that was all, else a future that ends with the first failure.

        It need not be awaited. Raises :exc:`fanout.BackpressureError` when
        too many orders are under way.
        """
        channel = order.channel
        if channel is None:
            order.carry_out(self._roster)
            return None
        if len(self._under_way) >= MOST_ORDERS:
            raise BackpressureError(f"{MOST_ORDERS} orders are under way already")
        before = self._before(channel)
        begun = [] if before else order.carry_out(self._roster)
        if not before and not begun:
            return None
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._under_way.add(done)
        self._last[channel] = done
        self._background(self._finish(order, channel, before, begun, done))
        return done

    def _before(self, channel: str) -> set[asyncio.Future[None]]:
        if not channel:
            return set(self._last.values())
        return {self._last[name] for name in (channel, "") if name in self._last}

    async def _finish(
        self,
        order: Order,
        channel: str,
        before: set[asyncio.Future[None]],
        begun: list[Awaitable[None]],
        done: asyncio.Future[None],
    ) -> None:
        failure: BaseException | None = ClosedError("the node is closed")
        try:
            if before:
                await asyncio.wait(before)
                begun = order.carry_out(self._roster)
            failure = _failure(await asyncio.gather(*begun, return_exceptions=True))
        finally:
            self._under_way.discard(done)
            if self._last.get(channel) is done:
                del self._last[channel]
            if not done.done():     # it is when who waited was cancelled
                if failure is None:
                    done.set_result(None)
                else:
                    done.set_exception(failure)
                    done.exception()        # looked at, whether somebody waits or not


def _failure(results: Iterable[object]) -> BaseException | None:
    """The first of the failures; the others are told to the log.

    A connection that ended meanwhile is none.
    """
    failures = [
        result for result in results
        if isinstance(result, BaseException) and not isinstance(result, Disconnect)
    ]
    for failure in failures[1:]:
        log.warning("an order could not be carried out: %s", failure,
                    exc_info=None if isinstance(failure, FanoutError) else failure)
    return failures[0] if failures else None


def _encode(target: Target, **params: object) -> bytes:
    return json.dumps({
        "user": target.user, "client": target.client, "session": target.session, **params,
    }).encode()


def _decode(params: bytes) -> tuple[dict[str, Any], Target]:
    said = json.loads(params)
    _check("an order", said, dict)
    return said, Target(said["user"], said["client"], said.get("session", ""))


def _check(what: str, value: object, *kinds: type) -> None:
    if type(value) not in kinds:
        raise TypeError(
            f"{what} must be {' or '.join(kind.__name__ for kind in kinds)}, not {value!r}")


def _check_time(value: object) -> None:
    _check("expire_at", value, int, float)
    assert isinstance(value, int | float)
    if not 0 <= value < math.inf:
        raise ValueError(f"expire_at must be finite and not negative, not {value!r}")


def _from_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _to_bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"bytes are told as a str of base64, not as {value!r}")
    return base64.b64decode(value, validate=True)
