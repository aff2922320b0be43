"""Six ways to hand one message to many readers in this process, in one shape.

Every contender has the same payload, queues that take all messages of a batch,
and an event loop of its own to run in. What each does beside is in its
``differs``, which the results print.
"""

import asyncio
import random
import string
from collections.abc import Callable
from typing import Any

PAYLOAD = 128
"""Bytes of one message."""
CHANNEL = "bench"
QUEUE_SIZE = 128
"""Messages that wait for one reader, at most; above every batch."""


class Contender:
    """One implementation, with ``count`` subscribers of one channel after ``join``."""

    name = ""
    label = ""
    differs = ""

    async def open(self, count: int) -> None:
        """Make what ``count`` subscribers need; nobody is subscribed yet."""
        raise NotImplementedError

    async def join(self) -> None:
        """Subscribe all."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Unsubscribe all."""
        raise NotImplementedError

    async def publish(self, messages: int) -> None:
        """Publish so many messages, one after the other."""
        raise NotImplementedError

    async def drain(self) -> None:
        """Empty all queues."""
        raise NotImplementedError

    async def read(self, index: int, got: Callable[[], object]) -> None:
        """Read the queue of one subscriber; ``got`` is called for each message."""
        raise NotImplementedError

    async def settle(self, messages: int) -> None:
        """Wait until what was just published is in every queue."""

    async def close(self) -> None:
        raise NotImplementedError


class HubContender(Contender):
    """A hub and its local queues; the compiled ones or the model in plain Python."""

    def __init__(self, name: str, label: str, module: Any, queues: Any, differs: str = "") -> None:
        self.name = name
        self.label = label
        self.differs = differs
        self._hub_class = module.Hub
        self._queue_class = queues.LocalQueue

    async def open(self, count: int) -> None:
        from fanout.types import Message, Overflow

        self._message = Message
        self._data = b"x" * PAYLOAD
        self._hub = self._hub_class(asyncio.get_running_loop())
        self._queues = [
            self._queue_class(self._hub, QUEUE_SIZE, Overflow.CLOSE) for _ in range(count)
        ]

    async def join(self) -> None:
        subscribe = self._hub.subscribe
        for queue in self._queues:
            subscribe(queue, CHANNEL)

    async def leave(self) -> None:
        unsubscribe = self._hub.unsubscribe
        for queue in self._queues:
            unsubscribe(queue, CHANNEL)

    async def publish(self, messages: int) -> None:
        for _ in range(messages):
            self._hub.broadcast(CHANNEL, self._message(CHANNEL, self._data))

    async def drain(self) -> None:
        for queue in self._queues:
            while queue.get_nowait() is not None:
                pass

    async def read(self, index: int, got: Callable[[], object]) -> None:
        async for _ in self._queues[index]:
            got()

    async def close(self) -> None:
        for queue in self._queues:
            self._hub.remove(queue)
        self._hub.flush()
        self._queues.clear()


class NodeContender(Contender):
    name = "node"
    label = "fanout Node"
    differs = (
        "what an application calls: it checks its arguments and goes through an engine; "
        "a subscription's queue is made by subscribe"
    )

    async def open(self, count: int) -> None:
        from fanout import Node

        self._node = Node()
        await self._node.run()
        self._count = count
        self._data = b"x" * PAYLOAD
        self._subscriptions: list[Any] = []

    async def join(self) -> None:
        subscribe = self._node.subscribe
        self._subscriptions = [subscribe(CHANNEL, size=QUEUE_SIZE) for _ in range(self._count)]

    async def leave(self) -> None:
        for subscription in self._subscriptions:
            subscription.close()

    async def publish(self, messages: int) -> None:
        for _ in range(messages):
            self._node.publish(CHANNEL, self._data)

    async def drain(self) -> None:
        for subscription in self._subscriptions:
            while subscription.get_nowait() is not None:
                pass

    async def read(self, index: int, got: Callable[[], object]) -> None:
        async for _ in self._subscriptions[index]:
            got()

    async def close(self) -> None:
        await self._node.shutdown()


class BroadcasterContender(Contender):
    name = "broadcaster"
    label = "broadcaster, memory backend"
    differs = (
        "publish puts the message into one queue, from which a task fills the subscribers'; "
        "queues are unbounded; a subscription's queue is made by subscribe"
    )

    def __init__(self) -> None:
        from broadcaster import Broadcast

        self._class = Broadcast

    async def open(self, count: int) -> None:
        self._broadcast = self._class("memory://")
        await self._broadcast.connect()
        self._data = "x" * PAYLOAD
        self._count = count
        self._contexts: list[Any] = []
        self._subscribers: list[Any] = []

    async def join(self) -> None:
        self._contexts = [self._broadcast.subscribe(CHANNEL) for _ in range(self._count)]
        self._subscribers = [await context.__aenter__() for context in self._contexts]

    async def leave(self) -> None:
        for context in self._contexts:
            await context.__aexit__(None, None, None)
        self._contexts = []

    async def publish(self, messages: int) -> None:
        for _ in range(messages):
            await self._broadcast.publish(CHANNEL, self._data)

    async def settle(self, messages: int) -> None:
        # The task that fills the queues does not pause between two subscribers,
        # so what one of them can read is there for all.
        for _ in range(messages):
            await self._subscribers[0].get()

    async def drain(self) -> None:
        for subscriber in self._subscribers:
            while not subscriber._queue.empty():
                await subscriber.get()

    async def read(self, index: int, got: Callable[[], object]) -> None:
        async for _ in self._subscribers[index]:
            got()

    async def close(self) -> None:
        await self.leave()
        await self._broadcast.disconnect()


