"""The names of keys and of pub/sub channels ("topics") on the server.

All keys of one channel have the same hash tag, so that a script may touch
them together in a cluster. The tag is the text between the first ``{`` and
the first ``}`` behind it; a channel that begins with ``}`` would leave it
empty, and gets a tag of its own in front.
"""

from __future__ import annotations

from functools import lru_cache

__all__ = ["Names", "server_pattern"]

_MOST_STARS = 16
"""Of a pattern on the server, which tries them against each other."""


class Names:
    """Names below ``prefix``; with ``tagged_topics`` topics have the keys' hash tag."""

    def __init__(self, prefix: str, *, tagged_topics: bool = False) -> None:
        self._prefix = prefix.encode()
        self._tagged = tagged_topics
        self._topic_head = self._prefix + b".client."
        self.control = self._prefix + b".control"
        self.admin = self._prefix + b".admin"

    def topic(self, channel: bytes) -> bytes:
        """Where the messages of ``channel`` are published."""
        return self._topic_head + (_tagged(channel) if self._tagged else channel)

    def key(self, kind: bytes, channel: bytes) -> bytes:
        """The key for one kind of things (``b"meta"``) that are kept of ``channel``."""
        return b"%b.%b.%b" % (self._prefix, kind, _tagged(channel))

    def channel(self, topic: bytes) -> bytes | None:
        """The channel of a topic; None for a topic that is no channel's."""
        if not topic.startswith(self._topic_head):
            return None
        name = topic[len(self._topic_head):]
        return _untagged(name) if self._tagged else name

    def topics_pattern(self, pattern: str | None) -> bytes:
        """A pattern for the server that lets through every topic whose channel matches."""
        wanted = b"*" if pattern is None or self._tagged else server_pattern(pattern)
        return _escaped(self._topic_head) + wanted


def _tagged(channel: bytes) -> bytes:
    return b"-{-%b}" % channel if channel.startswith(b"}") else b"{%b}" % channel


def _untagged(name: bytes) -> bytes | None:
    for head in (b"{", b"-{-"):
        if name.startswith(head) and name.endswith(b"}"):
            return name[len(head):-1]
    return None


@lru_cache(256)
def _escaped(name: bytes) -> bytes:
    for special in (b"\\", b"*", b"?", b"["):
        name = name.replace(special, b"\\" + special)
    return name


def server_pattern(pattern: str) -> bytes:
    """A pattern that matches, byte by byte, all that ``pattern`` matches, and maybe more.

    The server's ``?`` and ``[...]`` know bytes only, so what stands for one
    character becomes a ``*`` there.
    """
    parts: list[str] = []
    at = 0
    stars = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char in "*?[":
            if char == "[":
                at = _set_end(pattern, at)
            if parts[-1:] != ["*"]:
                parts.append("*")
                stars += 1
                if stars == _MOST_STARS:
                    break
            continue
        if char == "\\" and at < len(pattern):
            char = pattern[at]
            at += 1
        parts.append("\\" + char if char in "\\*?[" else char)
    return "".join(parts).encode()


def _set_end(pattern: str, at: int) -> int:
    """Where a set ends whose bracket is in front of ``at``."""
    if pattern[at:at + 1] == "^":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" and at + 1 < len(pattern) else 1
        if pattern[at:at + 1] == "-" and at + 1 < len(pattern):
            at += 1
            at += 2 if pattern[at] == "\\" and at + 1 < len(pattern) else 1
    return at + 1
