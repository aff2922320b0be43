"""Nodes know of each other."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable

import pytest

from fanout import ClosedError, ConnectReply, ControlMessage, MemoryEngine, Node, NodeInfo
from fanout._expiry import Expiry
from fanout.peers import Peers
from tests.conformance.reference_engine import Bus, ReferenceEngine
from tests.model.clock import ManualClock
from tests.node.connections import Connection
from tests.node.engines import eventually

INFO = NodeInfo("u", "n", "1", 1, 2, 3, 4, 5.5)


@pytest.fixture
def make_node() -> Callable[..., Node]:
    bus = Bus(60, 60, 300, ManualClock())

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
@pytest.mark.parametrize("method", [
    "node", "disconnect", "unsubscribe", "history_removed", "shutdown", "unknown"])
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


INFO_OF_ANOTHER = json.loads(INFO.to_params())


@pytest.mark.parametrize(
    "change",
    [
        {"uid": "somebody"}, {"uid": ["u"]}, {"uid": 7}, {"name": None}, {"version": {}},
        {"num_clients": "1"}, {"num_users": 1.5}, {"num_channels": True},
        {"num_subscriptions": None}, {"uptime": "long"}, {"uptime": True},
    ],
    ids=str,
)
async def test_an_info_that_no_node_has_told_is_not_kept(
    change: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        params = json.dumps(INFO_OF_ANOTHER | change).encode()
        node.on_control(ControlMessage("u", "node", params))
        assert [info.uid for info in node.info()] == [node.uid]
    assert "control message" in caplog.text


async def test_nobody_speaks_for_this_node() -> None:
    async with Node() as node:
        params = json.dumps(INFO_OF_ANOTHER | {"uid": node.uid}).encode()
        node.on_control(ControlMessage("other", "node", params))
        assert [info.uid for info in node.info()] == [node.uid]


@pytest.mark.parametrize("method", [
    "node", "disconnect", "unsubscribe", "history_removed", "shutdown"])
async def test_deeply_nested_rubbish_is_logged(
    method: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        node.on_control(ControlMessage("other", method, b"[" * 200_000))
    assert "other" in caplog.text


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("disconnect", {"user": "u", "client": "", "code": "3000", "reason": "r"}),
        ("disconnect", {"user": "u", "client": "", "code": 3000.5, "reason": "r"}),
        ("disconnect", {"user": "u", "client": "", "code": 3000, "reason": 7}),
        ("disconnect", {"user": "u", "client": "", "code": 3000, "reason": "\ud800"}),
        ("disconnect", {"user": ["u"], "client": "", "code": 3000, "reason": "r"}),
        ("disconnect", {"user": "", "client": "", "code": 3000, "reason": "r"}),
        ("unsubscribe", {"channel": 7, "user": "u", "client": ""}),
        ("unsubscribe", {"channel": "a", "user": 7, "client": ""}),
        ("unsubscribe", {"channel": "a", "user": "", "client": ""}),
    ],
    ids=str,
)
async def test_an_order_that_no_node_has_given_is_refused_whole(
    method: str, params: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        node.on_connect(lambda event: ConnectReply(user="u"))
        node.on_subscribe(lambda client, event: None)
        connection = await Connection.made(node, "a")
        node.on_control(ControlMessage("other", method, json.dumps(params).encode()))
        while node._background:
            await asyncio.wait(list(node._background))
        assert not connection.client.closed
        assert connection.client.channels == ["a"]
    assert "cannot be read" in caplog.text
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


@pytest.mark.parametrize("channel", [None, 7, ["a"], {"a": 1}, True], ids=str)
async def test_a_removal_that_no_node_has_told(
    channel: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        params = json.dumps({"channel": channel}).encode()
        node.on_control(ControlMessage("other", "history_removed", params))
    assert "cannot be read" in caplog.text


async def test_a_node_that_tells_nothing_does_not_answer() -> None:
    """Not once, and not without a pause."""
    told: list[ControlMessage] = []
    async with Node(info_interval=0) as node:
        node.engine.publish_control = told.append  # type: ignore[method-assign,assignment]
        node.on_control(ControlMessage("u", "node", INFO.to_params()))
        await asyncio.sleep(0.01)   # whatever would be told comes sooner
        assert told == []
        assert node.info()[1:] == [INFO]


async def test_a_node_that_ended_does_not_tell_of_itself_again() -> None:
    clock = ManualClock()
    expiry = Expiry(clock)
    told: list[None] = []
    peers = Peers(expiry, 3.0, lambda: told.append(None))
    peers.start()
    peers.stop()
    peers.heard(INFO)
    clock.now += 10
    expiry.advance()
    assert len(told) == 1
    assert peers.all() == []


def test_many_new_nodes_do_not_put_off_the_answer() -> None:
    clock = ManualClock()
    expiry = Expiry(clock)
    told: list[None] = []
    peers = Peers(expiry, 3.0, lambda: told.append(None))
    for number in range(100):
        peers.heard(dataclasses.replace(INFO, uid=str(number)))
        clock.now += 0.01
        expiry.advance()
    assert 4 <= len(told) <= 50


def test_no_more_nodes_are_remembered_than_there_can_be(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fanout.peers.MOST_PEERS", 5)
    peers = Peers(Expiry(ManualClock()), 3.0, lambda: None)
    for number in range(9):
        peers.heard(dataclasses.replace(INFO, uid=str(number)))
    assert len(peers.all()) == 5
    peers.heard(dataclasses.replace(INFO, uid="0", name="renewed"))
    assert peers.all()[0].name == "renewed"


async def test_info_after_the_end() -> None:
    node = Node()
    with pytest.raises(ClosedError, match="not started"):
        node.info()
    async with node:
        pass
    with pytest.raises(ClosedError, match="closed"):
        node.info()


async def test_figures_of_the_applications_are_told(make_node: Callable[..., Node]) -> None:
    async with make_node(info_interval=0.02) as one, make_node(info_interval=0.02) as two:
        two.measure = lambda: {"jobs": 7, "load": 0.5}
        assert two.info()[0].metrics == {"jobs": 7, "load": 0.5}
        async with asyncio.timeout(10):
            while not any(i.metrics for i in one.info()):  # noqa: ASYNC110 - nodes tell nobody
                await asyncio.sleep(0.005)
        assert [i.metrics for i in one.info()] == [{}, {"jobs": 7, "load": 0.5}]


def test_an_info_of_another_version_is_read() -> None:
    assert b"metrics" not in INFO.to_params()       # which an older node does not know
    told = json.loads(INFO.to_params()) | {"what_comes_later": 1}
    assert NodeInfo.from_params(json.dumps(told).encode()) == INFO
    full = dataclasses.replace(INFO, metrics={"x": 1.5})
    assert NodeInfo.from_params(full.to_params()) == full


@pytest.mark.parametrize("metrics", [
    None, [], {"x": "1"}, {"x": None}, {"x": True}, {str(n): n for n in range(1001)}],
    ids=lambda metrics: repr(metrics)[:20])
def test_figures_that_no_node_has_told(metrics: object) -> None:
    told = json.loads(INFO.to_params()) | {"metrics": metrics}
    with pytest.raises((TypeError, ValueError), match="metric"):
        NodeInfo.from_params(json.dumps(told).encode())
