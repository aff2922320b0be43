"""Channel names as NATS subjects, and back.

A subject is tokens with dots between them; NATS allows in it neither white
space nor an empty token, and ``*`` and ``>`` are its wildcards. What a channel
name has of these is written as ``%XX``, once for each byte of its UTF-8; an
empty token becomes ``%-``, which no character does. ``|`` is written so too:
it stands for the dot where a whole name must be one token.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

__all__ = ["MAX_SUBJECT", "Subjects", "check_wildcards", "escape", "flatten", "unescape"]

MAX_SUBJECT = 3000
"""Bytes that a channel's name may have once it is escaped: a server reads no
command line above 4,096 bytes as long as it is not told to."""

_EMPTY = "%-"
# White space and what no terminal shows; and what means something here or to NATS.
_UNSAFE = re.compile(r"[\s\x00-\x1f\x7f-\x9f%*>|]")
_ODD = re.compile(r"[\s\x00-\x1f\x7f-\x9f%*>|]|\.\.|^\.|\.\Z|\A\Z")
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _escaped(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def escape(name: str) -> str:
    """The subject of a channel's name.

    Raises ``ValueError`` for a name that is not encodable in UTF-8 or too long.
    """
    subject = name
    if _ODD.search(name) is not None:
        subject = _UNSAFE.sub(_escaped, name)
        subject = ".".join(token or _EMPTY for token in subject.split("."))
    _check_size(name, subject)
    return subject


def unescape(subject: str) -> str:
    """The name that :func:`escape` made ``subject`` of; ``ValueError`` if it made it of none."""
    if "%" not in subject:
        return subject
    name = unquote_to_bytes(subject.replace(_EMPTY, "")).decode()
    if escape(name) != subject:
        raise ValueError(f"{subject!r} is not the subject of any channel")
    return name


def flatten(subject: str) -> str:
    """An escaped name as one token."""
    return subject.replace(".", "|")


def check_wildcards(channel: str) -> bool:
    """Whether a channel's name has wildcards, which must stand where NATS takes them.

    ``*`` is any one token and ``>``, as the last token, any number from one on.
    """
    if "*" not in channel and ">" not in channel:
        return False
    tokens = channel.split(".")
    for token in tokens:
        if token not in ("*", ">") and ("*" in token or ">" in token):
            raise ValueError(
                f"a wildcard must be a whole token, between dots, not part of one: {channel!r}")
    if ">" in tokens[:-1]:
        raise ValueError(f"the wildcard > must be the last token: {channel!r}")
    return True


def _escape_pattern(channel: str) -> str:
    subject = ".".join(
        token if token in ("*", ">") else escape(token) for token in channel.split("."))
    _check_size(channel, subject)
    return subject


def _check_size(name: str, subject: str) -> None:
    try:
        size = len(subject) if subject.isascii() else len(subject.encode())
    except UnicodeEncodeError:
        raise ValueError(f"channel must be encodable in UTF-8, not {name!r}") from None
    if size > MAX_SUBJECT:
        raise ValueError(
            f"channel must be at most {MAX_SUBJECT} bytes as a NATS subject, not {size}: "
            f"{name[:40]!r}...")


class Subjects:
    """The subjects of one system; ``node`` is the engine's own uid.

    Raises ``TypeError`` or ``ValueError`` for a bad prefix.
    """

    def __init__(self, prefix: str, node: str) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
        if not _PREFIX.fullmatch(prefix):
            raise ValueError(
                f"prefix must be 1 to 64 letters, digits, - or _, not {prefix!r}")
        self.prefix = prefix
        self.control = f"{prefix}.control"
        self.admin = f"{prefix}.admin"
        self.nodes = f"{prefix}.nodes"
        """What all nodes hear of each other."""
        self.newcomers = f"{prefix}.newcomers"
        """Where a node asks for the others; it does not listen there itself yet."""
        self.inbox = f"{prefix}.node.{node}."
        """What only this node hears; names follow."""
        self._client = f"{prefix}.client."

    def client(self, channel: str) -> str:
        """Where everything of a channel is published."""
        return self._client + escape(channel)

    def clients(self, channel: str) -> str:
        """Where a channel with wildcards is listened for."""
        return self._client + _escape_pattern(channel)

    def channel(self, subject: str) -> str:
        """The channel whose ``client`` subject this is; ``ValueError`` for another one."""
        if not subject.startswith(self._client):
            raise ValueError(f"{subject!r} is not the subject of a channel")
        return unescape(subject[len(self._client):])

    def node(self, node: str) -> str:
        """The ``inbox`` of another node."""
        return f"{self.prefix}.node.{node}."
