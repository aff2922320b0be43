"""The protocol in Protobuf: messages behind their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from msgspec import Raw

from fanout._framing import Framing
from fanout._protobuf import ProtobufEncoder, protobuf_client_info, protobuf_publication
from fanout.server.protocol.base import in_delta_form
from fanout.server.protocol.messages import Command, ConnectRequest, Push, Reply
from fanout.server.protocol.schema import from_protobuf, make, to_protobuf
from fanout.types import ClientInfo, Message

if TYPE_CHECKING:
    from fanout._hub import Encoder  # of the stub alone

__all__ = ["PROTOBUF", "ProtobufProtocol", "delimited"]

_LONGEST_VARINT = 5         # bytes; a frame is far shorter than 2**35


class ProtobufProtocol:
    name = "protobuf"
    ping = b"\x00"

    def decode_commands(self, frame: bytes) -> list[Command]:
        return list(self.read_commands(frame))

    def read_commands(self, frame: bytes) -> Iterator[Command]:
        # One by one: a frame has room for so many that reading them all takes long.
        if not frame:
            raise ValueError("an empty frame")
        for part in _parts(frame):
            message = make(Command)
            try:
                message.ParseFromString(part)
            except DecodeError as error:
                raise ValueError(f"not a command: {error}") from None
            yield from_protobuf(message)

    def decode_connect(self, data: bytes) -> ConnectRequest:
        message = make(ConnectRequest)
        try:
            message.ParseFromString(data)
        except DecodeError as error:
            raise ValueError(f"not a connect request: {error}") from None
        request: ConnectRequest = from_protobuf(message)
        return request

    def reply(self, reply: Reply) -> bytes:
        return delimited(to_protobuf(reply).SerializeToString())

    def push(self, push: Push) -> bytes:
        return self.reply(Reply(push=push))

    def accepts(self, data: bytes) -> bool:
        return True

    def embedded(self, data: bytes) -> Raw | None:
        return Raw(data) if data else None

    def publications(self, messages: Sequence[Message], *, delta: bool = False) -> list[Raw]:
        if not delta:
            return [Raw(protobuf_publication(message)) for message in messages]
        return in_delta_form(
            lambda message, base: Raw(protobuf_publication(message, delta=True, base=base)),
            messages)

    def client_info(self, info: ClientInfo) -> Raw:
        return Raw(protobuf_client_info(info))

    def encoder(self, framing: Framing) -> Encoder:
        return ProtobufEncoder(framing)


def delimited(message: bytes) -> bytes:
    """A message behind its length."""
    size = len(message)
    prefix = bytearray()
    while size > 0x7F:
        prefix.append(size & 0x7F | 0x80)
        size >>= 7
    prefix.append(size)
    return bytes(prefix) + message


def _parts(frame: bytes) -> Iterator[bytes]:
    """The messages of a frame; ``ValueError`` when it ends inside of one."""
    at = 0
    while at < len(frame):
        size = shift = 0
        while True:
            if at == len(frame) or shift == 7 * _LONGEST_VARINT:
                raise ValueError("a length cannot be read")
            byte = frame[at]
            at += 1
            size |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if size > len(frame) - at:
            raise ValueError("the frame ends inside of a message")
        yield frame[at:at + size]
        at += size


PROTOBUF = ProtobufProtocol()
