from typing import final

from typing_extensions import disjoint_base

def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """One unfragmented, unmasked WebSocket frame; for control frames, too."""

@disjoint_base
class Framing:
    """How one payload lies on a transport; base of the ones below.

    A payload is the bytes of one reply or push: for the text framings JSON
    without a newline, for the binary ones Protobuf with its length in front.
    """

    def frame(self, payload: bytes) -> bytes:
        """The payload's bytes on the transport."""

@disjoint_base
class WebSocketFraming(Framing):
    """An unmasked WebSocket frame (RFC 6455) with opcode 1, text, or 2, binary."""

    def __init__(self, opcode: int) -> None: ...

@final
class DeflateFraming(WebSocketFraming):
    """As :class:`WebSocketFraming`, compressed (permessage-deflate, RFC 7692).

    For connections that negotiated ``server_no_context_takeover``: no message
    refers to another, so one compression serves them all. ``level`` is
    zlib's, 1 (fast) to 9. Payloads below ``min_size`` bytes, and those that
    would not become shorter, go out as they are, which RFC 7692 allows for
    each message.
    """

    def __init__(self, opcode: int, level: int = 1, min_size: int = 0) -> None: ...

@final
class LinesFraming(Framing):
    """A line of a streamed HTTP/1.1 response, as one chunk."""

@final
class EventFraming(Framing):
    """A server-sent event with the payload as its data, as one HTTP/1.1 chunk."""

@final
class BlockFraming(Framing):
    """The payload as it is, as one HTTP/1.1 chunk.

    ``ValueError`` for an empty one, which would be the response's last chunk.
    """
