"""Filters by tags, compared with the same language in plain Python.

The data is two lines of JSON: a filter as clients send it, and tags.
"""

from __future__ import annotations

import msgspec

from fanout._filter import TagsFilter
from fanout.codes import ClientError
from fanout.server.protocol.messages import FilterNode
from fanout.server.session.requests import tags_filter
from tests.core.test_filter import model

MAX_LEN = 4096

_node = msgspec.json.Decoder(FilterNode)
_tags = msgspec.json.Decoder(dict[str, str])


def run(data: bytes) -> None:
    asked, _, said = data.partition(b"\n")
    try:
        node = _node.decode(asked)
        tags = _tags.decode(said or b"{}")
    except (ValueError, RecursionError):
        return
    try:
        made = tags_filter(node)
    except ClientError as error:
        assert error.code == 107
        return
    assert made.matches(tags) is model(made, tags)
    assert made == tags_filter(node)
    assert eval(repr(made), {"TagsFilter": TagsFilter}) == made
