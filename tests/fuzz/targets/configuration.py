"""Configuration files. The first byte chooses the format."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fanout.server.config import ConfigError
from fanout.server.config.load import load, problems
from tests.fuzz.harness import quiet

MAX_LEN = 4096
ENDINGS = (".json", ".yaml", ".toml")
MOST_TEXT = 20 * MAX_LEN


def run(data: bytes) -> None:
    ending = ENDINGS[(data[0] if data else 0) % len(ENDINGS)]
    handle, name = tempfile.mkstemp(ending, dir=_DIRECTORY)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data[1:])
        with quiet():
            _read(path)
    finally:
        path.unlink()


def _read(path: Path) -> None:
    errors, warnings = problems(path)
    try:
        load(path)
    except ConfigError as error:
        assert errors
        assert len(str(error)) < MOST_TEXT
        assert "\n" not in str(error)
    else:
        # What is looked at only when asked: the files of certificates.
        assert all("tls" in str(error) for error in errors), errors
    assert all("\n" not in warning for warning in warnings)


_DIRECTORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
