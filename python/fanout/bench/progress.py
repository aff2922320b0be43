"""What a run shows of itself while it goes on."""

from __future__ import annotations

import asyncio
import time
from typing import TextIO

from fanout.bench.run import Run

__all__ = ["Progress"]

_BAR = 30               # characters
_ON_A_TERMINAL = 0.25   # seconds between two drawings
_ON_A_PIPE = 1.0        # seconds between two lines


class Progress:
    """Draws a few lines again and again on a terminal, and one line a second elsewhere."""

    def __init__(self, run: Run, out: TextIO) -> None:
        self._run = run
        self._out = out
        self._redraws = out.isatty()
        self._drawn = 0             # lines on the terminal that the next drawing replaces
        self._at = time.monotonic()
        self._sent = self._delivered = 0

    async def show(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.sleep(_ON_A_TERMINAL if self._redraws else _ON_A_PIPE)
            self.draw()

    def draw(self) -> None:
        """Show how it stands now."""
        run, ledger = self._run, self._run.ledger
        now = time.monotonic()
        seconds = max(1e-9, now - self._at)
        sent, delivered = ledger.sent - self._sent, ledger.delivered - self._delivered
        self._at, self._sent, self._delivered = now, ledger.sent, ledger.delivered
        percentiles = {
            name: ledger.recent.percentile(percent) / 1e6
            for name, percent in (("p50", 50), ("p95", 95), ("p99", 99))
        } if delivered else {}
        failed = ledger.failed.total() + ledger.publishers_failed.total()
        ledger.recent.clear()
        open_now = ledger.connected + ledger.publishers_connected - ledger.lost.total()
        if self._redraws:
            share = min(1.0, run.elapsed / run.plan.duration)
            lines = [
                f"connections  {open_now} of {run.sockets}, "
                f"{failed} failed, {ledger.lost.total()} lost",
                f"messages     {sent / seconds:,.0f}/s out, {delivered / seconds:,.0f}/s in",
                "latency      " + (", ".join(
                    f"{name} {value:.2f} ms" for name, value in percentiles.items()) or "-"),
                f"{run.phase:<12} [{'#' * int(share * _BAR):<{_BAR}}] "
                f"{run.elapsed:.0f} of {run.plan.duration:g} s",
            ]
            self.erase()
            self._out.write("".join(f"{line}\n" for line in lines))
            self._drawn = len(lines)
        else:
            self._out.write(
                f"{run.elapsed:.1f}s {run.phase} connections={open_now}/{run.sockets} "
                f"failed={failed} lost={ledger.lost.total()} "
                f"out={sent / seconds:.0f}/s in={delivered / seconds:.0f}/s"
                + "".join(f" {name}={value:.2f}ms" for name, value in percentiles.items())
                + "\n")
        self._out.flush()

    def erase(self) -> None:
        """Take the drawing away, for what is written next."""
        if self._drawn:
            # So many lines up, then clear to the end of the screen.
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._out.flush()
            self._drawn = 0
