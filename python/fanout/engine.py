"""The Engine: all that a node needs of the place where messages travel.

It is the Engine interface of Centrifugo (v1.5) in Python spelling, with the
numbered streams of its successor beside it. :class:`fanout.MemoryEngine` is
the embedded one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import Protocol, runtime_checkable

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

__all__ = ["Engine", "EngineEvents"]


class EngineEvents(Protocol):
    """What an engine calls, on the loop's thread, when something arrives.

    An engine delivers to its own node what that node published, in the same
    way as what other nodes published, and calls ``on_message`` of one channel
    in publish order. ``epoch`` is that of the stream in which the message has
    its offset, ``""`` for a message without one. ``channel`` is what was
    subscribed to; a message that came by a wildcard has its own.

    An engine whose link to its server broke tells ``on_link_lost`` with the
    channels that nothing arrives for from now on. When it delivers them again
    it tells ``on_link_restored``: what was published in between did not
    arrive, and what is published from now on does.
    """

    def on_message(self, channel: str, message: Message, epoch: str) -> None: ...
    def on_join(self, channel: str, message: JoinMessage) -> None: ...
    def on_leave(self, channel: str, message: LeaveMessage) -> None: ...
    def on_control(self, message: ControlMessage) -> None: ...
    def on_admin(self, message: AdminMessage) -> None: ...
    def on_link_lost(self, channels: Collection[str], error: Exception) -> None: ...
    def on_link_restored(self, channels: Collection[str]) -> None: ...


@runtime_checkable
class Engine(Protocol):
    """Publishes messages, handles subscriptions, keeps presence and history.

    Every method belongs to the thread of the event loop in which ``run`` was
    called. ``publish_*``, ``subscribe`` and ``unsubscribe`` act at once and
    return an awaitable that finishes, or raises, when the engine has finished
    the operation; it may be awaited at most once, later, or not at all, and
    an ignored failure warns of nothing. Bad arguments raise ``TypeError`` or
    ``ValueError`` from the call itself; a call before ``run`` or after
    ``close`` raises :exc:`fanout.ClosedError` from the call itself.

    An engine that has a server raises :exc:`fanout.EngineUnavailableError`
    from the awaitable when the server cannot be reached within the engine's
    time limit, and :exc:`fanout.BackpressureError` from the call when more
    waits for it than the engine's bound. What it cannot do at all raises
    :exc:`fanout.UnsupportedError`.
    """

    @property
    def name(self) -> str:
        """The concrete engine's name, for logs and ``info``."""
        ...

    @property
    def num_failed(self) -> int:
        """How many operations have failed behind their call, whether anybody looked or not."""
        ...

    async def run(self, events: EngineEvents) -> None:
        """Start. Called once, before anything else; ``events`` gets what arrives."""
        ...

    async def close(self) -> None:
        """Stop and give everything back. Closing twice is allowed."""
        ...

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
        """Deliver to every client subscribed to ``channel`` now, on any node.

        When ``options`` ask for history the message is stored first: what is
        delivered carries its ``offset``, and the awaitable's result is the
        message's place in the stream. Without history it is
        ``StreamPosition(0, "")``. ``message`` itself is not changed.

        idempotency_key
            Up to 255 characters that are the publisher's name for this
            message. For 300 seconds, or what the engine is told, another
            publish with the same key into the same channel publishes nothing,
            whatever it has to say, and gives the same position. So a publish
            that failed with ``maybe_done`` can be repeated. Engines with a
            store know the keys of all nodes, others those of their own. A
            publish that failed without ``maybe_done`` is not remembered.
        version, version_epoch
            With history only: a message whose ``version``, up to 2**64 - 1, is
            not above that of the stream's last message that had one is not
            published, and the result is the stream's top. 0 is no version.
            Versions of different epochs, up to 255 characters, are not
            compared: the first of another epoch is published. The stream
            remembers one version and its epoch as long as its own offset.
        """
        ...

    def publish_join(self, channel: str, message: JoinMessage) -> Awaitable[None]:
        """Deliver a join to the subscribers of ``channel``; never stored."""
        ...

    def publish_leave(self, channel: str, message: LeaveMessage) -> Awaitable[None]:
        """Deliver a leave to the subscribers of ``channel``; never stored."""
        ...

    def publish_control(self, message: ControlMessage) -> Awaitable[None]:
        """Deliver to all nodes, the sender's own included.

        A receiver drops what carries its own ``uid``.
        """
        ...

    def publish_admin(self, message: AdminMessage) -> Awaitable[None]:
        """Deliver to the admins connected to any node."""
        ...

    def subscribe(
        self, channel: str, options: ChannelOptions | None = None
    ) -> Awaitable[None]:
        """This node wants ``channel``: its first local subscriber came.

        It delivers from when the awaitable is done. Subscribing again to a
        wanted channel changes nothing. When ``options`` allow ``wildcards``
        and the name has one, it stands for every channel that matches.
        """
        ...

    def unsubscribe(self, channel: str) -> Awaitable[None]:
        """This node no longer wants ``channel``: its last local subscriber left.

        Unsubscribing from a channel that is not wanted is no error.
        """
        ...

    async def channels(self, pattern: str | None = None) -> list[str]:
        """Channels with one or more subscribers, on all nodes, in no order.

        With ``pattern`` only those whose whole name matches: ``*`` is any
        text, ``?`` one character, ``[a-c]`` one of these, ``[^a-c]`` one that
        is none of these, and a backslash takes the next character as it is.
        """
        ...

    async def add_presence(self, channel: str, conn_id: str, info: ClientInfo) -> None:
        """Set or refresh a connection's presence; it expires unless refreshed."""
        ...

    async def remove_presence(self, channel: str, conn_id: str) -> None:
        """Remove a connection's presence; removing what is not there is no error."""
        ...

    async def presence(self, channel: str) -> dict[str, ClientInfo]:
        """Who is present, by connection id; empty for an unknown channel."""
        ...

    async def presence_stats(self, channel: str) -> PresenceStats:
        """How many connections and different users are present."""
        ...

    async def history(self, channel: str, limit: int = 0) -> list[Message]:
        """The kept messages, newest first.

        0 means all that is kept; a limit above that returns what is kept. A
        negative limit raises ``ValueError``.
        """
        ...

    async def history_stream(
        self,
        channel: str,
        since: StreamPosition | None = None,
        limit: int | None = None,
        reverse: bool = False,
    ) -> HistoryPage:
        """Messages after a stream position, oldest first, and the stream's top.

        ``since=None`` starts at the oldest kept message and is always
        recoverable. With ``reverse`` the order is newest first and ``since``
        selects what came before it. ``limit=None`` is all, 0 only reads the
        top; a negative limit raises ``ValueError``.

        A position is recoverable when its epoch is the stream's (or empty),
        its offset is not above the top, and nothing after it is missing from
        what is kept. A position of another epoch, or above the top, returns
        no messages. A forward read from an offset older than the oldest kept
        starts at the oldest kept.

        Reading creates the stream: two reads of an empty channel return the
        same epoch.
        """
        ...

    async def remove_history(self, channel: str) -> None:
        """Forget the kept messages; the stream's offset and epoch stay."""
        ...
