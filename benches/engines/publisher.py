"""A worker process with one contender: started, told to run, and stopped."""

import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benches.engines.brokers import RunningBroker
from benches.wire.contender import ROOT, ContenderError, Lines, stop

START_TIMEOUT = 60.0
"""Seconds until all channels are subscribed."""
RUN_TIMEOUT = 60.0


@dataclass(frozen=True)
class Sample:
    """One run. ``messages`` were published, and came back; times are of them all."""

    messages: int
    elapsed_ns: int
    cpu_ns: int
    broker_cpu_ns: int

    @property
    def per_s(self) -> float:
        return self.messages / self.elapsed_ns * 1e9


class Publisher:
    """A contender in a process of its own. Raises :exc:`ContenderError`."""

    def __init__(
        self, group: str, name: str, broker: RunningBroker, channels: int, core: int | None
    ) -> None:
        self.name = name
        # Not a pipe: nobody reads it until something has gone wrong.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        command = [
            sys.executable, "-m", "benches.engines.worker", group, name,
            "--port", str(broker.port), "--broker-pid", str(broker.pid),
            "--channels", str(channels),
        ]
        if core is not None:
            command += ["--core", str(core)]
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._errors, text=True)
        self._lines = Lines(self._process, name, self._errors)

    def wait_ready(self) -> dict[str, str]:
        """Wait until it is subscribed; the versions of what it is made of."""
        versions: dict[str, str] = self._lines.next(START_TIMEOUT)["versions"]
        return versions

    def run(self, seconds: float, batch: int) -> Sample:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"run {seconds} {batch}\n")
            self._process.stdin.flush()
        except OSError:
            raise ContenderError(f"{self.name} ended: {self._lines.last_words()}") from None
        found = self._lines.next(RUN_TIMEOUT)
        del found["event"]
        return Sample(**found)

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        stop(self._process)
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
