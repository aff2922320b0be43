"""Bodies of the server API. The first byte chooses the method."""

from __future__ import annotations

import json
from typing import cast

from aiohttp import web

from fanout.server.api.http import ServerAPIEndpoint
from fanout.server.api.methods import METHODS, ServerAPI
from tests.fuzz.harness import Witness, ask, http_request, in_loop, server_without_socket

MAX_LEN = 8192
PATHS = ("/api", "/api/batch", *(f"/api/{name}" for name in METHODS))

_endpoint = ServerAPIEndpoint(cast(ServerAPI, None), key="", insecure=True)
_router = web.UrlDispatcher()
_endpoint.add_routes(_router, "/api")
_handlers = {route.resource.canonical: route.handler for route in _router.routes()
             if route.resource is not None}


def run(data: bytes) -> None:
    in_loop(lambda: _post(data))


async def _post(data: bytes) -> None:
    path = PATHS[(data[0] if data else 0) % len(PATHS)]
    async with server_without_socket() as server:
        connection = await Witness.made(server.node, "a")
        await server.node.publish("a", b"1", tags={"a": "1"})
        _endpoint._api = server.api     # its decoders are slow to make
        try:
            status, body = await ask(_handlers[path], http_request(body=data[1:]))
        finally:
            _endpoint._api = cast(ServerAPI, None)
        assert status in (200, 400, 413), (status, body)
        if status == 200:
            # The older form answers with lines.
            for line in body.split(b"\n") if path == "/api" else [body]:
                _check(json.loads(line), b"reverse" in data)
        connection.pushes()
        if connection.ended is None:
            connection.client.disconnect()


def _check(answer: object, reverse: bool) -> None:
    assert isinstance(answer, dict)
    for reply in answer.get("replies", [answer]):
        assert reply.keys() & {"result", "error", *METHODS}, reply
        if "error" in reply:
            # As Centrifugo does for a history that is read back from offset 0.
            assert reply["error"]["code"] != 100 or reverse, reply
