"""Any commands whatever: each is answered or ends its connection, and the server lives on."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from tests.server.conftest import OPEN
from tests.server.peer import Peer
from tests.server.running import serving, with_options

EVERYTHING = with_options(
    OPEN, presence=True, join_leave=True, force_push_join_leave=True, history_size=3,
    history_ttl="60s")

METHODS = ["subscribe", "unsubscribe", "publish", "presence", "presence_stats", "history", "rpc"]
ENDINGS = ["connect", "ping", "send", "refresh", "sub_refresh", "unknown"]
channels = st.sampled_from(["a", "b", "c", "", "nobody:x", "$p", "é", "x" * 256, "#1,2", "\0"])
scalars = st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.text(max_size=5) | (
    st.floats(allow_nan=False))
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=6)
positions = st.fixed_dictionaries(
    {}, optional={"offset": st.integers(-1, 1 << 65), "epoch": st.text(max_size=3)})
good_requests = st.fixed_dictionaries({"channel": channels}, optional={
    "data": anything, "limit": st.integers(-2, 400), "since": positions,
    "reverse": st.booleans(), "join_leave": st.booleans(), "delta": st.sampled_from(["", "fossil"]),
    "recover": st.booleans(), "flag": st.integers(0, 3), "token": st.sampled_from(["", "x"]),
})
bad_requests = st.dictionaries(
    st.sampled_from(["channel", "data", "limit", "since", "reverse", "token", "delta", "x"]),
    anything, max_size=4)
commands = st.one_of(
    st.fixed_dictionaries(
        {"id": st.integers(1, 1 << 32)},
        optional=dict.fromkeys(METHODS, good_requests)),
    st.dictionaries(st.just("id"), st.integers(0, 9), max_size=1).flatmap(
        lambda id: st.sampled_from(METHODS + ENDINGS).flatmap(
            lambda method: good_requests.map(lambda request: {**id, method: request}))),
    st.sampled_from(METHODS + ENDINGS).flatmap(
        lambda method: st.fixed_dictionaries(
            {"id": st.integers(1, 9), method: bad_requests | anything})),
)
texts = commands.map(json.dumps) | st.text(max_size=20)


@settings(
    deadline=None, max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(frames=st.lists(st.lists(texts, min_size=1, max_size=4), min_size=1, max_size=6))
def test_any_commands(frames: list[list[str]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.clear()
    caplog.set_level(logging.WARNING)
    outcome = asyncio.run(talk(frames))
    assert outcome in (0, 3500, 3501, 3508), outcome
    assert [record.getMessage() for record in caplog.records] == []


async def talk(frames: list[list[str]]) -> int:
    """Say it all; the code with which the server ended the connection, or 0."""
    async with serving(EVERYTHING) as server:
        witness = await server.client("witness")
        peer = await server.client()
        code = await say(peer, frames)
        await peer.close()
        # Nothing of it is left, and the others never noticed.
        await server.settled(lambda: server.node.stats().num_clients == 1)
        await server.settled(lambda: not server.node._background)
        assert server.node.stats().num_subscriptions == 1
        for channel in "abc":
            assert await server.node.presence(channel) == {}
        assert "publish" in await witness.call(publish={"channel": "witness", "data": 1})
        await witness.close()
        await server.settled(lambda: not server.connections._connections)
    return code


async def say(peer: Peer, frames: list[list[str]]) -> int:
    last = 4_000_000_000
    try:
        for frame in frames:
            await peer.send_text("\n".join(frame))
        await peer.send({"id": last, "rpc": {}})
        while True:
            # Every line that comes is an object with one reply or one push in it.
            answer: Any = await peer.next()
            assert isinstance(answer, dict)
            assert len(set(answer) - {"id"}) == 1
            if answer.get("id") == last and "error" in answer:
                return 0
    except ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code
