"""A broker for one part of the suite, on a core of its own and a free port."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benches.peers import broker, control
from benches.wire.contender import ContenderError

STOP_TIMEOUT = 10.0


@dataclass(frozen=True)
class RunningBroker:
    port: int
    pid: int


@contextmanager
def running(name: str, core: int | None, jetstream: bool = False) -> Iterator[RunningBroker]:
    """Valkey or nats-server without persistence, but for JetStream's files.

    Raises :exc:`ContenderError` when it is not installed or does not start.
    """
    port = broker.free_port()
    with tempfile.TemporaryDirectory() as directory:
        try:
            if name == "nats":
                command = broker.nats_command(port, directory, jetstream)
            else:
                command = broker.valkey_command(port, directory)
        except (ImportError, FileNotFoundError) as error:
            raise ContenderError(str(error)) from None
        with control.pinned(core):
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        try:
            try:
                broker.connect(port, process).close()
            except (OSError, RuntimeError) as error:
                raise ContenderError(f"{name} does not start: {error}") from error
            yield RunningBroker(port, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
