"""Who may do what, by the configuration alone.

Every question has the same two answers: ``None`` for yes, or the error (for a
connection: the disconnect) of the client protocol that says why not. Nothing
here waits, logs or changes anything. Rules and their order are Centrifugo's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

import msgspec

from fanout.codes import (
    DISCONNECT_BAD_REQUEST,
    DISCONNECT_PERMISSION_DENIED,
    ERROR_BAD_REQUEST,
    ERROR_NOT_AVAILABLE,
    ERROR_PERMISSION_DENIED,
    ERROR_UNKNOWN_CHANNEL,
    DisconnectCode,
    ErrorCode,
)
from fanout.events import Capability, SubscribeEvent, SubscribeReply
from fanout.server.capabilities import allows
from fanout.server.config import ChannelConfig, Config, NamespaceOptions
from fanout.server.config.patterns import compile_channel_regex, compile_origin
from fanout.types import ChannelOptions, RecoveryMode

__all__ = ["ChannelRules", "Permissions"]

KEPT_NAMES = 4096       # channels whose rules are remembered


class ChannelRules:
    """What holds in the channels of one namespace, ready to be asked often.

    ``wildcards`` makes those for names that stand for many channels of it:
    these have no messages of their own, and so no history and nobody present.
    """

    __slots__ = ("by_server", "channel_options", "channel_regex", "data_format", "options")

    def __init__(
        self, options: NamespaceOptions, channel: ChannelConfig, *, wildcards: bool = False
    ) -> None:
        if wildcards:
            options = replace(
                options, presence=False, join_leave=False, history_size=0, history_ttl=0.0,
                auto_cache_recover=False, allowed_delta_types=(), delta_publish=False)
        self.options = options
        self.data_format = options.publication_data_format or channel.publication_data_format
        watched = (
            options.force_recovery or options.allow_recovery
            or options.force_positioning or options.allow_positioning)
        self.channel_regex = (
            compile_channel_regex(options.channel_regex) if options.channel_regex else None
        )
        # publish and anonymous stay off: the node asks for permission here,
        # and an option that allowed as well would be a second way in.
        self.channel_options = ChannelOptions(
            presence=options.presence,
            join_leave=options.join_leave,
            history_size=options.history_size,
            history_lifetime=options.history_ttl,
            history_meta_lifetime=options.history_meta_ttl or channel.history_meta_ttl,
            recover=options.history_size > 0 and watched,
            recovery_mode=(
                RecoveryMode.CACHE if options.force_recovery_mode == "cache"
                else RecoveryMode.STREAM),
            recover_unasked=options.auto_cache_recover,
            delta="fossil" in options.allowed_delta_types,
            delta_publish=options.delta_publish,
            tags_filter=options.allow_tags_filter,
            wildcards=wildcards,
        )
        self.by_server = SubscribeReply(
            push_join_leave=options.force_push_join_leave,
            recover=options.force_recovery,
            position=options.force_positioning,
            presence=options.presence,
            join_leave=options.join_leave,
        )

    @property
    def is_stream(self) -> bool:
        """Whether its channels are of the one type that is served here."""
        return self.options.subscription_type in ("", "stream")


class Permissions:
    """Answers for one :class:`~fanout.server.config.Config`.

    ``user`` is a connection's user id, ``""`` for an anonymous one.
    ``subscribed`` says whether the connection is subscribed to the channel
    that it asks about.

    With wildcards on, ``*`` between dots and a last ``>`` stand for others in
    the name of a channel that is subscribed to. Who may subscribe to such a
    name is decided by the options of its namespace, so that it is refused
    when a channel that it stands for could be private or of another one:
    ``chat:a.*`` may be, ``*`` may not where there are namespaces.
    """

    def __init__(self, config: Config) -> None:
        self._client = config.client
        self._channel = config.channel
        self._origins = [compile_origin(pattern) for pattern in config.client.allowed_origins]
        self._user_header = config.client.user_id_http_header.lower()
        self._wildcards = config.engine.type == "nats" and config.engine.nats.allow_wildcards
        # A subscribe asks for the same channel ten times.
        self._split = functools.lru_cache(maxsize=KEPT_NAMES)(self._split_anew)
        # For one channel, and for many.
        self._without_namespace = _both_rules(config.channel.without_namespace, config.channel)
        self._namespaces = {
            namespace.name: _both_rules(namespace, config.channel)
            for namespace in config.channel.namespaces
        }

    def may_come_from(self, origin: str | None, host: str) -> bool:
        """Whether a request with these ``Origin`` and ``Host`` headers may connect.

        No origin means no browser, and is allowed. Without
        ``client.allowed_origins`` the origin's host must be ``host``.
        """
        if not origin:
            return True
        if self._origins:
            lowered = origin.lower()
            return any(pattern.fullmatch(lowered) for pattern in self._origins)
        try:
            origin_host = urlsplit(origin).netloc
        except ValueError:
            return False
        # Not by scheme: behind a proxy that ends TLS the server sees plain HTTP.
        return origin_host != "" and origin_host.lower() == host.lower()

    def user(self, headers: Mapping[str, str]) -> str:
        """Who connects, by the request's headers (lower-case names); ``""`` for nobody known."""
        return headers.get(self._user_header, "") if self._user_header else ""

    def may_connect(self, user: str = "") -> DisconnectCode | None:
        """Whether a client without a token may connect, as this user."""
        if user:
            # Bytes that were no UTF-8 could be shown to nobody.
            return DISCONNECT_BAD_REQUEST if _SURROGATE.search(user) else None
        if self._client.allow_anonymous_connect_without_token or self._client.insecure:
            return None
        return DISCONNECT_BAD_REQUEST

    def may_connect_by_token(self, user: str) -> DisconnectCode | None:
        """Whether a client may connect as the user that its token names."""
        if not user and self._client.disallow_anonymous_connection_tokens:
            return DISCONNECT_PERMISSION_DENIED
        return None

    def check_length(self, channel: str) -> ErrorCode | None:
        """107 for an empty name and for one of too many bytes.

        First of all checks, before "already subscribed" and "limit exceeded";
        the others repeat it.
        """
        limit = self._channel.max_length
        if not channel or len(channel) > limit:
            return ERROR_BAD_REQUEST
        if not channel.isascii() and len(channel.encode("utf-8", "surrogatepass")) > limit:
            return ERROR_BAD_REQUEST
        return None

    def resolve(self, channel: str) -> ChannelRules | None:
        """The rules of the channel's namespace; ``None`` when there is no such namespace."""
        return self._split(channel)[0]

    def channel_options(self, channel: str) -> ChannelOptions | None:
        """How the channel behaves; ``None`` when its namespace is unknown."""
        rules = self.resolve(channel)
        return None if rules is None else rules.channel_options

    def check_subscribe(self, channel: str) -> ErrorCode | None:
        """102 or 107, whoever asks; 103 for what is no stream, or a wildcard that says too much."""
        rules = self._rules(channel)
        if isinstance(rules, ErrorCode):
            return rules
        if not rules.is_stream:
            return ERROR_PERMISSION_DENIED
        if rules.channel_options.wildcards and not self._stays_inside(channel):
            return ERROR_PERMISSION_DENIED
        return None

    def needs_token(self, channel: str) -> bool:
        """Whether only a subscription token opens the channel."""
        prefix = self._channel.private_prefix
        return prefix != "" and channel.startswith(prefix)

    def is_user_limited(self, channel: str) -> bool:
        """Whether the channel's name says who may subscribe."""
        rules = self.resolve(channel)
        return (
            rules is not None
            and rules.options.allow_user_limited_channels
            and self._names_users(channel))

    def may_subscribe(
        self, user: str, channel: str, capabilities: Sequence[Capability] = ()
    ) -> ErrorCode | None:
        """102, 107, 108 or 103, for a client that shows no token for the channel."""
        refusal = self.check_subscribe(channel)
        if refusal is not None:
            return refusal
        rules = self.resolve(channel)
        if rules is None or self.needs_token(channel):
            return ERROR_PERMISSION_DENIED
        if self.is_user_limited(channel):
            allowed = self._is_named(user, channel)
        else:
            options = rules.options
            allowed = options.allow_subscribe_for_client and (
                user != "" or options.allow_subscribe_for_anonymous
            )
        if allowed or self._client.insecure or allows(capabilities, "sub", channel):
            return None
        return ERROR_PERMISSION_DENIED

    def subscription(
        self, user: str, event: SubscribeEvent, reply: SubscribeReply,
        capabilities: Sequence[Capability] = (),
    ) -> SubscribeReply:
        """``reply`` with all decided that it left to the channel's options and the client's wish.

        What a client wishes for is granted to those who could have it
        otherwise: joins and leaves tell who is present, recovery gives what
        the history has.
        """
        rules = self.resolve(event.channel)
        if rules is None:
            return reply
        options = rules.options

        def reads(what: str) -> bool:
            return self._allows(what, options, event.channel, user, True, capabilities)

        wants_recovery = event.recoverable or event.since is not None
        recover = _decided(reply.recover, options.force_recovery or (
            wants_recovery and (options.allow_recovery or reads("history"))))
        return replace(
            reply,
            push_join_leave=_decided(reply.join_leave, options.join_leave) and _decided(
                reply.push_join_leave,
                options.force_push_join_leave or (event.join_leave and reads("presence"))),
            recover=recover,
            position=recover or _decided(reply.position, options.force_positioning or (
                event.positioned and (options.allow_positioning or reads("history")))),
        )

    def check_publish(self, channel: str, data: bytes) -> ErrorCode | None:
        """102, 107 (the name, then the data) or 108, whoever publishes."""
        rules = self._rules(channel)
        if isinstance(rules, ErrorCode):
            return rules
        if not rules.is_stream:
            return ERROR_NOT_AVAILABLE
        if rules.channel_options.wildcards or not fits_format(data, rules.data_format):
            return ERROR_BAD_REQUEST
        return None

    def may_publish(
        self, user: str, channel: str, data: bytes, subscribed: bool,
        capabilities: Sequence[Capability] = (),
    ) -> ErrorCode | None:
        """102, 107 (the name, then the data), 108 or 103."""
        refusal = self.check_publish(channel, data)
        if refusal is not None:
            return refusal
        rules = self.resolve(channel)
        if rules is None:
            return ERROR_UNKNOWN_CHANNEL
        allowed = self._allows(
            "publish", rules.options, channel, user, subscribed, capabilities)
        return None if allowed else ERROR_PERMISSION_DENIED

    def may_presence(
        self, user: str, channel: str, subscribed: bool,
        capabilities: Sequence[Capability] = (),
    ) -> ErrorCode | None:
        """102, 107, 108 (no presence in this channel) or 103; also for presence statistics."""
        rules = self._rules(channel)
        if isinstance(rules, ErrorCode):
            return rules
        if not rules.options.presence:
            return ERROR_NOT_AVAILABLE
        allowed = self._allows(
            "presence", rules.options, channel, user, subscribed, capabilities)
        return None if allowed else ERROR_PERMISSION_DENIED

    def may_history(
        self, user: str, channel: str, subscribed: bool,
        capabilities: Sequence[Capability] = (),
    ) -> ErrorCode | None:
        """102, 107, 108 (no history in this channel) or 103."""
        rules = self._rules(channel)
        if isinstance(rules, ErrorCode):
            return rules
        if not rules.channel_options.keeps_history:
            return ERROR_NOT_AVAILABLE
        allowed = self._allows(
            "history", rules.options, channel, user, subscribed, capabilities)
        return None if allowed else ERROR_PERMISSION_DENIED

    def _split_anew(self, channel: str) -> tuple[ChannelRules | None, str]:
        """A channel's rules, and its name without the namespace."""
        boundary = self._channel.namespace_boundary
        name, found, rest = (
            channel.removeprefix(self._channel.private_prefix).partition(boundary)
            if boundary
            else (channel, "", "")
        )
        both = self._namespaces.get(name) if found else self._without_namespace
        if both is None:
            return None, rest
        return both[self._is_wildcard(channel)], rest if found else channel

    def _rules(self, channel: str) -> ChannelRules | ErrorCode:
        """The rules of a channel whose name is in order, or what is wrong with it."""
        too_long = self.check_length(channel)
        if too_long is not None:
            return too_long
        rules, rest = self._split(channel)
        if rules is None:
            return ERROR_UNKNOWN_CHANNEL
        if rules.channel_options.wildcards and _INNER_TAIL.search(channel):
            return ERROR_BAD_REQUEST
        if rules.channel_regex is None:
            return rules if channel.isascii() else ERROR_BAD_REQUEST
        # Half a surrogate pair could match, but never be sent to anybody.
        if not _SURROGATE.search(channel) and rules.channel_regex.search(rest):
            return rules
        return ERROR_BAD_REQUEST

    def _is_wildcard(self, channel: str) -> bool:
        return self._wildcards and _WILDCARD.search(channel) is not None

    def _stays_inside(self, channel: str) -> bool:
        """Whether all that a wildcard stands for has the rules that it has itself."""
        found = _WILDCARD.search(channel)
        assert found is not None
        certain = channel[: found.start()]
        boundary, prefix = self._channel.namespace_boundary, self._channel.private_prefix
        if prefix.startswith(certain) and prefix:
            return False
        return (boundary != "" and boundary in certain) or not any(
            f"{name}{boundary}".startswith(certain) for name in self._namespaces)

    def _names_users(self, channel: str) -> bool:
        boundary = self._channel.user_boundary
        return boundary != "" and boundary in channel

    def _is_named(self, user: str, channel: str) -> bool:
        users = channel.rpartition(self._channel.user_boundary)[2]
        separator = self._channel.user_separator
        # An anonymous client is nobody whom a list could name.
        return user != "" and (user in users.split(separator) if separator else user == users)

    def _allows(
        self, what: str, options: NamespaceOptions, channel: str, user: str, subscribed: bool,
        capabilities: Sequence[Capability],
    ) -> bool:
        """Whether the options ``allow_<what>_for_...`` or a capability allow it."""
        by_options = (
            getattr(options, f"allow_{what}_for_client")
            or (subscribed and getattr(options, f"allow_{what}_for_subscriber"))
        ) and (user != "" or getattr(options, f"allow_{what}_for_anonymous"))
        return (
            by_options or self._client.insecure
            or allows(capabilities, _ACTIONS[what], channel))


def _decided(override: bool | None, otherwise: bool) -> bool:
    """What a token or a proxy says, or else what holds without it."""
    return otherwise if override is None else override


def _both_rules(
    options: NamespaceOptions, channel: ChannelConfig
) -> tuple[ChannelRules, ChannelRules]:
    return ChannelRules(options, channel), ChannelRules(options, channel, wildcards=True)


# What the options call it, and what a capability does.
_ACTIONS = {"publish": "pub", "presence": "prs", "history": "hst"}
_SURROGATE = re.compile("[\ud800-\udfff]")
# Whole words between dots; ">" only as the last one.
_WILDCARD = re.compile(r"(?<![^.])[*>](?![^.])")
_INNER_TAIL = re.compile(r"(?<![^.])>\.")


def fits_format(data: bytes, data_format: str) -> bool:
    """Whether published data is what a ``publication_data_format`` asks for."""
    if data_format == "binary":
        return True
    if data_format == "":
        return len(data) > 0
    try:
        data.decode()  # what msgspec skips over it does not decode
        msgspec.json.decode(data, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return data_format == "json" or data.lstrip(b" \t\r\n").startswith(b"{")
