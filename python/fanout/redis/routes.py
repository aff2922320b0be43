"""Where a channel is, and the beginnings of its commands."""

from __future__ import annotations

from typing import NamedTuple

from fanout.redis.commands import CommandLink
from fanout.redis.keys import Names
from fanout.redis.script import words
from fanout.redis.subscriptions import SubscriptionLink

__all__ = ["Route", "make_route"]


class Route(NamedTuple):
    """All that is the same for every operation of one channel."""

    commands: CommandLink
    subscriptions: SubscriptionLink
    topic: bytes
    publish: bytes
    """The command that publishes, up to the payload."""
    history: bytes
    """The keys of the history's scripts."""
    topic_word: bytes
    """The topic as an argument."""
    messages: bytes
    """The key that has the messages."""
    presence: bytes
    """The keys of presence's scripts."""
    result: bytes
    """The beginning of the keys of results; the idempotency key follows."""


def make_route(
    names: Names, channel: bytes, messages_kind: bytes, publish: bytes,
    commands: CommandLink, subscriptions: SubscriptionLink,
) -> Route:
    """The route of ``channel`` over these links; ``publish`` is the verb for its topic."""
    topic = names.topic(channel)
    topic_word = words(topic)
    messages = names.key(messages_kind, channel)
    history = words(names.key(b"meta", channel), messages)
    presence = words(*[
        names.key(b"presence." + part, channel) for part in (b"data", b"expire", b"users")])
    # With the name's length in front: a key must not read as a name's end.
    result = names.key(b"result.%d" % len(channel), channel) + b"."
    return Route(
        commands, subscriptions, topic, b"*3\r\n" + words(publish) + topic_word, history,
        topic_word, messages, presence, result)
