"""Questions to all nodes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fanout import BackpressureError, ClosedError, ConnectReply, ControlMessage, Node, SurveyError
from fanout import surveys as surveys_module
from tests.conformance.reference_engine import Bus, ReferenceEngine
from tests.model.clock import ManualClock
from tests.node.connections import Connection
from tests.node.engines import eventually

MakeNode = Callable[..., Node]


@pytest.fixture
def make_node() -> MakeNode:
    bus = Bus(60, 60, 300, ManualClock())

    def make(**arguments: Any) -> Node:
        node = Node(ReferenceEngine(bus), **arguments)
        node.on_connect(lambda event: ConnectReply(user=event.token))
        node.on_subscribe(lambda client, event: None)
        return node

    return make


async def know(*nodes: Node) -> None:
    await eventually(lambda: all(len(node.info()) == len(nodes) for node in nodes))


def answering(node: Node, method: str = "who") -> None:
    node.on_survey(method, lambda params: node.name.encode() + b" " + params)


async def test_a_node_alone_answers_itself() -> None:
    async with Node(name="one") as node:
        answering(node)
        assert await node.survey("who", b"asks") == {node.uid: b"one asks"}
        assert await node.survey("who", b"asks", to=node.uid) == {node.uid: b"one asks"}


async def test_all_answer_or_the_one_that_is_asked(make_node: MakeNode) -> None:
    async with make_node(name="one") as one, make_node(name="two") as two:
        await know(one, two)
        answering(one)

        async def later(params: bytes) -> bytes:
            await asyncio.sleep(0)
            return b"two " + params

        two.on_survey("who", later)
        body = b"\n\x00{\n"
        assert await one.survey("who", body) == {one.uid: b"one " + body, two.uid: b"two " + body}
        assert await one.survey("who", to=two.uid) == {two.uid: b"two "}
        assert await one.survey("who", to=one.uid) == {one.uid: b"one "}
        assert one.surveys._waiting == two.surveys._waiting == {}


async def test_many_at_once_keep_their_answers_apart(make_node: MakeNode) -> None:
    async with make_node(name="one") as one, make_node(name="two") as two:
        await know(one, two)
        for node in (one, two):
            answering(node)
        bodies = [str(number).encode() for number in range(200)]
        answers = await asyncio.gather(*(one.survey("who", body) for body in bodies))
        assert answers == [
            {one.uid: b"one " + body, two.uid: b"two " + body} for body in bodies]


async def test_none_is_an_empty_answer() -> None:
    async with Node() as node:
        node.on_survey("nothing", lambda params: None)
        assert await node.survey("nothing") == {node.uid: b""}


async def test_who_does_not_answer_is_named(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        never = asyncio.Event()
        two.on_survey("who", lambda params: waits(never))
        with pytest.raises(SurveyError) as raised:
            await one.survey("who", timeout=0.01)
        assert raised.value.missing[two.uid] == "it did not answer in time"
        assert two.uid in str(raised.value)
        # Nobody waits any more, so the other stops too.
        await eventually(lambda: not two._background)


async def waits(event: asyncio.Event) -> bytes:
    await event.wait()
    return b""


async def test_this_node_may_be_the_late_one() -> None:
    async with Node() as node:
        never = asyncio.Event()
        node.on_survey("who", lambda params: waits(never))
        with pytest.raises(SurveyError, match="did not answer in time"):
            await node.survey("who", timeout=0.01)


async def test_a_late_answer_is_dropped(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        head = b'{"id": 1, "to": "%s", "error": ""}\n' % one.uid.encode()
        with pytest.raises(SurveyError):
            await one.survey("who", timeout=0.01)
        one.on_control(ControlMessage(two.uid, "answer", head + b"late"))


async def test_only_who_was_asked_answers(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        go = asyncio.Event()
        two.on_survey("who", lambda params: waits(go))
        task = asyncio.create_task(one.survey("who"))
        await eventually(lambda: two._background)
        head = b'{"id": 1, "to": "%s", "error": ""}\n' % one.uid.encode()
        one.on_control(ControlMessage("stranger", "answer", head + b"me"))
        elsewhere = b'{"id": 1, "to": "stranger", "error": ""}\n'
        one.on_control(ControlMessage(two.uid, "answer", elsewhere + b"not you"))
        go.set()
        assert set(await task) == {one.uid, two.uid}
        assert (await task)[two.uid] == b""


async def test_a_node_that_leaves_is_not_waited_for(make_node: MakeNode) -> None:
    async with make_node() as one:
        answering(one)
        two = make_node()
        await two.run()
        await know(one, two)
        go = asyncio.Event()
        two.on_survey("who", lambda params: waits(go))
        task = asyncio.create_task(one.survey("who", timeout=1000))
        await eventually(lambda: two._background)
        one.on_control(ControlMessage(two.uid, "shutdown", b"{}"))
        with pytest.raises(SurveyError) as raised:
            await task
        assert raised.value.missing == {two.uid: "it left"}
        assert list(raised.value.answers) == [one.uid]
        go.set()
        await two.shutdown()


async def test_what_fails_elsewhere_is_told_without_its_text(
    make_node: MakeNode, caplog: pytest.LogCaptureFixture
) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)

        def fail(params: bytes) -> bytes:
            raise RuntimeError("the password is secret")

        two.on_survey("who", fail)
        with pytest.raises(SurveyError) as raised:
            await one.survey("who")
        assert raised.value.missing == {two.uid: "its handler failed: RuntimeError"}
        answering(one, "unknown there")
        with pytest.raises(SurveyError, match="has no handler"):
            await one.survey("unknown there")
    assert "could not be answered" in caplog.text


async def test_bad_questions() -> None:
    async with Node() as node:
        answering(node)
        with pytest.raises(ValueError, match="no handler at this node"):
            await node.survey("unknown")
        with pytest.raises(SurveyError, match="not known"):
            await node.survey("who", to="nobody")
        with pytest.raises(TypeError, match="params must be bytes"):
            await node.survey("who", "text")        # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timeout"):
            await node.survey("who", timeout=0)
        with pytest.raises(ValueError, match="at most 1000000 bytes"):
            await node.survey("who", bytes(1_000_001))
        with pytest.raises(ValueError, match="has a handler already"):
            answering(node)
        with pytest.raises(TypeError, match="callable"):
            node.on_survey("x", 7)      # type: ignore[arg-type]
    with pytest.raises(ClosedError):
        await node.survey("who")


async def test_what_waits_is_bounded(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(surveys_module, "MOST_WAITING", 2)
    monkeypatch.setattr(surveys_module, "MOST_ANSWERING", 1)
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        go = asyncio.Event()
        two.on_survey("who", lambda params: waits(go))
        tasks = [
            asyncio.create_task(one.survey("who", timeout=seconds)) for seconds in (1000, 0.05)]
        await eventually(lambda: len(one.surveys._waiting) == 2)
        with pytest.raises(BackpressureError, match="2 surveys"):
            await one.survey("who")
        # The second finds the other busy, and hears nothing.
        await eventually(lambda: "is not answered" in caplog.text)
        go.set()
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, dict)
        assert isinstance(second, SurveyError)


async def test_an_answer_has_a_bound(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        one.on_survey("much", lambda params: b"")
        two.on_survey("much", lambda params: bytes(1_000_001))
        with pytest.raises(SurveyError, match="1000001 bytes is longer than 1000000"):
            await one.survey("much")


async def test_a_shutdown_ends_what_is_asked(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        go = asyncio.Event()
        two.on_survey("who", lambda params: waits(go))
        task = asyncio.create_task(one.survey("who", timeout=1000))
        await eventually(lambda: two._background)
        await one.shutdown()
        with pytest.raises(ClosedError):
            await task
        go.set()


async def test_an_engine_that_cannot_tell(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        answering(one)
        one.engine.bus.error = ConnectionError("away")    # type: ignore[attr-defined]
        with pytest.raises(ConnectionError, match="away"):
            await one.survey("who")
        one.engine.bus.error = None     # type: ignore[attr-defined]
        assert one.surveys._waiting == {}


@pytest.mark.parametrize("method", ["survey", "answer"])
@pytest.mark.parametrize("head", [
    b"", b"{", b"[]", b"7", b"{}", b"\xff", b"[" * 100_000,
    b'{"id": "1", "method": "who", "to": "", "seconds": 1, "error": ""}',
    b'{"id": 1, "method": 7, "to": 7, "seconds": 1, "error": ""}',
    b'{"id": 1, "method": "who", "to": "", "seconds": "1", "error": 7}',
], ids=lambda head: head[:60].decode(errors="replace"))
async def test_heads_that_no_node_has_written(
    method: str, head: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with Node() as node:
        answering(node)
        node.on_control(ControlMessage("other", method, head + b"\nbody"))
        assert not node._background
    assert "cannot be read" in caplog.text
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


async def test_channel_counts(make_node: MakeNode) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        assert await one.channel_counts() == {}
        for node, channels in ((one, "ab"), (one, "a"), (two, "ac")):
            connection = Connection(node)
            await connection.connect("u")
            for channel in channels:
                await connection.subscribe(channel)
            node.kept = connection      # type: ignore[attr-defined]
        readers = [one.subscribe("a", "only-here"), two.subscribe("c")]
        for node in (one, two):
            assert await node.channel_counts() == {"a": 3, "b": 1, "c": 1}
        assert await one.channel_counts("[ab]") == {"a": 3, "b": 1}
        assert await one.channel_counts("nothing*") == {}
        with pytest.raises(TypeError, match="pattern"):
            await one.channel_counts(7)     # type: ignore[arg-type]
        for reader in readers:
            reader.close()


async def test_counts_go_on_without_a_node_that_left(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with make_node() as one, make_node() as two:
        await know(one, two)
        connection = await Connection.made(one, "a")
        held: list[ControlMessage] = []
        monkeypatch.setattr(two, "on_control", held.append)
        two.engine.events = two      # type: ignore[attr-defined]
        task = asyncio.create_task(one.channel_counts())
        await eventually(lambda: held)
        assert json.loads(held[0].params.partition(b"\n")[0])["method"] == "channels"
        one.on_control(ControlMessage(two.uid, "shutdown", b"{}"))
        assert await task == {"a": 1}
        del connection
