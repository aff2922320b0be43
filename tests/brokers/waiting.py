"""Waiting for what gives no event."""

from __future__ import annotations

import time
from collections.abc import Callable

_RETRY_S = 0.005


def wait_until(condition: Callable[[], bool], what: str, timeout: float = 30.0) -> None:
    """Look until ``condition`` holds; an error with ``what`` after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(_RETRY_S)
