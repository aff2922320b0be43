"""What every broker has in common: a process, its directory, its port, its log."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.brokers.ports import Port

_START_S = 30.0
_STOP_S = 20.0
_RETRY_S = 0.005
_LOG_TAIL = 8000
"""Characters of the log that a failure shows."""


_GUARD = """
while read -r word; do
    case $word in
        end) break ;;
        stopped) pid= ;;
        *) pid=$word ;;
    esac
done
[ -z "$pid" ] || kill -9 "$pid"
rm -rf "$0" || { sleep 1; rm -rf "$0"; }
"""
"""Told what runs, line by line; its input ends with the tests, whatever ends them."""


class _Remains:
    """What must be gone when the broker's object is, however that comes about."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.directory = Path(tempfile.mkdtemp(prefix="fanout-broker-"))
        self.ports: list[Port] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, str(self.directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # The terminal's Ctrl-C is for the tests.
            start_new_session=True,
        )

    def started(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._tell(str(process.pid))

    def stopped(self) -> None:
        self.process = None
        self._tell("stopped")

    def clear(self) -> None:
        # A forked child runs finalizers too, and the broker is not its own.
        if os.getpid() != self.owner:
            return
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.stopped()
        self._tell("end")
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()
        for port in self.ports:
            port.release()

    def _tell(self, word: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{word}\n".encode())
        self._guard.stdin.flush()


class BrokerServer:
    """A broker in a process of its own, on 127.0.0.1 and a port that restarts keep.

    A context manager: entering starts it, leaving closes it. Every method
    blocks, for well under a second as a rule, so a test whose loop must turn
    meanwhile calls it through ``asyncio.to_thread``.
    """

    def __init__(self) -> None:
        remains = _Remains()
        self._remains = remains
        self._finalizer = weakref.finalize(self, remains.clear)
        self._log = ""
        self.port = self.another_port()
        self.data.mkdir()

    def another_port(self) -> int:
        """A further port that is this broker's until it is closed."""
        port = Port()
        self._remains.ports.append(port)
        return port.number

    @property
    def directory(self) -> Path:
        """Configuration, log and data; gone after ``close()``."""
        return self._remains.directory

    @property
    def data(self) -> Path:
        """Where the broker keeps what outlives it."""
        return self.directory / "data"

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def is_running(self) -> bool:
        process = self._remains.process
        return process is not None and process.poll() is None

    @property
    def log(self) -> str:
        """All that was logged, by every process since the first ``start()``."""
        with contextlib.suppress(FileNotFoundError):
            self._log = (self.directory / "log").read_text(errors="replace")
        return self._log

    @property
    def url(self) -> str:
        raise NotImplementedError

    def _command(self) -> list[str]:
        """Write the configuration; the command that starts the broker with it."""
        raise NotImplementedError

    def _answers(self) -> bool:
        """Whether this process, and no other one on its port, answers; ``OSError`` if not."""
        raise NotImplementedError

    def start(self) -> None:
        """Start, and return once it answers."""
        if not self._finalizer.alive:
            raise AssertionError(f"{self!r} is closed")
        if self._remains.process is not None:
            raise AssertionError(f"{self!r} was started already")
        with open(self.directory / "log", "ab") as log:
            process = subprocess.Popen(
                self._command(),
                cwd=self.data,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._remains.started(process)
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            if process.poll() is not None:
                self._remains.stopped()
                raise AssertionError(self._failure(f"ended with status {process.returncode}"))
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(self._failure(f"did not answer in {_START_S:g} s"))
            time.sleep(_RETRY_S)

    def _is_ready(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def stop(self) -> None:
        """Have it end in its own way (SIGTERM); the data stays. Nothing if none runs."""
        process = self._remains.process
        if process is None:
            return
        process.terminate()
        # One that is paused would get the signal only when it goes on.
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(self._failure(f"did not stop in {_STOP_S:g} s")) from None
        self._remains.stopped()

    def kill(self) -> None:
        """End it as a crash does (SIGKILL). Nothing if none runs."""
        process = self._remains.process
        if process is None:
            return
        process.kill()
        process.wait()
        self._remains.stopped()

    def restart(self) -> None:
        """Stop, and start on the same port and directory."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing is answered."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        # The signal takes effect in the kernel's time; this waits for it.
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            self._remains.stopped()
            raise AssertionError(self._failure(f"ended with status {status}"))

    def resume(self) -> None:
        """Have it go on after ``pause()``."""
        self._running().send_signal(signal.SIGCONT)

    def wipe(self) -> None:
        """Remove the data of a broker that does not run."""
        if self.is_running:
            raise AssertionError(f"{self!r} still runs: stop it before its data is removed")
        shutil.rmtree(self.data)
        self.data.mkdir()

    def close(self) -> None:
        """Kill it and remove its directory; may be called twice."""
        if self._finalizer.alive:
            _ = self.log
            self._finalizer()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._remains.process is None:
            raise AssertionError(f"{self!r} does not run")
        return self._remains.process

    def _failure(self, what: str) -> str:
        return f"{self!r} {what}; its log ends:\n{self.log[-_LOG_TAIL:]}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} 127.0.0.1:{self.port}>"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
