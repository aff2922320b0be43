from typing import final

from fanout._expiry import Expiry
from fanout._message import Message
from fanout.types import HistoryPage, StreamPosition

@final
class HistoryStore:
    """The streams of all channels: a bounded, expiring ring of messages each."""

    def __init__(self, expiry: Expiry, meta_lifetime: float) -> None:
        """``meta_lifetime``: seconds for which offset and epoch outlive the messages."""
    def append(
        self,
        channel: str,
        message: Message,
        size: int,
        lifetime: float,
        meta_lifetime: float = 0.0,
        only_if_alive: bool = False,
        version: int = 0,
        version_epoch: str = "",
    ) -> Message | None:
        """Store a message and return it as stored, with its offset.

        ``size`` messages are kept for ``lifetime`` seconds after the newest.
        With ``only_if_alive`` nothing is stored, and None returned, when the
        channel has no unexpired message. The stream remembers a ``version``
        above 0, and its epoch, in place of the one before.
        """
    def has_version(self, channel: str, version: int, version_epoch: str) -> bool:
        """Whether the stream's version is of that epoch and not below ``version``."""
    def newest(self, channel: str, limit: int) -> list[Message]:
        """Newest first; ``limit`` 0 is all."""
    def read(
        self, channel: str, since: StreamPosition | None, limit: int, reverse: bool
    ) -> HistoryPage:
        """As :meth:`fanout.Engine.history_stream`; ``limit`` below 0 is all."""
    def position(self, channel: str) -> StreamPosition:
        """The stream's top; creates the stream."""
    def remove(self, channel: str) -> None: ...
    def clear(self) -> None: ...
    @property
    def num_streams(self) -> int: ...
    @property
    def num_messages(self) -> int: ...
