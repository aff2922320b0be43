"""The resident memory of a process."""

import gc
import os
import time
from pathlib import Path

SETTLE_INTERVAL = 0.1
SETTLE_TIMEOUT = 10.0


def resident_bytes(pid: int | None = None) -> int:
    """What the kernel counts as resident, page by page (smaps, not the coarser status)."""
    rollup = Path(f"/proc/{pid or os.getpid()}/smaps_rollup").read_text()
    for line in rollup.splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not say how much memory a process has resident")


def settled_bytes(pid: int) -> int:
    """Resident bytes of another process, once they have stopped to change."""
    deadline = time.monotonic() + SETTLE_TIMEOUT
    before = resident_bytes(pid)
    unchanged = 0
    while unchanged < 3 and time.monotonic() < deadline:
        time.sleep(SETTLE_INTERVAL)
        now = resident_bytes(pid)
        unchanged = unchanged + 1 if now == before else 0
        before = now
    return before


def collected_bytes() -> int:
    """Resident bytes of this process, without what only waits for the collector."""
    gc.collect()
    return resident_bytes()
