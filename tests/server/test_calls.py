"""Calls and messages of clients, and commands that overlap."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from fanout import (
    Client,
    ClientError,
    Disconnect,
    RPCEvent,
    RPCReply,
    SubscribeEvent,
    SubscribeReply,
)
from fanout.server.protocol import protobuf
from fanout.server.protocol.schema import from_protobuf
from fanout.server.session.bidirectional import COMMANDS_AT_ONCE, INBOX_LIMIT, INBOX_SIZE
from tests.server.running import InProcess, serving

OPEN = {"client": {"insecure": True}}
CONCURRENT = {"client": {"insecure": True, "concurrency": 2}}


def answers(server: InProcess, **handlers: Any) -> None:
    for name, handler in handlers.items():
        setattr(server.node.handlers, name, handler)


async def test_a_call() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        seen = []

        async def rpc(client: Client, event: RPCEvent) -> RPCReply | None:
            seen.append(event)
            if event.method == "fail":
                raise ClientError(1000, "not today", temporary=True)
            return RPCReply(b'{"sum":\n3.50}') if event.data else None

        answers(server, rpc=rpc)
        await peer.send_text('{"id":2,"rpc":{"method":"add","data":{"a":1.0}}}')
        assert await peer.next_text() == '{"id":2,"rpc":{"data":{"sum":3.50}}}'
        assert seen == [RPCEvent("add", b'{"a":1.0}')]
        assert await peer.call(rpc={"method": "nothing"}) == {"rpc": {}}
        assert await peer.call(rpc={"method": "fail"}) == {
            "error": {"code": 1000, "message": "not today", "temporary": True}}


async def test_without_anybody_to_answer_calls() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        assert await peer.error(rpc={"method": "add"}) == (108, "not available")


async def test_an_answer_that_is_no_json() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        answers(server, rpc=lambda client, event: RPCReply(b"{"))
        assert (await peer.error(rpc={}))[0] == 100


async def test_a_message() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        seen = asyncio.Event()

        def message(client: Client, data: bytes) -> None:
            assert data == b'{"text":"hello"}'
            client.send(b'"thanks"')
            seen.set()

        answers(server, client_message=message)
        await peer.send_text('{"send":{"data":{"text":"hello"}}}')
        await asyncio.wait_for(seen.wait(), 10)
        assert await peer.next() == {"push": {"message": {"data": "thanks"}}}


async def test_a_message_that_is_refused_gets_no_reply() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        def message(client: Client, data: bytes) -> None:
            raise ClientError(1000, "not today")

        answers(server, client_message=message)
        await peer.send({"send": {"data": 1}}, {"id": 5, "presence": {"channel": "a"}})
        assert (await peer.next())["id"] == 5


class Gate:
    """An RPC handler whose calls wait until they are let through."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Event] = {}
        self.most = 0

    async def __call__(self, client: Client, event: RPCEvent) -> RPCReply:
        self.waiting[event.method] = asyncio.Event()
        self.most = max(self.most, len(self.waiting))
        await self.waiting[event.method].wait()
        del self.waiting[event.method]
        return RPCReply(b'"%s"' % event.method.encode())


async def test_commands_overlap_up_to_the_limit() -> None:
    async with serving(CONCURRENT) as server, await server.client() as peer:
        gate = Gate()
        answers(server, rpc=gate)
        await peer.send(*({"id": 10 + n, "rpc": {"method": f"m{n}"}} for n in range(4)))
        await server.settled(lambda: len(gate.waiting) == 2)
        assert sorted(gate.waiting) == ["m0", "m1"]
        gate.waiting["m1"].set()
        assert await peer.next() == {"id": 11, "rpc": {"data": "m1"}}
        await server.settled(lambda: sorted(gate.waiting) == ["m0", "m2"])
        for _ in range(3):
            for event in gate.waiting.values():
                event.set()
            await peer.next()
        assert gate.most == 2


async def test_one_after_the_other_without_a_concurrency() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        gate = Gate()
        answers(server, rpc=gate)
        await peer.send(*({"id": 10 + n, "rpc": {"method": f"m{n}"}} for n in range(2)))
        await server.settled(lambda: "m0" in gate.waiting)
        gate.waiting["m0"].set()
        assert (await peer.next())["id"] == 10
        await server.settled(lambda: "m1" in gate.waiting)
        gate.waiting["m1"].set()
        assert (await peer.next())["id"] == 11
        assert gate.most == 1


