"""Deltas and tags filters, as a client of either encoding sees them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from centrifuge.protocol import client_pb2
from websockets.asyncio.client import connect as open_websocket

from fanout import _fossil
from tests.server.running import InProcess, Settings, serving

OPTIONS: dict[str, Any] = {
    "history_size": 10, "history_ttl": "60s", "force_recovery": True,
    "allowed_delta_types": ["fossil"], "allow_tags_filter": True,
}
SETTINGS: Settings = {"client": {"insecure": True}, "channel": {"without_namespace": OPTIONS}}


def document(number: int) -> bytes:
    return json.dumps(
        {"number": number, "text": "words that stay the same from one to the next, " * 8,
         "emoji": "\U0001f600\u00e9"}, ensure_ascii=False).encode()


class Reader:
    """What a client's library does with publications in the delta form."""

    def __init__(self) -> None:
        self.base = b""
        self.num_patches = 0

    def read(self, publication: dict[str, Any]) -> Any:
        data = publication["data"].encode()
        if publication.get("delta"):
            self.num_patches += 1
            data = _fossil.apply(self.base, data)
        self.base = data
        return json.loads(data)["number"]


async def publish(server: InProcess, *numbers: int) -> Any:
    for number in numbers:
        position = await server.node.publish("a", document(number), delta=True)
    return position


async def test_one_in_full_and_the_others_as_patches() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        reply = await peer.call(subscribe={"channel": "a", "delta": "fossil"})
        assert reply["subscribe"]["delta"]
        reader = Reader()
        await publish(server, 1, 2, 3, 4)
        got = [reader.read((await peer.next())["push"]["pub"]) for _ in range(4)]
        assert got == [1, 2, 3, 4] and reader.num_patches == 3
        assert len(peer.texts[-1]) < len(document(4)) / 2


async def test_without_asking_or_without_leave_data_is_plain() -> None:
    for options, delta in ((OPTIONS, ""), ({}, "fossil")):
        settings = {**SETTINGS, "channel": {"without_namespace": options}}
        async with serving(settings) as server, await server.client() as peer:
            reply = await peer.call(subscribe={"channel": "a", "delta": delta})
            assert "delta" not in reply["subscribe"]
            await publish(server, 1, 2)
            got = [(await peer.next())["push"]["pub"] for _ in range(2)]
            assert [each["data"]["number"] for each in got] == [1, 2]


async def test_another_kind_of_delta() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        await peer.send({"id": 2, "subscribe": {"channel": "a", "delta": "vcdiff"}})
        assert await peer.closed() == (3501, "bad request")


async def test_recovery_goes_on_with_patches() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        seen = await publish(server, 1)
        await publish(server, 2, 3, 4)
        reply = (await peer.call(subscribe={
            "channel": "a", "delta": "fossil", "recover": True,
            "offset": seen.offset, "epoch": seen.epoch}))["subscribe"]
        reader = Reader()
        assert [reader.read(each) for each in reply["publications"]] == [2, 3, 4]
        assert reader.num_patches == 2
        await publish(server, 5)
        assert reader.read((await peer.next())["push"]["pub"]) == 5
        assert reader.num_patches == 3


async def test_who_missed_nothing_may_have_nothing() -> None:
    """It knows the place from its first subscribe: no publication needs to have come to it."""
    async with serving(SETTINGS) as server, await server.client() as other:
        await other.call(subscribe={"channel": "a", "delta": "fossil"})
        await publish(server, 1)
        async with await server.client() as peer:
            first = (await peer.call(subscribe={"channel": "a", "delta": "fossil"}))["subscribe"]
        async with await server.client() as peer:
            again = (await peer.call(subscribe={
                "channel": "a", "delta": "fossil", "recover": True,
                "offset": first["offset"], "epoch": first["epoch"]}))["subscribe"]
            assert again["recovered"] and "publications" not in again
            reader = Reader()
            await publish(server, 2, 3)
            got = [reader.read((await peer.next())["push"]["pub"]) for _ in range(2)]
            assert got == [2, 3] and reader.num_patches == 1


async def test_delta_publish_asks_for_every_publication() -> None:
    options = {**OPTIONS, "delta_publish": True}
    settings = {**SETTINGS, "channel": {"without_namespace": options}}
    async with serving(settings) as server, await server.client() as peer:
        await peer.call(subscribe={"channel": "a", "delta": "fossil"})
        reader = Reader()
        for number in (1, 2):
            await server.node.publish("a", document(number))
        assert [reader.read((await peer.next())["push"]["pub"]) for _ in range(2)] == [1, 2]
        assert reader.num_patches == 1


