"""The check of payloads that are embedded in frames, against Python's parser."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout._json import valid_json


def deep(values: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    deep, max_leaves=20)


def python_takes(text: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        # bytes would be taken in UTF-16 and UTF-32 as well, and behind a mark
        json.loads(text.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(value=values, ascii=st.booleans(), indent=st.sampled_from([None, 0, 1]))
def test_what_python_writes_is_valid(value: object, ascii: bool, indent: int | None) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    assert valid_json(text.encode())


ALPHABET = [
    b"{", b"}", b"[", b"]", b",", b":", b'"', b'"a"', b"\\", b"\\u", b"\\n", b"0", b"1", b"-",
    b"+", b".", b"e", b"E", b"true", b"false", b"null", b"nul", b"NaN", b"Infinity", b" ", b"\n",
    b"\t", b"\r", b"\x00", b"\x0b", b"\x0c", b"\x7f", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xed\xa0\x80",
    b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"00ff", b"D800",
]


@given(pieces=st.lists(st.sampled_from(ALPHABET), max_size=14))
def test_pieces_of_json(pieces: list[bytes]) -> None:
    text = b"".join(pieces)
    assert valid_json(text) == python_takes(text), text


@given(value=values, at=st.integers(0, 200), put=st.sampled_from([*ALPHABET, b""]))
def test_json_with_one_change(value: object, at: int, put: bytes) -> None:
    text = json.dumps(value).encode()
    at = min(at, len(text))
    for changed in (text[:at] + put + text[at:], text[:at] + put + text[at + 1:]):
        assert valid_json(changed) == python_takes(changed), changed


@given(text=st.binary(max_size=60))
def test_any_bytes(text: bytes) -> None:
    assert valid_json(text) == python_takes(text)
    quoted = b'"' + text + b'"'
    assert valid_json(quoted) == python_takes(quoted)


@pytest.mark.parametrize(("text", "valid"), [
    (b"", False), (b" ", False), (b"1", True), (b" 1 ", True), (b"1 2", False), (b"01", False),
    (b"-01", False), (b"1.", False), (b".5", False), (b"1e", False), (b"-", False),
    (b"[1,]", False), (b'{"a":1,}', False), (b"{,}", False), (b'{"a"}', False), (b"{1:2}", False),
    (b"[}", False), (b"{]", False), (b"]", False), (b'"', False), (b'"\\x"', False),
    (b'"\\u12"', False), (b'"\\uD800"', True), (b'"\t"', False), (b"'a'", False),
    (b"\xef\xbb\xbf1", False), (b'{"a":{"b":[{},[],"",0,-0.0e-0]}}', True),
])
def test_single_cases(text: bytes, valid: bool) -> None:
    assert valid_json(text) is valid


@pytest.mark.parametrize("pair", [(b"[", b"]"), (b'{"":', b"}")])
def test_depth(pair: tuple[bytes, bytes]) -> None:
    opening, closing = pair
    inner = b"0" if opening != b"[" else b""
    assert valid_json(opening * 512 + inner + closing * 512)
    assert not valid_json(opening * 513 + inner + closing * 513)
    assert not valid_json(opening * 1_000_000)
    assert not valid_json(opening * 512 + inner + closing * 511)
