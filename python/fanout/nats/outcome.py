"""What an operation comes to: awaited by any number of tasks, late, or by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar

__all__ = ["Outcome", "Share"]

T = TypeVar("T")
U = TypeVar("U")


class Outcome(Generic[T]):
    """A result or an error that somebody else will set.

    Unlike a future it complains of nothing when its error is ignored, and a
    task that is cancelled while it waits takes it from no other.
    """

    __slots__ = ("_error", "_value", "_waiters", "settled")

    _value: T

    def __init__(self) -> None:
        self.settled = False
        self._error: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] | None = None

    def succeed(self, value: T) -> None:
        """Give the result; only what comes first counts."""
        if not self.settled:
            self._value = value
            self._settle()

    def fail(self, error: BaseException) -> None:
        """Give the error; only what comes first counts."""
        if not self.settled:
            self._error = error
            self._settle()

    @property
    def error(self) -> BaseException | None:
        """The error, once it is settled; None when it is good."""
        return self._error

    def when_settled(self, action: Callable[[], object]) -> None:
        """Call ``action`` in a later turn of the loop, if it is not settled yet, else now."""
        if self.settled:
            action()
        else:
            self._waiter().add_done_callback(lambda waiter: action())

    def forward(self, outcome: Outcome[U], value: U) -> None:
        """Have another outcome come to the same, or to ``value`` when this one is good."""

        def settle() -> None:
            if self._error is not None:
                outcome.fail(self._error)
            else:
                outcome.succeed(value)

        self.when_settled(settle)

    def _waiter(self) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        return waiter

    def _settle(self) -> None:
        self.settled = True
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def __await__(self) -> Generator[Any, None, T]:
        if not self.settled:
            yield from self._waiter()
        if self._error is not None:
            # Not with the frames of whoever awaited it before.
            raise self._error.with_traceback(None)
        return self._value


class Share(Generic[T]):
    """One of many operations with a common outcome, and what it gives when that is good."""

    __slots__ = ("_outcome", "_value")

    def __init__(self, outcome: Outcome[None], value: T) -> None:
        self._outcome = outcome
        self._value = value

    def __await__(self) -> Generator[Any, None, T]:
        yield from self._outcome.__await__()
        return self._value
