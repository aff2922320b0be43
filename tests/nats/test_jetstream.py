"""History and presence in JetStream: several writers, faults, and what a crash leaves behind."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import nats
import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    EngineError,
    EngineUnavailableError,
    JoinMessage,
    Message,
    NatsEngine,
    StreamPosition,
    UnsupportedError,
)
from fanout.nats.api import NotReady
from fanout.nats.clock import ServerClock, parse_time
from fanout.nats.streams import check_server
from tests.brokers.nats import NatsServer
from tests.brokers.proxy import CuttingProxy
from tests.brokers.publishing import PATIENCE, message, outcomes, until
from tests.brokers.recorder import Told
from tests.nats.conftest import MakeEngine
from tests.nats.store import count_stored
from tests.nats.test_faults import QUICK

KEPT = ChannelOptions(history_size=1000, history_lifetime=600)
INFO = ClientInfo("u", "c", b"{}", b"\xff")


async def kept_data(engine: NatsEngine, channel: str = "ch") -> list[bytes]:
    """Oldest first, and checked for gaps."""
    page = await engine.history_stream(channel)
    offsets = [each.offset for each in page.messages]
    assert offsets == list(range(page.position.offset - len(offsets) + 1, page.position.offset + 1))
    return [each.data for each in page.messages]


# ---- several writers ---------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_nodes_that_publish_into_one_channel_at_once(
    make_engine: MakeEngine, server: NatsServer, size: int
) -> None:
    options = ChannelOptions(history_size=size, history_lifetime=600)
    made = [await make_engine(server.url, jetstream=True, timeout=PATIENCE) for _ in range(3)]
    for engine, _ in made:
        await engine.subscribe("ch")
    results = [
        engine.publish_message("ch", message(f"{node}-{number}"), options)
        for number in range(60) for node, (engine, _) in enumerate(made)
    ]
    positions = await asyncio.gather(*results)
    assert sorted(each.offset for each in positions) == list(range(1, 181))
    assert len({each.epoch for each in positions}) == 1
    for _, told in made:
        await told.until(lambda told=told: len(told.messages) == 180)
        assert [each.offset for each in told.messages] == list(range(1, 181))
        assert set(told.epochs) == {positions[0].epoch}
        for node in range(3):       # each in its own order
            own = [data for data in told.data if data.startswith(b"%d-" % node)]
            assert own == [b"%d-%d" % (node, number) for number in range(60)]
    heard = made[0][1].data
    assert await kept_data(made[1][0]) == heard[-size:]


async def test_nodes_that_create_a_stream_at_once_agree_on_it(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    made = [await make_engine(server.url, jetstream=True) for _ in range(3)]
    for number in range(20):
        channel = f"ch{number}"
        pages = await asyncio.gather(*[engine.history_stream(channel) for engine, _ in made])
        assert len({page.position for page in pages}) == 1


async def test_order_within_a_channel_whatever_it_is(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, jetstream=True)
    await engine.subscribe("ch")
    for number in range(60):
        match number % 3:
            case 0:
                engine.publish_message("ch", message(number), KEPT)
            case 1:
                engine.publish_message("ch", message(number))
            case 2:
                engine.publish_join("ch", JoinMessage("ch", ClientInfo(client=str(number))))
    await told.wait(60)
    assert [
        each.data.decode() if isinstance(each, Message) else each.info.client
        for _, _, each in told.arrived
    ] == [str(number) for number in range(60)]


async def test_a_removal_comes_behind_what_was_published_before(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, jetstream=True)
    results = [engine.publish_message("ch", message(number), KEPT) for number in range(5)]
    removed = asyncio.ensure_future(engine.remove_history("ch"))
    await asyncio.sleep(0)
    after = engine.publish_message("ch", message("after"), KEPT)
    await removed
    assert (await after).offset == 6
    assert [(await each).offset for each in results] == [1, 2, 3, 4, 5]
    assert await kept_data(engine) == [b"after"]


async def test_a_wildcard_on_another_node_counts_as_a_subscriber(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, jetstream=True)
    other, heard = await make_engine(server.url, jetstream=True)
    options = ChannelOptions(
        history_size=5, history_lifetime=600, history_drop_inactive=True)
    assert await engine.publish_message("a.b", message(1, "a.b"), options) == StreamPosition()
    await other.subscribe("a.*", ChannelOptions(wildcards=True))
    assert (await engine.publish_message("a.b", message(2, "a.b"), options)).offset == 1
    await heard.wait(1)
    await heard.settle(other)
    assert heard.data == [b"2"], "it was asked whether it is there, and took it for a message"
    assert told.messages == []


# ---- much of it --------------------------------------------------------------


async def test_more_messages_than_one_answer_has(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, jetstream=True, timeout=60.0)
    options = ChannelOptions(history_size=1300, history_lifetime=600)
    results = [engine.publish_message("ch", message(number), options) for number in range(1310)]
    for result in results:
        await result
    assert await kept_data(engine) == [b"%d" % number for number in range(10, 1310)]
    page = await engine.history_stream("ch", StreamPosition(1305, ""))
    assert [each.offset for each in page.messages] == [1306, 1307, 1308, 1309, 1310]


async def test_more_bytes_than_one_answer_has(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, jetstream=True, timeout=60.0)
    sent = [bytes([number]) * 900_000 for number in range(12)]
    for data in sent:
        await engine.publish_message("ch", Message("ch", data), KEPT)
    assert await kept_data(engine) == sent


async def test_many_are_present(make_engine: MakeEngine, server: NatsServer) -> None:
    engine, _ = await make_engine(server.url, jetstream=True, timeout=60.0)
    expected = {f"c.{number} *": ClientInfo(f"u{number % 7}", f"c{number}")
                for number in range(1500)}
    await asyncio.gather(*[
        engine.add_presence("ch", conn_id, info) for conn_id, info in expected.items()])
    assert await engine.presence("ch") == expected
    stats = await engine.presence_stats("ch")
    assert (stats.num_clients, stats.num_users) == (1500, 7)


async def test_only_what_was_missed_is_read(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rings of two sizes, whatever was missed; the answers are those of reading all."""
    monkeypatch.setattr("fanout.nats.history.MOST_MISSED", 8)
    engine, _ = await make_engine(server.url, jetstream=True)
    for number in range(1, 26):
        size = 5 if number <= 10 else 12
        position = await engine.publish_message("ch", message(number), ChannelOptions(
            history_size=size, history_lifetime=600))
    got: list[int] = []
    take_all = engine._storage.api.all

    async def counted(*arguments: Any) -> Any:
        found = await take_all(*arguments)
        got.append(len(found))
        return found

    monkeypatch.setattr(engine._storage.api, "all", counted)
    everything = await engine.history_stream("ch")
    assert [each.offset for each in everything.messages] == list(range(14, 26))
    for offset in range(28):
        for limit in (None, 0, 1, 3):
            got.clear()
            page = await engine.history_stream(
                "ch", StreamPosition(offset, position.epoch), limit)
            expected = [
                each for each in everything.messages if each.offset > offset][:limit]
            if offset > 25:
                expected = []
            assert page.messages == expected
            assert page.position == position
            assert page.recoverable is (13 <= offset <= 25)
            # (A limit of none counts as any other: what is missed is looked at.)
            if offset == 25:
                assert got == []
            elif 17 <= offset < 25:
                assert got == [25 - offset]


