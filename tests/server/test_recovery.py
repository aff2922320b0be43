"""Recovery as the protocol says it (section 8 of its description)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout import (
    BackpressureError,
    ConnectReply,
    EngineUnavailableError,
    StreamPosition,
    SubscribeReply,
    UnsupportedError,
)
from tests.server.conftest import OPEN
from tests.server.peer import Peer, connect
from tests.server.running import InProcess, serving, with_options

INAPPROPRIATE = (3506, "inappropriate protocol")
KEPT = {"force_recovery": True, "history_size": 5, "history_ttl": "60s"}


@pytest.fixture
async def server() -> AsyncIterator[InProcess]:
    async with serving(with_options(OPEN, **KEPT)) as running:
        yield running


async def fill(server: InProcess, *data: bytes) -> StreamPosition:
    for each in data:
        position = await server.node.publish("a", each)
    return position


async def recover(peer: Peer, offset: int, epoch: str) -> Any:
    reply = await peer.call(
        subscribe={"channel": "a", "recover": True, "offset": offset, "epoch": epoch})
    return reply["subscribe"]


async def test_what_was_missed_is_in_the_reply(server: InProcess) -> None:
    seen = await fill(server, b"1", b"2")
    await fill(server, b"3", b'{"x": 4}')
    async with await server.client() as peer:
        assert await recover(peer, 2, seen.epoch) == {
            "recoverable": True, "positioned": True, "was_recovering": True, "recovered": True,
            "epoch": seen.epoch, "offset": 2,
            "publications": [{"data": 3, "offset": 3}, {"data": {"x": 4}, "offset": 4}],
        }
        await fill(server, b"5")
        assert (await peer.next())["push"]["pub"] == {"data": 5, "offset": 5}


async def test_nothing_missed(server: InProcess) -> None:
    seen = await fill(server, b"1", b"2")
    async with await server.client() as peer:
        reply = await recover(peer, 2, seen.epoch)
        assert (reply["recovered"], reply["offset"]) == (True, 2)
        assert "publications" not in reply


async def test_an_empty_epoch_is_taken_for_the_stream_s(server: InProcess) -> None:
    seen = await fill(server, b"1", b"2")
    async with await server.client() as peer:
        reply = await recover(peer, 1, "")
        assert (reply["recovered"], reply["epoch"]) == (True, seen.epoch)
        assert [publication["offset"] for publication in reply["publications"]] == [2]


@pytest.mark.parametrize(("offset", "epoch"), [(1, ""), (9, ""), (8, "other")])
async def test_not_recovered_is_said(server: InProcess, offset: int, epoch: str) -> None:
    top = await fill(server, *[b"1"] * 8)
    async with await server.client() as peer:
        assert await recover(peer, offset, epoch) == {
            "recoverable": True, "positioned": True, "was_recovering": True,
            "epoch": top.epoch, "offset": 8,
        }


@pytest.mark.parametrize("offset", [-1, 1 << 64])
async def test_an_impossible_offset(server: InProcess, offset: int) -> None:
    async with await server.client() as peer:
        assert await peer.error(subscribe={
            "channel": "a", "recover": True, "offset": offset}) == (107, "bad request")


async def test_a_client_that_lost_something_is_sent_back(server: InProcess) -> None:
    async with await server.client("a") as peer:
        await fill(server, b"1")
        assert (await peer.next())["push"]["pub"]["offset"] == 1
        server.node.engine._history.clear()     # type: ignore[attr-defined]
        top = await fill(server, b"2")
        assert (await peer.next())["push"] == {
            "channel": "a", "unsubscribe": {"code": 2500, "reason": "insufficient state"}}
        reply = await recover(peer, 1, "old")
        assert "recovered" not in reply
        assert (reply["offset"], reply["epoch"]) == (1, top.epoch)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (EngineUnavailableError("down"), {
            "code": 100, "message": "internal server error", "temporary": True}),
        (BackpressureError("too many"), {
            "code": 100, "message": "internal server error", "temporary": True}),
        (UnsupportedError("no history"), {"code": 108, "message": "not available"}),
    ],
)
@pytest.mark.parametrize("command", [
    {"subscribe": {"channel": "a", "recover": True, "offset": 1, "epoch": "e"}},
    {"subscribe": {"channel": "a"}},
], ids=["recover", "subscribe"])
async def test_an_engine_that_cannot(
    server: InProcess, error: Exception, expected: dict[str, Any], command: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    """The client may try again, and one line of the log says why."""
    async with await server.client("b") as peer:
        async def fail(*arguments: object, **keywords: object) -> None:
            raise error

        monkeypatch.setattr(server.node.engine, "history_stream", fail)
        caplog.clear()
        assert await peer.call(**command) == {"error": expected}
        assert str(error) in caplog.text
        assert "Traceback" not in caplog.text
        assert "rpc" not in caplog.text
        assert await peer.error(rpc={}) == (108, "not available")


async def test_a_subscribe_whose_reply_cannot_be_made_ends_the_connection(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """It would get messages without the position that they follow, and ask again in vain."""
    async def subscribe(client: object, event: object) -> SubscribeReply:
        return SubscribeReply(data=b"no JSON")

    server.node.handlers.subscribe = subscribe
    async with await server.client() as peer:
        await peer.send({"id": 9, "subscribe": {"channel": "a"}})
        assert await peer.closed() == INAPPROPRIATE
        assert server.node.hub.num_subscribers("a") == 0
        assert server.node.positions.get("a") is None
    assert "no JSON" in caplog.text


async def test_what_was_missed_and_is_no_json(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The same as for who is there when it is published, and for the history."""
    position = await fill(server, b"1", b"\xff")
    missing = {"recover": True, "offset": 0, "epoch": position.epoch}
    async with await server.client() as peer:
        await peer.send({"id": 9, "subscribe": {"channel": "a", **missing}})
        assert await peer.closed() == INAPPROPRIATE
    async with await server.client() as peer:
        await peer.send({"id": 9, "history": {"channel": "a", "limit": -1}})
        assert await peer.closed() == INAPPROPRIATE
    async with await server.peer() as peer:
        await peer.send({"id": 9, "connect": {"subs": {"a": missing}}})
        assert await peer.closed() == INAPPROPRIATE
    assert server.node.stats().num_subscriptions == 0
    assert "'a'" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_one_way_client_that_missed_what_is_no_json() -> None:
    settings = {**with_options(OPEN, **KEPT), "uni_websocket": {"enabled": True}}
    async with serving(settings) as server:
        await fill(server, b"\xff")
        url = server.url.replace("websocket", "uni_websocket")
        async with await connect(url) as peer:
            await peer.send({"subs": {"a": {"recover": True}}})
            assert await peer.next() == {
                "disconnect": {"code": 3506, "reason": "inappropriate protocol"}}
            assert await peer.closed() == INAPPROPRIATE


async def test_connect_data_that_is_no_json(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    server.node.handlers.connect = lambda event: ConnectReply(data=b"no JSON")
    async with await server.peer() as peer:
        await peer.send({"id": 1, "connect": {}})
        assert await peer.closed() == INAPPROPRIATE
    assert "no JSON" in caplog.text
