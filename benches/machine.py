"""What every result says of the machine and of the run; never the machine's name."""

import datetime
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benches.wire import suite as wire


def describe_machine() -> dict[str, Any]:
    """CPU, cores, memory and kernel; versions of Python and of what fanout is built on."""
    described = wire.describe_machine()
    for package in ("Cython", "uvloop", "aiohttp"):
        try:
            described[package.lower()] = version(package)
        except PackageNotFoundError:
            described[package.lower()] = None
    return described


@contextmanager
def run_document(suite: str, quick: bool) -> Iterator[dict[str, Any]]:
    """The document of a suite's result, to be filled; it takes the time itself."""
    document: dict[str, Any] = {
        "suite": suite,
        "version": 1,
        "quick": quick,
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": describe_machine(),
    }
    clock = time.monotonic()
    yield document
    document["elapsed_s"] = round(time.monotonic() - clock, 1)
