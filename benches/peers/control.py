"""What every server of the wire suite has in common.

A server prints one JSON line when it listens, then obeys lines on its standard
input until that ends::

    <- {"event": "ready", "port": 41213, "pid": 812, "version": "17.4"}
    -> tick 10 128

``tick PER_TICK PAYLOAD`` asks for PER_TICK publications of PAYLOAD bytes to
every connection, made in one iteration of the server's loop. The load client
writes these lines, each when the tick before it has arrived everywhere.

A server greets a connection with the text ``hello`` once a publication would
reach it (brokers and servers of the Centrifuge protocol have an answer of
their own for that), so that no run starts with a connection still on its way.
"""

import asyncio
import functools
import json
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHANNEL = "bench"
GREETING = "hello"
BACKLOG = 4096
"""Connections the kernel may hold for a server that is busy accepting."""

_HEAD = '{"t":"'
_MIDDLE = '","p":"'
_TAIL = '"}'
MIN_PAYLOAD = len(_HEAD) + 20 + len(_MIDDLE) + len(_TAIL)


@functools.cache
def _padding(size: int) -> str:
    if size < MIN_PAYLOAD:
        raise ValueError(f"a payload has at least {MIN_PAYLOAD} bytes, not {size}")
    return _MIDDLE + "x" * (size - MIN_PAYLOAD) + _TAIL


def payload(size: int) -> str:
    """A JSON object of exactly ``size`` bytes, stamped with the monotonic clock.

    The stamp is 20 digits of nanoseconds; the load client, on the same machine
    and clock, takes the latency from it.
    """
    return f"{_HEAD}{time.monotonic_ns():020d}{_padding(size)}"


def push(data: str) -> str:
    """The publication as the Centrifuge protocol writes it, so that servers
    without a protocol of their own put the same bytes on the wire."""
    return f'{{"push":{{"channel":"{CHANNEL}","pub":{{"data":{data}}}}}}}'


def prepare() -> None:
    """Allow this process as many descriptors as the system lets it have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What is started inside runs on ``core`` alone; None leaves it free.

    A child takes its parent's affinity, so this thread goes there for that
    moment. Unlike a ``preexec_fn`` it is safe with other threads about.
    """
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def announce(port: int, version: str, pid: int | None = None) -> None:
    """Print the ready line. ``pid``: the process to measure, if not this one."""
    line = {"event": "ready", "port": port, "pid": pid or os.getpid(), "version": version}
    print(json.dumps(line), flush=True)


class TickReader:
    """Splits what standard input brings into ticks."""

    def __init__(self) -> None:
        self._rest = b""

    def read(self) -> Iterator[tuple[int, int]]:
        """Read once and yield (per_tick, payload) for each whole line.

        Raises ``EOFError`` at the end of input.
        """
        got = os.read(0, 4096)
        if not got:
            raise EOFError
        *lines, self._rest = (self._rest + got).split(b"\n")
        for line in lines:
            word, per_tick, size = line.split()
            if word != b"tick":
                raise ValueError(f"not a command: {line!r}")
            yield int(per_tick), int(size)


async def obey(on_tick: Callable[[int, int], object]) -> None:
    """Call ``on_tick(per_tick, payload)`` for every tick until input ends."""
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    reader = TickReader()

    def on_readable() -> None:
        try:
            for per_tick, size in reader.read():
                on_tick(per_tick, size)
        except EOFError:
            loop.remove_reader(0)
            ended.set_result(None)
        except BaseException as error:
            loop.remove_reader(0)
            ended.set_exception(error)

    loop.add_reader(0, on_readable)
    await ended
