"""Who may do what: the answers, and their order."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout import codes
from fanout.events import SubscribeEvent, SubscribeReply
from fanout.server.config import (
    ChannelConfig,
    ClientConfig,
    Config,
    EngineConfig,
    Namespace,
    NamespaceOptions,
    NatsConfig,
    check,
    demo_config,
)
from fanout.server.permissions import Permissions, fits_format
from fanout.types import ChannelOptions, StreamPosition

DENIED = codes.ERROR_PERMISSION_DENIED
UNKNOWN = codes.ERROR_UNKNOWN_CHANNEL
BAD = codes.ERROR_BAD_REQUEST
UNAVAILABLE = codes.ERROR_NOT_AVAILABLE

FLAGS = [e.name for e in fields(NamespaceOptions) if e.name.startswith("allow_")]
KEEPS: dict[str, Any] = {"presence": True, "history_size": 10, "history_ttl": 60.0}


def permissions(
    *, insecure: bool = False, anonymous: bool = False, channel: Any = None, **options: Any
) -> Permissions:
    """Permissions with these options for channels without a namespace and for ``chat:``."""
    channels = ChannelConfig(
        without_namespace=NamespaceOptions(**options),
        namespaces=(Namespace(name="chat", **options),),
    )
    client = ClientConfig(insecure=insecure, allow_anonymous_connect_without_token=anonymous)
    return Permissions(Config(client=client, channel=replace(channels, **(channel or {}))))


# Connections


def test_nobody_connects_by_default() -> None:
    assert permissions().may_connect() is codes.DISCONNECT_BAD_REQUEST


@pytest.mark.parametrize("setting", ["insecure", "anonymous"])
def test_a_setting_lets_clients_without_a_token_connect(setting: str) -> None:
    setting_on: Any = {setting: True}
    asked = permissions(**setting_on)
    assert asked.may_connect() is None
    # No token can be verified, and one that is not verified opens nothing.


def test_a_proxy_in_front_may_say_who_connects() -> None:
    asked = Permissions(Config(client=ClientConfig(user_id_http_header="X-User-Id")))
    assert asked.user({"x-user-id": "42", "x-other": "43"}) == "42"
    assert asked.user({"x-other": "43"}) == ""
    assert asked.may_connect(user="42") is None
    # Without the header a client is as anonymous as without the setting.
    assert asked.may_connect() is codes.DISCONNECT_BAD_REQUEST
    assert asked.may_connect(user="\udcff") is codes.DISCONNECT_BAD_REQUEST
    assert permissions().user({"x-user-id": "42", "": "43"}) == ""


def origins(*patterns: str) -> Permissions:
    return Permissions(Config(client=ClientConfig(allowed_origins=patterns)))


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        (None, "localhost:8000", True),
        ("", "localhost:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("https://LOCALHOST:8000", "localhost:8000", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://localhost:8001", "localhost:8000", False),
        ("http://evil.example", "localhost:8000", False),
        ("null", "", False),
        ("null", "null", False),
        ("http://[::1", "[::1", False),
        ("//", "", False),
    ],
)
def test_without_a_list_pages_of_the_same_host_may_connect(
    origin: str | None, host: str, allowed: bool
) -> None:
    assert origins().may_come_from(origin, host) is allowed


def test_a_list_of_origins_is_all_that_counts() -> None:
    asked = origins("https://*.example.com", "http://localhost:3000")
    assert asked.may_come_from("https://a.example.com", "server")
    assert asked.may_come_from("HTTP://localhost:3000", "server")
    assert asked.may_come_from(None, "server")
    assert not asked.may_come_from("https://server", "server")
    assert not asked.may_come_from("evil+http://localhost:3000", "server")
    assert origins("*").may_come_from("https://anywhere.example", "server")


# Names


@pytest.mark.parametrize(
    ("channel", "namespace"),
    [
        ("news", "none"),
        ("chat:1", "chat"),
        ("chat:", "chat"),
        ("chat:a:b", "chat"),
        ("$chat:1", "chat"),
        ("$news", "none"),
        ("chat", "none"),
        ("$$chat:1", None),
        ("chat$:1", None),
        ("other:1", None),
        ("CHAT:1", None),
        (":1", None),
    ],
)
def test_the_namespace_of_a_channel(channel: str, namespace: str | None) -> None:
    options = {"none": NamespaceOptions(presence=True), "chat": Namespace(name="chat")}
    asked = Permissions(
        Config(
            channel=ChannelConfig(
                without_namespace=options["none"], namespaces=(Namespace(name="chat"),)
            )
        )
    )
    rules = asked.resolve(channel)
    if namespace is None:
        assert rules is None
        assert_all(asked, channel, UNKNOWN)
    else:
        assert rules is not None
        assert rules.options == options[namespace]


def test_a_boundary_of_its_own_and_none_at_all() -> None:
    opened = {"allow_subscribe_for_client": True}
    asked = permissions(channel={"namespace_boundary": "::"}, **opened)
    assert asked.may_subscribe("42", "chat::1") is None
    assert asked.may_subscribe("42", "other::1") is UNKNOWN
    assert asked.may_subscribe("42", "other:1") is None
    asked = permissions(channel={"namespace_boundary": ""}, **opened)
    assert asked.may_subscribe("42", "other:1") is None


@pytest.mark.parametrize("channel", ["", "a" * 256, "é" * 128, "a" * 254 + "é"])
def test_names_of_no_or_too_many_bytes(channel: str) -> None:
    asked = permissions(insecure=True, channel_regex=".*", **KEEPS)
    assert asked.check_length(channel) is BAD
    assert_all(asked, channel, BAD)


@pytest.mark.parametrize("channel", ["a", "a" * 255, "é" * 127])
def test_names_as_long_as_they_may_be(channel: str) -> None:
    asked = permissions(insecure=True, channel_regex=".*", **KEEPS)
    assert asked.check_length(channel) is None
    assert_all(asked, channel, None)


def test_a_long_name_is_bad_before_its_namespace_is_unknown() -> None:
    assert_all(permissions(insecure=True), "other:" + "a" * 250, BAD)


def test_an_unknown_namespace_is_unknown_before_its_name_is_bad() -> None:
    assert_all(permissions(insecure=True), "other:é", UNKNOWN)


@pytest.mark.parametrize("channel", ["é", "chat:é", "chat:\ud800"])
def test_names_are_ascii_unless_a_regex_says_what_they_are(channel: str) -> None:
    assert_all(permissions(insecure=True, **KEEPS), channel, BAD)


def test_a_regex_decides_on_the_name_without_its_namespace() -> None:
    asked = permissions(insecure=True, channel_regex="^[a-zé]+$", **KEEPS)
    for channel in ("news", "né", "chat:né", "$chat:né"):
        assert asked.may_publish("42", channel, b"1", False) is None
    for channel in ("news1", "chat:", "chat:1", "chat:news\n", "N"):
        assert_all(asked, channel, BAD)


def test_half_a_surrogate_pair_matches_no_regex() -> None:
    assert_all(permissions(insecure=True, channel_regex="", **KEEPS), "a\ud800", BAD)
    assert_all(permissions(insecure=True, channel_regex="a", **KEEPS), "a\ud800", BAD)


def assert_all(asked: Permissions, channel: str, answer: codes.ErrorCode | None) -> None:
    """Every question about the channel has this answer."""
    assert asked.may_subscribe("42", channel) is answer
    assert asked.may_publish("42", channel, b"1", True) is answer
    assert asked.may_presence("42", channel, True) is answer
    assert asked.may_history("42", channel, True) is answer


# Everything is closed until a flag opens it


@pytest.mark.parametrize("user", ["", "42"])
@pytest.mark.parametrize("subscribed", [False, True])
@pytest.mark.parametrize("channel", ["news", "chat:1", "dialog#42"])
def test_nothing_is_allowed_by_default(user: str, subscribed: bool, channel: str) -> None:
    asked = permissions()
    assert asked.may_subscribe(user, channel) is DENIED
    assert asked.may_publish(user, channel, b"1", subscribed) is DENIED
    assert asked.may_presence(user, channel, subscribed) is UNAVAILABLE
    assert asked.may_history(user, channel, subscribed) is UNAVAILABLE
    kept = permissions(**KEEPS)
    assert kept.may_presence(user, channel, subscribed) is DENIED
    assert kept.may_history(user, channel, subscribed) is DENIED


def expected_answer(flags: set[str], deed: str, user: str, subscribed: bool) -> bool:
    """The rule as the reference puts it: by client or subscriber, and by anonymity."""
    by_client = f"allow_{deed}_for_client" in flags
    by_subscriber = f"allow_{deed}_for_subscriber" in flags and subscribed
    named = bool(user) or f"allow_{deed}_for_anonymous" in flags
    return named and (by_client or by_subscriber)


@given(
    flags=st.sets(st.sampled_from([f for f in FLAGS if f != "allow_user_limited_channels"])),
    user=st.sampled_from(["", "42"]),
    subscribed=st.booleans(),
    channel=st.sampled_from(["news", "chat:1"]),
)
def test_flags_open_what_they_name_and_nothing_else(
    flags: set[str], user: str, subscribed: bool, channel: str
) -> None:
    asked = permissions(**KEEPS, **dict.fromkeys(flags, True))
    answers = {
        "subscribe": asked.may_subscribe(user, channel),
        "publish": asked.may_publish(user, channel, b"1", subscribed),
        "presence": asked.may_presence(user, channel, subscribed),
        "history": asked.may_history(user, channel, subscribed),
    }
    for deed, answer in answers.items():
        allowed = expected_answer(flags, deed, user, subscribed)
        assert answer is (None if allowed else DENIED), deed


def test_insecure_allows_what_flags_do_not() -> None:
    asked = permissions(insecure=True, **KEEPS)
    for channel in ("news", "chat:1"):
        assert_all(asked, channel, None)
    # It does not make kept what is not kept, nor known what is not.
    assert permissions(insecure=True).may_history("42", "news", True) is UNAVAILABLE
    assert permissions(insecure=True).may_presence("42", "news", True) is UNAVAILABLE
    assert_all(asked, "other:1", UNKNOWN)


# Private and user-limited channels


def test_private_channels_are_closed_to_everybody_without_tokens() -> None:
    asked = permissions(insecure=True, allow_subscribe_for_client=True)
    for channel in ("$news", "$chat:1"):
        assert asked.may_subscribe("42", channel) is DENIED
    assert asked.may_subscribe("42", "news$") is None
    other = permissions(channel={"private_prefix": "!"}, allow_subscribe_for_client=True)
    assert other.may_subscribe("42", "!news") is DENIED
    assert other.may_subscribe("42", "$news") is None
    none = permissions(channel={"private_prefix": ""}, allow_subscribe_for_client=True)
    assert none.may_subscribe("42", "$news") is None


@pytest.mark.parametrize(
    ("user", "channel", "answer"),
    [
        ("42", "dialog#42", None),
        ("43", "dialog#42,43", None),
        ("42", "chat:dialog#42", None),
        ("42", "a#43#42", None),
        ("42", "#42", None),
        ("43", "a#43#42", DENIED),
        ("4", "dialog#42", DENIED),
        ("42,43", "dialog#42,43", DENIED),
        ("44", "dialog#42,43", DENIED),
        ("", "dialog#", DENIED),
        ("", "dialog#42,", DENIED),
        ("42", "dialog#", DENIED),
        ("42", "dialog#42 ", DENIED),
        ("42", "$dialog#42", DENIED),
    ],
)
def test_user_limited_channels(user: str, channel: str, answer: codes.ErrorCode | None) -> None:
    # The other flags do not reach into such a channel.
    for flags in ({}, dict.fromkeys(FLAGS, True)):
        asked = permissions(**{**flags, "allow_user_limited_channels": True})
        assert asked.may_subscribe(user, channel) is answer


def test_user_boundaries_of_a_channel_whose_option_is_off_mean_nothing() -> None:
    assert permissions().may_subscribe("42", "dialog#42") is DENIED
    asked = permissions(allow_subscribe_for_client=True)
    assert asked.may_subscribe("44", "dialog#42") is None


def test_user_boundary_and_separator_of_their_own_and_none_at_all() -> None:
    limited = {"allow_user_limited_channels": True}
    asked = permissions(channel={"user_boundary": "@", "user_separator": ";"}, **limited)
    assert asked.may_subscribe("43", "dialog@42;43") is None
    assert asked.may_subscribe("42", "dialog#42") is DENIED
    asked = permissions(channel={"user_separator": ""}, **limited)
    assert asked.may_subscribe("42,43", "dialog#42,43") is None
    assert asked.may_subscribe("42", "dialog#42,43") is DENIED
    asked = permissions(channel={"user_boundary": ""}, **limited)
    assert asked.may_subscribe("42", "dialog#42") is DENIED


def test_insecure_opens_user_limited_channels_too() -> None:
    asked = permissions(insecure=True, allow_user_limited_channels=True)
    assert asked.may_subscribe("44", "dialog#42") is None


# Join and leave


@pytest.mark.parametrize(
    ("options", "user", "asked_for", "pushed"),
    [
        ({}, "42", True, False),
        ({"force_push_join_leave": True}, "42", True, False),
        ({"join_leave": True}, "42", True, False),
        ({"join_leave": True, "force_push_join_leave": True}, "", False, True),
        ({"join_leave": True, "allow_presence_for_subscriber": True}, "42", True, True),
        ({"join_leave": True, "allow_presence_for_client": True}, "42", True, True),
        ({"join_leave": True, "allow_presence_for_subscriber": True}, "42", False, False),
        ({"join_leave": True, "allow_presence_for_subscriber": True}, "", True, False),
    ],
)
def test_who_gets_join_and_leave_pushes(
    options: dict[str, bool], user: str, asked_for: bool, pushed: bool
) -> None:
    flags: Any = options
    reply = permissions(**flags).subscription(
        user, SubscribeEvent("news", join_leave=asked_for), SubscribeReply())
    assert reply.push_join_leave is pushed


# Data


@pytest.mark.parametrize(
    ("data", "formats"),
    [
        (b"", {"binary"}),
        (b"{}", {"", "json", "json_object", "binary"}),
        (b' \r\n\t{"a":[1,null]} ', {"", "json", "json_object", "binary"}),
        (b"[{}]", {"", "json", "binary"}),
        (b"null", {"", "json", "binary"}),
        (b'"{}"', {"", "json", "binary"}),
        (b"1e400", {"", "json", "binary"}),
        (b"{", {"", "binary"}),
        (b"{}{}", {"", "binary"}),
        (b"NaN", {"", "binary"}),
        (b"\xef\xbb\xbf{}", {"", "binary"}),
        (b'{"a":"\xff"}', {"", "binary"}),
        (b'{"\xed\xa0\x80":1}', {"", "binary"}),
        (b"[" * 100_000, {"", "binary"}),
        (b"hello", {"", "binary"}),
        (b"\x00\xff", {"", "binary"}),
    ],
)
def test_data_formats(data: bytes, formats: set[str]) -> None:
    fitting = {name for name in ("", "json", "json_object", "binary") if fits_format(data, name)}
    assert fitting == formats


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_what_python_writes_as_json_is_json(value: object) -> None:
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    assert fits_format(data, "json")
    assert fits_format(data, "json_object") is isinstance(value, dict)


def test_bad_data_is_bad_before_its_publisher_is_denied() -> None:
    assert permissions().may_publish("42", "news", b"", False) is BAD
    assert permissions().may_publish("42", "other:1", b"", False) is UNKNOWN


def test_a_namespace_overrides_the_format_of_all_channels() -> None:
    asked = Permissions(
        Config(
            client=ClientConfig(insecure=True),
            channel=ChannelConfig(
                publication_data_format="json",
                namespaces=(Namespace(name="raw", publication_data_format="binary"),),
            ),
        )
    )
    assert asked.may_publish("", "news", b"hello", False) is BAD
    assert asked.may_publish("", "news", b'"hello"', False) is None
    assert asked.may_publish("", "raw:news", b"hello", False) is None


# Channel options


def test_channel_options_are_what_the_node_needs() -> None:
    asked = permissions(join_leave=True, **KEEPS)
    assert asked.channel_options("chat:1") == ChannelOptions(
        presence=True,
        join_leave=True,
        history_size=10,
        history_lifetime=60.0,
        history_meta_lifetime=720 * 3600.0,
    )
    assert asked.channel_options("other:1") is None
    own = permissions(history_meta_ttl=120.0, **KEEPS).channel_options("chat:1")
    assert own is not None
    assert own.history_meta_lifetime == 120.0


def test_channel_options_allow_nothing_by_themselves() -> None:
    options = permissions(**dict.fromkeys(FLAGS, True)).channel_options("chat:1")
    assert options is not None
    assert not options.publish
    assert not options.anonymous


@pytest.mark.parametrize(
    ("options", "watched", "unasked", "asked_for"),
    [
        # What a subscription is: (recovers, is positioned).
        ([], False, (False, False), (False, False)),
        (["force_recovery"], True, (True, True), (True, True)),
        (["allow_recovery"], True, (False, False), (True, True)),
        (["force_positioning"], True, (False, True), (False, True)),
        (["allow_positioning"], True, (False, False), (False, True)),
        (["force_positioning", "allow_recovery"], True, (False, True), (True, True)),
        (["allow_history_for_client"], False, (False, False), (True, True)),
    ],
)
def test_what_recovers(
    options: list[str], watched: bool, unasked: tuple[bool, bool], asked_for: tuple[bool, bool]
) -> None:
    asked = permissions(**KEEPS, **dict.fromkeys(options, True))
    given_options = asked.channel_options("chat:1")
    assert given_options is not None
    assert given_options.recover is watched
    for event, expected in (
        (SubscribeEvent("chat:1"), unasked),
        (SubscribeEvent("chat:1", recoverable=True, positioned=True), asked_for),
        # Who wants what was missed wants to recover.
        (SubscribeEvent("chat:1", since=StreamPosition(1, "e"), positioned=True), asked_for),
    ):
        reply = asked.subscription("42", event, SubscribeReply())
        assert (reply.recover, reply.position) == expected


def test_what_a_token_or_a_proxy_decides_wins_over_the_options() -> None:
    asked = permissions(force_recovery=True, join_leave=True, force_push_join_leave=True, **KEEPS)
    reply = asked.subscription(
        "42", SubscribeEvent("chat:1"),
        SubscribeReply(recover=False, position=True, push_join_leave=False, presence=False))
    assert (reply.recover, reply.position) == (False, True)
    assert (reply.push_join_leave, reply.presence) == (False, False)
    asked = permissions(allow_recovery=True, allow_history_for_client=True, **KEEPS)
    wish = SubscribeEvent("chat:1", recoverable=True, positioned=True)
    reply = asked.subscription("42", wish, SubscribeReply(recover=False, position=False))
    assert (reply.recover, reply.position) == (False, False)
    reply = permissions(**KEEPS).subscription(
        "42", SubscribeEvent("chat:1"),
        SubscribeReply(recover=True, push_join_leave=True, join_leave=True))
    assert (reply.recover, reply.position, reply.push_join_leave) == (True, True, True)


# Wildcards


def wildcards(*namespaces: str, prefix: str = "$", boundary: str = ":") -> Permissions:
    """Everything is open to anybody, in these namespaces and without one."""
    open_to_all: dict[str, Any] = {**dict.fromkeys(FLAGS, True), **KEEPS, "join_leave": True}
    open_to_all["allow_user_limited_channels"] = False
    config = Config(
        engine=EngineConfig(type="nats", nats=NatsConfig(allow_wildcards=True, jetstream=True)),
        channel=ChannelConfig(
            private_prefix=prefix,
            namespace_boundary=boundary,
            without_namespace=NamespaceOptions(**open_to_all),
            namespaces=tuple(Namespace(name=name, **open_to_all) for name in namespaces),
        ),
    )
    check(config)
    return Permissions(config)


@pytest.mark.parametrize("channel", ["chat:a.*", "chat:a.>", "chat:a.*.b", "news.*", "news.>"])
def test_a_wildcard_stands_for_others_and_has_nothing_of_its_own(channel: str) -> None:
    asked = wildcards("chat")
    assert asked.channel_options(channel) == ChannelOptions(
        wildcards=True, tags_filter=True, history_meta_lifetime=720 * 3600.0)
    assert asked.may_subscribe("", channel) is None
    assert asked.may_publish("", channel, b"1", True) is BAD
    assert asked.may_presence("", channel, True) is UNAVAILABLE
    assert asked.may_history("", channel, True) is UNAVAILABLE
    reply = asked.subscription("", SubscribeEvent(channel, join_leave=True), SubscribeReply())
    assert reply.push_join_leave is False


@pytest.mark.parametrize("channel", ["chat:a*", "chat:*", "chat:a.*b", "chat:>", "a>.b", "a.b"])
def test_a_mark_inside_a_word_is_a_letter(channel: str) -> None:
    asked = wildcards("chat")
    options = asked.channel_options(channel)
    assert options is not None
    assert not options.wildcards
    assert options.keeps_history
    assert asked.may_publish("", channel, b"1", True) is None


def test_wildcards_are_letters_without_the_setting() -> None:
    asked = permissions(allow_subscribe_for_client=True, **KEEPS)
    for channel in ("chat:a.*", "a.>", ">"):
        options = asked.channel_options(channel)
        assert options is not None
        assert not options.wildcards
        assert asked.may_subscribe("42", channel) is None


def test_the_rest_stands_last() -> None:
    assert wildcards("chat").may_subscribe("", "chat:a.>.b") is BAD


@pytest.mark.parametrize(
    ("asked", "channel"),
    [
        # It would stand for channels of a namespace, or for private ones.
        (wildcards("chat"), "*"),
        (wildcards("chat"), ">"),
        (wildcards("chat", prefix=""), "*.b"),
        (wildcards("news.eu"), "news.*"),
        (wildcards("news", boundary=".."), "news.>"),
        (wildcards(prefix="$"), "*"),
        (wildcards(prefix="a.b"), "a.*"),
        (wildcards("chat"), "$chat:a.*"),
    ],
)
def test_a_wildcard_must_not_reach_beyond_its_own_rules(asked: Permissions, channel: str) -> None:
    assert asked.may_subscribe("42", channel) is DENIED


@pytest.mark.parametrize(
    ("asked", "channel"),
    [
        (wildcards(prefix=""), "*"),
        (wildcards(prefix=""), ">"),
        (wildcards("chat", prefix=""), "news.>"),
        (wildcards("news.eu"), "news.us.*"),
        (wildcards("news.eu"), "news.eu:a.*"),
        (wildcards(boundary=""), "chat:a.*"),
    ],
)
def test_a_wildcard_among_equals(asked: Permissions, channel: str) -> None:
    assert asked.may_subscribe("42", channel) is None


def test_the_demo_lets_anybody_talk_in_its_rooms_only() -> None:
    asked = Permissions(demo_config())
    assert asked.may_connect() is None
    assert asked.may_subscribe("", "room:lobby") is None
    assert asked.may_publish("", "room:lobby", b'"hi"', True) is None
    assert asked.may_presence("", "room:lobby", True) is None
    assert asked.may_history("", "room:lobby", True) is None
    reply = asked.subscription("", SubscribeEvent("room:lobby"), SubscribeReply())
    assert reply.push_join_leave
    assert asked.may_publish("", "room:lobby", b'"hi"', False) is DENIED
    assert asked.may_presence("", "room:lobby", False) is DENIED
    assert asked.may_history("", "room:lobby", False) is DENIED
    assert asked.may_subscribe("", "lobby") is DENIED
    assert asked.may_publish("", "lobby", b'"hi"', False) is DENIED
