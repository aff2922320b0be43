"""Whether a payload is JSON: the core's reader, and Python's in Python beside it."""

from __future__ import annotations

import json
import re
from json import scanner
from json.decoder import py_scanstring

from fanout._frame import json_publication
from fanout._json import valid_json
from fanout._message import Message

MAX_LEN = 4096
SHALLOW = 100       # levels; deeper ones need not be taken


def _refuse(name: str) -> None:
    raise ValueError(name)


# Older Pythons take the digits of any script for digits.
scanner.NUMBER_RE = re.compile(
    scanner.NUMBER_RE.pattern, scanner.NUMBER_RE.flags & ~re.UNICODE | re.ASCII)
_plain = json.JSONDecoder(parse_constant=_refuse, parse_int=str, parse_float=str)
_plain.parse_string = py_scanstring
_plain.scan_once = scanner.py_make_scanner(_plain)


def run(data: bytes) -> None:
    valid = valid_json(data)
    message = Message("a", data)
    framed = json_publication(message)
    assert (framed is None) == (not valid)
    if framed is not None:
        assert b"\n" not in framed
        assert json.loads(framed)["data"] == json.loads(data)
    if data.count(b"[") + data.count(b"{") <= SHALLOW:
        assert valid == _is_json(data)


def _is_json(data: bytes) -> bool:
    try:
        _plain.decode(data.decode())
    except ValueError:
        return False
    return True
