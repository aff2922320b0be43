"""What clients ask for, in the node's terms."""

from __future__ import annotations

from fanout import codes
from fanout._filter import TagsFilter
from fanout.events import SubscribeEvent
from fanout.server.protocol import messages as wire
from fanout.types import StreamPosition

__all__ = ["position", "subscribe_event", "tags_filter"]

REJECT_UNRECOVERED = 2      # of a subscribe request's flags


def subscribe_event(request: wire.SubscribeRequest, channel: str) -> SubscribeEvent:
    """Raises the protocol's error for what cannot be asked."""
    if request.delta not in ("", "fossil"):
        raise codes.DISCONNECT_BAD_REQUEST()
    if request.type:
        # Map and shared-poll subscriptions: there is no channel of that type.
        raise codes.ERROR_PERMISSION_DENIED()
    return SubscribeEvent(
        channel=channel,
        token=request.token,
        data=bytes(request.data),
        join_leave=request.join_leave,
        since=position(request.offset, request.epoch) if request.recover else None,
        positioned=request.positioned,
        recoverable=request.recoverable,
        reject_unrecovered=bool(request.flag & REJECT_UNRECOVERED),
        delta=request.delta,
        tags_filter=tags_filter(request.tf) if request.tf is not None else None,
    )


def position(offset: int, epoch: str) -> StreamPosition:
    """Raises the protocol's error when there is no such offset."""
    if not 0 <= offset < 1 << 64:
        raise codes.ERROR_BAD_REQUEST()
    return StreamPosition(offset, epoch)


def tags_filter(node: wire.FilterNode) -> TagsFilter:
    """Raises the protocol's error for a tree that selects nothing or anything."""
    try:
        return _filter(node)
    except (ValueError, RecursionError):
        raise codes.ERROR_BAD_REQUEST() from None


def _filter(node: wire.FilterNode) -> TagsFilter:
    return TagsFilter(
        node.op, node.key, node.cmp, node.val, tuple(node.vals),
        tuple(_filter(inner) for inner in node.nodes))
