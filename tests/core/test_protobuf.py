"""Pushes in Protobuf, read by Google's library with a published client's messages."""

from __future__ import annotations

from typing import Any

import pytest
from centrifuge.protocol import client_pb2
from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from fanout import ClientInfo, Message
from fanout._fossil import Base, apply
from fanout._framing import BlockFraming, WebSocketFraming
from fanout._protobuf import ProtobufEncoder, protobuf_client_info, protobuf_publication

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
data = st.binary(max_size=300)
infos = st.builds(ClientInfo, text, text, data, data)
messages = st.builds(
    Message, text, data, info=st.none() | infos,
    offset=st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 127, 128, 2**63, 2**64 - 1]),
    tags=st.none() | st.dictionaries(text, text, max_size=4), delta=st.booleans())


def check_info(read: Any, info: ClientInfo) -> None:
    assert (read.user, read.client, read.conn_info, read.chan_info) == (
        info.user, info.client, info.default_info, info.channel_info)


def check_publication(read: Any, message: Message, channel: str = "") -> None:
    assert read.data == message.data
    assert read.offset == message.offset
    assert dict(read.tags) == (message.tags or {})
    assert read.channel == channel
    assert read.HasField("info") == (message.info is not None)
    if message.info is not None:
        check_info(read.info, message.info)


def reply(payload: bytes) -> Any:
    """The one reply in a payload, whose length is in front of it."""
    size, start = _DecodeVarint32(payload, 0)
    assert start + size == len(payload)
    return client_pb2.Reply.FromString(payload[start:])


def pushed(chunk: bytes) -> Any:
    """The push in one chunk of a response."""
    head, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(head, 16) + 2
    read = reply(rest[:-2])
    assert read.id == 0
    assert read.HasField("push")
    return read.push


@given(messages)
def test_publications(message: Message) -> None:
    read = client_pb2.Publication.FromString(protobuf_publication(message))
    check_publication(read, message)
    assert not read.delta
    push = pushed(ProtobufEncoder(BlockFraming()).publication(message.channel, message))
    assert push.channel == message.channel
    check_publication(push.pub, message)


@given(infos, text)
def test_joins_and_leaves(info: ClientInfo, channel: str) -> None:
    check_info(client_pb2.ClientInfo.FromString(protobuf_client_info(info)), info)
    encoder = ProtobufEncoder(BlockFraming())
    for push, body in ((pushed(encoder.join(channel, info)), "join"),
                       (pushed(encoder.leave(channel, info)), "leave")):
        assert push.channel == channel
        assert push.HasField(body)
        check_info(getattr(push, body).info, info)


@given(messages, messages)
def test_deltas(before: Message, message: Message) -> None:
    encoder = ProtobufEncoder(BlockFraming())
    for base in (before.data, message.data, message.data + b"more", b""):
        for read in (
            client_pb2.Publication.FromString(
                protobuf_publication(message, delta=True, base=base)),
            pushed(encoder.publication_delta(message.channel, message, Base(base))).pub,
        ):
            if read.delta:
                assert len(read.data) < len(message.data)
                assert apply(base, read.data) == message.data
            else:
                check_publication(read, message)
    whole = protobuf_publication(message)
    assert protobuf_publication(message, delta=True) == whole
    assert protobuf_publication(message, base=before.data) == whole
    assert encoder.publication_delta(message.channel, message, None) == encoder.publication(
        message.channel, message)


def test_a_patch_says_so() -> None:
    base = b'{"name":"something long enough","value":1}'
    message = Message("ch", base.replace(b"1", b"2"), offset=7)
    read = client_pb2.Publication.FromString(
        protobuf_publication(message, delta=True, base=base))
    assert read.delta
    assert read.offset == 7
    assert apply(base, read.data) == message.data


def test_a_publication_that_came_by_a_wildcard_names_its_channel() -> None:
    message = Message("news.sport", b"1")
    encoder = ProtobufEncoder(BlockFraming())
    push = pushed(encoder.publication("news.*", message))
    assert push.channel == "news.*"
    check_publication(push.pub, message, "news.sport")


def test_the_default_framing_is_a_websocket_s() -> None:
    message = Message("ch", b"x" * 300)
    frame = ProtobufEncoder().publication("ch", message)
    assert frame[0] == 0x82
    assert frame == ProtobufEncoder(WebSocketFraming(2)).publication("ch", message)
    assert reply(frame[4:]).push.pub.data == message.data


def test_what_is_no_unicode_is_refused() -> None:
    encoder = ProtobufEncoder()
    for call in (
        lambda: encoder.publication("\ud800", Message("ch", b"")),
        lambda: encoder.publication("ch", Message("ch", b"", tags={"a": "\ud800"})),
        lambda: encoder.join("ch", ClientInfo("\ud800")),
        lambda: protobuf_client_info(ClientInfo("u", "\ud800")),
    ):
        with pytest.raises(UnicodeEncodeError):
            call()
