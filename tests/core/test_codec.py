"""What engines send to a broker, there and back, and rubbish instead of it."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout import AdminMessage, ClientInfo, ControlMessage, Message
from fanout._codec import (
    decode_admin,
    decode_control,
    decode_info,
    decode_message,
    encode_admin,
    encode_control,
    encode_info,
    encode_message,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
DATA = st.binary(max_size=300)
INFOS = st.builds(ClientInfo, TEXT, TEXT, DATA, DATA)
MESSAGES = st.builds(
    Message,
    st.just("ch"),
    DATA,
    uid=TEXT,
    timestamp=st.floats(allow_nan=False),
    client=TEXT,
    info=st.none() | INFOS,
    tags=st.none() | st.dictionaries(TEXT, TEXT, max_size=5),
    delta=st.booleans(),
)
FORMATS = {
    "message": (encode_message, lambda *data: decode_message("ch", *data), Message("ch", b"x")),
    "info": (encode_info, decode_info, ClientInfo("u", "c", b"d", b"e")),
    "control": (encode_control, decode_control, ControlMessage("u", "m", b"p")),
    "admin": (encode_admin, decode_admin, AdminMessage("m", b"p")),
}


@given(MESSAGES, DATA)
def test_a_message_comes_back(message: Message, before: bytes) -> None:
    assert decode_message("ch", encode_message(message)) == message
    framed = before + encode_message(message)
    assert decode_message("ch", framed, len(before), 7) == message.at(7)


def test_the_uid_made_here_arrives() -> None:
    message = Message("ch", b"1")
    assert decode_message("ch", encode_message(message)).uid == message.uid


@given(INFOS)
def test_an_info_comes_back(info: ClientInfo) -> None:
    assert decode_info(encode_info(info)) == info
    assert decode_info(b"##" + encode_info(info), 2) == info


@given(TEXT, TEXT, DATA)
def test_control_and_admin_messages_come_back(uid: str, method: str, params: bytes) -> None:
    control, admin = ControlMessage(uid, method, params), AdminMessage(method, params)
    assert decode_control(encode_control(control)) == control
    assert decode_admin(encode_admin(admin)) == admin


@pytest.mark.parametrize("format", FORMATS)
@given(st.binary(max_size=100))
def test_rubbish_is_a_value_error_or_something_well_formed(format: str, data: bytes) -> None:
    encode, decode, example = FORMATS[format]
    first = encode(example)[:1]
    for rubbish in (data, first + data):
        with contextlib.suppress(ValueError):
            assert type(decode(rubbish)) is type(example)


@pytest.mark.parametrize("format", FORMATS)
def test_every_cut_and_every_tail_is_refused(format: str) -> None:
    encode, decode, example = FORMATS[format]
    whole = encode(example)
    # A message's data is whatever is left, so only its head can be cut short.
    head = len(whole) - len(b"x") if format == "message" else len(whole)
    for size in range(head):
        with pytest.raises(ValueError):
            decode(whole[:size])
    if format != "message":
        with pytest.raises(ValueError, match="1 bytes too many"):
            decode(whole + b"x")


@pytest.mark.parametrize("format", FORMATS)
def test_another_format_is_refused(format: str) -> None:
    encode, decode, example = FORMATS[format]
    with pytest.raises(ValueError, match="format 0x12"):
        decode(b"\x12" + encode(example)[1:])


@pytest.mark.parametrize("start", [-1, 100])
def test_a_start_outside_of_the_data_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="start"):
        decode_info(b"abc", start)


@pytest.mark.parametrize("length", [b"\xff" * 9 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff" * 20])
def test_a_length_beyond_all_bounds_is_refused(length: bytes) -> None:
    with pytest.raises(ValueError):
        decode_admin(encode_admin(AdminMessage("m"))[:1] + length)


def test_a_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode_info(ClientInfo("\ud800"))
    with pytest.raises(UnicodeDecodeError):
        decode_admin(encode_admin(AdminMessage("m"))[:1] + b"\x01\xff\x00")


def test_bytes_made_before_there_were_deltas() -> None:
    """A system is upgraded node by node, and a broker keeps its history."""
    message = Message("ch", b"x", uid="id", timestamp=1.0, tags={"a": "b"})
    old = b"\x11\x04" + struct.pack("<d", 1.0) + b"\x02id" + b"\x01\x01a\x01b" + b"x"
    assert encode_message(message) == old
    assert decode_message("ch", old) == message
    assert not decode_message("ch", old).delta
