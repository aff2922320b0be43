"""A publish whose answer is missing is repeated with the same key: done once all the same."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from fanout import ChannelOptions, EngineUnavailableError, StreamPosition
from fanout.nats.history import History
from fanout.nats.requests import Interrupted
from fanout.nats.results import Results
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.brokers.publishing import PATIENCE, message, until
from tests.nats.conftest import MakeEngine
from tests.nats.store import count_results

KEPT = ChannelOptions(history_size=1_000, history_lifetime=600)
ONE = ChannelOptions(history_size=1, history_lifetime=600)
QUICK = {"timeout": 0.4}


# ---- without JetStream -------------------------------------------------------


async def test_what_may_be_published_is_not_published_again(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    engine, told = await make_engine(proxy_url)
    other, heard = await make_engine(server.url)
    await other.subscribe("ch")
    cut = asyncio.wrap_future(proxy.cut_after(0))
    for _ in range(2):
        with pytest.raises(EngineUnavailableError) as caught:
            await engine.publish_message("ch", message(1), idempotency_key="key")
        assert caught.value.maybe_done
        await cut
        await told.restored()
    await engine.publish_message("ch", message(2), idempotency_key="other")
    await heard.until(lambda: b"2" in heard.data)
    assert heard.data in ([b"1", b"2"], [b"2"])


async def test_what_was_not_published_is_published_by_a_repeat(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    other, heard = await make_engine(server.url)
    await other.subscribe("ch")
    proxy.refuse()
    proxy.cut()
    await told.lost()
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.publish_message("ch", message(1), idempotency_key="key")
    assert not caught.value.maybe_done
    proxy.accept()
    await told.restored()
    for _ in range(2):
        await engine.publish_message("ch", message(1), idempotency_key="key")
    await engine.publish_message("ch", message(2))
    await heard.until(lambda: b"2" in heard.data)
    assert heard.data == [b"1", b"2"]


# ---- with JetStream ----------------------------------------------------------


@pytest.mark.parametrize("options", [KEPT, ONE, None], ids=["kept", "one", "plain"])
async def test_a_repeat_after_an_answer_that_did_not_come(
    make_engine: MakeEngine, own_server: NatsServer, options: ChannelOptions | None
) -> None:
    engine, told = await make_engine(own_server.url, jetstream=True, **QUICK)
    other, heard = await make_engine(own_server.url, jetstream=True)
    await other.subscribe("ch")
    await engine.publish_message("ch", message(0), options, idempotency_key="before")
    own_server.pause()
    with pytest.raises(EngineUnavailableError):
        await engine.publish_message("ch", message(1), options, idempotency_key="key")
    own_server.resume()
    await told.restored()
    positions = [
        await node.publish_message("ch", message(1), options, idempotency_key="key")
        for node in (engine, other, engine)
    ]
    assert {position.offset for position in positions} == {2 if options else 0}
    assert len(set(positions)) == 1
    await engine.publish_message("ch", message(2))
    await heard.until(lambda: b"2" in heard.data)
    assert heard.data == [b"0", b"1", b"2"]


@pytest.mark.parametrize("seed", range(3))
async def test_every_publish_is_done_once_however_often_the_link_breaks(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer, seed: int
) -> None:
    engine, _ = await make_engine(proxy_url, jetstream=True)
    other, heard = await make_engine(server.url, jetstream=True)
    channels = {0: "plain", 1: "kept", 2: "one"}
    for channel in channels.values():
        await other.subscribe(channel)
    pick = random.Random(seed)

    async def publish(number: int) -> StreamPosition:
        channel = channels[number % 3]
        while True:
            try:
                return await engine.publish_message(
                    channel, message(number, channel), (None, KEPT, ONE)[number % 3],
                    idempotency_key=str(number))
            except EngineUnavailableError:
                continue

    positions: list[Any] = []
    cuts = 0
    async with asyncio.timeout(6 * PATIENCE):
        while cuts < 10:
            cut = proxy.cut_after(pick.randrange(3000))
            first = len(positions)
            positions += await asyncio.gather(*[publish(first + at) for at in range(15)])
            # What is asked for again all at the same time, by both nodes.
            again = await asyncio.gather(*[publish(first + at) for at in range(15)])
            assert positions[first:] == again
            cuts += cut.done()
    await other.publish_message("plain", message("end", "plain"))
    await heard.until(lambda: b"end" in heard.data)
    heard_numbers = sorted(int(each) for each in heard.data if each != b"end")
    assert heard_numbers == list(range(len(positions)))
    for at, channel in ((1, "kept"), (2, "one")):
        offsets = [position.offset for position in positions[at::3]]
        assert sorted(offsets) == list(range(1, len(offsets) + 1)), channel


async def test_a_node_that_ended_before_it_kept_the_result(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server knows the message by its key."""
    engine, _ = await make_engine(server.url, jetstream=True)
    other, heard = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")

    async def keep(*arguments: object) -> None: ...

    with monkeypatch.context() as patch:
        patch.setattr(Results, "keep", keep)
        position = await engine.publish_message("ch", message(1), KEPT, idempotency_key="key")
        assert await other.publish_message(
            "ch", message(2), KEPT, idempotency_key="key") == position
        pushed_out = await engine.publish_message("ch", message(3), ONE, idempotency_key="gone")
        assert pushed_out.offset == 2
        await engine.publish_message("ch", message(4), ONE)
    # Neither the message nor its place is known any more: only that it was published.
    quick, _ = await make_engine(server.url, jetstream=True, timeout=0.5)
    with pytest.raises(EngineUnavailableError) as caught:
        await quick.publish_message("ch", message(3), ONE, idempotency_key="gone")
    assert caught.value.maybe_done
    await heard.until(lambda: b"4" in heard.data)
    assert heard.data == [b"1", b"3", b"4"]


