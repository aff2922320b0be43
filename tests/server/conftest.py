"""What the tests of a running server share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.running import Process, Settings, errors_in

OPEN: Settings = {"client": {"insecure": True}}


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails the test when the server logs an error."""
    yield
    assert errors_in([*caplog.get_records("setup"), *caplog.get_records("call")]) == []


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """A server process with everything allowed."""
    directory: Path = tmp_path_factory.mktemp("server")
    server = Process(OPEN, directory)
    server.start()
    yield server
    assert server.stop() == 0
