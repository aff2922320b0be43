"""Who is measured beside whom: in a group all do the same, through the same broker."""

from collections.abc import Sequence
from dataclasses import dataclass

from benches.engines import fanout_contenders as own
from benches.engines import nats_contenders as nats
from benches.engines import redis_contenders as redis
from benches.engines.contender import Contender

PIPELINE_GOAL = 0.9
"""fanout's throughput, of a pipeline's of redis-py."""
AWAITED_GOAL = 5.0
"""fanout's throughput, of what redis-py reaches awaiting each publish."""

AWAITED = "awaited"
"""The name of the contender that awaits each publish."""


@dataclass(frozen=True)
class Group:
    """``goals`` are for fanout's throughput over that of the contender of that name.

    The first contender is fanout.
    """

    title: str
    text: str
    broker: str
    contenders: Sequence[type[Contender]]
    goals: Sequence[tuple[str, float]] = ()
    jetstream: bool = False

    def find(self, name: str) -> type[Contender]:
        return next(kind for kind in self.contenders if kind.name == name)


GROUPS = {
    "valkey": Group(
        "Valkey, without history",
        "A PUBLISH for each message.",
        "valkey",
        (
            own.RedisNode,
            own.RedisEngineAlone,
            redis.Pipeline,
            redis.OneByOne,
            redis.ChannelsLayer,
            redis.Broadcaster,
        ),
        (("pipeline", PIPELINE_GOAL), (AWAITED, AWAITED_GOAL)),
    ),
    "valkey-history": Group(
        "Valkey, with history",
        "Each message is stored, with its offset, and published.",
        "valkey",
        (
            own.RedisStream,
            own.RedisList,
            redis.ScriptPipeline,
            redis.AppendPipeline,
            redis.ScriptOneByOne,
        ),
        (("pipeline", PIPELINE_GOAL), ("append", PIPELINE_GOAL), (AWAITED, AWAITED_GOAL)),
    ),
    "nats": Group(
        "NATS, without history",
        "Core NATS; a batch is done when the server has answered a ping sent behind it.",
        "nats",
        (own.NatsNode, nats.NatsPy),
    ),
    "jetstream": Group(
        "NATS, with history",
        "Each message is stored by JetStream, which acknowledges it.",
        "nats",
        (own.JetStreamNode, nats.JetStreamPy),
        jetstream=True,
    ),
}
