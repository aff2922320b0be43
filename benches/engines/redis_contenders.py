"""What else publishes through Valkey: redis-py itself, and two libraries on top of it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from benches.engines.contender import DATA, HISTORY_LIFETIME, HISTORY_SIZE, Broker, Contender

CHUNK = 1_000
"""Channels that are subscribed to with one command."""
META_LIFETIME = 30 * 24 * 3600
STORE_AND_PUBLISH = """
local epoch = redis.call('hget', KEYS[2], 'e')
if not epoch then
  epoch = ARGV[2]
  redis.call('hset', KEYS[2], 'e', epoch)
end
local offset = redis.call('hincrby', KEYS[2], 's', 1)
redis.call('expire', KEYS[2], ARGV[5])
redis.call('xadd', KEYS[1], 'MAXLEN', ARGV[3], offset, 'd', ARGV[1])
redis.call('expire', KEYS[1], ARGV[4])
redis.call('publish', ARGV[6], offset .. ':' .. epoch .. ':' .. ARGV[1])
return {offset, epoch}
"""


class RedisPy(Contender):
    """A client of redis-py, and a task that listens to its `pubsub()`."""

    packages = ("redis", "hiredis")

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        # Not in the head of the file: one that is not installed is named in the results.
        from redis.asyncio import Redis

        self._redis: Any = Redis.from_url(broker.redis_url)

    async def open(self, channels: Sequence[str]) -> None:
        self._pubsub = self._redis.pubsub()
        missing = len(channels)
        for at in range(0, len(channels), CHUNK):
            await self._pubsub.subscribe(*channels[at:at + CHUNK])
        async for message in self._pubsub.listen():
            missing -= message["type"] == "subscribe"
            if not missing:
                break
        self._reader = asyncio.create_task(self._read())
        self._script = await self._redis.script_load(STORE_AND_PUBLISH)

    async def _read(self) -> None:
        got = self.got
        async for message in self._pubsub.listen():
            if message["type"] == "message":
                got()

    def _store(self, client: Any, channel: str) -> Any:
        """Call the script that does what an engine with history must do."""
        return client.evalsha(
            self._script, 2, f"stream:{{{channel}}}", f"meta:{{{channel}}}",
            DATA, "epoch", HISTORY_SIZE, int(HISTORY_LIFETIME), META_LIFETIME, channel)

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._pubsub.aclose()
        await self._redis.aclose()


class Pipeline(RedisPy):
    name = "pipeline"
    label = "redis-py, pipeline of PUBLISH"

    async def publish(self, channels: Sequence[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel in channels:
            pipeline.publish(channel, DATA)
        await pipeline.execute()


class OneByOne(RedisPy):
    name = "awaited"
    label = "redis-py, PUBLISH awaited one by one"

    async def publish(self, channels: Sequence[str]) -> None:
        for channel in channels:
            await self._redis.publish(channel, DATA)


class ScriptPipeline(RedisPy):
    name = "pipeline"
    label = "redis-py, pipeline of EVALSHA"
    differs = (
        "the script gives the message an offset in the channel's epoch, appends it to a stream, "
        "trims that, sets the time of both keys, and publishes: what an engine must do"
    )

    async def publish(self, channels: Sequence[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel in channels:
            self._store(pipeline, channel)
        await pipeline.execute()


class ScriptOneByOne(RedisPy):
    name = "awaited"
    label = "redis-py, EVALSHA awaited one by one"
    differs = "the same script"

    async def publish(self, channels: Sequence[str]) -> None:
        for channel in channels:
            await self._store(self._redis, channel)


class AppendPipeline(RedisPy):
    name = "append"
    label = "redis-py, pipeline of XADD and PUBLISH"
    differs = (
        "two commands in place of a script: no offset, no epoch, nothing expires, and another "
        "publisher may come between the two"
    )

    async def publish(self, channels: Sequence[str]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for channel in channels:
            pipeline.xadd(
                f"stream:{channel}", {"d": DATA}, maxlen=HISTORY_SIZE, approximate=False)
            pipeline.publish(channel, DATA)
        await pipeline.execute()


class ChannelsLayer(Contender):
    name = "channels_redis"
    label = "channels_redis, RedisPubSubChannelLayer"
    differs = (
        "a group for each channel, all with one member; `group_send` is awaited one by one: a "
        "lock lets one publish at a time through"
    )
    packages = ("channels-redis",)

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        from channels_redis.pubsub import (  # type: ignore[import-untyped]
            RedisPubSubChannelLayer,
        )

        self._layer = RedisPubSubChannelLayer(hosts=[broker.redis_url])
        self._message = {"type": "bench.message", "data": DATA}

    async def open(self, channels: Sequence[str]) -> None:
        name = await self._layer.new_channel()
        for channel in channels:
            await self._layer.group_add(channel, name)
        self._reader = asyncio.create_task(self._read(name))

    async def _read(self, name: str) -> None:
        while True:
            await self._layer.receive(name)
            self.got()

    async def publish(self, channels: Sequence[str]) -> None:
        for channel in channels:
            await self._layer.group_send(channel, self._message)

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._layer.flush()


class Broadcaster(Contender):
    name = "broadcaster"
    label = "broadcaster, redis backend"
    differs = (
        "a subscriber and a reading task for each channel; a batch is published by "
        "`asyncio.gather`, for it has no other way to publish several at once"
    )
    packages = ("broadcaster",)

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        from broadcaster import Broadcast

        # Each publish of a batch takes a connection; redis-py's own bound is a hundred.
        self._broadcast: Any = Broadcast(f"{broker.redis_url}?max_connections=1000")
        self._text = DATA.decode()

    async def open(self, channels: Sequence[str]) -> None:
        await self._broadcast.connect()
        # Its listener wakes up as the first subscription begins, finds that nothing is
        # subscribed yet, and sleeps until there is another one.
        names = [f"{self.name}.first", *channels]
        self._contexts = [self._broadcast.subscribe(name) for name in names]
        self._readers = [
            asyncio.create_task(self._read(await context.__aenter__()))
            for context in self._contexts
        ]

    async def _read(self, subscriber: Any) -> None:
        async for _ in subscriber:
            self.got()

    async def publish(self, channels: Sequence[str]) -> None:
        publish = self._broadcast.publish
        if len(channels) == 1:
            await publish(channels[0], self._text)
        else:
            await asyncio.gather(*(publish(channel, self._text) for channel in channels))

    async def close(self) -> None:
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        await self._broadcast.disconnect()
