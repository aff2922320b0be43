from typing import final

from fanout._message import Message
from fanout.types import ClientInfo

def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked WebSocket frame."""

def json_publication(message: Message) -> bytes | None:
    """The JSON text of a publication, or None when its data is not JSON."""

def json_client_info(info: ClientInfo) -> bytes | None:
    """The JSON text of a ClientInfo, or None when its infos are not JSON."""

@final
class JSONEncoder:
    """Pushes in JSON, each in a WebSocket text frame."""

    def publication(self, channel: str, message: Message) -> bytes | None: ...
    def join(self, channel: str, info: ClientInfo) -> bytes | None: ...
    def leave(self, channel: str, info: ClientInfo) -> bytes | None: ...
