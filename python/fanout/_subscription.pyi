from collections.abc import AsyncIterator, Callable
from typing import final

from fanout._hub import Hub, Subscriber
from fanout._message import Message
from fanout.types import Overflow

@final
class LocalQueue(Subscriber):
    """An in-process subscriber: a bounded ring of messages with a policy.

    With ``callback`` every message is handed to it at the end of the tick in
    which it came; else the queue is read by ``async for``, ``get``,
    ``get_batch`` or ``get_nowait``, one reader at a time. A waiting reader is
    woken once per tick, however many messages came.
    """

    def __init__(
        self,
        hub: Hub,
        size: int,
        overflow: Overflow,
        callback: Callable[[Message], object] | None = None,
    ) -> None: ...
    def __aiter__(self) -> AsyncIterator[Message]: ...
    async def __anext__(self) -> Message: ...
    async def get_batch(self, limit: int = 0) -> list[Message]:
        """Wait for at least one message; returns all that are queued.

        ``limit`` above 0 is the most to return. An empty list says that the
        queue was closed.
        """
    def get_nowait(self) -> Message | None: ...
    def close(self, error: BaseException | None = None) -> None:
        """End it: the reader gets what is queued, then ``error`` or the end."""
    def __len__(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def num_dropped(self) -> int: ...
    @property
    def num_received(self) -> int: ...
    @property
    def num_wakeups(self) -> int: ...
