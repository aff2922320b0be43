"""Recovery as the protocol says it (section 8 of its description)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from fanout import (
    BackpressureError,
    EngineUnavailableError,
    StreamPosition,
    SubscribeReply,
    UnsupportedError,
)
from tests.server.conftest import OPEN
from tests.server.peer import Peer
from tests.server.running import InProcess, serving, with_options

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


async def test_a_subscribe_whose_reply_cannot_be_made_subscribes_nobody(
    server: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Else it would get messages without the position that they follow."""
    async def subscribe(client: object, event: object) -> SubscribeReply:
        return SubscribeReply(data=b"no JSON")

    server.node.handlers.subscribe = subscribe
    async with await server.client() as peer:
        await peer.send({"id": 9, "subscribe": {"channel": "a"}})
        assert (await peer.next())["error"]["code"] == 100
        assert server.node.hub.num_subscribers("a") == 0
        assert server.node.positions.get("a") is None
    assert "no JSON" in caplog.text
