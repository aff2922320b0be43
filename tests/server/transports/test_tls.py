"""Transports over TLS, where no byte goes past the loop's own transport."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect as open_websocket

from tests.brokers.tls import Certificates
from tests.server.peer import Peer
from tests.server.running import InProcess, serving
from tests.server.transports.conftest import EVERYTHING
from tests.server.transports.stream import CONNECT, Stream, request

pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
async def server(certificates: Certificates) -> AsyncIterator[InProcess]:
    tls = {
        "enabled": True, "cert_pem": str(certificates.certificate),
        "key_pem": str(certificates.key)}
    async with serving({**EVERYTHING, "http_server": {"tls": tls}}) as running:
        yield running


@pytest.fixture
def trusting(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.ca))


async def test_websocket(server: InProcess, trusting: ssl.SSLContext) -> None:
    async with open_websocket(server.url.replace("ws:", "wss:"), ssl=trusting) as websocket:
        peer = Peer(websocket)
        await peer.call(connect={})
        await peer.call(subscribe={"channel": "a"})
        data = "x" * 200_000
        server.node.publish("a", f'"{data}"'.encode())
        assert (await peer.next())["push"]["pub"]["data"] == data
        (client,) = server.node.clients.values()
        client.disconnect()
        assert await peer.closed() == (3503, "force disconnect")
    await server.settled(lambda: len(server.connections) == 0)


@pytest.mark.parametrize("kind", ["sse", "http_stream", "uni_sse", "uni_http_stream"])
async def test_streams(server: InProcess, trusting: ssl.SSLContext, kind: str) -> None:
    uni = kind.startswith("uni")
    body = b'{"subs":{"a":{}}}' if uni else CONNECT + b'\n{"id":2,"subscribe":{"channel":"a"}}'
    stream = Stream(*await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=trusting, limit=1 << 20))
    await stream.send(request(f"/connection/{kind}", body=body))
    assert await stream.head() == 200
    if kind.endswith("sse"):
        assert await stream.chunk() == b"\r\n"
    for _ in range(1 if uni else 2):
        await stream.next()
    data = "x" * 200_000
    server.node.publish("a", f'"{data}"'.encode())
    push = await stream.next()
    assert push.get("push", push)["pub"]["data"] == data
    (client,) = server.node.clients.values()
    client.disconnect()
    assert await stream.disconnected() == (3503, "force disconnect")
    await stream.close()
    await server.settled(lambda: len(server.connections) == 0)
