"""Three servers on NATS without JetStream: delivery at most once, and nothing kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from centrifuge import ReplyError  # type: ignore[import-untyped]

from fanout import Node
from tests.system.cluster import Cluster
from tests.system.load import Load
from tests.system.subscriber import Subscriber
from tests.system.waiting import equal, until

BROKEN = "the engine's link broke"


def numbers(subscriber: Subscriber, channel: str) -> list[int]:
    return [entry.number for entry in subscriber.received(channel)]


def assert_once_and_in_order(subscribers: Sequence[Subscriber], channel: str) -> None:
    for each in subscribers:
        received = numbers(each, channel)
        assert received == sorted(set(received)), each.name


async def test_every_message_reaches_every_subscriber_once_and_in_order(
    core: Cluster, core_node: Node, plain: str
) -> None:
    async with core.subscribers(plain) as subscribers:
        async with Load(core_node, [plain]) as load:
            await load.more(100)
        assert not load.failures
        published = [item.number for item in load.acknowledged[plain]]
        await until(
            lambda: all(len(each.received(plain)) >= len(published) for each in subscribers),
            "all received",
        )
        assert all(numbers(each, plain) == published for each in subscribers)
        assert await core_node.channels(plain) == [plain]
    await equal(lambda: core_node.channels(plain), [])


async def test_a_wildcard_hears_what_others_publish(
    core: Cluster, core_node: Node, plain: str
) -> None:
    async with core.subscribers(f"{plain}.*", f"{plain}.>") as subscribers:
        for channel in (f"{plain}.a", f"{plain}.a.b", plain):
            await core_node.publish(channel, b'{"publisher": "p", "number": 1}')
        await core_node.publish(f"{plain}.end", b'{"publisher": "p", "number": 2}')
        for each in subscribers:
            await until(
                lambda each=each: numbers(each, f"{plain}.>")[-1:] == [2],  # type: ignore[misc]
                "the last one",
            )
            await until(
                lambda each=each: numbers(each, f"{plain}.*")[-1:] == [2],  # type: ignore[misc]
                "the last one",
            )
            assert numbers(each, f"{plain}.*") == [1, 2]
            assert numbers(each, f"{plain}.>") == [1, 1, 2]
        with pytest.raises(ReplyError) as caught:
            await subscribers[0].client.publish(f"{plain}.*", {})
        assert caught.value.code == 107
        # Beyond its namespace a wildcard is refused.
        refused = subscribers[0].client.new_subscription("*.a")
        await refused.subscribe()
        await until(lambda: refused.state.value == "unsubscribed", "refused")


async def test_users_are_unsubscribed_and_disconnected_from_any_node(
    core: Cluster, core_node: Node, plain: str
) -> None:
    async with core.subscribers(plain) as subscribers:
        out, gone = subscribers[0], subscribers[5]
        await core_node.unsubscribe(plain, user=out.user)
        await core_node.disconnect(user=gone.user)
        await until(lambda: out.unsubscribed(plain) == [2000], "unsubscribed")
        await until(lambda: gone.disconnected == [3503], "disconnected")
        assert not any(each.unsubscribed(plain) for each in subscribers[1:5])
        assert not any(each.disconnected for each in subscribers[:5])


async def test_the_broker_is_killed(core: Cluster, core_node: Node, plain: str) -> None:
    before = [core.logged(number, BROKEN) for number in range(3)]
    async with core.subscribers(plain) as subscribers:
        async with Load(core_node, [plain]) as load:
            await load.more(50)
            await asyncio.to_thread(core.broker.kill)
            await load.failed()
            await until(
                lambda: all(core.logged(n, BROKEN) > before[n] for n in range(3)), "all say so")
            await asyncio.to_thread(core.broker.start)
            await load.more()
        await all_hear(core, core_node, plain, subscribers, load)
        assert_once_and_in_order(subscribers, plain)
    assert [each.num_connects for each in subscribers] == [1] * 6


async def test_one_server_is_parted_from_the_broker(
    core: Cluster, core_node: Node, plain: str
) -> None:
    before = [core.logged(number, BROKEN) for number in range(3)]
    async with core.subscribers(plain) as subscribers:
        async with Load(core_node, [plain]) as load:
            await load.more(50)
            core.proxies[2].stall()
            core.proxies[2].refuse()
            await until(lambda: core.logged(2, BROKEN) > before[2], "it says so")
            await load.more(50)
            core.proxies[2].cut()
            core.proxies[2].unstall()
            core.proxies[2].accept()
            assert not load.failures
            await all_hear(core, core_node, plain, subscribers, load)
        assert_once_and_in_order(subscribers, plain)
        # Nobody was told: a channel that does not recover has no way to say so.
        near = [item.number for item in load.acknowledged[plain]]
        await until(lambda: numbers(subscribers[0], plain) == near, "the near have it all")
        assert len(numbers(subscribers[4], plain)) < len(near)
    assert [core.logged(n, BROKEN) - before[n] for n in (0, 1)] == [0, 0]


async def all_hear(
    core: Cluster, node: Node, plain: str, subscribers: Sequence[Subscriber], load: Load
) -> None:
    """Publish until everybody has received a publish of after this call."""
    last = load.acknowledged[plain][-1].number

    async def heard() -> bool:
        await load.mark(plain)
        return all(numbers(each, plain)[-1] > last for each in subscribers)

    await equal(heard, True)
