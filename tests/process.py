"""The server as a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from typing import Self

_LISTENING = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
_START_S = 30.0
_STOP_S = 20.0


class ServerProcess:
    """``python -m fanout serve`` on a free port, which a restart keeps."""

    def __init__(self, *arguments: str) -> None:
        self.port = 0
        self.log: list[str] = []
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start, and return once it listens."""
        self._process = process = subprocess.Popen(
            [
                *(sys.executable, "-m", "fanout", "serve"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
                *self._arguments,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        settled = threading.Event()
        # The pipe is read to its end, or a server that logs much would block on it.
        self._reader = threading.Thread(target=self._read, args=(process, settled), daemon=True)
        self._reader.start()
        if not settled.wait(_START_S) or process.poll() is not None:
            self.stop(signal.SIGKILL)
            raise AssertionError("the server did not start:\n" + "".join(self.log))

    def _read(self, process: subprocess.Popen[str], settled: threading.Event) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.log.append(line)
            if found := _LISTENING.search(line):
                self.port = int(found[1])
                settled.set()
        process.wait()
        settled.set()

    def kill(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout: float = _STOP_S) -> int:
        """Wait for the process to end; its exit status."""
        process, self._process = self._process, None
        assert process is not None
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(
                f"the server was still there after {timeout:g} s:\n" + "".join(self.log)
            ) from None
        finally:
            self._reader.join()
            assert process.stdout is not None
            process.stdout.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End the process; its exit status, 0 when there is none."""
        if self._process is None:
            return 0
        self.kill(how)
        return self.wait()
