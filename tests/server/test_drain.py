"""The drain at SIGTERM: who is told when, who is refused, and that nothing accepted is lost."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from fanout import RPCReply
from fanout.server.drain import SMALLEST_GROUP, TICK, Drain
from tests.server.conftest import OPEN
from tests.server.peer import Peer, connect
from tests.server.running import InProcess, Process, get, raw_socket, serving
from tests.server.test_lifecycle import handshake, masked

SHUTDOWN = (3001, "shutdown")


class Pauses:
    """Stands in for the time between two groups: each pause ends when the test says so."""

    def __init__(self) -> None:
        self.lengths: list[float] = []
        self.clients_left: list[int] = []
        self.server: InProcess
        self._go = asyncio.Semaphore(0)
        self._began = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.lengths.append(seconds)
        self.clients_left.append(len(self.server.node.clients))
        self._began.set()
        await self._go.acquire()

    async def began(self) -> None:
        """Wait until the drain pauses."""
        await asyncio.wait_for(self._began.wait(), 10)
        self._began.clear()

    def end(self, pauses: int = 1000) -> None:
        for _ in range(pauses):
            self._go.release()


def paused(server: InProcess, pauses: Pauses, budget: float) -> Drain:
    """The drain of ``server``, with ``pauses`` between its groups."""
    pauses.server = server
    drain = server._server._service.drain
    drain._sleep = pauses.sleep
    drain._window = budget / 2
    return drain


async def told(peers: Iterable[Peer]) -> Counter[tuple[int, str]]:
    """With what the server ended each of the connections, which are closed here too."""
    endings: Counter[tuple[int, str]] = Counter()
    for peer in peers:
        endings[await peer.closed()] += 1
        await peer.close()
    return endings


async def clients(server: InProcess, count: int) -> list[Peer]:
    return list(await asyncio.gather(*(server.client() for _ in range(count))))


@pytest.mark.usefixtures("quiet")
async def test_clients_are_told_group_by_group() -> None:
    pauses = Pauses()
    async with serving(OPEN) as server:
        drain = paused(server, pauses, 30)
        pauses.end()
        peers = await clients(server, 2 * SMALLEST_GROUP + 20)
        # In the order in which they came, so that nobody is forgotten.
        order = list(server.node.clients)
        left: list[str] = []

        @server.node.on_disconnect
        async def disconnected(client: object, disconnect: object) -> None:
            left.append(client.id)  # type: ignore[attr-defined]

        assert await drain.spread() == 3
        assert await told(peers) == {SHUTDOWN: len(peers)}
        await server.settled(lambda: len(left) == len(order))
        assert left == order
    assert pauses.lengths == [TICK, TICK]
    assert pauses.clients_left == [SMALLEST_GROUP + 20, 20]


@pytest.mark.usefixtures("quiet")
async def test_a_short_budget_makes_the_groups_larger() -> None:
    """Half of the budget is all that the groups get."""
    pauses = Pauses()
    async with serving(OPEN) as server:
        drain = paused(server, pauses, 4 * TICK)
        pauses.end()
        peers = await clients(server, 2 * SMALLEST_GROUP + 20)
        assert await drain.spread() == 2
        assert await told(peers) == {SHUTDOWN: len(peers)}
    assert pauses.clients_left == [SMALLEST_GROUP + 10]


@pytest.mark.usefixtures("quiet")
async def test_without_a_budget_all_are_told_at_once() -> None:
    pauses = Pauses()
    async with serving(OPEN) as server:
        drain = paused(server, pauses, 0)
        peers = await clients(server, SMALLEST_GROUP + 1)
        assert await drain.spread() == 1
        assert await told(peers) == {SHUTDOWN: len(peers)}


@pytest.mark.usefixtures("quiet")
async def test_nobody_new_is_taken_while_others_are_still_here() -> None:
    pauses = Pauses()
    async with serving(OPEN) as server:
        paused(server, pauses, 30)
        assert (await get(f"{server.http}/health"))[0] == 200
        open_already = await server.peer()
        peers = await clients(server, SMALLEST_GROUP + 1)
        server.stop()
        await pauses.began()
        assert (await get(f"{server.http}/health"))[0] == 503
        with pytest.raises(InvalidStatus) as refusal:
            await connect(server.url)
        assert refusal.value.response.status_code == 503
        # Its connection was taken before: it may connect, and is told to leave like the others.
        assert "connect" in await open_already.call(connect={})
        pauses.end()
        assert await told([*peers, open_already]) == {SHUTDOWN: len(peers) + 1}


@pytest.mark.usefixtures("quiet")
async def test_what_is_published_between_two_groups_reaches_those_who_are_left() -> None:
    pauses = Pauses()
    async with serving(OPEN) as server:
        paused(server, pauses, 30)
        first = await clients(server, SMALLEST_GROUP)
        reader = await server.client("room")
        writer = await server.client()
        server.stop()
        await pauses.began()
        assert await told(first) == {SHUTDOWN: len(first)}
        for number in range(20):
            reply = await writer.call(publish={"channel": "room", "data": number})
            assert "publish" in reply
        pauses.end()
        got = [(await reader.next())["push"]["pub"]["data"] for _ in range(20)]
        assert got == list(range(20))
        assert await told([reader]) == {SHUTDOWN: 1}


@pytest.mark.usefixtures("quiet")
async def test_who_waits_for_an_answer_gets_it_first() -> None:
    pauses = Pauses()
    async with serving(OPEN) as server:
        paused(server, pauses, 30)
        called, answered = asyncio.Event(), asyncio.Event()

        async def slow(client: object, event: object) -> RPCReply:
            called.set()
            await answered.wait()
            return RPCReply(b'"done"')

        server.node.handlers.rpc = slow
        waits, other = await server.client(), await server.client()
        await waits.send({"id": 7, "rpc": {"method": "slow"}})
        await asyncio.wait_for(called.wait(), 10)
        server.stop()
        await pauses.began()
        assert await told([other]) == {SHUTDOWN: 1}
        answered.set()
        assert await waits.next() == {"id": 7, "rpc": {"data": "done"}}
        pauses.end()
        assert await told([waits]) == {SHUTDOWN: 1}


@pytest.mark.usefixtures("quiet")
async def test_who_waits_too_long_is_told_with_the_rest() -> None:
    async with serving({**OPEN, "shutdown": {"timeout": "0.5s"}}) as server:
        called = asyncio.Event()

        async def never(client: object, event: object) -> RPCReply:
            called.set()
            await asyncio.get_running_loop().create_future()
            raise AssertionError

        server.node.handlers.rpc = never
        waits = await server.client()
        await waits.send({"id": 7, "rpc": {"method": "never"}})
        await asyncio.wait_for(called.wait(), 10)
        server.stop()
        assert await told([waits]) == {SHUTDOWN: 1}


async def test_many_clients_of_a_process_are_all_told(tmp_path: Path) -> None:
    server = Process({**OPEN, "shutdown": {"timeout": "4s"}}, tmp_path)
    server.start()
    peers = [await connect(server.url) for _ in range(4 * SMALLEST_GROUP)]
    for peer in peers:
        await peer.call(connect={})
    server.kill(signal.SIGTERM)
    assert await told(peers) == {SHUTDOWN: len(peers)}
    assert await asyncio.to_thread(server.wait) == 0
    log = "".join(server.log)
    assert f"{len(peers)} clients are asked to leave" in log
    assert "ERROR" not in log
    assert "did not close in time" not in log


async def test_a_process_keeps_what_it_accepted_while_it_drains(tmp_path: Path) -> None:
    """Whatever was answered is delivered to a reader who is told to leave after the writer."""
    server = Process({**OPEN, "shutdown": {"timeout": "4s"}}, tmp_path)
    server.start()
    crowd = [await connect(server.url) for _ in range(SMALLEST_GROUP - 1)]
    for peer in crowd:
        await peer.call(connect={})
    writer = await connect(server.url)
    await writer.call(connect={})
    # Whose command is being worked on when its group's turn comes leaves with the next one:
    # between it and the reader are two groups.
    for _ in range(2 * SMALLEST_GROUP):
        crowd.append(await connect(server.url))
        await crowd[-1].call(connect={})
    reader = await connect(server.url)
    await reader.call(connect={})
    await reader.call(subscribe={"channel": "room"})
    accepted = -1
    for number in range(100_000):
        if number == 50:
            server.kill(signal.SIGTERM)
        try:
            reply = await writer.call(publish={"channel": "room", "data": number})
        except Exception:
            break
        assert "publish" in reply
        accepted = number
    assert accepted >= 49
    got = []
    while len(got) <= accepted:
        got.append((await reader.next())["push"]["pub"]["data"])
    assert got == list(range(accepted + 1))
    for peer in (*crowd, reader, writer):
        await peer.close()
    assert await asyncio.to_thread(server.wait) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_does_not_wait_for_the_groups(
    tmp_path: Path, number: signal.Signals
) -> None:
    server = Process({**OPEN, "shutdown": {"timeout": "1000s"}}, tmp_path)
    server.start()
    # One that answers no close frame: the drain has to wait for it.
    deaf = raw_socket(server.port)
    deaf.sendall(handshake() + masked(b'{"id":1,"connect":{}}'))
    peers = [await connect(server.url) for _ in range(SMALLEST_GROUP + 1)]
    for peer in peers:
        await peer.call(connect={})
    server.kill(number)
    # The first group is told: the signal has arrived.
    assert await peers[0].closed() == SHUTDOWN
    server.kill(number)
    assert await asyncio.to_thread(server.wait) == -number
    deaf.close()
    for peer in peers:
        peer.websocket.transport.abort()
        await peer.websocket.wait_closed()
