"""JSON as tokens may hold it: no name twice, not deep.

Two readers that take different ones of two equal names read different
tokens, so a token with such a pair is nobody's (RFC 7519, section 4).
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["MAX_DEPTH", "check_json"]

MAX_DEPTH = 64
"""Levels of arrays and objects."""

# A string or a bracket. A string that does not end is taken to the end of the
# text, so that no text is looked at twice.
_MARKS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def check_json(text: bytes) -> None:
    """Raises ``ValueError`` with what is wrong with ``text``, which must be one JSON object.

    JSON that is broken in another way than by doubled names, depth or
    encoding is left to the decoder that reads it afterwards.
    """
    # Fewer brackets than levels: no need to look closer.
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"is more than {MAX_DEPTH} levels deep")
    try:
        value = _decoder.decode(str(text, "utf-8"))
    except _DoubledNameError:
        raise ValueError("names a member twice") from None
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except ValueError:
        raise ValueError("is not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object")


def _depth(text: bytes) -> int:
    depth = deepest = 0
    for match in _MARKS.finditer(text):
        mark = match.group()
        if mark in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif mark in b"]}":
            depth -= 1
    return deepest


class _DoubledNameError(Exception):
    pass


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _DoubledNameError
    return members


# Numbers stay texts: a number of 60,000 digits takes long to read.
_decoder = json.JSONDecoder(object_pairs_hook=_members, parse_int=str, parse_float=str)
