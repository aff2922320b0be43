"""Connect requests of one-way clients: ``G`` in a URL's ``cf_connect``, else a body."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from fanout._framing import WebSocketFraming
from fanout.codes import ClientError, Disconnect
from fanout.server.session import UniSession
from fanout.server.transports.sse import connect_request
from fanout.server.transports.uni_http_stream import connect_request_of
from tests.fuzz.harness import (
    Sink,
    http_request,
    in_loop,
    server_without_socket,
    session_settings,
    settled,
    visitor,
)

MAX_LEN = 8192
REFUSED = {3005, 3500, 3501, 3503, 3505, 3507}


def run(data: bytes) -> None:
    in_loop(lambda: _connect(data))


async def _connect(data: bytes) -> None:
    body = data[1:]
    if data[:1] == b"G":
        query = body.decode("utf-8", "surrogateescape")
        body = await connect_request(http_request("GET", query), 65536)
    async with server_without_socket() as server:
        session = UniSession(server.node, session_settings(), visitor("uni_sse"))
        sink = Sink(server, session, WebSocketFraming(1))
        session.open(sink)
        try:
            request = connect_request_of(body)
        except web.HTTPBadRequest:
            session.on_lost()
            return
        try:
            await session.connect(request)
        except ClientError as error:
            assert 100 <= error.code < 2000
            session.client.disconnect(Disconnect(3000, "refused"))
        except Disconnect as disconnect:
            assert disconnect.code in REFUSED, disconnect
            session.client.disconnect(disconnect)
        else:
            await asyncio.sleep(0)
            pushes = [json.loads(payload) for payload in sink.payloads()]
            assert "connect" in pushes[0]
            assert not any("connect" in push for push in pushes[1:])
        session.on_lost()
        await settled(session)
        assert not server.node.hub.channels()
        assert not server.node.clients
