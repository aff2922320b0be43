"""Half surrogate pairs, as JavaScript makes them of a string cut inside an emoji."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.server.protocol import JSON


def published(data: str) -> bytes:
    frame = f'{{"id":1,"publish":{{"channel":"a","data":{data}}}}}'
    (command,) = JSON.decode_commands(frame.encode())
    assert command.publish is not None
    return bytes(command.publish.data)


@pytest.mark.parametrize("data", [
    r'"\ud800"',
    r'"\uD83D"',
    r'{"text":"cut \ud83d"}',
    r'["\udc00\ud800", "\ud83d\ude00", "\ue000", "\\ud800", "\\\ud800"]',
    '"\ue000 \ud83d"'.encode("utf-8", "backslashreplace").decode(),
])
def test_a_payload_keeps_its_bytes(data: str) -> None:
    assert published(data) == data.encode()


@given(st.text(st.characters(codec=None), min_size=1))
def test_any_text_of_json_stringify(text: str) -> None:
    data = json.dumps(text)
    assert published(data) == data.encode()


@pytest.mark.parametrize("frame", [
    rb'{"id":1,"publish":{"channel":"a\ud800","data":1}}',
    rb'{"id":1,"history":{"channel":"a","since":{"epoch":"\ud800"}}}',
    rb'{"id":1,"connect":{"headers":{"x":"\ud800"}}}',
    rb'{"id":1,"connect":{"subs":{"\ud800":{}}}}',
    rb'{"id":1,"subscribe":{"channel":"a","tf":{"op":"and","nodes":[{"vals":["\ud800"]}]}}}',
    rb'{"id":1,"publish":{"channel":"a","data":"\ud800"',
    rb'{"id":1,"publish":{"channel":"a","data":"\ud80"}}',
    rb'{"id":1,"publish":{"channel":"a","data":"\u00e9}}',
])
def test_what_stays_refused(frame: bytes) -> None:
    with pytest.raises(ValueError):
        JSON.decode_commands(frame)


def test_several_commands_in_one_frame() -> None:
    first, second = JSON.decode_commands(
        rb'{"id":1,"publish":{"channel":"a","data":"\ud800"}}' b"\n"
        rb'{"id":2,"publish":{"channel":"b","data":"\udfff\ue001"}}')
    assert first.publish is not None and second.publish is not None
    assert bytes(first.publish.data) == rb'"\ud800"'
    assert bytes(second.publish.data) == rb'"\udfff\ue001"'


def test_the_time_does_not_grow_with_the_number_of_surrogates() -> None:
    """Looking for each stand-in in the whole frame would take seconds, for anybody who connects."""
    looked_at = 0

    class Frame(bytes):
        def __contains__(self, part: object) -> bool:
            nonlocal looked_at
            looked_at += 1
            return super().__contains__(part)      # type: ignore[operator]

    different = "".join(f"\\u{code:04x} " for code in range(0xDC00, 0xDE00))
    taken = "".join(map(chr, range(0xE000, 0xE400)))
    data = f'"{different}{taken}"'
    frame = Frame(f'{{"id":1,"publish":{{"channel":"a","data":{data}}}}}'.encode())
    (command,) = JSON.decode_commands(frame)
    assert command.publish is not None
    assert bytes(command.publish.data) == data.encode()
    assert looked_at < 10
