"""fanout: a node on an engine, with one in-process subscription to all channels."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from benches.engines.contender import DATA, HISTORY_LIFETIME, HISTORY_SIZE, Broker, Contender


class NodeContender(Contender):
    """`Node.publish` of a whole batch, then every result is awaited."""

    history: ClassVar[bool] = False
    _engine: Any

    async def open(self, channels: Sequence[str]) -> None:
        from fanout import ChannelOptions, Node

        options = ChannelOptions(
            history_size=HISTORY_SIZE if self.history else 0,
            history_lifetime=HISTORY_LIFETIME if self.history else 0.0,
        )
        self._node = Node(self._engine, options=options)
        await self._node.run()
        got = self.got
        # With a callback nothing waits for a reader: it is called at the tick's end.
        self._subscription = self._node.subscribe(
            *channels, callback=lambda message: got(), size=1 << 16)
        await self._subscription

    async def publish(self, channels: Sequence[str]) -> None:
        publish = self._node.publish
        for result in [publish(channel, DATA) for channel in channels]:
            await result

    async def close(self) -> None:
        await self._node.shutdown()


class RedisNode(NodeContender):
    name = "fanout"
    label = "fanout Node, RedisEngine"
    packages = ("redis", "hiredis")
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        from fanout.redis import RedisEngine

        self._engine = RedisEngine(broker.redis_url, **self.options)


class RedisStream(RedisNode):
    label = "fanout Node, RedisEngine, history in streams"
    history = True


class RedisList(RedisNode):
    name = "fanout-list"
    label = "fanout Node, RedisEngine, history in lists"
    history = True
    options: ClassVar[dict[str, Any]] = {"history_lists": True}


class RedisEngineAlone(Contender):
    name = "engine"
    label = "fanout RedisEngine, without a node"
    differs = (
        "the engine's own calls, with nothing that checks, counts, or looks for subscribers; "
        "what it delivers is counted at once"
    )
    packages = ("redis", "hiredis")

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        from fanout import Message
        from fanout.redis import RedisEngine

        self._message = Message
        self._engine: Any = RedisEngine(broker.redis_url)

    async def open(self, channels: Sequence[str]) -> None:
        await self._engine.run(_Events(self.got))
        await asyncio.gather(*(self._engine.subscribe(channel) for channel in channels))

    async def publish(self, channels: Sequence[str]) -> None:
        publish, message = self._engine.publish_message, self._message
        for result in [publish(channel, message(channel, DATA)) for channel in channels]:
            await result

    async def close(self) -> None:
        await self._engine.close()


class _Events:
    """Counts messages, and hears nothing else."""

    def __init__(self, got: Callable[[], object]) -> None:
        self._got = got

    def on_message(self, channel: str, message: object, epoch: str) -> None:
        self._got()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: None


class NatsNode(NodeContender):
    name = "fanout"
    label = "fanout Node, NatsEngine"
    packages = ("nats-py",)
    options: ClassVar[dict[str, Any]] = {}

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        from fanout.nats import NatsEngine

        self._engine = NatsEngine([broker.nats_url], **self.options)


class JetStreamNode(NatsNode):
    label = "fanout Node, NatsEngine with JetStream"
    history = True
    options: ClassVar[dict[str, Any]] = {"jetstream": True}
