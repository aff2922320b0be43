"""What is nobody's fault but the server's: logged, and told to the client as such."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from fanout import JoinMessage
from tests.server.conftest import OPEN
from tests.server.running import errors_in, serving, with_options

ALL_KEPT = with_options(
    OPEN, presence=True, join_leave=True, history_size=10, history_ttl="60s")
INTERNAL = (100, "internal server error")


async def failing(*_: object) -> None:
    raise RuntimeError("out of order")


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The cause is in the log, and nothing else is."""
    yield
    records: list[logging.LogRecord] = caplog.get_records("call")
    errors = errors_in(records)
    assert errors
    assert all("out of order" in error for error in errors)


@pytest.mark.parametrize("method", ["subscribe", "publish", "presence", "history"])
async def test_a_handler_fails(method: str) -> None:
    async with serving(ALL_KEPT) as server, await server.client() as peer:
        setattr(server.node.handlers, method, failing)
        await peer.send({"id": 9, method: {"channel": "a", "data": 1}})
        assert await peer.next() == {"id": 9, "error": {
            "code": 100, "message": "internal server error", "temporary": True}}
        assert "unsubscribe" in await peer.call(unsubscribe={"channel": "a"})


async def test_the_connect_handler_fails() -> None:
    async with serving(OPEN) as server:
        server.node.handlers.connect = failing  # type: ignore[assignment]
        async with await server.peer() as peer:
            assert await peer.error(connect={}) == INTERNAL
        assert server.node.stats().num_clients == 0


@pytest.mark.parametrize(("method", "command"), [
    ("add_presence", {"subscribe": {"channel": "a"}}),
    ("presence", {"presence": {"channel": "a"}}),
    ("presence_stats", {"presence_stats": {"channel": "a"}}),
    ("history_stream", {"history": {"channel": "a"}}),
    ("publish_message", {"publish": {"channel": "a", "data": 1}}),
])
async def test_the_engine_fails(
    method: str, command: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(ALL_KEPT) as server, await server.client() as peer:
        with monkeypatch.context() as patched:
            patched.setattr(server.node.engine, method, failing)
            assert await peer.error(**command) == INTERNAL
            assert server.node.stats().num_subscriptions == 0
            assert await server.node.channels() == []
        assert "error" not in await peer.call(**command)


async def test_the_engine_fails_behind_the_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command has one reply, also when the join that follows it goes wrong."""

    def publish_join(channel: str, message: JoinMessage) -> None:
        raise RuntimeError("out of order")

    async with serving(ALL_KEPT) as server, await server.client() as peer:
        monkeypatch.setattr(server.node.engine, "publish_join", publish_join)
        assert "subscribe" in await peer.call(subscribe={"channel": "a"})
        assert "publish" in await peer.call(publish={"channel": "a", "data": 1})
