"""Whoever gives an order is told when the broker did not take it for the other nodes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from fanout import ConnectReply, EngineUnavailableError, NatsEngine, Node, RedisEngine, RefreshReply
from tests.brokers.nats import NatsServer
from tests.brokers.server import BrokerServer
from tests.brokers.valkey import ValkeyServer
from tests.node.connections import Connection

TIMEOUT = 0.4       # seconds


@pytest.fixture(params=["valkey", "nats"])
def broker(request: pytest.FixtureRequest) -> Iterator[ValkeyServer | NatsServer]:
    """One that a test may do anything to."""
    with ValkeyServer() if request.param == "valkey" else NatsServer() as broker:
        yield broker


def made(broker: ValkeyServer | NatsServer) -> Node:
    prefix = f"orders-{secrets.token_hex(4)}"
    if isinstance(broker, ValkeyServer):
        node = Node(RedisEngine(broker.url, prefix=prefix, timeout=TIMEOUT))
    else:
        node = Node(NatsEngine(broker.url, prefix=prefix, timeout=TIMEOUT))
    node.on_connect(lambda event: ConnectReply(user=event.token))
    node.on_subscribe(lambda client, event: None)
    return node


def make_away(broker: BrokerServer, how: str) -> None:
    broker.kill() if how == "killed" else broker.pause()


@pytest.mark.parametrize("how", ["killed", "hangs"])
@pytest.mark.parametrize("order", ["disconnect", "unsubscribe", "refresh", "subscribe"])
async def test_an_order_that_the_broker_does_not_take_fails(
    broker: ValkeyServer | NatsServer, order: str, how: str
) -> None:
    """It is carried out at the node that was called all the same, as it is told last."""
    async with made(broker) as node:
        connection = Connection(node)
        await connection.connect(token="u")
        for channel in ("a", "b"):
            await connection.subscribe(channel)
        make_away(broker, how)
        with pytest.raises(EngineUnavailableError) as raised:
            if order == "disconnect":
                await node.disconnect(user="u")
            elif order == "unsubscribe":
                await node.unsubscribe("a", user="u")
            elif order == "refresh":
                await node.refresh_user(user="u", reply=RefreshReply(expired=True))
            else:
                await node.subscribe_user("b", user="u")
        if how == "hangs":
            assert raised.value.maybe_done
        if order == "unsubscribe":
            assert connection.client.channels == ["b"]
        elif order != "subscribe":
            assert connection.ended is not None
