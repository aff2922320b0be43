"""What the node answers, in the protocol's terms."""

from __future__ import annotations

import math
import time

from fanout.client_subscription import SubscribeResult
from fanout.server.protocol import Protocol
from fanout.server.protocol import messages as wire

__all__ = ["subscribe_push", "subscribe_result", "time_left"]

MOST_SECONDS = 0xFFFFFFFF       # the protocol's field has 32 bits


def time_left(expire_at: float) -> int:
    """Whole seconds until then; 0 for never."""
    if not expire_at:
        return 0
    return min(MOST_SECONDS, max(1, math.ceil(expire_at - time.time())))


def subscribe_result(protocol: Protocol, result: SubscribeResult) -> wire.SubscribeResult:
    """Raises ``ValueError`` when something in it cannot be said in the encoding."""
    reply = wire.SubscribeResult(
        expires=result.expire_at > 0,
        ttl=time_left(result.expire_at),
        data=protocol.embedded(result.data),
        delta=result.delta,
        was_recovering=result.was_recovering,
    )
    if result.position is None:
        return reply
    reply.recoverable = result.recoverable
    reply.positioned = True
    reply.epoch = result.position.epoch
    reply.offset = result.position.offset
    if result.missed is not None:
        reply.recovered = True
        reply.publications = protocol.publications(result.missed, delta=result.delta)
        if result.missed:
            # The client counts on from where it was with each of them.
            reply.offset = result.since.offset if result.since is not None else 0
    return reply


def subscribe_push(protocol: Protocol, result: SubscribeResult) -> wire.SubscribePush:
    """What a client is told of a subscription that it did not ask for."""
    push = wire.SubscribePush(data=protocol.embedded(result.data))
    if result.position is not None:
        push.recoverable = result.recoverable
        push.positioned = True
        push.epoch = result.position.epoch
        push.offset = result.position.offset
        if result.missed:
            push.offset = result.since.offset if result.since is not None else 0
    return push
