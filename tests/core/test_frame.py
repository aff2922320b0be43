"""The text of a push."""

from __future__ import annotations

import json

from fanout import Message
from fanout._frame import JSONEncoder, json_publication


def body(frame: bytes) -> object:
    return json.loads(frame[2:])    # behind the header of a short frame


def test_a_publication_that_came_by_a_wildcard_names_its_channel() -> None:
    message = Message("news.sport", b"1")
    assert body(JSONEncoder().publication("news.*", message)) == {
        "push": {"channel": "news.*", "pub": {"data": 1, "channel": "news.sport"}}}
    assert body(JSONEncoder().publication("news.sport", message)) == {
        "push": {"channel": "news.sport", "pub": {"data": 1}}}
    assert json.loads(json_publication(message) or b"") == {"data": 1}
