"""The published API client cent, as it comes from PyPI, against a server process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import cent
import pytest

from tests.server.api.calling import KEY, SETTINGS
from tests.server.peer import Peer, connect
from tests.server.running import Process


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    running = Process(SETTINGS, tmp_path_factory.mktemp("cent"))
    with running:
        yield running


@contextlib.asynccontextmanager
async def subscribed(server: Process, user: str, *channels: str) -> AsyncIterator[Peer]:
    peer = await connect(server.url, additional_headers={"X-User": user})
    await peer.call(connect={})
    for channel in channels:
        await peer.call(subscribe={"channel": channel})
    async with peer:
        yield peer


class Calls:
    """The two clients, spoken to alike; the one that blocks does so in a thread."""

    def __init__(self, client: cent.Client | cent.AsyncClient) -> None:
        self._client = client

    async def __call__(self, request: Any) -> Any:
        method = type(request).__api_method__
        call = getattr(self._client, method)
        if isinstance(self._client, cent.AsyncClient):
            return await call(request)
        return await asyncio.to_thread(call, request)


@pytest.fixture(params=["sync", "async"])
async def call(request: pytest.FixtureRequest, server: Process) -> AsyncIterator[Calls]:
    url = f"{server.http}/api"
    if request.param == "async":
        async with cent.AsyncClient(url, KEY) as client:
            yield Calls(client)
    else:
        blocking = cent.Client(url, KEY)
        yield Calls(blocking)
        blocking._session._session.close()


@pytest.fixture
def channel(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name}"


async def test_publish_and_history(server: Process, call: Calls, channel: str) -> None:
    async with subscribed(server, "u", channel) as peer:
        first = await call(cent.PublishRequest(
            channel=channel, data={"x": 1}, tags={"k": "v"}, idempotency_key="once"))
        again = await call(cent.PublishRequest(
            channel=channel, data={"x": 1}, idempotency_key="once"))
        assert first.offset == again.offset == 1
        assert first.epoch == again.epoch != ""
        pub = (await peer.next())["push"]["pub"]
        assert pub == {"data": {"x": 1}, "offset": 1, "tags": {"k": "v"}}
        history = await call(cent.HistoryRequest(
            channel=channel, limit=10, since=cent.StreamPosition(offset=0, epoch=first.epoch)))
        assert (history.offset, history.epoch) == (1, first.epoch)
        assert [(p.data, p.offset, p.tags) for p in history.publications] == [
            ({"x": 1}, 1, {"k": "v"})]
        await call(cent.HistoryRemoveRequest(channel=channel))
        assert (await call(cent.HistoryRequest(channel=channel, limit=1))).publications == []


async def test_broadcast(call: Calls, channel: str) -> None:
    result = await call(cent.BroadcastRequest(channels=[channel, "nope:x"], data=[1]))
    good, bad = result.responses
    assert good.result.offset == 1
    assert bad.error.code == 102


async def test_presence_and_channels(server: Process, call: Calls, channel: str) -> None:
    async with subscribed(server, "u", channel), subscribed(server, "v", channel):
        presence = (await call(cent.PresenceRequest(channel=channel))).presence
        assert sorted(info.user for info in presence.values()) == ["u", "v"]
        stats = await call(cent.PresenceStatsRequest(channel=channel))
        assert (stats.num_clients, stats.num_users) == (2, 2)
        channels = (await call(cent.ChannelsRequest())).channels
        assert channels[channel].num_clients == 2
        assert (await call(cent.ChannelsRequest(pattern="none*"))).channels == {}


async def test_a_users_connections(server: Process, call: Calls, channel: str) -> None:
    user = f"user of {channel}"
    async with subscribed(server, user) as peer:
        await call(cent.SubscribeRequest(
            user=user, channel=channel, data={"d": 1}, info={"i": 1},
            override=cent.ChannelOptionsOverride(force_recovery=cent.BoolValue(value=True))))
        push = (await peer.next())["push"]
        assert push["subscribe"]["data"] == {"d": 1}
        assert push["subscribe"]["recoverable"] is True
        await call(cent.UnsubscribeRequest(user=user, channel=channel))
        assert (await peer.next())["push"]["unsubscribe"]["code"] == 2000
        await call(cent.RefreshRequest(user=user, expire_at=2_000_000_000))
        await call(cent.DisconnectRequest(
            user=user, disconnect=cent.Disconnect(code=4500, reason="bye"), whitelist=[]))
        assert await peer.closed() == (4500, "bye")


async def test_info(call: Calls) -> None:
    (node,) = (await call(cent.InfoRequest())).nodes
    assert node.uid
    assert node.version


async def test_batch(call: Calls, channel: str) -> None:
    requests = [
        cent.PublishRequest(channel=channel, data=1),
        cent.BroadcastRequest(channels=[channel], data=2),
        cent.PresenceStatsRequest(channel=channel),
        cent.HistoryRequest(channel=channel, limit=5),
        cent.InfoRequest(),
        cent.ChannelsRequest(),
        cent.DisconnectRequest(user="nobody"),
    ]
    for parallel in (False, True):
        replies = (await call(cent.BatchRequest(requests=requests, parallel=parallel))).replies
        assert [type(reply).__name__ for reply in replies] == [
            "PublishResult", "BroadcastResult", "PresenceStatsResult", "HistoryResult",
            "InfoResult", "ChannelsResult", "DisconnectResult"]


async def test_errors(server: Process, call: Calls) -> None:
    with pytest.raises(cent.CentApiResponseError) as raised:
        await call(cent.PublishRequest(channel="nope:a", data=1))
    assert raised.value.code == 102
    with pytest.raises(cent.CentApiResponseError) as raised:
        await call(cent.PresenceRequest(channel="bare:a"))
    assert raised.value.code == 108


async def test_a_wrong_key(server: Process) -> None:
    async with cent.AsyncClient(f"{server.http}/api", "wrong") as client:
        with pytest.raises(cent.CentUnauthorizedError):
            await client.info(cent.InfoRequest())
