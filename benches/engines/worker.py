"""A process with one contender, which publishes when it is told to.

    python -m benches.engines.worker GROUP NAME --port N --broker-pid N --channels N [--core N]

It prints one JSON line when its channels are subscribed, or why that cannot
be, then obeys lines on its standard input until that ends::

    -> {"event": "ready", "versions": {"redis": "8.1.0"}}
    <- run 0.2 10
    -> {"event": "ran", "messages": 5120, "elapsed_ns", "cpu_ns", "broker_cpu_ns"}

``run SECONDS BATCH`` publishes batches of BATCH messages, each when the one
before was accepted, for SECONDS, and ends when every message came back. One
that came twice, or not at all, is an error.
"""

import argparse
import asyncio
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import uvloop

from benches.engines import groups
from benches.engines.contender import Broker, Contender
from benches.peers import control
from benches.wire.contender import cpu_clock

ARRIVAL_TIMEOUT = 20.0
"""Seconds until the last message of a run must have come back."""
PROBES, PROBE_TIMEOUT = 50, 0.2
"""Messages published to see whether one comes back, and seconds for each."""
WARM_UP = 0.25
"""Of a run's time: run before it, for others had the core."""


class LostMessageError(Exception):
    """What was published and what came back are not the same number."""


class Count:
    """Counts messages; ``reached`` waits for a number of them."""

    def __init__(self) -> None:
        self.value = 0
        self._wanted = 0
        self._done: asyncio.Future[None] | None = None

    def __call__(self) -> None:
        self.value += 1
        if self._done is not None and self.value >= self._wanted and not self._done.done():
            self._done.set_result(None)

    async def wait(self, wanted: int, timeout: float) -> bool:  # noqa: ASYNC109 - a budget
        """Wait for so many; whether they came within ``timeout`` seconds."""
        if self.value >= wanted:
            return True
        self._wanted = wanted
        self._done = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout):
                await self._done
        except TimeoutError:
            return False
        finally:
            self._done = None
        return True

    async def reached(self, wanted: int) -> None:
        if not await self.wait(wanted, ARRIVAL_TIMEOUT):
            raise LostMessageError(f"of {wanted:,} messages {self.value:,} came back")
        if self.value > wanted:
            raise LostMessageError(f"{self.value:,} messages came back of {wanted:,}")


class Runner:
    """Publishes to all channels in turn, for a time."""

    def __init__(self, contender: Contender, count: Count, channels: list[str]) -> None:
        self._contender = contender
        self._count = count
        self._published = 0
        self._next: Iterator[str] = itertools.cycle(channels)

    async def find_ready(self, last: str) -> None:
        """Publish to the channel subscribed last until something comes back.

        Not every contender can tell when its subscriptions are in force.
        """
        for _ in range(PROBES):
            await self._contender.publish([last])
            self._published += 1
            if await self._count.wait(1, PROBE_TIMEOUT):
                break
        else:
            raise LostMessageError(f"none of {PROBES} messages came back")
        if self._count.value < self._published:
            # Some were published too early, or are late.
            await self._count.wait(self._published, PROBE_TIMEOUT)
        self._published = self._count.value

    async def run(self, seconds: float, batch: int) -> int:
        """How many messages were published, and came back."""
        publish, following = self._contender.publish, self._next
        before = self._published
        end = time.perf_counter() + seconds
        while True:
            await publish(list(itertools.islice(following, batch)))
            self._published += batch
            if time.perf_counter() >= end:
                break
        await self._count.reached(self._published)
        return self._published - before


async def obey(runner: Runner, broker_pid: int) -> None:
    loop = asyncio.get_running_loop()
    clock = cpu_clock(broker_pid)
    # In a thread, so that the loop turns while nothing is asked for.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word, seconds, batch = line.split()
        if word != "run":
            raise ValueError(f"not a command: {line!r}")
        await runner.run(float(seconds) * WARM_UP, int(batch))
        broker_before = time.clock_gettime_ns(clock)
        cpu_before, before = time.process_time_ns(), time.perf_counter_ns()
        messages = await runner.run(float(seconds), int(batch))
        say(
            event="ran",
            messages=messages,
            elapsed_ns=time.perf_counter_ns() - before,
            cpu_ns=time.process_time_ns() - cpu_before,
            broker_cpu_ns=time.clock_gettime_ns(clock) - broker_before,
        )


def say(**found: Any) -> None:
    print(json.dumps(found), flush=True)


async def main(asked: argparse.Namespace) -> None:
    kind = groups.GROUPS[asked.group].find(asked.name)
    count = Count()
    # Others are subscribed at the same broker: what is theirs does not come here.
    channels = [f"{asked.name}.{at}" for at in range(asked.channels)]
    try:
        contender = kind(Broker(asked.port), count)
        versions = {name: version(name) for name in kind.packages}
    except ImportError as error:
        say(event="error", reason=str(error))
        return
    await contender.open(channels)
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    runner = Runner(contender, count, channels)
    gc.collect()
    try:
        await runner.find_ready(channels[-1])
        say(event="ready", versions=versions)
        await obey(runner, asked.broker_pid)
    except LostMessageError as error:
        say(event="error", reason=str(error))
    finally:
        await contender.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="benches.engines.worker")
    parser.add_argument("group", choices=groups.GROUPS)
    parser.add_argument("name")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--broker-pid", type=int, required=True)
    parser.add_argument("--channels", type=int, required=True)
    parser.add_argument("--core", type=int)
    control.prepare()
    uvloop.run(main(parser.parse_args()))
