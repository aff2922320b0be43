from asyncio import Transport
from typing import Protocol, final, type_check_only

from fanout._hub import Hub, Subscriber

@type_check_only
class OutboxOwner(Protocol):
    def on_slow(self) -> None:
        """The outbox overflowed; what it held is dropped. Called once, in a flush."""
        ...
    def on_unencodable(self, channel: str) -> None:
        """A message of ``channel`` cannot be said in the outbox's encoding."""
        ...
    def on_insufficient(self, channel: str) -> None:
        """Messages of ``channel`` are missing, and cannot be had any more."""
        ...

@final
class Outbox(Subscriber):
    """A connection's way out: frames of one tick leave in one system call.

    What the kernel does not take waits here, at most ``limit`` bytes beside
    one frame that alone is larger; the transport never buffers more than
    one piece. ``pause`` and ``resume`` are
    for the transport's protocol to call from ``pause_writing`` and
    ``resume_writing``; the outbox sets the transport's write buffer limits to
    0 so that they come with the first and the last buffered byte.
    """

    def __init__(
        self, hub: Hub, transport: Transport, owner: OutboxOwner, encoding: int, limit: int
    ) -> None: ...
    def write(self, frame: bytes) -> None:
        """Queue a frame, in order with everything else; never dropped by a policy.

        Nothing happens after ``detach`` or after an overflow.
        """
    def write_last(self, frame: bytes) -> None:
        """Queue a last frame; what is queued later is dropped, and counted."""
    def hold(self) -> None:
        """Send nothing before ``let_go``; what is queued meanwhile waits, within the bound.

        A ``write_last`` drops what waits, and ends the holding.
        """
    def let_go(self, first: bytes) -> None:
        """Queue ``first`` in front of all that waits, and send again; ``hold`` is over."""
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def shrink(self) -> None:
        """Give back the memory of an empty queue; for a quiet moment."""
    def detach(self) -> None:
        """Forget the transport and drop what is queued. May be called twice."""
    @property
    def owner(self) -> OutboxOwner | None:
        """Who is told; None after ``detach``."""
    @property
    def queued_bytes(self) -> int: ...
    @property
    def num_dropped(self) -> int: ...
    @property
    def blocked(self) -> bool:
        """True while the kernel takes nothing and the queue waits."""
