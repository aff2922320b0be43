"""What happens to operations and subscriptions when the link or the server fails."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import Any

import nats
import pytest

from fanout import (
    AdminMessage,
    ChannelOptions,
    EngineError,
    EngineUnavailableError,
    Message,
    NatsEngine,
    StreamPosition,
)
from tests.brokers.nats import NatsServer
from tests.brokers.ports import Port
from tests.brokers.proxy import CuttingProxy
from tests.brokers.publishing import PATIENCE, message, outcomes, until
from tests.brokers.recorder import Told
from tests.nats.conftest import MakeEngine

WILD = ChannelOptions(wildcards=True)
QUICK = {"timeout": 0.4}


# ---- a connection is cut -----------------------------------------------------


async def test_a_cut_is_told_once_and_healed(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    engine, told = await make_engine(proxy_url)
    other, _ = await make_engine(server.url)
    for channel in ("a", "b", "w.*", "gone"):
        await engine.subscribe(channel, WILD)
    await engine.unsubscribe("gone")
    proxy.refuse()
    proxy.cut()
    assert await told.lost() == [{"a", "b", "w.*"}]
    assert isinstance(told.errors[0], EngineUnavailableError)
    await other.publish_message("a", message("missed", "a"))
    proxy.accept()
    assert await told.restored() == [{"a", "b", "w.*"}]
    for channel in ("b", "w.x", "gone"):
        await other.publish_message(channel, message(channel, channel))
    await told.until(lambda: len(told.messages) == 2)
    await told.settle(engine)
    assert sorted(told.data) == [b"b", b"w.x"]
    assert [kind for kind, _, _ in told.arrived] == [
        "link_lost", "link_restored", "message", "message"]
    assert sorted(await other.channels()) == ["a", "b", "w.*"]


async def test_control_and_admin_messages_arrive_after_a_cut(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    proxy.cut()
    # Nothing else was subscribed, and still the node must know.
    assert await told.lost() == [set()]
    assert await told.restored() == [set()]
    await told.settle(engine)


@pytest.mark.parametrize("size", [1, 500_000])
async def test_a_cut_is_noticed_at_once_whatever_is_unwritten(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, size: int
) -> None:
    """Not only when the server has been silent for too long."""
    engine, told = await make_engine(proxy_url, timeout=10 * PATIENCE)
    await engine.subscribe("ch")
    problems: list[object] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda loop, context: problems.append(context))
    for times in range(1, 4):
        proxy.cut()
        results = [engine.publish_message("ch", Message("ch", bytes(size))) for _ in range(10)]
        await told.lost(times)
        await outcomes(results)
        await told.restored(times)
    gc.collect()
    assert problems == []


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
    # What the server says of itself passes, and not the answer behind the subscriptions.
    second_cut = asyncio.wrap_future(proxy.cut_after(len(await first_words(proxy)) + 6))
    proxy.accept()
    await second_cut
    assert await told.restored() == [names]
    await engine.publish_message("channel-0007", message("x", "channel-0007"))
    await told.until(lambda: bool(told.messages))
    assert [kind for kind, _, _ in told.arrived] == ["link_lost", "link_restored", "message"]


async def first_words(proxy: CuttingProxy) -> bytes:
    """What the server says to whoever connects."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy._machine.target)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_what_changes_while_the_link_is_down(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url)
    for channel in ("stays", "goes", "turns"):
        await engine.subscribe(channel)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    await engine.unsubscribe("goes")
    await engine.unsubscribe("turns")
    again = engine.subscribe("turns")
    come = engine.subscribe("comes")
    proxy.accept()
    assert await told.restored() == [{"stays"}]
    await again
    await come
    for channel in ("stays", "goes", "turns", "comes"):
        await engine.publish_message(channel, message(channel, channel))
    await told.settle(engine)
    assert told.data == [b"stays", b"turns", b"comes"]
    assert sorted(await engine.channels()) == ["comes", "stays", "turns"]