async def test_the_publisher_decides() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        await peer.call(subscribe={"channel": "a", "delta": "fossil"})
        reader = Reader()
        for number, delta in ((1, False), (2, False), (3, True)):
            await server.node.publish("a", document(number), delta=delta)
        assert [reader.read((await peer.next())["push"]["pub"]) for _ in range(3)] == [1, 2, 3]
        assert reader.num_patches == 1


async def test_in_protobuf() -> None:
    async with serving(SETTINGS) as server:
        url = f"{server.url}?format=protobuf"
        async with open_websocket(url, compression=None) as websocket:
            for number, fill in (
                (1, lambda command: command.connect.SetInParent()),
                (2, lambda command: command.subscribe.MergeFrom(
                    client_pb2.SubscribeRequest(channel="a", delta="fossil"))),
            ):
                command = client_pb2.Command(id=number)
                fill(command)
                await websocket.send(framed(command))
                (reply,) = replies(await websocket.recv())
                assert reply.id == number and not reply.error.code
            assert reply.subscribe.delta
            await publish(server, 1, 2)
            got: list[Any] = []
            while len(got) < 2:
                got += [reply.push.pub for reply in replies(await websocket.recv())]
            assert (got[0].data, got[0].delta) == (document(1), False)
            assert got[1].delta and _fossil.apply(document(1), got[1].data) == document(2)


def framed(message: Any) -> bytes:
    data = message.SerializeToString()
    assert len(data) < 128
    return bytes([len(data)]) + data


def replies(frame: Any) -> list[Any]:
    assert isinstance(frame, bytes)
    found = []
    while frame:
        size = shift = at = 0
        while True:
            size |= (frame[at] & 0x7F) << shift
            shift += 7
            at += 1
            if frame[at - 1] < 0x80:
                break
        reply = client_pb2.Reply()
        reply.ParseFromString(frame[at:at + size])
        found.append(reply)
        frame = frame[at + size:]
    return found


async def test_a_filter_selects_by_tags() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        wanted = {"op": "and", "nodes": [
            {"key": "kind", "cmp": "eq", "val": "goal"},
            {"key": "minute", "cmp": "gt", "val": "9"},
        ]}
        await peer.call(subscribe={"channel": "a", "tf": wanted})
        for number, tags in enumerate((
            {"kind": "goal", "minute": "10"}, {"kind": "card", "minute": "20"}, None,
            {"kind": "goal", "minute": "9"}, {"kind": "goal", "minute": "90.5"},
        )):
            await server.node.publish("a", str(number).encode(), tags=tags)
        got = [(await peer.next())["push"]["pub"] for _ in range(2)]
        assert [(each["data"], each["offset"]) for each in got] == [(0, 1), (4, 5)]


async def test_a_filter_holds_for_what_is_recovered() -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        epoch = ""
        for number in range(4):
            position = await server.node.publish(
                "a", str(number).encode(), tags={"even": str(number % 2 == 0)})
            epoch = position.epoch
        wish = {"channel": "a", "recover": True, "offset": 1, "epoch": epoch}
        reply = (await peer.call(subscribe={
            **wish, "tf": {"key": "even", "cmp": "eq", "val": "True"}}))["subscribe"]
        assert reply["recovered"]
        assert [each["data"] for each in reply["publications"]] == [2]
        await peer.call(unsubscribe={"channel": "a"})
        reply = (await peer.call(subscribe={
            **wish, "tf": {"key": "even", "cmp": "eq", "val": "no"}}))["subscribe"]
        assert reply["recovered"] and "publications" not in reply
        assert reply["offset"] == 4     # nothing of what it missed is for it


@pytest.mark.parametrize("bad", [
    {"op": "xor"}, {"key": "a"}, {"key": "a", "cmp": "eq"}, {"op": "not"},
    {"key": "", "cmp": "eq", "val": "1"}, {"key": "a", "cmp": "in"},
    {"op": "and", "nodes": [{"op": "not", "nodes": [{"key": "a", "cmp": "eq", "val": "1"}] * 2}]},
])
async def test_a_filter_that_is_none(bad: dict[str, Any]) -> None:
    async with serving(SETTINGS) as server, await server.client() as peer:
        assert await peer.error(subscribe={"channel": "a", "tf": bad}) == (107, "bad request")


async def test_a_filter_where_none_is_allowed() -> None:
    async with serving({"client": {"insecure": True}}) as server, await server.client() as peer:
        good = {"key": "a", "cmp": "eq", "val": "1"}
        assert await peer.error(subscribe={"channel": "a", "tf": good}) == (107, "bad request")
