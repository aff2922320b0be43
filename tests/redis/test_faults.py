"""What happens to operations and subscriptions when the link or the server fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest

from fanout import (
    ChannelOptions,
    ClientInfo,
    ClosedError,
    EngineError,
    EngineUnavailableError,
    StreamPosition,
)
from fanout.redis.address import parse_address
from fanout.redis.commands import CommandLink
from fanout.redis.dial import ServerDialer
from fanout.redis.link import pack
from tests.brokers.proxy import CuttingProxy
from tests.brokers.publishing import PATIENCE, message, outcomes, until
from tests.brokers.recorder import Told
from tests.brokers.valkey import ValkeyServer
from tests.redis.conftest import MakeEngine, NewEngine

KEPT = ChannelOptions(history_size=1_000_000, history_lifetime=600)
QUICK = {"timeout": 0.4, "ping_interval": 0.1}


# ---- a connection is cut -----------------------------------------------------


async def test_a_cut_is_told_once_and_healed(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: ValkeyServer
) -> None:
    engine, told = await make_engine(proxy_url)
    other, _ = await make_engine(server.url)
    for channel in ("a", "b", "gone"):
        await engine.subscribe(channel)
    await engine.unsubscribe("gone")
    proxy.refuse()
    proxy.cut()
    assert await told.lost() == [{"a", "b"}]
    assert isinstance(told.errors[0], EngineUnavailableError)
    await other.publish_message("a", message("missed", "a"))
    proxy.accept()
    assert await told.restored() == [{"a", "b"}]
    await other.publish_message("b", message("arrives", "b"))
    await told.until(lambda: bool(told.messages))
    await told.settle(engine)
    assert told.data == [b"arrives"]
    assert [kind for kind, _, _ in told.arrived] == ["link_lost", "link_restored", "message"]
    assert sorted(await other.channels()) == ["a", "b"]


async def test_control_and_admin_messages_arrive_after_a_cut(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    proxy.cut()
    # Nothing else was subscribed, and still the node must know.
    assert await told.lost() == [set()]
    assert await told.restored() == [set()]
    await told.settle(engine)


async def test_each_cut_is_told(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    await engine.subscribe("ch")
    for times in (1, 2, 3):
        proxy.cut()
        assert await told.lost(times) == [{"ch"}] * times
        assert await told.restored(times) == [{"ch"}] * times


async def test_nothing_is_told_restored_before_all_of_it_is(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    """A second cut while the subscriptions come back is no second loss."""
    engine, told = await make_engine(proxy_url)
    names = {f"channel-{number:04}" for number in range(2000)}
    await asyncio.gather(*[engine.subscribe(name) for name in names])
    proxy.refuse()
    proxy.cut()
    await told.lost()
    # Enough for both links to get ready, not for 2,000 confirmations.
    second_cut = asyncio.wrap_future(proxy.cut_after(30_000))
    proxy.accept()
    await second_cut
    assert await told.restored() == [names]
    assert [kind for kind, _, _ in told.arrived] == ["link_lost", "link_restored"]


async def test_a_channel_that_is_left_while_the_link_is_down_is_not_restored(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    await engine.subscribe("stays")
    await engine.subscribe("goes")
    proxy.refuse()
    proxy.cut()
    await told.lost()
    await engine.unsubscribe("goes")
    proxy.accept()
    assert await told.restored() == [{"stays"}]
    assert await engine.channels() == ["stays"]


async def test_a_subscription_waits_for_the_link(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    subscribed = engine.subscribe("late")
    proxy.accept()
    await subscribed
    assert await engine.channels() == ["late"]
    await told.restored()
    await engine.publish_message("late", message("1", "late"))
    await told.until(lambda: bool(told.messages))


async def test_a_subscription_that_waits_too_long_fails_and_is_not_wanted(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.subscribe("late")
    assert not caught.value.maybe_done
    proxy.accept()
    await told.restored()
    assert await engine.channels() == []


async def test_a_channel_is_wanted_until_the_last_who_waits_gives_up(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    first = engine.subscribe("ch")
    await asyncio.sleep(0)
    again = engine.subscribe("ch")
    with pytest.raises(EngineUnavailableError):
        await first
    with pytest.raises(EngineUnavailableError):
        await again
    proxy.accept()
    await engine.subscribe("ch")
    assert await engine.channels() == ["ch"]


async def test_what_was_sent_fails_at_once_and_what_was_not_is_sent_later(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(proxy_url)
    proxy.stall()
    sent = engine.publish_message("ch", message(1), KEPT)
    await asyncio.sleep(0)      # the tick ends
    await asyncio.sleep(0)
    proxy.refuse()
    proxy.cut()
    with pytest.raises(EngineUnavailableError) as caught:
        await sent
    assert caught.value.maybe_done
    unsent = engine.publish_message("ch", message(2), KEPT)
    proxy.unstall()
    proxy.accept()
    assert (await unsent).offset == 1
    assert [kept.data for kept in await engine.history("ch")] == [b"2"]


async def test_a_publish_whose_answer_is_lost_is_not_repeated(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(proxy_url)
    await engine.publish_message("ch", message(1), KEPT)
    cut = asyncio.wrap_future(proxy.cut_after(0))
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.publish_message("ch", message(2), KEPT)
    assert caught.value.maybe_done
    await cut
    assert (await engine.publish_message("ch", message(3), KEPT)).offset == 3
    assert [kept.data for kept in await engine.history("ch")] == [b"3", b"2", b"1"]


@pytest.mark.parametrize("bytes_to_client", [1, 2, 7, 29, 30, 31, 100, 501, 2000, 10_001])
async def test_cut_in_the_middle_of_the_replies(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, bytes_to_client: int
) -> None:
    """What was acknowledged is there once; what certainly failed is not there."""
    engine, told = await make_engine(proxy_url)
    await engine.subscribe("ch")
    cut = asyncio.wrap_future(proxy.cut_after(bytes_to_client))
    results = []
    number = 0
    while not cut.done():
        batch = [engine.publish_message("ch", message(number + at), KEPT) for at in range(10)]
        number += 10
        results += await outcomes(batch)
    await told.restored()
    kept = {int(each.data): each.offset for each in await engine.history("ch")}
    assert sorted(kept.values()) == list(range(1, len(kept) + 1))
    for at, result in enumerate(results):
        if isinstance(result, StreamPosition):
            assert kept[at] == result.offset
        else:
            assert isinstance(result, EngineUnavailableError)
            assert result.maybe_done or at not in kept
    assert any(isinstance(result, Exception) for result in results)
    # What arrived is in order and without a repetition.
    arrived = [int(data) for data in told.data]
    assert arrived == sorted(set(arrived))


async def test_reads_fail_with_the_link_and_work_again(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, _ = await make_engine(proxy_url)
    for number in range(50):
        await engine.publish_message("ch", message(number), KEPT)
    cut = asyncio.wrap_future(proxy.cut_after(700))
    with pytest.raises(EngineUnavailableError):
        await engine.history("ch")
    await cut
    assert len(await engine.history("ch")) == 50


# ---- the server fails --------------------------------------------------------


async def test_publishes_while_the_server_is_gone_fail_in_time(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url, **QUICK)
    own_server.kill()
    await told.lost()
    results = await outcomes([
        engine.publish_message("ch", message(1)),
        engine.publish_message("ch", message(2), KEPT),
        engine.history("ch"),
        engine.presence("ch"),
        engine.channels(),
    ])
    for result in results:
        assert isinstance(result, EngineUnavailableError)
        assert not result.maybe_done
        assert str(own_server.port) in str(result)


async def test_killed_and_restarted_empty(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url)
    await engine.subscribe("ch")
    before = await engine.publish_message("ch", message(1), KEPT)
    await engine.add_presence("ch", "c", ClientInfo("u", "c"))
    own_server.kill()
    await told.lost()
    await asyncio.to_thread(own_server.start)
    await told.restored()
    page = await engine.history_stream("ch", before)
    assert (page.messages, page.recoverable) == ([], False)
    after = await engine.publish_message("ch", message(2), KEPT)
    assert after.offset == 1
    assert after.epoch == page.position.epoch != before.epoch
    assert await engine.presence("ch") == {}
    await told.until(lambda: told.data == [b"1", b"2"])


async def test_nothing_acknowledged_is_lost_by_a_kill(make_engine: MakeEngine) -> None:
    """A server that writes to disk before it answers, killed under load, again and again."""
    with ValkeyServer(persist=True) as server:
        engine, told = await make_engine(server.url)
        await engine.subscribe("ch")
        results: list[Any] = []
        stop = False

        async def publish() -> None:
            while not stop:
                batch = [
                    engine.publish_message("ch", message(len(results) + at), KEPT)
                    for at in range(20)
                ]
                results.extend(await outcomes(batch))

        publisher = asyncio.create_task(publish())
        for times in (1, 2, 3):
            count = len(results)
            await until(lambda count=count: len(results) > count + 200)
            server.kill()
            await told.lost(times)
            await asyncio.to_thread(server.start)
            await told.restored(times)
        stop = True
        await publisher
        kept = {int(each.data): each.offset for each in await engine.history("ch")}
        positions = [result for result in results if isinstance(result, StreamPosition)]
        assert len({position.epoch for position in positions}) == 1
        assert sorted(kept.values()) == list(range(1, len(kept) + 1))
        for at, result in enumerate(results):
            if isinstance(result, StreamPosition):
                assert kept[at] == result.offset
            else:
                assert isinstance(result, EngineUnavailableError)
                assert result.maybe_done or at not in kept
        arrived = [int(data) for data in told.data]
        assert arrived == sorted(set(arrived))


async def test_a_server_that_hangs_is_left_and_found_again(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url, **QUICK)
    await engine.subscribe("ch")
    own_server.pause()
    results = await outcomes([
        engine.publish_message("ch", message(1)), engine.publish_message("ch", message(2), KEPT)])
    for result in results:
        assert isinstance(result, EngineUnavailableError)
        assert result.maybe_done
    # No operation tells that the link for subscriptions is dead: a ping does.
    assert await told.lost() == [{"ch"}]
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.publish_message("ch", message(3))
    assert not caught.value.maybe_done
    own_server.resume()
    assert await told.restored() == [{"ch"}]
    await engine.publish_message("ch", message(4))
    await told.until(lambda: told.data[-1:] == [b"4"])
    assert len(told.errors) == 1


async def test_a_cancellation_that_gets_lost_while_the_link_connects(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    """As happens when the server answers at the same moment; the engine can still be closed."""
    engine, _ = await make_engine(proxy_url)
    (link,) = engine._servers.commands
    dialer, dialing = link.dialer, asyncio.Event()

    class Deaf:
        label = dialer.label

        async def dial(self) -> asyncio.StreamWriter:
            dialing.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return await dialer.dial()

    link.dialer = Deaf()
    proxy.cut()
    await dialing.wait()
    # Not with a timeout that would cancel it: the second time that helps.
    closing = asyncio.create_task(engine.close())
    done, _ = await asyncio.wait([closing], timeout=PATIENCE / 2)
    closing.cancel()
    assert done


async def test_a_pause_shorter_than_the_time_limit_is_no_loss(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url, timeout=5.0, ping_interval=0.05)
    await engine.subscribe("ch")
    own_server.pause()
    result = engine.publish_message("ch", message(1), KEPT)
    await asyncio.sleep(0.3)    # several intervals, in which pings go unanswered
    own_server.resume()
    assert (await result).offset == 1
    await told.settle(engine)
    assert [kind for kind, _, _ in told.arrived] == ["message"]


async def test_a_loop_that_was_busy_breaks_no_link(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    """Answers that lie unread when the timers come due are answers."""
    engine, told = await make_engine(server.url, **QUICK)
    await engine.subscribe("ch")
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()

    def be_busy() -> None:
        ours.recv(1)
        until = loop.time() + 0.6
        while loop.time() < until:
            pass

    # What is busy is what reads: the answers come meanwhile, and timers are looked at first.
    loop.add_reader(ours, be_busy)
    try:
        for _ in range(3):
            results = [engine.publish_message("ch", message(1), KEPT), engine.subscribe("other")]
            for _ in range(3):
                await asyncio.sleep(0)      # until they have been sent
            theirs.send(b"x")
            await asyncio.gather(*results)
            await engine.unsubscribe("other")
        await told.settle(engine)
    finally:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()
    assert told.errors == []


async def test_a_server_that_still_loads_is_not_there_yet(make_engine: MakeEngine) -> None:
    with ValkeyServer(persist=True) as server:
        engine, told = await make_engine(server.url)
        await engine.subscribe("ch")
        client = server.client()
        with client.pipeline(transaction=False) as pipeline:
            for number in range(500):
                pipeline.set(f"other:{number}", "x")
            pipeline.execute()
        await engine.publish_message("ch", message(1), KEPT)
        client.config_set("key-load-delay", 0)
        server._arguments += [
            "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]
        server.kill()
        await told.lost()
        unsent = engine.publish_message("ch", message(2), KEPT)
        await asyncio.to_thread(server.start)
        assert (await unsent).offset == 2
        await told.restored()
        assert client.info("persistence")["loading"] == 0


async def test_a_server_that_became_a_replica_takes_nothing(
    make_engine: MakeEngine, own_server: ValkeyServer, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(own_server.url, timeout=1.0)
    await engine.subscribe("ch")
    await engine.publish_message("ch", message(1), KEPT)
    client = own_server.client()
    client.replicaof("127.0.0.1", server.port)
    with pytest.raises(EngineUnavailableError) as caught:
        await engine.publish_message("ch", message(2), KEPT)
    assert not caught.value.maybe_done
    client.replicaof("NO", "ONE")
    position = None
    while position is None:     # an attempt to connect may come later than this gives up
        try:
            position = await engine.publish_message("ch", message(3), KEPT)
        except EngineUnavailableError:
            continue
    assert position.offset > 0


async def test_a_replica_is_no_server_to_start_with(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    own_server.client().replicaof("127.0.0.1", 1)
    engine = new_engine(own_server.url, timeout=0.3)
    with pytest.raises(EngineUnavailableError, match="is a replica"):
        await engine.run(Told())


async def test_nothing_overtakes_what_was_refused_and_is_sent_again(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    """The refusal is there, an earlier answer is not, and the server changes its mind."""
    engine, _ = await make_engine(own_server.url)
    client = own_server.client()
    client.replicaof("127.0.0.1", 1)
    refused = engine.publish_message("ch", message(1), KEPT)
    link = engine._servers.commands[0]
    slow = link.execute(
        pack(b"XREAD", b"BLOCK", b"1000", b"STREAMS", b"none", b"$"), lambda reply: reply)
    await until(lambda: link._refused)
    behind = engine.publish_message("ch", message(2), KEPT)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    client.replicaof("NO", "ONE")
    assert await slow is None
    assert [(await refused).offset, (await behind).offset] == [1, 2]


async def test_a_login_that_is_refused_later_is_tried_again(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url, **QUICK)
    await engine.subscribe("ch")
    client = own_server.client()
    client.config_set("requirepass", "another")
    client.client_kill_filter(_type="pubsub")
    await told.lost()
    with pytest.raises(EngineUnavailableError):
        await engine.subscribe("more")
    client.config_set("requirepass", "")
    assert await told.restored() == [{"ch"}]


async def test_a_refused_command_fails_alone(
    make_engine: MakeEngine, own_server: ValkeyServer
) -> None:
    engine, told = await make_engine(own_server.url)
    await engine.subscribe("ch")
    client = own_server.client()
    client.config_set("maxmemory", "1")
    results = await outcomes([
        engine.publish_message("ch", message(1), KEPT), engine.publish_message("ch", message(2))])
    assert isinstance(results[0], EngineError)
    assert "OOM" in str(results[0])
    assert results[1] == StreamPosition()
    client.config_set("maxmemory", "0")
    assert (await engine.publish_message("ch", message(3), KEPT)).offset == 1
    await told.settle(engine)
    assert told.data == [b"2", b"3"]
    assert told.errors == []


# ---- scripts are lost ----------------------------------------------------------


async def test_a_server_that_lost_its_scripts_gets_them_again(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    engine, _ = await make_engine(server.url)
    client = server.client()
    for number in range(1, 6):
        client.script_flush()
        assert (await engine.publish_message("ch", message(number), KEPT)).offset == number
        await engine.add_presence("ch", "c", ClientInfo("u", "c"))
        client.script_flush()
        assert len(await engine.history("ch")) == number
        assert (await engine.presence_stats("ch")).num_clients == 1


async def test_scripts_flushed_under_load_cost_no_message_and_no_order(
    make_engine: MakeEngine, server: ValkeyServer
) -> None:
    """Two nodes publish one by one in a tick, while the scripts vanish all the time."""
    told = []
    nodes = []
    for _ in range(2):
        engine, events = await make_engine(server.url)
        await engine.subscribe("ch")
        told.append(events)
        nodes.append(engine)
    client = server.client()
    stop = threading.Event()

    def flush() -> None:
        while not stop.is_set():
            client.script_flush()

    flusher = asyncio.create_task(asyncio.to_thread(flush))
    results: list[Any] = []
    try:
        for number in range(3000):
            for at, engine in enumerate(nodes):
                options = None if number % 7 == 0 else KEPT
                results.append(engine.publish_message("ch", message(f"{at}:{number}"), options))
            if number % 3:
                await asyncio.sleep(0)
            if number % 100 == 99:
                await asyncio.gather(*results)
    finally:
        stop.set()
        await flusher
    await asyncio.gather(*results)
    for events in told:
        await events.until(lambda events=events: len(events.messages) == 6000)
        for at in range(2):
            of_one = [data for data in events.data if data.startswith(b"%d:" % at)]
            assert of_one == [b"%d:%d" % (at, number) for number in range(3000)]


# ---- the end -------------------------------------------------------------------


async def test_closing_waits_for_answers(server: ValkeyServer, new_engine: NewEngine) -> None:
    engine = new_engine(server.url)
    await engine.run(Told())
    results = [engine.publish_message("ch", message(number), KEPT) for number in range(100)]
    await engine.close()
    assert [(await result).offset for result in results] == list(range(1, 101))


async def test_closing_while_the_server_hangs_ends(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    engine = new_engine(own_server.url, **QUICK)
    await engine.run(Told())
    own_server.pause()
    result = engine.publish_message("ch", message(1))
    async with asyncio.timeout(PATIENCE):
        await engine.close()
    with pytest.raises(EngineUnavailableError):
        await result


async def test_an_unreachable_server_is_told_by_run(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    own_server.stop()
    engine = new_engine(own_server.url, timeout=0.3)
    with pytest.raises(EngineUnavailableError, match=str(own_server.port)):
        await engine.run(Told())
    # It can be started once the server is there.
    await asyncio.to_thread(own_server.start)
    await engine.run(Told())
    await engine.close()


async def test_run_waits_for_a_server_that_is_just_starting(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    own_server.stop()
    engine = new_engine(own_server.url, timeout=PATIENCE)
    starting = asyncio.create_task(engine.run(Told()))
    await asyncio.to_thread(own_server.start)
    await starting
    await engine.close()


async def test_a_server_that_never_answers_is_told_by_run(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    own_server.pause()
    engine = new_engine(own_server.url, timeout=0.3)
    with pytest.raises(EngineUnavailableError):
        await engine.run(Told())
    await engine.close()


async def test_closing_while_somebody_asks_again(
    own_server: ValkeyServer, new_engine: NewEngine
) -> None:
    """A question that takes several steps ends with the engine, and does not wait for ever."""
    engine = new_engine(own_server.url, **QUICK)
    await engine.run(Told())
    own_server.pause()
    asked = asyncio.create_task(engine.presence("ch"))
    await asyncio.sleep(0)
    await engine.close()
    with pytest.raises((ClosedError, EngineUnavailableError)):
        await asked
    link = CommandLink(ServerDialer(parse_address(own_server.url), 1.0), engine._settings)
    await link.close()
    with pytest.raises(ClosedError):
        link.execute(pack(b"PING"), lambda reply: reply)
