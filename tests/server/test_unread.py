"""Peers that send requests and do not read the answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from fanout.server import listening, unread
from fanout.server.unread import Unread
from tests.server.running import get, raw_socket, serving

_WITH_API = {
    "http_api": {"key": "key"},
    "channel": {"without_namespace": {"history_size": 200, "history_ttl": "60s"}},
}
_CUT = "1 connections are cut, whose peers did not take their answers"


class _Transport(asyncio.Transport):
    """One whose peer takes what the test says."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.cut = False

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.cut = True
        self.size = 0


async def test_who_reads_nothing_is_cut(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unread, "LOOK_INTERVAL", 0.02)
    monkeypatch.setattr(listening, "ANSWER_TIMEOUT", 0.1)
    caplog.set_level("INFO")
    async with serving(_WITH_API) as server:
        # More than the kernel holds for a peer.
        for _ in range(200):
            await server.node.publish("news", json.dumps("x" * 60_000).encode())
        with raw_socket(server.port) as peer:
            body = b'{"channel":"news","limit":200}'
            peer.sendall(
                b"POST /api/history HTTP/1.1\r\nHost: x\r\nX-API-Key: key\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            await server.settled(lambda: _CUT in caplog.messages)
        assert (await get(server.http + "/health"))[0] == 200


def test_who_reads_slowly_is_not_cut() -> None:
    stuck, slow, idle = _Transport(70_000), _Transport(70_000), _Transport(0)
    watched = Unread(lambda: [stuck, slow, idle], timeout=3 * unread.LOOK_INTERVAL)
    for look in range(10):
        watched.look()
        slow.size -= 1
        assert stuck.cut == (look >= 3)
    assert not slow.cut
    assert not idle.cut


def test_who_is_closed_is_looked_at_as_long_as_anything_waits() -> None:
    stuck = _Transport(70_000)
    known = [stuck]
    watched = Unread(lambda: known, timeout=2 * unread.LOOK_INTERVAL)
    watched.look()
    known.clear()       # aiohttp closed it: that waits for the peer
    watched.look()
    assert not stuck.cut
    watched.look()
    assert stuck.cut
