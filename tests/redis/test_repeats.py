"""A publish whose answer is missing is repeated with the same key: done once all the same."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from fanout import ChannelOptions, EngineUnavailableError, StreamPosition
from tests.brokers.proxy import CuttingProxy
from tests.brokers.publishing import message
from tests.brokers.valkey import ValkeyServer
from tests.redis.conftest import MakeEngine

KEPT = ChannelOptions(history_size=1_000_000, history_lifetime=600)


@pytest.mark.parametrize("options", [KEPT, None], ids=["kept", "plain"])
async def test_a_repeat_after_a_lost_answer(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: ValkeyServer,
    options: ChannelOptions | None,
) -> None:
    engine, _ = await make_engine(proxy_url)
    other, heard = await make_engine(server.url)
    await other.subscribe("ch")
    cut = asyncio.wrap_future(proxy.cut_after(0))
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.publish_message("ch", message(1), options, idempotency_key="key")
    assert caught.value.maybe_done
    await cut
    position = await engine.publish_message("ch", message(1), options, idempotency_key="key")
    assert position.offset == (1 if options else 0)
    # Another node may do it just as well.
    assert position == await other.publish_message(
        "ch", message(1), options, idempotency_key="key")
    await heard.settle(other)
    assert heard.data == [b"1"]


@pytest.mark.parametrize("seed", range(4))
async def test_every_publish_is_done_once_however_often_the_link_breaks(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: ValkeyServer, seed: int
) -> None:
    engine, _ = await make_engine(proxy_url)
    other, heard = await make_engine(server.url)
    for channel in ("kept", "plain"):
        await other.subscribe(channel)
    pick = random.Random(seed)
    repeats = 0

    async def publish(number: int) -> StreamPosition:
        nonlocal repeats
        channel = "kept" if number % 2 else "plain"
        while True:
            try:
                return await engine.publish_message(
                    channel, message(number, channel), KEPT if number % 2 else None,
                    idempotency_key=str(number))
            except EngineUnavailableError as error:
                repeats += error.maybe_done

    positions: list[Any] = []
    while repeats < 50:
        proxy.cut_after(pick.randrange(1500))
        first = len(positions)
        positions += await asyncio.gather(*[publish(first + at) for at in range(40)])
    await heard.settle(other)
    assert sorted(map(int, heard.data)) == list(range(len(positions)))
    kept = {int(each.data): each.offset for each in await other.history("kept")}
    assert kept == {
        number: position.offset for number, position in enumerate(positions) if number % 2}