# ---- the server --------------------------------------------------------------


async def test_a_server_that_comes_back_with_its_data(
    make_engine: MakeEngine, own_server: NatsServer
) -> None:
    engine, told = await make_engine(own_server.url, jetstream=True)
    await engine.subscribe("ch")
    before = [await engine.publish_message("ch", message(number), KEPT) for number in range(3)]
    await engine.add_presence("ch", "c", INFO)
    await asyncio.to_thread(own_server.kill)
    await told.lost()
    await asyncio.to_thread(own_server.start)
    await told.restored()
    page = await engine.history_stream("ch", before[0])
    assert page.recoverable
    assert [each.data for each in page.messages] == [b"1", b"2"]
    assert await engine.presence("ch") == {"c": INFO}
    after = await engine.publish_message("ch", message("after"), KEPT)
    assert after == StreamPosition(4, before[0].epoch)


async def test_a_server_that_comes_back_empty(
    make_engine: MakeEngine, own_server: NatsServer
) -> None:
    engine, told = await make_engine(own_server.url, jetstream=True)
    await engine.subscribe("ch")
    before = [await engine.publish_message("ch", message(number), KEPT) for number in range(3)]
    await engine.add_presence("ch", "c", INFO)
    await asyncio.to_thread(own_server.kill)
    await told.lost()
    await asyncio.to_thread(own_server.wipe)
    await asyncio.to_thread(own_server.start)
    await told.restored()
    after = await engine.publish_message("ch", message("after"), KEPT)
    assert after.offset == 1
    assert after.epoch != before[0].epoch
    page = await engine.history_stream("ch", before[1])
    assert (page.messages, page.recoverable, page.position) == ([], False, after)
    assert await engine.presence("ch") == {}
    await engine.add_presence("ch", "c", INFO)
    assert await engine.presence("ch") == {"c": INFO}


