"""Clients that lose their connections at any moment, under any load.

Whatever happens to it, a client ends with exactly the channel's log; or it was told, by a
``recovered: false``, that it lost something, and then only because the history is shorter than
what it missed. Published clients play this, each on a wire of its own to one server.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import cent
import pytest
import pytest_asyncio
from centrifuge import (  # type: ignore[import-untyped]
    DeltaType,
    SubscriptionEventHandler,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.clients.agent import Agent, Way, in_node, node_with_client
from tests.clients.centrifuge_python import JSON, PROTOBUF, Encoding
from tests.clients.deployment import Deployment, deployed, token, unique
from tests.system.checker import Acknowledged, Interrupted, Received, Subscribed, check, stretches
from tests.wire import Wire

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLISHERS = ("ada", "ben")
PATIENCE_S = 20.0


def payload(publisher: str, number: int) -> dict[str, Any]:
    """What a publish carries: much of it as in the one before, some of it not."""
    return {
        "publisher": publisher, "number": number,
        "same": "é😀 the same in every message " * 10, "other": "xyz"[number % 3] * (number % 50),
    }


class Subject:
    """A client that keeps the log of what it was told about the channel."""

    def __init__(self, name: str, wire: Wire) -> None:
        self.name = name
        self.wire = wire
        self.log: list[Subscribed | Received | Interrupted] = []
        self.wrong: list[str] = []
        self._more = asyncio.Event()

    def subscribed(self, position: tuple[str, int], was_recovering: bool, recovered: bool) -> None:
        self.log.append(Subscribed(*position, was_recovering, recovered))
        self._more.set()

    def received(self, offset: int, data: Any) -> None:
        publisher, number = data["publisher"], data["number"]
        if data != payload(publisher, number):
            self.wrong.append(f"{self.name}: {offset} is {data}")
        self.log.append(Received(offset, publisher, number))
        self._more.set()

    def interrupted(self, reason: str) -> None:
        self.log.append(Interrupted(reason))

    @property
    def place(self) -> tuple[str, int]:
        found, _ = stretches(self.log)
        return (found[-1].epoch, found[-1].last) if found else ("", 0)

    @property
    def losses(self) -> list[Subscribed]:
        return [
            entry for entry in self.log
            if isinstance(entry, Subscribed) and entry.was_recovering and not entry.recovered]

    async def until(self, place: tuple[str, int]) -> None:
        """Wait until it received the stream up to a place."""
        await self._until(lambda: self.place == place, f"at {place}")

    async def until_back(self) -> None:
        """Wait until it has recovered once."""
        await self._until(
            lambda: isinstance(self.log[-1], Subscribed) and self.log[-1].was_recovering, "back")

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{self.name} is not {what}: {self.log[-20:]}") from None

    resubscribe: Callable[[], Awaitable[None]]


Begin = Callable[[Wire, str], contextlib.AbstractAsyncContextManager[Subject]]


class _Events(SubscriptionEventHandler):  # type: ignore[misc]
    def __init__(self, subject: Subject, encoding: Encoding) -> None:
        self.subject = subject
        self.encoding = encoding

    async def on_subscribed(self, ctx: Any) -> None:
        place = (ctx.stream_position.epoch, ctx.stream_position.offset)
        self.subject.subscribed(place, ctx.was_recovering, ctx.recovered)

    async def on_publication(self, ctx: Any) -> None:
        self.subject.received(ctx.pub.offset, self.encoding.back(ctx.pub.data))

    async def on_subscribing(self, ctx: Any) -> None:
        self.subject.interrupted(ctx.reason)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self.subject.interrupted(ctx.reason)


def python(encoding: Encoding, delta: bool) -> Begin:
    """centrifuge-python."""
    name = f"python {encoding}{' delta' if delta else ''}"

    @contextlib.asynccontextmanager
    async def begin(wire: Wire, channel: str) -> AsyncIterator[Subject]:
        subject = Subject(name, wire)
        async with encoding.connected(
            f"ws://127.0.0.1:{wire.port}/connection/websocket", token=token("reader"),
            min_reconnect_delay=0.01, max_reconnect_delay=0.05,
        ) as (client, _):
            subscription = client.new_subscription(
                channel, _Events(subject, encoding), delta=DeltaType.FOSSIL if delta else None,
                min_resubscribe_delay=0.01, max_resubscribe_delay=0.05)
            await subscription.subscribe()
            await subscription.ready(PATIENCE_S)

            async def resubscribe() -> None:
                await subscription.unsubscribe()
                await subscription.subscribe()

            subject.resubscribe = resubscribe
            yield subject

    return begin


def javascript(agent: Agent, way: Way, delta: bool) -> Begin:
    """centrifuge-js in Node."""
    name = f"javascript {way}{' delta' if delta else ''}"

    @contextlib.asynccontextmanager
    async def begin(wire: Wire, channel: str) -> AsyncIterator[Subject]:
        subject = Subject(name, wire)

        def told(event: str, context: Any) -> None:
            match event:
                case "subscribed":
                    position = context["streamPosition"]
                    subject.subscribed(
                        (position["epoch"], position["offset"]),
                        context["wasRecovering"], context["recovered"])
                case "publication":
                    subject.received(context["offset"], context["data"])
                case "subscribing" | "unsubscribed":
                    subject.interrupted(context["reason"])

        async with agent.client(**way.options(wire.port), token=token("reader")) as client:
            await client.call("connect")
            subscription = await client.subscription(
                channel, kept=told, minResubscribeDelay=10, maxResubscribeDelay=50,
                **({"delta": "fossil"} if delta else {}))
            await subscription.call("ready")

            async def resubscribe() -> None:
                await subscription.call("unsubscribe")
                await subscription.call("subscribe")

            subject.resubscribe = resubscribe
            yield subject

    return begin


Step = tuple[str, int, int]
"""What happens, to which client, and how much of it."""


def plans(clients: int) -> st.SearchStrategy[list[Step]]:
    client = st.integers(0, clients - 1)
    beginning = st.sampled_from([[], [("all go and come", 0, 0)]])
    then = st.lists(
        st.one_of(
            st.tuples(st.just("publish"), st.integers(0, 1), st.integers(1, 12)),
            st.tuples(st.just("cut"), client, st.just(0)),
            st.tuples(st.just("cut after"), client, st.integers(1, 3000)),
            st.tuples(st.just("mend"), client, st.just(0)),
            st.tuples(st.just("disconnect"), client, st.just(0)),
            st.tuples(st.just("resubscribe"), client, st.just(0)),
            st.tuples(st.just("wait"), st.just(0), st.integers(1, 20)),
        ),
        min_size=5, max_size=40)
    return st.builds(list.__add__, beginning, then)


async def play(
    deployment: Deployment, namespace: str, begins: Sequence[Begin], plan: Sequence[Step]
) -> list[Subject]:
    """Let the plan happen, and judge what the clients were told."""
    channel = unique(f"{namespace}:")
    acknowledged: list[Acknowledged] = []
    bursts: list[asyncio.Task[None]] = []
    numbers = dict.fromkeys(PUBLISHERS, 0)
    turns = {publisher: asyncio.Lock() for publisher in PUBLISHERS}

    async def publish(publisher: str, count: int) -> None:
        # One at a time for each publisher: the order of its numbers is that of the stream.
        async with turns[publisher]:
            for _ in range(count):
                numbers[publisher] += 1
                number = numbers[publisher]
                result = await deployment.api.publish(cent.PublishRequest(
                    channel=channel, data=payload(publisher, number)))
                acknowledged.append(
                    Acknowledged(result.epoch, result.offset, publisher, number))

    # Clients begin in the middle of a stream, and have nothing of what was before.
    await publish(PUBLISHERS[0], 2)
    async with contextlib.AsyncExitStack() as stack:
        subjects = []
        for begin in begins:
            wire = stack.enter_context(deployment.wire())
            subjects.append(await stack.enter_async_context(begin(wire, channel)))
        for what, which, how_much in plan:
            match what:
                case "all go and come":
                    await deployment.disconnect("reader", 3100, "come again")
                    for subject in subjects:
                        await subject.until_back()
                case "publish":
                    bursts.append(asyncio.create_task(publish(PUBLISHERS[which], how_much)))
                case "cut":
                    await asyncio.to_thread(subjects[which].wire.cut)
                case "cut after":
                    await asyncio.to_thread(subjects[which].wire.cut_after, how_much)
                case "mend":
                    await asyncio.to_thread(subjects[which].wire.mend)
                case "disconnect":
                    await deployment.disconnect("reader", 3100, "come again")
                case "resubscribe":
                    await subjects[which].resubscribe()
                case "wait":
                    await asyncio.sleep(how_much / 1000)
        await asyncio.gather(*bursts)
        for subject in subjects:
            await asyncio.to_thread(subject.wire.mend)
        for publisher in PUBLISHERS:
            top = max(acknowledged, key=lambda one: one.offset)
            for subject in subjects:
                await subject.until((top.epoch, top.offset))
            await publish(publisher, 1)
        last = acknowledged[-1]
        for subject in subjects:
            await subject.until((last.epoch, last.offset))
    wrong = check({subject.name: subject.log for subject in subjects}, acknowledged)
    assert not wrong + [each for subject in subjects for each in subject.wrong]
    return subjects


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployed(tmp_path_factory.mktemp("deployment")) as deployment:
        yield deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent() -> AsyncIterator[Agent]:
    async with in_node(node_with_client()) as agent:
        yield agent


PYTHON = [python(JSON, False), python(PROTOBUF, False), python(JSON, True), python(PROTOBUF, True)]
# What happens depends on more than the plan: there is little to gain from smaller ones.
UNHURRIED = settings(
    max_examples=10, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))


@UNHURRIED
@given(plan=plans(len(PYTHON)))
async def test_python_clients_end_with_the_log(deployment: Deployment, plan: list[Step]) -> None:
    for subject in await play(deployment, "delta", PYTHON, plan):
        # The history is longer than what is published: whatever was missed is there.
        assert not subject.losses


@UNHURRIED
@given(plan=plans(len(PYTHON)))
async def test_python_clients_are_told_of_what_they_lost(
    deployment: Deployment, plan: list[Step]
) -> None:
    await play(deployment, "short", PYTHON, plan)


WAYS = [
    (Way("websocket"), False), (Way("websocket"), True),
    (Way("websocket", "protobuf"), True), (Way("http_stream"), True),
    (Way("http_stream", "protobuf"), True), (Way("sse"), False), (Way("sse"), True),
]


@UNHURRIED
@given(plan=plans(len(WAYS)))
async def test_javascript_clients_end_with_the_log(
    agent: Agent, deployment: Deployment, plan: list[Step]
) -> None:
    begins = [javascript(agent, *way) for way in WAYS]
    for subject in await play(deployment, "delta", begins, plan):
        assert not subject.losses


@UNHURRIED
@given(plan=plans(len(WAYS)))
async def test_javascript_clients_are_told_of_what_they_lost(
    agent: Agent, deployment: Deployment, plan: list[Step]
) -> None:
    begins = [javascript(agent, *way) for way in WAYS]
    await play(deployment, "short", begins, plan)
