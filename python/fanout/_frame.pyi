from typing import final

from fanout._fossil import Base
from fanout._framing import Framing
from fanout._framing import websocket_frame as websocket_frame
from fanout._message import Message
from fanout.types import ClientInfo

def json_publication(
    message: Message, *, delta: bool = False, base: bytes | None = None
) -> bytes | None:
    """The JSON text of a publication, or None when its data is not JSON.

    With ``delta`` in the form that a subscriber who negotiated deltas reads:
    the data is a string, whose text is a Fossil patch of ``base`` (and
    ``"delta": true`` says so) or, without a base or when the patch is not
    smaller, exactly the data's.
    """

def json_client_info(info: ClientInfo) -> bytes | None:
    """The JSON text of a ClientInfo, or None when its infos are not JSON."""

@final
class JSONEncoder:
    """Pushes in JSON, laid on the transport by ``framing`` (default: WebSocket text frames).

    ``uni``: as a unidirectional transport has them, without ``{"push": ...}`` around.
    """

    def __init__(self, framing: Framing | None = None, uni: bool = False) -> None: ...
    def publication(self, channel: str, message: Message) -> bytes | None: ...
    def publication_delta(
        self, channel: str, message: Message, base: Base | None
    ) -> bytes | None:
        """As :func:`json_publication` with ``delta``."""
    def join(self, channel: str, info: ClientInfo) -> bytes | None: ...
    def leave(self, channel: str, info: ClientInfo) -> bytes | None: ...
