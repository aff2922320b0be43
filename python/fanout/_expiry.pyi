from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import final

@final
class Expiry:
    """Everything that ends by time, in one min-heap behind one loop timer.

    ``clock`` returns seconds that never go back; the default is the system's
    monotonic clock. Without a loop nothing fires until ``advance`` is called.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None: ...
    def start(self, loop: AbstractEventLoop) -> None:
        """Let ``loop`` fire what is due, until ``stop``."""
    def stop(self) -> None: ...
    def advance(self) -> int:
        """Fire what is due by the clock; returns how many deadlines fired."""
    def __len__(self) -> int:
        """How many deadlines are pending."""

@final
class Timer:
    """One restartable call-back on an :class:`Expiry`'s heap."""

    def __init__(self, expiry: Expiry, callback: Callable[[], object]) -> None: ...
    def start(self, delay: float) -> None:
        """Call back in ``delay`` seconds, instead of whenever it was set to before."""
    def cancel(self) -> None: ...
    @property
    def active(self) -> bool: ...
