"""Nodes know of each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fanout import ControlMessage, MemoryEngine, Node, NodeInfo
from fanout._expiry import Expiry
from fanout.peers import Peers
from tests.conformance.reference_engine import Bus, ReferenceEngine
from tests.model.clock import ManualClock
from tests.node.engines import eventually

INFO = NodeInfo("u", "n", "1", 1, 2, 3, 4, 5.5)


@pytest.fixture
def make_node() -> Callable[..., Node]:
    bus = Bus(60, 60, ManualClock())

    def make(**arguments: object) -> Node:
        return Node(ReferenceEngine(bus), **arguments)  # type: ignore[arg-type]

    return make


async def test_a_node_alone_knows_itself() -> None:
    async with Node(MemoryEngine(), name="one") as node:
        queue = node.subscribe("a", "b")
        (info,) = node.info()
        assert (info.uid, info.name) == (node.uid, "one")
        assert (info.num_clients, info.num_channels, info.num_subscriptions) == (0, 2, 2)
        assert info.version
        assert info.uptime >= 0
        queue.close()


async def test_nodes_hear_of_each_other_at_once_and_of_the_end(
    make_node: Callable[..., Node]
) -> None:
    """The interval is far beyond the test's patience: a new node is answered."""
    async with make_node(name="one", info_interval=1000) as one:
        async with make_node(name="two", info_interval=1000) as two:
            for node in (one, two):
                async with asyncio.timeout(10):
                    while len(node.info()) < 2:  # noqa: ASYNC110 - nodes tell nobody
                        await asyncio.sleep(0.01)
            assert [info.name for info in one.info()] == ["one", "two"]
            assert [info.name for info in two.info()] == ["two", "one"]
        await eventually(lambda: len(one.info()) == 1)


async def test_what_they_tell_is_renewed(make_node: Callable[..., Node]) -> None:
    async with make_node(info_interval=0.02) as one, make_node(info_interval=0.02) as two:
        queue = two.subscribe("a")
        async with asyncio.timeout(10):
            while not any(i.num_channels for i in one.info()):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        queue.close()


async def test_a_node_that_is_silent_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fanout.peers.time.monotonic", lambda: now)
    peers = Peers(Expiry(ManualClock()), 3.0, lambda: None)
    peers.heard(INFO)
    now += 6.9
    assert peers.all() == [INFO]
    now += 0.2
    assert peers.all() == []


def test_an_info_comes_back() -> None:
    assert NodeInfo.from_params(INFO.to_params()) == INFO


@pytest.mark.parametrize("params", [b"", b"[]", b"{", b'{"uid": 1}', b"\xff", b"7", b'{"x": 1}'])
@pytest.mark.parametrize("method", ["node", "disconnect", "unsubscribe", "shutdown", "unknown"])
async def test_rubbish_from_another_node_is_logged(
    method: str, params: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        node.on_control(ControlMessage("other", method, params))
        assert len(node.info()) == 1
    if (method, params) not in {("shutdown", b'{"uid": 1}'), ("shutdown", b'{"x": 1}'),
                                ("shutdown", b"[]"), ("shutdown", b"7")}:
        assert "other" in caplog.text


@pytest.mark.parametrize("what", ["info_interval", "position_check_interval"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan")])
def test_intervals_are_checked(what: str, value: float) -> None:
    with pytest.raises(ValueError, match=what):
        Node(**{what: value})   # type: ignore[arg-type]
