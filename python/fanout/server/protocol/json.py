"""The protocol in JSON: objects separated by newlines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from fanout._frame import JSONEncoder, json_client_info, json_publication
from fanout._framing import Framing
from fanout._json import valid_json
from fanout.server.protocol.base import in_delta_form
from fanout.server.protocol.messages import Command, ConnectRequest, Push, Reply
from fanout.server.protocol.surrogates import decode_with_surrogates
from fanout.types import ClientInfo, Message

if TYPE_CHECKING:
    from fanout._hub import Encoder  # of the stub alone

__all__ = ["JSON", "UNI_JSON", "JSONProtocol"]

_commands = msgspec.json.Decoder(Command)
_connect = msgspec.json.Decoder(ConnectRequest)
_encode = msgspec.json.Encoder().encode


class JSONProtocol:
    """With ``uni`` pushes stand alone, as unidirectional transports have them."""

    name = "json"
    ping = b"{}"

    def __init__(self, *, uni: bool = False) -> None:
        self._uni = uni

    def decode_commands(self, frame: bytes) -> list[Command]:
        try:
            commands = _commands.decode_lines(frame)
        except msgspec.DecodeError:
            if b"\\u" not in frame:
                raise
            commands = decode_with_surrogates(frame, _commands.decode_lines)
        if not commands:
            raise ValueError("an empty frame")
        return commands

    def read_commands(self, frame: bytes) -> Iterator[Command]:
        # All at once: this costs less than what is done about them.
        yield from self.decode_commands(frame)

    def decode_connect(self, data: bytes) -> ConnectRequest:
        try:
            return _connect.decode(data)
        except msgspec.DecodeError:
            if b"\\u" not in data:
                raise
            return decode_with_surrogates(data, lambda text: [_connect.decode(text)])[0]

    def reply(self, reply: Reply) -> bytes:
        return _encode(reply)

    def push(self, push: Push) -> bytes:
        return _encode(push if self._uni else Reply(push=push))

    def accepts(self, data: bytes) -> bool:
        return valid_json(data)

    def embedded(self, data: bytes) -> Raw | None:
        if not data:
            return None
        if not valid_json(data):
            raise ValueError(f"it must be JSON for a JSON client, not {data[:80]!r}")
        # Newlines separate messages; here they can only be white space.
        return Raw(data.replace(b"\n", b"") if b"\n" in data else data)

    def publications(self, messages: Sequence[Message], *, delta: bool = False) -> list[Raw]:
        if not delta:
            return [_raw(json_publication(message)) for message in messages]
        return in_delta_form(
            lambda message, base: _raw(json_publication(message, delta=True, base=base)),
            messages)

    def client_info(self, info: ClientInfo) -> Raw:
        return _raw(json_client_info(info))

    def encoder(self, framing: Framing) -> Encoder:
        return JSONEncoder(framing, self._uni)


def _raw(text: bytes | None) -> Raw:
    if text is None:
        raise ValueError("it must be JSON for a JSON client")
    return Raw(text)


JSON = JSONProtocol()
UNI_JSON = JSONProtocol(uni=True)
