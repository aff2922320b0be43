from collections.abc import Mapping
from typing import final

from fanout.types import ClientInfo

@final
class Message:
    """One publication in a channel; immutable.

    ``uid`` is unique among all messages and ``timestamp`` is seconds since
    the Unix epoch; both are made when they are not given. ``data`` is opaque
    bytes. ``client`` is the publishing connection's id (``""`` when the
    application published) and ``info`` who that is. ``offset`` is the place
    in the channel's stream, 0 without history. ``tags`` is a private copy.
    ``delta`` says that the publisher asked for it to be sent as a difference
    from the message before, to subscribers that can take one.
    """

    def __init__(
        self,
        channel: str,
        data: bytes,
        *,
        uid: str | None = None,
        timestamp: float | None = None,
        client: str = "",
        info: ClientInfo | None = None,
        offset: int = 0,
        tags: Mapping[str, str] | None = None,
        delta: bool = False,
    ) -> None: ...
    @property
    def uid(self) -> str: ...
    @property
    def timestamp(self) -> float: ...
    @property
    def channel(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def client(self) -> str: ...
    @property
    def info(self) -> ClientInfo | None: ...
    @property
    def offset(self) -> int: ...
    @property
    def tags(self) -> dict[str, str] | None: ...
    @property
    def delta(self) -> bool: ...
    def at(self, offset: int) -> Message:
        """This message with ``offset`` as its place in the stream."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
