"""Publishing with history, and reading it: the commands and their answers."""

from __future__ import annotations

import asyncio
import math
import os
from functools import partial

from fanout._codec import decode_message
from fanout.redis.link import pack
from fanout.redis.routes import Route
from fanout.redis.script import words
from fanout.redis.scripts import HistoryScripts
from fanout.types import ChannelOptions, HistoryPage, Message, StreamPosition

__all__ = ["History", "milliseconds"]

_NO_POSITION = StreamPosition()
_MOST_MS = 10**15
"""30,000 years; the server's times overflow a good deal above."""
_MOST_MESSAGES = 2**53
"""Lua's numbers are exact up to here."""
_MOST_OPTIONS = 1024
_NONE = words(b"")

_EPOCH_LENGTH = 12
_LETTERS = bytes(ord("a") + value % 26 for value in range(256))


def milliseconds(seconds: float) -> int:
    """At least one, and rounded up: nothing ends before its time."""
    return max(1, min(_MOST_MS, math.ceil(min(seconds, _MOST_MS) * 1000)))


class History:
    """``meta_lifetime`` is in seconds, for channels whose options do not say it.

    ``result_lifetime`` as well: of what publishes with an idempotency key came to.
    """

    def __init__(
        self, scripts: HistoryScripts, meta_lifetime: float, result_lifetime: float
    ) -> None:
        self._scripts = scripts
        self._result_lifetime = words(b"%d" % milliseconds(result_lifetime))
        self._meta_lifetime = milliseconds(meta_lifetime)
        self._epochs = b""
        self._epochs_at = 0
        # By identity, for their hash costs more than all the rest; kept alive
        # by the value, so that no other options get the same one.
        self._settings: dict[int, tuple[ChannelOptions, bytes]] = {}

    def publish(
        self, route: Route, channel: str, payload: bytes, options: ChannelOptions
    ) -> asyncio.Future[StreamPosition]:
        """Store a message and deliver it; gives its position."""
        return route.commands.execute(
            self._arguments(route, payload, options), _position, channel, self._scripts.publish,
            route.history)

    def publish_guarded(
        self, route: Route, channel: str, payload: bytes, options: ChannelOptions, key: str,
        version: int, version_epoch: str,
    ) -> asyncio.Future[StreamPosition]:
        """The same, unless the key was published already or the version is outdated."""
        result = words(route.result + key.encode()) if key else words(route.messages)
        arguments = self._arguments(route, payload, options) + (
            self._result_lifetime if key else _NONE) + words(
                b"%020d" % version if version else b"", version_epoch.encode())
        return route.commands.execute(
            arguments, _position, channel, self._scripts.publish_guarded, route.history + result)

    def publish_once(
        self, route: Route, channel: str, payload: bytes, key: str
    ) -> asyncio.Future[StreamPosition]:
        """Deliver a message that is not stored, unless the key was published already."""
        arguments = route.topic_word + words(payload) + self._result_lifetime
        return route.commands.execute(
            arguments, _position, channel, self._scripts.publish_once,
            words(route.result + key.encode()))

    def newest(self, route: Route, channel: str, limit: int) -> asyncio.Future[list[Message]]:
        """The newest messages, newest first; 0 for all. Changes nothing."""
        arguments = words(
            b"", b"", b"", b"", b"%d" % (min(limit, _MOST_MESSAGES) or -1), b"1")
        return route.commands.execute(
            arguments, partial(_newest, channel), channel, self._scripts.read, route.history)

    def page(
        self, route: Route, channel: str, since: StreamPosition | None, limit: int | None,
        reverse: bool,
    ) -> asyncio.Future[HistoryPage]:
        """As :meth:`fanout.Engine.history_stream`; ``UnicodeEncodeError`` for an odd epoch."""
        arguments = words(
            self._new_epoch(),
            b"%d" % self._meta_lifetime,
            b"" if since is None else b"%d" % since.offset,
            b"" if since is None else since.epoch.encode(),
            b"%d" % (-1 if limit is None else min(limit, _MOST_MESSAGES)),
            b"1" if reverse else b"",
        )
        return route.commands.execute(
            arguments, partial(_page, channel, since, reverse), channel, self._scripts.read,
            route.history)

    def remove(self, route: Route, channel: str) -> asyncio.Future[None]:
        """Forget the messages; the meta data stays."""
        return route.commands.execute(pack(b"UNLINK", route.messages), _nothing, channel)

    def _arguments(self, route: Route, payload: bytes, options: ChannelOptions) -> bytes:
        known = self._settings.get(id(options))
        settings = known[1] if known is not None else self._learn(options)
        return b"%b%b$12\r\n%b\r\n$%d\r\n%b\r\n" % (
            route.topic_word, settings, self._new_epoch(), len(payload), payload)

    def _learn(self, options: ChannelOptions) -> bytes:
        lifetime = milliseconds(options.history_lifetime)
        meta_lifetime = self._meta_lifetime
        if options.history_meta_lifetime > 0:
            meta_lifetime = milliseconds(options.history_meta_lifetime)
        settings = words(
            b"%d" % options.history_size,
            b"%d" % lifetime,
            b"%d" % (lifetime + meta_lifetime),
            b"%d" % meta_lifetime,
            b"1" if options.history_drop_inactive else b"0",
        )
        if len(self._settings) >= _MOST_OPTIONS:
            self._settings.clear()
        self._settings[id(options)] = options, settings
        return settings

    def _new_epoch(self) -> bytes:
        """Letters that no other stream has had; not from ``random``, which a program may seed."""
        at = self._epochs_at
        if at == len(self._epochs):
            self._epochs = os.urandom(256 * _EPOCH_LENGTH).translate(_LETTERS)
            at = 0
        self._epochs_at = at + _EPOCH_LENGTH
        return self._epochs[at:at + _EPOCH_LENGTH]


def _position(reply: tuple[int, bytes]) -> StreamPosition:
    offset, epoch = reply
    return StreamPosition(offset, str(epoch, "ascii")) if offset else _NO_POSITION


def _messages(channel: str, first: int, entries: list[bytes] | list[list[object]]) -> list[Message]:
    """The entries of a stream, which say their offset, or of a list, which do not."""
    messages = []
    for offset, entry in enumerate(entries, first):
        if isinstance(entry, bytes):
            messages.append(decode_message(channel, entry, 0, offset))
        else:
            name, (_, payload) = entry  # type: ignore[misc]
            messages.append(decode_message(channel, payload, 0, int(name[:-2])))  # type: ignore
    return messages


def _newest(channel: str, reply: list) -> list[Message]:  # type: ignore[type-arg]
    _, _, _, first, entries = reply
    return _messages(channel, first, entries)[::-1]


def _page(
    channel: str, since: StreamPosition | None, reverse: bool, reply: list  # type: ignore[type-arg]
) -> HistoryPage:
    name, top, oldest, first, entries = reply
    epoch = str(name, "ascii")
    messages = _messages(channel, first, entries)
    if reverse:
        messages.reverse()
    recoverable = since is None or (
        oldest <= since.offset + 1 <= top + 1 and since.epoch in ("", epoch))
    return HistoryPage(messages, StreamPosition(top, epoch), recoverable)


def _nothing(reply: object) -> None:
    return None