async def test_an_unsubscribe_waits_for_the_subscribe_before_it() -> None:
    async with serving(CONCURRENT) as server, await server.client() as peer:
        go_on = asyncio.Event()

        async def subscribe(client: Client, event: SubscribeEvent) -> SubscribeReply:
            await go_on.wait()
            return SubscribeReply()

        answers(server, subscribe=subscribe)
        await peer.send({"id": 2, "subscribe": {"channel": "a"}},
                        {"id": 3, "unsubscribe": {"channel": "a"}},
                        {"id": 4, "rpc": {}})
        go_on.set()
        assert [(await peer.next())["id"] for _ in range(3)] == [2, 3, 4]
        (client,) = server.node.clients.values()
        assert client.channels == []


@pytest.mark.parametrize("settings", [OPEN, CONCURRENT])
async def test_a_connection_that_ends_while_its_commands_wait(settings: Any) -> None:
    async with serving(settings) as server:
        gate = Gate()
        answers(server, rpc=gate)
        async with await server.client() as peer:
            await peer.send({"id": 2, "rpc": {"method": "a"}}, {"id": 3, "rpc": {"method": "b"}})
            await server.settled(lambda: "a" in gate.waiting)
        await server.settled(lambda: not server.node.clients)
        for event in list(gate.waiting.values()):
            event.set()
        await server.settled(lambda: not gate.waiting)


async def test_a_disconnect_of_one_of_several() -> None:
    async with serving(CONCURRENT) as server, await server.client() as peer:
        async def rpc(client: Client, event: RPCEvent) -> RPCReply:
            raise Disconnect(4600, "enough")

        answers(server, rpc=rpc)
        await peer.send({"id": 2, "rpc": {}})
        assert await peer.closed() == (4600, "enough")


async def test_a_pong_does_not_wait_for_a_slow_call() -> None:
    settings = {"client": {
        "insecure": True, "concurrency": 2, "ping_interval": "1s", "pong_timeout": "300ms"}}
    async with serving(settings) as server, await server.client() as peer:
        gate = Gate()
        answers(server, rpc=gate)
        await peer.send({"id": 2, "rpc": {"method": "slow"}})
        for _ in range(2):
            assert await peer.next() == {}
            await peer.send({})
        gate.waiting["slow"].set()
        assert (await peer.next())["id"] == 2


# Many commands in one frame


async def test_a_full_frame_leaves_others_their_turn() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        loop = asyncio.get_running_loop()
        turns = 0
        answered: Counter[int] = Counter()

        def turn() -> None:
            nonlocal turns
            turns += 1
            if answered.total() < 1000:
                loop.call_soon(turn)

        def rpc(client: Client, event: RPCEvent) -> RPCReply:
            answered[turns] += 1
            return RPCReply()

        answers(server, rpc=rpc)
        turn()
        await peer.send(*({"id": id, "rpc": {}} for id in range(1, 1001)))
        assert [(await peer.next())["id"] for _ in range(1000)] == list(range(1, 1001))
        assert max(answered.values()) <= COMMANDS_AT_ONCE


async def test_a_frame_is_read_no_further_than_it_is_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    num_read = 0

    def counted(message: Any) -> Any:
        nonlocal num_read
        num_read += 1
        return from_protobuf(message)

    monkeypatch.setattr(protobuf, "from_protobuf", counted)
    async with serving(OPEN) as server, open_websocket(
        f"{server.url}?format=protobuf", compression=None
    ) as websocket:
        await websocket.send(bytes(60_000))     # so many pongs that nobody waits for
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 3501
    assert num_read == 1


async def test_what_comes_before_an_unreadable_command_is_done() -> None:
    async with serving(OPEN) as server, open_websocket(
        f"{server.url}?format=protobuf", compression=None
    ) as websocket:
        # A connect with the id 1, then a message that is longer than the frame.
        await websocket.send(b"\x04\x08\x01\x22\x00" + b"\x7f")
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
            await websocket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 3501


async def test_large_frames_wait_where_they_come_from() -> None:
    async with serving(OPEN) as server, await server.client() as peer:
        released = asyncio.Event()

        async def rpc(client: Client, event: RPCEvent) -> RPCReply:
            await released.wait()
            return RPCReply()

        answers(server, rpc=rpc)
        connection: Any = next(iter(server.connections._connections))
        session = connection._session
        text = json.dumps({"id": 1, "rpc": {"data": "x" * 60_000}})

        async def send() -> None:
            for _ in range(INBOX_LIMIT):
                await peer.send_text(text)

        sending = asyncio.create_task(send())
        await server.settled(lambda: not connection._transport.is_reading())
        # At most what was read at once lies above the limit.
        assert session._inbox_size < INBOX_SIZE + 2 * 262_144
        released.set()
        assert [(await peer.next())["id"] for _ in range(INBOX_LIMIT)] == [1] * INBOX_LIMIT
        await sending
        assert session._inbox_size == 0
