"""A script for the server, and calls of it."""

from __future__ import annotations

import hashlib
import re

__all__ = ["Script", "words"]

_SPACE = re.compile(r"\s*\n\s*")


def words(*arguments: bytes) -> bytes:
    """Arguments as they stand in a command."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)


class Script:
    """``source`` in Lua, called with so many keys and other arguments.

    A call is ``by_source`` or ``by_digest`` and behind that the keys and
    arguments; by its source the server has the script from then on.
    """

    def __init__(self, source: str, num_keys: int, num_arguments: int) -> None:
        # It travels with every write.
        text = _SPACE.sub("\n", source.strip()).encode()
        count = b"*%d\r\n" % (3 + num_keys + num_arguments)
        keys = words(b"%d" % num_keys)
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
        self.by_source = count + words(b"EVAL", text) + keys
        self.by_digest = count + words(b"EVALSHA", digest) + keys
