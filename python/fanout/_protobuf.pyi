from typing import final

from fanout._fossil import Base
from fanout._framing import Framing
from fanout._message import Message
from fanout.types import ClientInfo

def protobuf_publication(
    message: Message, *, delta: bool = False, base: bytes | None = None
) -> bytes:
    """A Publication.

    With ``delta`` and a ``base`` its data is a Fossil patch of ``base``, as
    its field ``delta`` then says, if that is smaller than the data.
    """

def protobuf_client_info(info: ClientInfo) -> bytes:
    """A ClientInfo."""

@final
class ProtobufEncoder:
    """Pushes in Protobuf, each a Reply with its length in front.

    They are laid on the transport by ``framing`` (default: WebSocket binary
    frames).
    """

    def __init__(self, framing: Framing | None = None) -> None: ...
    def publication(self, channel: str, message: Message) -> bytes: ...
    def publication_delta(self, channel: str, message: Message, base: Base | None) -> bytes:
        """As :func:`protobuf_publication` with ``delta``."""
    def join(self, channel: str, info: ClientInfo) -> bytes: ...
    def leave(self, channel: str, info: ClientInfo) -> bytes: ...
