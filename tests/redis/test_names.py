"""Names on the server: prefixes, hash tags, and patterns."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from fanout import ChannelOptions, ClientInfo, Message, RedisEngine
from fanout.pattern import channel_pattern
from fanout.redis.keys import Names, server_pattern
from tests.brokers.valkey import ValkeyServer
from tests.redis.conftest import MakeEngine

KEPT = ChannelOptions(history_size=10, history_lifetime=600)
KINDS = (b"meta", b"stream", b"list", b"presence.data", b"presence.expire", b"presence.users")
ODD = ["{", "}", "{}", "}{", "{a}b", "a{b}c", "}x", "}}", "-{-x}", "{-}x", "x}", "\N{SNOWMAN}}"]

channels = st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1) | st.text("{}-.ab", min_size=1)


@given(channels)
@example("}")
@example("}x")
@example("{}")
@example("a}b")
def test_all_keys_of_a_channel_and_its_topic_have_one_slot(channel: str) -> None:
    names = Names("fanout", tagged_topics=True)
    name = channel.encode()
    slots = {key_slot(names.key(kind, name)) for kind in KINDS} | {key_slot(names.topic(name))}
    assert len(slots) == 1


@given(st.lists(channels, min_size=2, unique=True))
@example(["}x", "-{-}x", "{}x", "{-}x"])
@example(["}", "-{-", "-{-}"])
def test_different_channels_have_different_keys_and_topics(some: list[str]) -> None:
    for tagged in (False, True):
        names = Names("fanout", tagged_topics=tagged)
        keys = {names.key(kind, channel.encode()) for channel in some for kind in KINDS}
        assert len(keys) == len(some) * len(KINDS)
        topics = [names.topic(channel.encode()) for channel in some]
        assert len({*topics, names.control, names.admin}) == len(some) + 2
        assert [names.channel(topic) for topic in topics] == [each.encode() for each in some]


def test_slots_are_spread() -> None:
    """Not all channels of a prefix have the prefix's slot."""
    names = Names("fanout", tagged_topics=True)
    slots = {key_slot(names.topic(b"channel-%d" % number)) for number in range(1000)}
    assert len(slots) > 900


@pytest.mark.parametrize("topic", [b"", b"fanout.control", b"fanout.clien", b"other.client.x"])
def test_a_topic_that_is_no_channel_s(topic: bytes) -> None:
    assert Names("fanout").channel(topic) is None


# Few different characters, so that a pattern has a chance; one takes two bytes.
pieces = st.text("ab[]^-\\*?\N{GREEK SMALL LETTER PI}", max_size=8)


@settings(max_examples=500)
@given(pieces, st.text("ab[]^-\\*?\N{GREEK SMALL LETTER PI}", min_size=1, max_size=6))
@example("[\\]]", "]")
@example("[a-]]", "]")
@example("[^", "a")
@example("a[", "a")
def test_the_server_lets_through_all_that_matches(pattern: str, channel: str) -> None:
    """Compared with the rules for bytes that the server has, in Python."""
    if channel_pattern(pattern).fullmatch(channel):
        as_bytes = channel_pattern(server_pattern(pattern).decode("latin-1"))
        assert as_bytes.fullmatch(channel.encode().decode("latin-1"))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("abc", b"abc"),
        ("a*c", b"a*c"),
        ("a?c", b"a*c"),
        ("a??*?c", b"a*c"),
        ("a[bc]d", b"a*d"),
        (r"a[\]b]d", b"a*d"),
        (r"a\*d", rb"a\*d"),
        (r"a\bd", b"abd"),
        ("a[b", b"a*"),
        ("a\\", rb"a" + b"\\\\"),
        ("\N{SNOWMAN}?", "\N{SNOWMAN}*".encode()),
        ("?a" * 30, b"*a" * 15 + b"*"),
    ],
)
def test_the_pattern_that_the_server_gets(pattern: str, expected: bytes) -> None:
    assert server_pattern(pattern) == expected


async def test_odd_channels_work(make_engine: MakeEngine, server: ValkeyServer) -> None:
    engine, told = await make_engine(server.url)
    for number, channel in enumerate(ODD, 1):
        await engine.subscribe(channel)
        await engine.publish_message(channel, Message(channel, b"1"), KEPT)
        await engine.add_presence(channel, "c", ClientInfo("u", "c"))
        await told.wait(number)
    assert sorted(await engine.channels()) == sorted(ODD)
    for channel in ODD:
        assert await engine.channels(channel_literal(channel)) == [channel]
        assert len(await engine.history(channel)) == 1
        assert len(await engine.presence(channel)) == 1


def channel_literal(channel: str) -> str:
    return "".join(f"\\{char}" for char in channel)


async def test_systems_with_different_prefixes_do_not_meet(
    make_engine: MakeEngine, server: ValkeyServer, prefix: str
) -> None:
    engines = [
        await make_engine(server.url, prefix=each)
        for each in (prefix, f"{prefix}2", f"{prefix}*", f"x{prefix}", f"[{prefix}]")
    ]
    for engine, _ in engines:
        await engine.subscribe("ch")
    for number, (engine, _) in enumerate(engines):
        await engine.subscribe(f"own{number}")
        await engine.publish_message("ch", Message("ch", b"%d" % number), KEPT)
        await engine.add_presence("ch", f"c{number}", ClientInfo("u", "c"))
    for number, (engine, told) in enumerate(engines):
        await told.settle(engine)
        assert told.data == [b"%d" % number]
        assert sorted(await engine.channels()) == ["ch", f"own{number}"]
        assert len(await engine.history("ch")) == 1
        assert list(await engine.presence("ch")) == [f"c{number}"]


async def test_channels_of_others_that_are_no_text_are_left_out(
    make_engine: MakeEngine, server: ValkeyServer, prefix: str
) -> None:
    engine, _ = await make_engine(server.url)
    await engine.subscribe("ch")
    with server.client().pubsub() as pubsub:
        pubsub.subscribe(prefix.encode() + b".client.\xff")
        pubsub.get_message(timeout=10)
        assert await engine.channels() == ["ch"]


async def test_text_that_has_no_bytes_is_refused_from_the_call(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    with pytest.raises(ValueError, match="surrogates"):
        engine.publish_message("\udc80", Message("\udc80", b"1"))
    with pytest.raises(ValueError, match="surrogates"):
        engine.subscribe("\udc80")
    with pytest.raises(ValueError, match="surrogates"):
        await engine.add_presence("ch", "\udc80", ClientInfo())
    with pytest.raises(ValueError, match="surrogates"):
        await engine.channels("\udc80")
    assert await engine.channels() == []


@pytest.mark.parametrize("prefix", ["", "{", "a}b"])
def test_a_prefix_that_would_break_hash_tags(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        RedisEngine(prefix=prefix)
