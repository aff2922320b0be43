from typing import final

class WebSocketError(Exception):
    """The peer broke the protocol or a limit; ``code`` closes the connection.

    ``messages`` are those that became whole before it, in the same bytes.
    """

    code: int
    reason: str
    messages: list[tuple[int, bytes]]
    def __init__(self, code: int, reason: str) -> None: ...

@final
class WebSocketReader:
    """Turns the bytes of a client into messages.

    ``limit`` is the length in bytes of the longest message that is taken, as
    it is on the wire. Above 0, ``inflated_limit`` says that permessage-deflate
    without context takeover was agreed on (RFC 7692), and is the length in
    bytes of the longest message that was compressed.
    """

    def __init__(self, limit: int, inflated_limit: int = 0) -> None: ...
    @property
    def has_more(self) -> bool:
        """True when ``feed`` inflated enough and left the rest: feed it ``b""`` in another turn."""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """What became whole, as (opcode, payload): text 1, binary 2, close 8, ping 9, pong 10.

        Raises :exc:`WebSocketError`, after which the reader must not be used.
        """
