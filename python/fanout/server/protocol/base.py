"""What a session needs of an encoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING
from typing import Protocol as TypingProtocol

from msgspec import Raw

from fanout._framing import Framing
from fanout.server.protocol.messages import Command, ConnectRequest, Push, Reply
from fanout.types import ClientInfo, Message

if TYPE_CHECKING:
    from fanout._hub import Encoder  # of the stub alone

__all__ = ["Protocol", "in_delta_form"]


class Protocol(TypingProtocol):
    """One encoding of the client protocol."""

    name: str
    ping: bytes

    def decode_commands(self, frame: bytes) -> list[Command]:
        """The commands of one frame.

        Raises ``ValueError`` or ``RecursionError`` when the frame is empty or
        one of them cannot be read.
        """
        ...

    def read_commands(self, frame: bytes) -> Iterator[Command]:
        """As ``decode_commands``, perhaps one by one: then what is raised may follow some."""
        ...

    def decode_connect(self, data: bytes) -> ConnectRequest:
        """A connect request alone, as unidirectional transports have it; raises as above."""
        ...

    def reply(self, reply: Reply) -> bytes:
        """The payload of one reply."""
        ...

    def push(self, push: Push) -> bytes:
        """The payload of one push."""
        ...

    def accepts(self, data: bytes) -> bool:
        """Whether ``data`` can be embedded in a message of this encoding."""
        ...

    def embedded(self, data: bytes) -> Raw | None:
        """``data`` to be embedded, None when it is empty; ``ValueError`` when it cannot be."""
        ...

    def publications(self, messages: Sequence[Message], *, delta: bool = False) -> list[Raw]:
        """Publications to be embedded.

        With ``delta`` in the delta form: the first in full, the others by
        what changed. Raises ``ValueError`` when one cannot be embedded.
        """
        ...

    def client_info(self, info: ClientInfo) -> Raw:
        """A client's info to be embedded; ``ValueError`` when it cannot be."""
        ...

    def encoder(self, framing: Framing) -> Encoder:
        """What makes the pushes of publications, joins and leaves for the hub."""
        ...


def in_delta_form(
    encode: Callable[[Message, bytes | None], Raw], messages: Sequence[Message]
) -> list[Raw]:
    """Publications of which each but the first is said by what changed.

    ``encode`` makes one from the data of the one before, None for the first.
    """
    bases = [None, *(message.data for message in messages)]
    return [encode(message, base) for message, base in zip(messages, bases, strict=False)]
