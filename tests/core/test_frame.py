"""The text of a push."""

from __future__ import annotations

import json

import pytest

from fanout import ClientInfo, Message
from fanout._fossil import Base, apply
from fanout._frame import JSONEncoder, json_publication
from fanout._framing import (
    DeflateFraming,
    EventFraming,
    Framing,
    LinesFraming,
    WebSocketFraming,
)
from fanout._protobuf import ProtobufEncoder


def body(frame: bytes | None) -> object:
    assert frame is not None
    return json.loads(frame[2 if frame[1] < 126 else 4:])     # behind the header


def test_a_publication_that_came_by_a_wildcard_names_its_channel() -> None:
    message = Message("news.sport", b"1")
    assert body(JSONEncoder().publication("news.*", message)) == {
        "push": {"channel": "news.*", "pub": {"data": 1, "channel": "news.sport"}}}
    assert body(JSONEncoder().publication("news.sport", message)) == {
        "push": {"channel": "news.sport", "pub": {"data": 1}}}
    assert json.loads(json_publication(message) or b"") == {"data": 1}


TEXTS = [
    b'{"a":1}', b' {"a" : [1.50, 2e3]}\r\n', b'"caf\xc3\xa9 \\u00e9 \\n \xf0\x9f\x99\x82"',
    b'{"long":"' + b"x" * 400 + b'"}', b'{\n  "more": "lines"\n}', b"null", b'"\x7f\xe2\x80\xa8"',
]


@pytest.mark.parametrize("text", TEXTS)
def test_in_the_delta_form_data_is_a_string_of_exactly_its_text(text: bytes) -> None:
    message = Message("ch", text, offset=3, tags={"a": "b"}, info=ClientInfo("u", "c"))
    said = json_publication(message, delta=True)
    assert said is not None
    assert b"\n" not in said
    plain = json.loads(json_publication(message) or b"")
    read = json.loads(said)
    assert read["data"].encode() == text
    assert {**read, "data": None} == {**plain, "data": None}
    assert json.loads(read["data"]) == plain["data"]


@pytest.mark.parametrize("base", TEXTS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_patch_in_json(base: bytes, text: bytes) -> None:
    read = json.loads(json_publication(Message("ch", text), delta=True, base=base) or b"")
    if "delta" in read:
        assert read.pop("delta") is True
        assert len(read["data"].encode()) < len(text)
        assert apply(base, read["data"].encode()) == text
    else:
        assert read["data"].encode() == text
    assert read.keys() == {"data"}
    assert json_publication(Message("ch", text), base=base) == json_publication(Message("ch", text))


def test_a_patch_is_said_to_be_one_when_it_is_smaller() -> None:
    base = b'{"name":"something long enough","value":1}'
    message = Message("ch", base.replace(b"1", b"2"))
    assert json.loads(json_publication(message, delta=True, base=base) or b"")["delta"] is True
    assert "delta" not in json.loads(json_publication(message, delta=True, base=b"{}") or b"")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"1 2", b"text"])
def test_data_that_is_not_json_has_no_form(data: bytes) -> None:
    encoder = JSONEncoder()
    for base in (None, b'{"a":1}'):
        assert json_publication(Message("ch", data), delta=True, base=base) is None
        assert encoder.publication_delta(
            "ch", Message("ch", data), None if base is None else Base(base)) is None


def test_the_encoder_s_deltas_are_the_publication_s() -> None:
    base = b'{"name":"something long enough","value":1}'
    message = Message("ch", base.replace(b"1", b"2"), offset=9)
    for given in (None, base, b"{}"):
        push = body(JSONEncoder().publication_delta(
            "ch", message, None if given is None else Base(given)))
        assert push == {"push": {"channel": "ch", "pub": json.loads(
            json_publication(message, delta=True, base=given) or b"")}}


def test_encodings_share_one_patch() -> None:
    start = Base(b'{"name":"something long enough","value":1}')
    message = Message("ch", start.data.replace(b"1", b"2"))
    JSONEncoder().publication_delta("ch", message, start)
    patch = start.patch
    assert patch is not None
    assert apply(start.data, patch) == message.data
    JSONEncoder(DeflateFraming(1)).publication_delta("ch", message, start)
    ProtobufEncoder().publication_delta("ch", message, start)
    assert start.patch is patch
    ProtobufEncoder().publication_delta("ch", Message("ch", b"short"), start)
    assert start.patch is None
    read = body(JSONEncoder().publication_delta("ch", message, start))["push"]["pub"]
    assert read == {"data": patch.decode(), "delta": True}


@pytest.mark.parametrize("framing", [
    WebSocketFraming(1), DeflateFraming(1), LinesFraming(), EventFraming()])
def test_a_push_on_any_transport(framing: Framing) -> None:
    message = Message("ch", b'{"a":1}')
    info = ClientInfo("u", "c")
    for uni, start, end in ((False, b'{"push":', b"}"), (True, b"", b"")):
        encoder = JSONEncoder(framing, uni)
        for push, text in (
            (encoder.publication("ch", message), b'{"channel":"ch","pub":{"data":{"a":1}}}'),
            (encoder.join("ch", info),
             b'{"channel":"ch","join":{"info":{"user":"u","client":"c"}}}'),
            (encoder.leave("ch", info),
             b'{"channel":"ch","leave":{"info":{"user":"u","client":"c"}}}'),
        ):
            assert push == framing.frame(start + text + end)
