"""The protocol in JSON: objects separated by newlines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Raw, Struct

from fanout._frame import JSONEncoder, json_client_info, json_publication
from fanout._framing import Framing
from fanout._json import valid_json
from fanout.server.protocol.base import in_delta_form
from fanout.server.protocol.messages import Command, ConnectRequest, Push, Reply
from fanout.server.protocol.nulls import decode_without_nulls
from fanout.server.protocol.surrogates import decode_with_surrogates
from fanout.types import ClientInfo, Message

if TYPE_CHECKING:
    from fanout._hub import Encoder  # of the stub alone

__all__ = ["JSON", "UNI_JSON", "JSONProtocol"]

S = TypeVar("S", bound=Struct)

LONGEST_WITH_NULLS = 65536      # bytes of a frame; they are taken out slowly

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
        commands = _decode(frame, _commands)
        if not commands:
            raise ValueError("an empty frame")
        return commands

    def read_commands(self, frame: bytes) -> Iterator[Command]:
        # All at once: this costs less than what is done about them.
        yield from self.decode_commands(frame)

    def decode_connect(self, data: bytes) -> ConnectRequest:
        requests = _decode(data, _connect)
        if len(requests) != 1:
            raise ValueError("not one connect request")
        return requests[0]

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


def _decode(frame: bytes, decoder: msgspec.json.Decoder[S]) -> list[S]:
    try:
        return _decode_plain(frame, decoder)
    except msgspec.DecodeError:
        if b"\\u" not in frame:
            raise
        return decode_with_surrogates(frame, lambda text: _decode_plain(text, decoder))


def _decode_plain(frame: bytes, decoder: msgspec.json.Decoder[S]) -> list[S]:
    try:
        return decoder.decode_lines(frame)
    except msgspec.DecodeError:
        if b"null" not in frame or len(frame) > LONGEST_WITH_NULLS:
            raise
        return decode_without_nulls(frame, decoder)


def _raw(text: bytes | None) -> Raw:
    if text is None:
        raise ValueError("it must be JSON for a JSON client")
    return Raw(text)


JSON = JSONProtocol()
UNI_JSON = JSONProtocol(uni=True)
