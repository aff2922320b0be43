"""What every engine checks of its arguments."""

from __future__ import annotations

from fanout.errors import UnsupportedError
from fanout.types import (
    AdminMessage,
    ChannelOptions,
    ClientInfo,
    ControlMessage,
    JoinMessage,
    LeaveMessage,
    Message,
    StreamPosition,
)

__all__ = [
    "check_admin",
    "check_channel",
    "check_conn_id",
    "check_control",
    "check_idempotency_key",
    "check_info",
    "check_join",
    "check_leave",
    "check_limit",
    "check_message",
    "check_options",
    "check_pattern",
    "check_since",
    "check_version",
    "refuse_wildcard",
]

MOST_KEY = 255
"""Characters of an idempotency key, and of a version's epoch: both are kept for each."""


def check_channel(channel: str) -> None:
    if not isinstance(channel, str):
        raise TypeError(f"channel must be a str, not {type(channel).__name__}")
    if not channel:
        raise ValueError("channel must not be empty")


def check_message(channel: str, message: Message) -> None:
    if type(message) is not Message:
        raise TypeError(f"message must be a Message, not {type(message).__name__}")
    if message.channel != channel:
        raise ValueError(
            f"a message of channel {message.channel!r} cannot be published to {channel!r}")


def check_options(options: ChannelOptions | None) -> None:
    if options is not None and not isinstance(options, ChannelOptions):
        raise TypeError(f"options must be ChannelOptions or None, not {type(options).__name__}")


def check_join(message: JoinMessage) -> None:
    if not isinstance(message, JoinMessage):
        raise TypeError(f"message must be a JoinMessage, not {type(message).__name__}")


def check_leave(message: LeaveMessage) -> None:
    if not isinstance(message, LeaveMessage):
        raise TypeError(f"message must be a LeaveMessage, not {type(message).__name__}")


def check_control(message: ControlMessage) -> None:
    if not isinstance(message, ControlMessage):
        raise TypeError(f"message must be a ControlMessage, not {type(message).__name__}")


def check_admin(message: AdminMessage) -> None:
    if not isinstance(message, AdminMessage):
        raise TypeError(f"message must be an AdminMessage, not {type(message).__name__}")


def check_conn_id(conn_id: str) -> None:
    if not isinstance(conn_id, str):
        raise TypeError(f"conn_id must be a str, not {type(conn_id).__name__}")
    if not conn_id:
        raise ValueError("conn_id must not be empty")


def check_info(info: ClientInfo) -> None:
    if not isinstance(info, ClientInfo):
        raise TypeError(f"info must be a ClientInfo, not {type(info).__name__}")


def check_limit(limit: int | None, *, none_allowed: bool = True) -> None:
    if limit is None and none_allowed:
        return
    if not isinstance(limit, int) or isinstance(limit, bool):
        kinds = "an int or None" if none_allowed else "an int"
        raise TypeError(f"limit must be {kinds}, not {limit!r}")
    if limit < 0:
        raise ValueError(f"limit must not be negative, not {limit!r}")


def check_since(since: StreamPosition | None) -> None:
    if since is None:
        return
    if not isinstance(since, StreamPosition):
        raise TypeError(f"since must be a StreamPosition or None, not {type(since).__name__}")
    if not (isinstance(since.offset, int) and isinstance(since.epoch, str)):
        raise TypeError(f"since must have an int and a str, not {since!r}")
    if not 0 <= since.offset < 1 << 64:
        raise ValueError(f"since.offset must be between 0 and 2**64 - 1, not {since.offset!r}")


def check_pattern(pattern: str | None) -> None:
    if pattern is not None and not isinstance(pattern, str):
        raise TypeError(f"pattern must be a str or None, not {type(pattern).__name__}")


def check_idempotency_key(key: str) -> None:
    """``""`` is none."""
    if not isinstance(key, str):
        raise TypeError(f"idempotency_key must be a str, not {type(key).__name__}")
    _check_kept("idempotency_key", key)


def check_version(version: int, version_epoch: str) -> None:
    """0 is none, whatever the epoch."""
    if not isinstance(version, int) or isinstance(version, bool):
        raise TypeError(f"version must be an int, not {version!r}")
    if not 0 <= version < 1 << 64:
        raise ValueError(f"version must be between 0 and 2**64 - 1, not {version!r}")
    if not isinstance(version_epoch, str):
        raise TypeError(f"version_epoch must be a str, not {type(version_epoch).__name__}")
    _check_kept("version_epoch", version_epoch)


def _check_kept(name: str, text: str) -> None:
    if len(text) > MOST_KEY:
        raise ValueError(
            f"{name} must be at most {MOST_KEY} characters, not {len(text)}: {text[:40]!r}...")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} must be encodable in UTF-8, not {text!r}") from None


def refuse_wildcard(engine: str, channel: str, options: ChannelOptions | None) -> None:
    """For an engine that has none: it would deliver nothing, and nobody would know why."""
    if options is not None and options.wildcards and ("*" in channel or ">" in channel):
        raise UnsupportedError(f"{engine}: no wildcard channels, such as {channel!r}")
