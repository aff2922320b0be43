"""What an engine that cannot be reached puts into the log: a line for each client, no more."""

from __future__ import annotations

import logging

import pytest

from fanout import EngineUnavailableError
from tests.server.running import InProcess, get, serving

SETTINGS = {
    "client": {
        "user_id_http_header": "X-User-Id",
        "subscribe_to_user_personal_channel": {"enabled": True},
    },
    "channel": {"without_namespace": {"presence": True}},
    "uni_sse": {"enabled": True},
}
WARNED = "a connect failed: the broker cannot be reached"


def cut_off(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        raise EngineUnavailableError("the broker cannot be reached")

    monkeypatch.setattr(server.node.engine, "add_presence", fail)


def check(records: list[logging.LogRecord]) -> None:
    told = [record for record in records if record.getMessage() == WARNED]
    assert [record.levelname for record in told] == ["WARNING"]
    assert not [record for record in records if record.exc_info]


async def test_a_client_with_a_channel_of_its_own_connects(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(SETTINGS) as server:
        cut_off(server, monkeypatch)
        async with await server.peer(additional_headers={"X-User-Id": "42"}) as peer:
            await peer.send({"id": 1, "connect": {}})
            assert await peer.closed() == (3004, "internal server error")
    check(caplog.records)


async def test_a_one_way_client_connects(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(SETTINGS) as server:
        cut_off(server, monkeypatch)
        _, _, body = await get(server.http + "/connection/uni_sse", X_User_Id="42")
        assert b'"code":3004' in body
    check(caplog.records)
