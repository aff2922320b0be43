"""What holds in a channel, for those who act in the application's name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Protocol

from fanout.events import SubscribeReply
from fanout.node import Node
from fanout.types import ChannelOptions

__all__ = ["ChannelSource", "NodeChannels", "Rules"]


class Rules(Protocol):
    """Those of one channel, or of several.

    ``data_format`` is a ``publication_data_format`` of the configuration;
    ``by_server`` is what a subscription that the application makes is like.
    """

    @property
    def channel_options(self) -> ChannelOptions: ...
    @property
    def data_format(self) -> str: ...
    @property
    def by_server(self) -> SubscribeReply: ...
    @property
    def is_stream(self) -> bool:
        """Whether its channels are of the one type that is served here."""
        ...


class ChannelSource(Protocol):
    def resolve(self, channel: str) -> Rules | None:
        """The rules of ``channel``; None when there is no such channel."""
        ...


_USUAL = SubscribeReply()


@dataclass(frozen=True, slots=True)
class PlainRules:
    """A channel's options say all."""

    channel_options: ChannelOptions
    data_format: str = ""
    by_server: SubscribeReply = _USUAL
    is_stream: bool = True


class NodeChannels:
    """The channels that a node knows, as an application made it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def resolve(self, channel: str) -> Rules | None:
        options = self._node.channel_options(channel)
        return None if options is None else _plain(options)


_plain = functools.lru_cache(maxsize=1024)(PlainRules)
