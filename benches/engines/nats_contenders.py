"""What else publishes through NATS: nats-py itself."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from benches.engines.contender import DATA, HISTORY_LIFETIME, HISTORY_SIZE, Broker, Contender


class NatsPy(Contender):
    name = "nats-py"
    label = "nats-py, publish, flushed once a batch"
    packages = ("nats-py",)

    def __init__(self, broker: Broker, got: Callable[[], object]) -> None:
        super().__init__(broker, got)
        # Not in the head of the file: one that is not installed is named in the results.
        import nats

        self._connect = nats.connect

    async def open(self, channels: Sequence[str]) -> None:
        self._client: Any = await self._connect(self.broker.nats_url)
        got = self.got

        async def on_message(message: object) -> None:
            got()

        for channel in channels:
            await self._client.subscribe(channel, cb=on_message)
        await self._client.flush()

    async def publish(self, channels: Sequence[str]) -> None:
        publish = self._client.publish
        for channel in channels:
            await publish(channel, DATA)
        await self._client.flush()

    async def close(self) -> None:
        await self._client.close()


class JetStreamPy(NatsPy):
    name = "nats-py"
    label = "nats-py, JetStream publish_async, all of a batch awaited"
    differs = (
        "one stream with all channels, in files, as fanout's; delivered by plain subscriptions "
        "to the same subjects"
    )

    async def open(self, channels: Sequence[str]) -> None:
        await super().open(channels)
        self._stream = self._client.jetstream()
        await self._stream.add_stream(
            name="beside",
            subjects=[f"{self.name}.*"],
            max_msgs_per_subject=HISTORY_SIZE,
            max_age=HISTORY_LIFETIME,
        )

    async def publish(self, channels: Sequence[str]) -> None:
        publish = self._stream.publish_async
        futures = [await publish(channel, DATA) for channel in channels]
        await asyncio.gather(*futures)
