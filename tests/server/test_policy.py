"""What a configuration comes to for those who connect."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.server.running import serving

pytestmark = pytest.mark.usefixtures("quiet")

KEPT: dict[str, Any] = {
    "history_size": 5, "history_ttl": "60s",
    "allow_subscribe_for_client": True, "allow_presence_for_client": True,
}


async def test_a_proxy_in_front_says_who_connects(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fanout")
    settings = {
        "client": {"user_id_http_header": "X-User-Id"},
        "channel": {"without_namespace": {**KEPT, "presence": True}},
    }
    async with serving(settings) as server:
        async with await server.peer(additional_headers={"x-user-id": "42"}) as peer:
            client = (await peer.call(connect={}))["connect"]["client"]
            await peer.call(subscribe={"channel": "a"})
            reply = await peer.call(presence={"channel": "a"})
            assert reply["presence"]["presence"] == {client: {"user": "42", "client": client}}
        async with await server.peer() as peer:
            await peer.send({"id": 1, "connect": {}})
            assert await peer.closed() == (3501, "bad request")
    refused = [line for line in caplog.messages if "without a token is refused" in line]
    assert len(refused) == 1 and "allow_anonymous_connect_without_token" in refused[0]


@pytest.mark.parametrize(("option", "recoverable"), [("recovery", True), ("positioning", False)])
@pytest.mark.parametrize("how", ["force", "allow"])
async def test_where_positions_alone_are_watched_the_history_is_not_given(
    how: str, option: str, recoverable: bool
) -> None:
    options = {**KEPT, "allow_subscribe_for_anonymous": True, f"{how}_{option}": True}
    settings = {
        "client": {"allow_anonymous_connect_without_token": True},
        "channel": {"without_namespace": options},
    }
    async with serving(settings) as server:
        top = await server.node.publish("a", b"1")
        async with await server.client() as peer:
            reply = await peer.call(subscribe={
                "channel": "a", "recover": True, "offset": 0, "positioned": True})
            told = reply["subscribe"]
            assert told["positioned"] and told["was_recovering"]
            assert told.get("recoverable", False) is recoverable
            assert told.get("recovered", False) is recoverable
            assert [each["offset"] for each in told.get("publications", [])] == [1][:recoverable]
            # Where it was, which JSON leaves out when it is 0.
            assert told.get("offset", 0) == (0 if recoverable else 1)
            assert told["epoch"] == top.epoch


async def test_more_than_the_limit_is_not_recovered() -> None:
    options = {**KEPT, "allow_subscribe_for_anonymous": True, "force_recovery": True}
    settings = {
        "client": {
            "allow_anonymous_connect_without_token": True, "recovery_max_publication_limit": 2},
        "channel": {"without_namespace": options},
    }
    async with serving(settings) as server:
        for _ in range(3):
            await server.node.publish("a", b"1")
        async with await server.client() as peer:
            for offset, recovered in ((1, True), (0, False)):
                reply = await peer.call(
                    subscribe={"channel": "a", "recover": True, "offset": offset})
                assert reply["subscribe"].get("recovered", False) is recovered
                await peer.call(unsubscribe={"channel": "a"})


async def test_a_node_may_have_a_name() -> None:
    async with serving({"node": {"name": "first"}}) as server:
        assert server.node.name == "first"