async def test_a_result_that_comes_late_is_waited_for(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the message and its position another node asks, and the message is gone."""
    engine, _ = await make_engine(server.url, jetstream=True)
    other, heard = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")
    asked, go_on = asyncio.Event(), asyncio.Event()
    keep, repeated = Results.keep, History._repeated

    async def slow_keep(self: Results, channel: str, key: str, *arguments: Any) -> None:
        if key:
            await go_on.wait()
        await keep(self, channel, key, *arguments)

    async def watched(self: History, *arguments: Any) -> StreamPosition:
        try:
            return await repeated(self, *arguments)
        except Interrupted:
            asked.set()
            raise

    with monkeypatch.context() as patch:
        patch.setattr(Results, "keep", slow_keep)
        patch.setattr(History, "_repeated", watched)
        first = asyncio.ensure_future(asyncio.gather(
            engine.publish_message("ch", message(1), ONE, idempotency_key="key")))
        async with asyncio.timeout(PATIENCE):
            await heard.until(lambda: heard.data == [b"1"])
            await other.publish_message("ch", message(2), ONE)
            second = asyncio.ensure_future(asyncio.gather(
                other.publish_message("ch", message(3), ONE, idempotency_key="key")))
            await asked.wait()
            go_on.set()
            assert await first == await second
        assert heard.data == [b"1", b"2"]


async def test_streams_of_before_keys_were_known(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    """The server forgets a key after two minutes, until it is told."""
    engine, _ = await make_engine(server.url, jetstream=True)
    streams = engine._storage._streams

    async def window() -> float:
        info = await streams.api.call(
            f"STREAM.INFO.{streams.history}", None, streams.api.deadline)
        return info["config"]["duplicate_window"] / 1e9

    await engine.publish_message("ch", message(1), KEPT)
    assert await window() == 120
    assert await count_results(server.url, engine._subjects.prefix) == 0
    await engine.publish_message("ch", message(2), KEPT, idempotency_key="key")
    assert await window() == 300
    assert await count_results(server.url, engine._subjects.prefix) == 1


async def test_results_whose_stream_was_removed(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    """Beside the engine; it is made again."""
    engine, told = await make_engine(server.url, jetstream=True)
    await engine.subscribe("ch")
    streams = engine._storage._streams
    for number, options in enumerate((KEPT, None)):
        await engine.publish_message("ch", message(2 * number), options, idempotency_key="key")
        await streams.api.call(f"STREAM.DELETE.{streams.results}", None, streams.api.deadline)
        for _ in range(2):
            await engine.publish_message(
                "ch", message(2 * number + 1), options, idempotency_key=f"another{number}")
    await until(lambda: b"3" in told.data)
    assert told.data == [b"0", b"1", b"2", b"3"]