class ChannelsContender(Contender):
    name = "channels"
    label = "Channels, in-memory layer"
    differs = "copies the message and runs a task for every subscriber; removes expired messages"

    def __init__(self) -> None:
        from channels.layers import InMemoryChannelLayer  # type: ignore[import-untyped]

        self._class = InMemoryChannelLayer

    async def open(self, count: int) -> None:
        self._layer = self._class(capacity=QUEUE_SIZE)
        self._names = [await self._layer.new_channel() for _ in range(count)]
        self._message = {"type": "bench.message", "data": b"x" * PAYLOAD}

    async def join(self) -> None:
        for name in self._names:
            await self._layer.group_add(CHANNEL, name)

    async def leave(self) -> None:
        for name in self._names:
            await self._layer.group_discard(CHANNEL, name)

    async def publish(self, messages: int) -> None:
        for _ in range(messages):
            await self._layer.group_send(CHANNEL, self._message)

    async def drain(self) -> None:
        # `receive` would forget the emptied queue; here it is kept, as it is
        # while a reader waits.
        for queue in self._layer.channels.values():
            while not queue.empty():
                queue.get_nowait()

    async def read(self, index: int, got: Callable[[], object]) -> None:
        name = self._names[index]
        while True:
            await self._layer.receive(name)
            got()

    async def close(self) -> None:
        await self._layer.flush()


class SocketIOContender(Contender):
    name = "socketio"
    label = "python-socketio, manager"
    differs = (
        "its subscribers are connections: it encodes the message once, and runs a task for every "
        "one; queues are unbounded, and the reader is what its WebSocket writer does"
    )

    def __init__(self) -> None:
        import socketio  # type: ignore[import-untyped]
        from engineio.async_socket import AsyncSocket  # type: ignore[import-untyped]

        self._server_class = socketio.AsyncServer
        self._socket_class = AsyncSocket

    async def open(self, count: int) -> None:
        # Ping times so long that no connection is found dead during a run.
        server = self._server_class(async_mode="asgi", ping_interval=3600, ping_timeout=3600)
        self._manager = server.manager
        self._data = "x" * PAYLOAD
        self._sockets = []
        self._sids = []
        for _ in range(count):
            eio_sid = "".join(random.choices(string.ascii_letters, k=20))
            socket = self._socket_class(server.eio, eio_sid)
            server.eio.sockets[eio_sid] = socket
            self._sockets.append(socket)
            self._sids.append(await self._manager.connect(eio_sid, "/"))

    async def join(self) -> None:
        for sid in self._sids:
            await self._manager.enter_room(sid, "/", CHANNEL)

    async def leave(self) -> None:
        for sid in self._sids:
            await self._manager.leave_room(sid, "/", CHANNEL)

    async def publish(self, messages: int) -> None:
        for _ in range(messages):
            await self._manager.emit("message", self._data, "/", room=CHANNEL)

    async def drain(self) -> None:
        for socket in self._sockets:
            while not socket.queue.empty():
                socket.queue.get_nowait()

    async def read(self, index: int, got: Callable[[], object]) -> None:
        socket = self._sockets[index]
        while True:
            for _ in await socket.poll():
                got()

    async def close(self) -> None:
        self._sockets.clear()

    def members(self) -> list[tuple[str, str]]:
        """Who is in the channel's room: connection ids, without any info."""
        return list(self._manager.get_participants("/", CHANNEL))


def compiled() -> HubContender:
    from fanout import _hub, _subscription

    return HubContender("fanout", "fanout core", _hub, _subscription)


def reference() -> HubContender:
    from tests.model import reference as model

    return HubContender(
        "reference", "plain Python", model, model,
        "the core's model, method for method, in dicts and deques (tests/model)",
    )


# By name; what is called may raise ImportError.
CONTENDERS: dict[str, Callable[[], Contender]] = {
    "fanout": compiled,
    "node": NodeContender,
    "reference": reference,
    "broadcaster": BroadcasterContender,
    "channels": ChannelsContender,
    "socketio": SocketIOContender,
}
PURE_PYTHON = ("reference", "broadcaster", "channels", "socketio")