async def test_a_subscription_that_cannot_be_made_in_time_is_not_wanted(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    with pytest.raises(EngineUnavailableError) as raised:
        await engine.subscribe("ch")
    assert not raised.value.maybe_done
    proxy.accept()
    await told.restored()
    assert await engine.channels() == []
    await engine.publish_message("ch", message(1))
    await told.settle(engine)
    assert told.messages == []


# ---- publishes during an outage ----------------------------------------------


async def test_what_waits_is_sent_when_the_link_is_back(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, timeout=PATIENCE)
    await engine.subscribe("ch")
    proxy.refuse()
    proxy.cut()
    await told.lost()
    results = []
    for number in range(300):
        results.append(engine.publish_message("ch", message(number)))
        if number % 10 == 0:
            await asyncio.sleep(0)
    proxy.accept()
    assert await outcomes(results) == [StreamPosition(0, "")] * 300
    await told.settle(engine)
    assert told.data == [b"%d" % number for number in range(300)]


async def test_what_fails_in_an_outage_is_never_sent(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    await engine.subscribe("ch")
    proxy.refuse()
    proxy.cut()
    await told.lost()
    failed = await outcomes([engine.publish_message("ch", message(n)) for n in range(50)])
    assert all(isinstance(each, EngineUnavailableError) for each in failed)
    assert not any(each.maybe_done for each in failed)
    assert f"127.0.0.1:{proxy.port}" in str(failed[0])
    proxy.accept()
    await told.restored()
    await engine.publish_message("ch", message("after"))
    await told.settle(engine)
    assert told.data == [b"after"]


async def test_what_was_sent_when_the_link_broke_may_be_done(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    engine, told = await make_engine(proxy_url)
    other, heard = await make_engine(server.url)
    await other.subscribe("ch")
    # The next answer never comes: the server has done what it was told by then.
    cut = asyncio.wrap_future(proxy.cut_after(0))
    failed = await outcomes([engine.publish_message("ch", message(n)) for n in range(3)])
    await cut
    assert [type(each) for each in failed] == [EngineUnavailableError] * 3
    assert all(each.maybe_done for each in failed)
    await heard.until(lambda: len(heard.messages) == 3)
    await told.restored()
    await engine.publish_message("ch", message("after"))
    await heard.settle(other)
    await heard.until(lambda: heard.data[-1] == b"after")
    assert heard.data == [b"0", b"1", b"2", b"after"], "sent again"


async def test_every_publish_of_an_outage_is_answered_and_the_bound_holds(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, max_pending=100, jetstream=True, **QUICK)
    proxy.refuse()
    proxy.cut()
    await told.lost()
    kept = ChannelOptions(history_size=5, history_lifetime=60)
    results: list[Any] = []
    refused = 0
    for number in range(200):
        try:
            results.append(engine.publish_message(
                f"ch{number % 7}", message(number, f"ch{number % 7}"),
                kept if number % 2 else None))
        except Exception as error:
            assert "above the bound" in str(error)
            refused += 1
    assert (len(results), refused) == (100, 100)
    failed = await outcomes(results)
    assert all(isinstance(each, EngineUnavailableError) for each in failed)
    assert (engine._pipe._num_pending, engine._pipe._num_bytes) == (0, 0)


# ---- the server --------------------------------------------------------------


async def test_a_server_that_is_killed_and_comes_back(
    make_engine: MakeEngine, own_server: NatsServer
) -> None:
    engine, told = await make_engine(own_server.url)
    other, heard = await make_engine(own_server.url)
    await engine.subscribe("ch")
    await asyncio.to_thread(own_server.kill)
    assert await told.lost() == [{"ch"}]
    assert await heard.lost() == [set()]
    await asyncio.to_thread(own_server.start)
    assert await told.restored() == [{"ch"}]
    await heard.restored()
    await other.publish_message("ch", message("after"))
    await told.until(lambda: bool(told.messages))
    # Each finds the other again.
    assert await other.channels() == ["ch"]


async def test_a_server_that_does_not_answer_is_given_up(
    make_engine: MakeEngine, own_server: NatsServer
) -> None:
    engine, told = await make_engine(own_server.url, **QUICK)
    await engine.subscribe("ch")
    own_server.pause()
    try:
        with pytest.raises(EngineUnavailableError) as raised:
            await engine.publish_message("ch", message("lost"))
        assert raised.value.maybe_done
        assert await told.lost() == [{"ch"}]
        # It takes connections all the time, and says nothing on them.
        with pytest.raises(EngineUnavailableError):
            await engine.publish_message("ch", message("lost"))
    finally:
        own_server.resume()
    assert await told.restored() == [{"ch"}]
    await engine.publish_message("ch", message("after"))
    await told.until(lambda: b"after" in told.data)
    assert len(await told.lost()) == 1


async def test_an_idle_link_is_watched(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, **QUICK)
    await engine.subscribe("ch")
    proxy.stall()
    assert await told.lost() == [{"ch"}]
    proxy.unstall()
    assert await told.restored() == [{"ch"}]


async def test_a_server_that_does_not_read_can_be_left(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    """With more on its way than any buffer between takes."""
    engine, told = await make_engine(proxy_url, max_pending_bytes=1 << 28, **QUICK)
    connection = engine._link._connection
    transport = connection._transport._writer.transport
    proxy.stall()
    results = [
        engine.publish_message("ch", Message("ch", bytes(500_000))) for _ in range(100)]
    held = []
    while not told.arrived:
        held.append(
            connection._client.pending_data_size + transport.get_write_buffer_size())
        await asyncio.sleep(0.01)
    assert max(held) < 6_000_000, "more was handed over than can be sent"
    await told.lost()
    assert all(isinstance(each, EngineUnavailableError) for each in await outcomes(results))
    await engine.close()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    assert not tasks
    proxy.unstall()
    await until(lambda: proxy.num_connections == 0)


async def test_a_loop_that_was_busy_is_no_silent_server(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    engine, told = await make_engine(server.url, **QUICK)
    await engine.subscribe("ch")
    for number in range(3):
        result = engine.publish_message("ch", message(number))
        while not engine._pipe._sent:  # noqa: ASYNC110 - it is at the next turns of the loop
            await asyncio.sleep(0)
        time.sleep(0.6)  # noqa: ASYNC251 - an application that does not let go of the loop
        await result
    await told.settle(engine)
    assert told.data == [b"0", b"1", b"2"]
    assert [kind for kind, _, _ in told.arrived] == ["message"] * 3


async def test_a_node_that_is_too_slow_is_told(make_engine: MakeEngine) -> None:
    """The server ends the connection of whoever does not read what it sends."""
    config = 'max_payload: 90000\nmax_pending: 100000\nwrite_deadline: "100ms"'
    with NatsServer(config=config) as server:
        engine, told = await make_engine(server.url)
        await engine.subscribe("ch")
        subject = f"{engine._subjects.prefix}.client.ch"

        async def flood() -> None:
            client = await nats.connect(server.url)
            for _ in range(600):
                await client.publish(subject, b"\x00" * 80_000)
                await client.flush()
            await client.close()

        thread = threading.Thread(target=asyncio.run, args=(flood(),))
        thread.start()
        thread.join()       # so long the loop stands still
        assert await told.lost() == [{"ch"}]
        assert await told.restored() == [{"ch"}]
        await engine.publish_message("ch", message("after"))
        await told.until(lambda: b"after" in told.data)


async def test_another_server_takes_over(
    make_engine: MakeEngine, own_server: NatsServer, server: NatsServer
) -> None:
    engine, told = await make_engine([own_server.url, server.url])
    while engine._link._connection.server.label.endswith(str(server.port)):
        await engine.close()
        engine, told = await make_engine([own_server.url, server.url])
    await engine.subscribe("ch")
    await asyncio.to_thread(own_server.kill)
    assert await told.restored() == [{"ch"}]
    other, _ = await make_engine(server.url)
    await other.publish_message("ch", message(1))
    await told.until(lambda: bool(told.messages))


async def test_many_channels_are_restored_in_few_writes(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    engine, told = await make_engine(proxy_url, timeout=PATIENCE)
    names = {f"channel-{number}" for number in range(20_000)}
    await asyncio.gather(*[engine.subscribe(name) for name in names])
    before = proxy.num_segments_to_server
    proxy.cut()
    assert await told.restored() == [names]
    writes = proxy.num_segments_to_server - before
    assert 0 < writes < len(names) / 10, "one by one"
    assert len(await engine.channels()) == 20_000


async def test_a_cancellation_that_gets_lost_does_not_keep_from_closing(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for loses one before Python 3.12, at the wrong moment."""
    engine, told = await make_engine(proxy_url)
    connecting = asyncio.Event()

    async def open_and_lose(connection: object, name: str, limit: float) -> None:
        connecting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("refused") from None

    monkeypatch.setattr("fanout.nats.connection.Connection.open", open_and_lose)
    proxy.cut()
    await told.lost()
    await connecting.wait()
    async with asyncio.timeout(PATIENCE):
        await engine.close()


# ---- the start ---------------------------------------------------------------


async def test_a_server_that_is_not_there(make_engine: MakeEngine) -> None:
    port = Port()
    try:
        with pytest.raises(EngineUnavailableError, match=f"127.0.0.1:{port.number}"):
            await make_engine(f"nats://u:s3cret@127.0.0.1:{port.number}", **QUICK)
    finally:
        port.release()


async def test_one_of_several_servers_is_enough(
    make_engine: MakeEngine, server: NatsServer
) -> None:
    port = Port()
    try:
        for _ in range(4):      # they are tried in any order
            engine, _ = await make_engine([f"127.0.0.1:{port.number}", server.url])
            await engine.publish_admin(AdminMessage("note"))
    finally:
        port.release()


async def test_a_server_that_says_nothing_does_not_keep_from_the_others(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str, server: NatsServer
) -> None:
    proxy.stall()
    for _ in range(4):
        engine, _ = await make_engine([proxy_url, server.url], timeout=2.0)
        await engine.publish_admin(AdminMessage("note"))


async def test_a_server_that_says_nothing(
    make_engine: MakeEngine, proxy: CuttingProxy, proxy_url: str
) -> None:
    proxy.stall()
    with pytest.raises(EngineUnavailableError, match="no answer in time"):
        await make_engine(proxy_url, **QUICK)


async def test_an_engine_that_did_not_start_is_closed(prefix: str) -> None:
    port = Port()
    engine = NatsEngine(f"127.0.0.1:{port.number}", prefix=prefix, **QUICK)
    with pytest.raises(EngineUnavailableError):
        await engine.run(Told())
    await engine.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    port.release()


# ---- what the server refuses -------------------------------------------------


LIMITED = """
no_auth_user: nobody        # as whom it is asked whether it has started
authorization {
  users = [
    {
      user: ann, password: secret,
      permissions: {
        publish: { deny: ["*.client.closed", "*.control"] },
        subscribe: { deny: ["*.client.closed"] }
      }
    },
    { user: nobody, password: "" }
  ]
}
"""


async def test_what_is_not_allowed_is_told(
    make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsServer(config=LIMITED) as server:
        engine, told = await make_engine(f"nats://ann:secret@127.0.0.1:{server.port}")
        await engine.subscribe("open")
        with pytest.raises(EngineError, match="permissions violation"):
            await engine.publish_message("closed", message(1, "closed"))
        with pytest.raises(EngineError, match="permissions violation"):
            await engine.subscribe("closed")
        assert await engine.channels() == ["open"]
        await engine.publish_message("open", message(2, "open"))
        await told.settle(engine)
        assert told.data == [b"2"]
        assert "secret" not in caplog.text


@pytest.mark.parametrize(
    ("rule", "what"),
    [('["*.client.closed", "*.control"]', "publish"), ('["*.client.closed"] }', "subscription")],
)
async def test_an_engine_that_may_not_use_its_own_subjects(
    make_engine: MakeEngine, rule: str, what: str
) -> None:
    config = LIMITED.replace(rule, '["*.node.>"]' + rule.partition("]")[2])
    with NatsServer(config=config) as server, pytest.raises(
        EngineError, match=f"permissions violation for {what}"
    ):
        await make_engine(f"nats://ann:secret@127.0.0.1:{server.port}")


async def test_a_channel_that_is_not_allowed_any_more_is_not_restored(
    make_engine: MakeEngine
) -> None:
    with NatsServer(config=LIMITED.replace("*.client.closed", "nothing")) as server:
        url = f"nats://ann:secret@127.0.0.1:{server.port}"
        engine, told = await make_engine(url, prefix="p")
        await engine.subscribe("open")
        await engine.subscribe("closed")
        await asyncio.to_thread(server.kill)
        await told.lost()
        server._config = LIMITED
        await asyncio.to_thread(server.start)
        assert await told.restored() == [{"open"}]
        await engine.publish_message("open", message(1, "open"))
        await told.until(lambda: bool(told.messages))


async def test_a_wrong_password(make_engine: MakeEngine) -> None:
    with NatsServer(user="ann", password="right/@:%") as server:
        with pytest.raises(EngineError, match=r"(?i)authorization") as raised:
            await make_engine(f"nats://ann:wr0ng@127.0.0.1:{server.port}")
        assert "wr0ng" not in str(raised.value)
        engine, _ = await make_engine(server.url)
        await engine.publish_admin(AdminMessage("note"))
        engine, _ = await make_engine(
            f"127.0.0.1:{server.port}", user="ann", password="right/@:%")
        await engine.publish_admin(AdminMessage("note"))