async def test_streams_that_were_removed_beside_the_engines(
    make_engine: MakeEngine, server: NatsServer, prefix: str
) -> None:
    """What a node remembers of them must not be taken for true in those that follow."""
    engine, _ = await make_engine(server.url, jetstream=True)
    other, _ = await make_engine(server.url, jetstream=True)
    before = [await engine.publish_message("ch", message(number), KEPT) for number in range(3)]
    client = await nats.connect(server.url)
    await client.jetstream().delete_stream(f"{prefix}_history")
    await client.jetstream().delete_stream(f"{prefix}_presence")
    await client.close()
    # As many, so that the sequences are those that the first one knows.
    between = [await other.publish_message("ch", message(number), KEPT) for number in range(3)]
    after = await engine.publish_message("ch", message("after"), KEPT)
    assert between[0].epoch != before[0].epoch
    assert after == StreamPosition(4, between[0].epoch)
    assert await kept_data(engine) == [b"0", b"1", b"2", b"after"]
    await engine.add_presence("ch", "c", INFO)
    assert await other.presence("ch") == {"c": INFO}


async def test_a_stream_that_somebody_else_made_is_not_used(
    make_engine: MakeEngine, server: NatsServer, prefix: str
) -> None:
    client = await nats.connect(server.url)
    await client.jetstream().add_stream(
        name=f"{prefix}_history", subjects=[f"{prefix}.history.>"])
    with pytest.raises(UnsupportedError, match="_history") as raised:
        await make_engine(server.url, jetstream=True)
    assert "must be" in str(raised.value)
    await client.jetstream().delete_stream(f"{prefix}_history")
    await client.close()
    await make_engine(server.url, jetstream=True)


async def test_a_server_without_jetstream(make_engine: MakeEngine) -> None:
    with NatsServer() as server:
        with pytest.raises(UnsupportedError, match="JetStream is not enabled"):
            await make_engine(server.url, jetstream=True, **QUICK)
        await make_engine(server.url)


async def test_a_server_that_is_too_old() -> None:
    with pytest.raises(UnsupportedError, match=r"2\.11 or later, this one is 2\.10"):
        await check_server((2, 10), "host:4222", None)


async def test_history_while_the_server_is_away(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, jetstream=True, **QUICK)
    await engine.subscribe("ch")
    position = await engine.publish_message("ch", message(1), KEPT)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    failed = await outcomes([
        engine.publish_message("ch", message("lost"), KEPT),
        engine.publish_message("ch", message("lost"), KEPT),
        engine.publish_message("other", message("lost", "other"), KEPT),
        engine.history("ch"), engine.history_stream("ch"), engine.remove_history("ch"),
        engine.add_presence("ch", "c", INFO), engine.presence("ch"), engine.channels(),
    ])
    assert [type(each) for each in failed] == [EngineUnavailableError] * 9
    assert not any(each.maybe_done for each in failed), "none was sent"
    proxy.accept()
    await told.restored()
    after = await engine.publish_message("ch", message(2), KEPT)
    assert after == StreamPosition(2, position.epoch)
    assert await kept_data(engine) == [b"1", b"2"]
    assert (await engine.history_stream("other")).position.offset == 0
    assert await engine.presence("ch") == {}


