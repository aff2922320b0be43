"""A script for the server, and calls of it."""

from __future__ import annotations

import re

__all__ = ["Script", "words"]

_SPACE = re.compile(r"\s*\n\s*")

# Each call stands for itself: one that fails leaves the others alone. An error
# is a table, except to servers before version 7.
_ALL = """
{prelude}
local function call(k, a)
{body}
end
local results = {{}}
for at = 0, #KEYS / {num_keys} - 1 do
local fine, result = pcall(call, at * {num_keys}, at * {num_arguments})
if not fine and type(result) ~= 'table' then result = {{err = tostring(result)}} end
results[at + 1] = result or false
end
return results
"""


def words(*arguments: bytes) -> bytes:
    """Arguments as they stand in a command."""
    return b"".join(b"$%d\r\n%b\r\n" % (len(argument), argument) for argument in arguments)


class Script:
    """A function in Lua, and how many calls of it go to the server in one step.

    ``body`` finds its keys behind ``KEYS[k]`` and its arguments behind
    ``ARGV[a]``; ``prelude`` is what comes before the function.

    Always sent with its source: then it does not matter what the server still
    knows, and a call is never refused while a later one is carried out.
    """

    def __init__(
        self, body: str, num_keys: int, num_arguments: int, *, most: int, prelude: str = ""
    ) -> None:
        text = _ALL.format(
            prelude=prelude, body=body, num_keys=num_keys, num_arguments=num_arguments)
        # It travels with every step.
        self._source = words(b"EVAL", _SPACE.sub("\n", text.strip()).encode())
        self._num_keys = num_keys
        self._num_words = num_keys + num_arguments
        self.most = most
        self._heads: dict[int, bytes] = {}

    def head(self, count: int) -> bytes:
        """What comes before the keys, and behind those the arguments, of ``count`` calls."""
        head = self._heads.get(count)
        if head is None:
            head = self._heads[count] = b"*%d\r\n%b%b" % (
                3 + count * self._num_words, self._source,
                words(b"%d" % (count * self._num_keys)))
        return head
