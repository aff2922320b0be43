"""The demo server as a process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.process import ServerProcess


class DemoServer(ServerProcess):
    """``fanout serve --demo``."""

    def __init__(self) -> None:
        super().__init__("--demo")

    @property
    def url(self) -> str:
        return f"{self.http}/"


@contextlib.contextmanager
def running_server() -> Iterator[DemoServer]:
    """A server that is there for the block, and has to leave cleanly after it."""
    server = DemoServer()
    server.start()
    try:
        yield server
    finally:
        status = server.stop()
    assert status == 0, "".join(server.log)