async def test_history_while_the_server_is_silent(
    make_engine: MakeEngine, own_server: NatsServer
) -> None:
    engine, told = await make_engine(own_server.url, jetstream=True, **QUICK)
    await engine.publish_message("ch", message(1), KEPT)
    own_server.pause()
    failed = await outcomes([engine.publish_message("ch", message(n), KEPT) for n in (2, 3)])
    own_server.resume()
    assert [type(each) for each in failed] == [EngineUnavailableError] * 2
    # The first was on its way, and nobody knows; the second waited behind it.
    assert [each.maybe_done for each in failed] == [True, False]
    await told.restored()
    await engine.publish_message("ch", message(4), KEPT)
    assert await kept_data(engine) in ([b"1", b"4"], [b"1", b"2", b"4"])


# ---- an answer that is lost --------------------------------------------------


async def test_an_answer_that_is_lost_is_found_out(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    """At once: what was stored is not stored again, and its place is told."""
    engine, told = await make_engine(proxy_url, jetstream=True, timeout=10 * PATIENCE)
    other, heard = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")
    await engine.publish_message("ch", message(0), KEPT)
    for number in range(1, 6):
        cut = asyncio.wrap_future(proxy.cut_after(0))
        async with asyncio.timeout(PATIENCE):
            position = await engine.publish_message("ch", message(number), KEPT)
        await cut
        assert position.offset == number + 1
        await told.restored(number)
    assert await kept_data(other) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    await heard.until(lambda: len(heard.messages) == 6)
    assert [each.offset for each in heard.messages] == [1, 2, 3, 4, 5, 6]


async def test_several_answers_that_are_lost_at_once(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    engine, _ = await make_engine(proxy_url, jetstream=True, timeout=PATIENCE)
    other, heard = await make_engine(server.url, jetstream=True)
    channels = [f"ch{number}" for number in range(20)]
    for channel in channels:
        await other.subscribe(channel)
    cut = asyncio.wrap_future(proxy.cut_after(700))
    results = [
        engine.publish_message(channel, message(number, channel), KEPT)
        for number in range(10) for channel in channels
    ]
    positions = await asyncio.gather(*results)
    await cut
    assert [each.offset for each in positions] == [n for n in range(1, 11) for _ in channels]
    await heard.until(lambda: len(heard.messages) >= 200)
    await heard.settle(other)
    for channel in channels:
        assert await kept_data(other, channel) == [b"%d" % number for number in range(10)]
        assert [each.data for each in heard.messages if each.channel == channel] == [
            b"%d" % number for number in range(10)]


async def test_a_lost_answer_whose_message_was_pushed_out_is_not_sent_again(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    options = ChannelOptions(history_size=1, history_lifetime=600)
    engine, _ = await make_engine(proxy_url, jetstream=True, timeout=PATIENCE)
    other, heard = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")
    await engine.publish_message("ch", message("first"), options)
    cut = asyncio.wrap_future(proxy.cut_after(0))
    result = asyncio.ensure_future(
        asyncio.gather(engine.publish_message("ch", message("mine"), options)))
    await heard.until(lambda: len(heard.messages) == 2)
    proxy.refuse()
    await cut
    for number in range(2):
        await other.publish_message("ch", message(number), options)
    proxy.accept()
    with pytest.raises(EngineUnavailableError) as raised:
        await result
    assert raised.value.maybe_done
    await heard.settle(other)
    assert heard.data == [b"first", b"mine", b"0", b"1"]
    assert [each.offset for each in heard.messages] == [1, 2, 3, 4]


async def test_a_publish_that_could_not_be_sent_at_first_is_not_taken_for_a_lost_one(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fanout.nats.link.LONGEST_PAUSE", 0.05)
    options = ChannelOptions(history_size=1, history_lifetime=600)
    engine, told = await make_engine(proxy_url, jetstream=True, timeout=4.0)
    other, _ = await make_engine(server.url, jetstream=True)
    await engine.publish_message("ch", message("first"), options)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    result = asyncio.ensure_future(
        asyncio.gather(engine.publish_message("ch", message("mine"), options)))
    await until(lambda: bool(engine._requests._calls))
    (first,) = engine._requests._calls
    # It is withdrawn, and what follows is to be asked.
    await until(lambda: first not in engine._requests._calls)
    for number in range(2):
        await other.publish_message("ch", message(number), options)
    proxy.accept()
    (position,) = await result
    assert position.offset == 4
    assert await kept_data(other) == [b"mine"]


async def test_a_publish_that_did_not_get_there_is_made_up_for(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    """It was sent, the link broke, and the server has never seen it."""
    engine, _ = await make_engine(proxy_url, jetstream=True, timeout=PATIENCE)
    other, _ = await make_engine(server.url, jetstream=True)
    await engine.publish_message("ch", message("first"), KEPT)
    proxy.stall()
    result = asyncio.ensure_future(
        asyncio.gather(engine.publish_message("ch", message("mine"), KEPT)))
    await until(lambda: bool(engine._pipe._sent))
    await other.publish_message("ch", message("theirs"), KEPT)
    proxy.cut()
    proxy.unstall()
    (position,) = await result
    assert position.offset == 3
    assert await kept_data(other) == [b"first", b"theirs", b"mine"]


# ---- a crash -----------------------------------------------------------------


@pytest.mark.parametrize("how", ["resized", "expired", "removed"])
async def test_a_crash_between_a_write_and_what_follows_it(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A new record is there, and what it ends is not removed."""
    short = ChannelOptions(history_size=10, history_lifetime=0.2)
    engine, _ = await make_engine(server.url, jetstream=True)
    other, _ = await make_engine(server.url, jetstream=True)
    # Nobody else is to tidy up meanwhile.
    for each in (engine, other):
        monkeypatch.setattr(each._storage.history, "_due", lambda channel, at: None)
    before = [
        await engine.publish_message("ch", message(n), short if how == "expired" else KEPT)
        for n in range(5)
    ][-1]
    if how == "expired":
        await asyncio.sleep(0.25)   # the server's clock goes on, whatever happens here
    never = asyncio.Event()

    async def purge(*arguments: Any) -> None:
        never.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(engine._storage.api, "purge", purge)
    if how == "removed":
        killed = asyncio.ensure_future(engine.remove_history("ch"))
    else:
        options = ChannelOptions(history_size=2, history_lifetime=600)
        killed = asyncio.ensure_future(
            asyncio.gather(engine.publish_message("ch", message("last"), options)))
    await never.wait()
    expected = {"resized": [b"4", b"last"], "expired": [b"last"], "removed": []}[how]
    assert await kept_data(other) == expected
    after = await other.publish_message("ch", message("after"), KEPT)
    assert after == StreamPosition(6 if how == "removed" else 7, before.epoch)
    assert await kept_data(other) == [*expected, b"after"]
    await engine._storage.lanes.close()
    await asyncio.gather(killed, return_exceptions=True)


async def test_what_a_dead_node_kept_is_given_back_by_the_next_that_starts(
    make_engine: MakeEngine, server: NatsServer, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ChannelOptions(history_size=10, history_lifetime=0.3)
    monkeypatch.setattr("fanout.nats.history.OTHERS", (0.0, 0.1))
    engine, _ = await make_engine(server.url, jetstream=True)
    monkeypatch.setattr(engine._storage.history, "_due", lambda channel, at: None)
    for channel in ("a", "b c", "d.e"):
        for number in range(3):
            before = await engine.publish_message(channel, message(number, channel), short)
    await engine.publish_message("long", message(1, "long"), KEPT)

    async def purge(*arguments: Any) -> None:
        raise NotReady

    monkeypatch.setattr(engine._storage.api, "purge", purge)
    for number in range(3):
        await engine.publish_message("removed", message(number, "removed"), KEPT)
    await engine.remove_history("removed")
    await engine.close()
    assert await count_stored(server.url, prefix) >= 4
    other, _ = await make_engine(server.url, jetstream=True)
    give_up = time.monotonic() + PATIENCE
    while await count_stored(server.url, prefix) > 1:
        assert time.monotonic() < give_up
        await asyncio.sleep(0.05)
    assert await kept_data(other, "long") == [b"1"]
    # The stream itself goes on.
    after = await other.publish_message("d.e", message(4, "d.e"), short)
    assert after == StreamPosition(4, before.epoch)


async def test_what_a_node_has_under_way_when_it_is_cut_off_for_good(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    """No matter where it stops: those who go on have no gap, and no place twice."""
    other, heard = await make_engine(server.url, jetstream=True)
    await other.subscribe("ch")
    places: list[tuple[int, bytes]] = []
    for cut_after in (0, 150, 400, 900, 2000, 5000):
        engine = NatsEngine(
            proxy_url, prefix=other._subjects.prefix, jetstream=True, timeout=PATIENCE)
        await engine.run(Told())
        cut = asyncio.wrap_future(proxy.cut_after(cut_after))
        for number in range(50):
            engine.publish_message("ch", message(f"{cut_after}-{number}"), KEPT)
        await cut
        proxy.refuse()
        await engine.close()
        proxy.accept()
        await other.publish_message("ch", message(f"{cut_after}-after"), KEPT)
    await heard.settle(other)
    await heard.until(lambda: heard.data[-1] == b"5000-after")
    places = [(each.offset, each.data) for each in heard.messages]
    assert [offset for offset, _ in places] == list(range(1, len(places) + 1))
    assert len({data for _, data in places}) == len(places)
    assert await kept_data(other) == [data for _, data in places]


# ---- time --------------------------------------------------------------------


def test_the_clock_goes_by_the_quickest_answer() -> None:
    clock = ServerClock()
    clock.set(10.0, 12.0, 1000.0)
    assert clock._offset == 1000.0 - 11.0
    clock.set(20.0, 20.5, 1010.0)
    assert clock._offset == 1010.0 - 20.25
    clock.set(30.0, 33.0, 2000.0)
    assert clock._offset == 1010.0 - 20.25
    clock.forget()
    clock.set(40.0, 44.0, 5000.0)
    assert clock._offset == 5000.0 - 42.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T00:00:01.5Z", 1.5),
        ("1970-01-01T00:00:01.123456789Z", 1.123456),
        ("2026-11-23T15:28:23.1446986Z", 1795447703.144698),
    ],
)
def test_a_time_of_the_server_s(text: str, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds, abs=1e-5)


async def test_a_server_whose_clock_is_wrong(
    make_engine: MakeEngine, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is this node's own, by an hour."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    engine, _ = await make_engine(server.url, jetstream=True, presence_lifetime=60)
    short = ChannelOptions(history_size=10, history_lifetime=60)
    await engine.publish_message("ch", message(1), short)
    assert await kept_data(engine) == [b"1"]
    await engine.add_presence("ch", "c", INFO)
    assert await engine.presence("ch") == {"c": INFO}


async def test_asking_keeps_a_stream_without_messages_alive(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, _ = await make_engine(server.url, jetstream=True, history_meta_lifetime=0.8)
    first = await engine.history_stream("ch")
    ends = time.monotonic() + 2.0
    asked = time.monotonic()
    while time.monotonic() < ends:
        page = await engine.history_stream("ch", first.position)
        if time.monotonic() - asked > 0.7:
            return      # the test was kept from asking for too long
        assert page.position == first.position
        asked = time.monotonic()
        await asyncio.sleep(0.05)


async def test_what_jetstream_refuses_is_told(make_engine: MakeEngine) -> None:
    """The store is full."""
    with NatsServer(jetstream=True) as server:
        engine, _ = await make_engine(server.url, jetstream=True)
        client = await nats.connect(server.url)
        name = f"{engine._subjects.prefix}_history"
        info = json.loads((await client.request(f"$JS.API.STREAM.INFO.{name}")).data)
        request = {**info["config"], "max_msg_size": 2000}
        answer = await client.request(
            f"$JS.API.STREAM.UPDATE.{name}", json.dumps(request).encode())
        assert b'"error"' not in answer.data, answer.data
        await client.close()
        with pytest.raises(EngineError, match="JetStream refused"):
            await engine.publish_message("ch", Message("ch", bytes(3000)), KEPT)
        assert (await engine.publish_message("ch", message(1), KEPT)).offset == 1
