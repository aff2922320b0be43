"""The examples for nginx and Caddy, run in front of a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus

from tests.brokers.ports import Port
from tests.server.peer import connect
from tests.server.running import Process, get

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
START_S = 20.0
SETTINGS = {
    "client": {"insecure": True},
    "sse": {"enabled": True},
    "http_stream": {"enabled": True},
    "http_api": {"key": "only for applications"},
    "prometheus": {"enabled": True},
    "shutdown": {"timeout": "6s"},
}
KINDS = ("nginx", "caddy")


@dataclass
class Front:
    """A proxy and the server behind it."""

    kind: str
    port: int
    server: Process

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"


def nginx(directory: Path, port: int, upstream: int) -> list[str]:
    """nginx with the example inside of the smallest configuration that holds it."""
    site = (DEPLOY / "nginx.conf").read_text()
    site, listens = re.subn(r"listen 8080;", f"listen 127.0.0.1:{port};", site)
    site, servers = re.subn(r"server 127\.0\.0\.1:8000;", f"server 127.0.0.1:{upstream};", site)
    assert (listens, servers) == (1, 1)
    (directory / "site.conf").write_text(site)
    paths = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr notice;\n"
        "events { worker_connections 256; }\n"
        f"http {{\naccess_log off;\n{paths}include {directory}/site.conf;\n}}\n")
    return ["nginx", "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]


def caddy(directory: Path, port: int, upstream: int) -> list[str]:
    """Caddy with the example, without TLS and its own admin port."""
    site = (DEPLOY / "Caddyfile").read_text()
    site, names = re.subn(
        r"(?m)^example\.org \{", f"http://127.0.0.1:{port} {{\n\tbind 127.0.0.1", site)
    site, servers = re.subn(r"127\.0\.0\.1:8000", f"127.0.0.1:{upstream}", site)
    assert (names, servers) == (1, 1)
    (directory / "Caddyfile").write_text(
        f"{{\n\tadmin off\n\tauto_https off\n\tstorage file_system {directory}\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]


@contextlib.contextmanager
def held_port() -> Iterator[int]:
    """A port for the proxy that no other test takes."""
    port = Port()
    try:
        yield port.number
    finally:
        port.release()


@contextlib.contextmanager
def fronted(kind: str, directory: Path) -> Iterator[Front]:
    """A server of its own, and the proxy in front of it."""
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed here")
    with held_port() as port, Process(SETTINGS, directory) as server:
        command = {"nginx": nginx, "caddy": caddy}[kind](directory, port, server.port)
        log = directory / "proxy.log"
        with log.open("w") as out, subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT,
            env={"HOME": str(directory), "PATH": "/usr/sbin:/usr/bin:/bin"},
        ) as proxy:
            try:
                listening(proxy, port, log)
                yield Front(kind, port, server)
            finally:
                proxy.kill()        # asked politely, it would wait for its own clients


@pytest.fixture(scope="module", params=KINDS)
def front(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Front]:
    with fronted(request.param, tmp_path_factory.mktemp(request.param)) as front:
        yield front


def listening(proxy: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the proxy lets a client in: Caddy looks first whether the server is well."""

    async def settle() -> None:
        async with asyncio.timeout(START_S):
            while proxy.poll() is None:
                try:
                    await (await connect(f"ws://127.0.0.1:{port}/connection/websocket")).close()
                    return
                except (OSError, InvalidStatus):
                    await asyncio.sleep(0.05)
        raise TimeoutError

    try:
        asyncio.run(settle())
    except TimeoutError:
        raise AssertionError(log.read_text()) from None


async def test_a_websocket_goes_through(front: Front) -> None:
    # A browser's origin is the proxy's own address: it must be what the server sees as its host.
    reader = await connect(front.url, origin=front.http)
    await reader.call(connect={})
    await reader.call(subscribe={"channel": "room"})
    writer = await connect(front.url)
    await writer.call(connect={})
    for number in range(50):
        await writer.call(publish={"channel": "room", "data": number})
    got = [(await reader.next())["push"]["pub"]["data"] for _ in range(50)]
    assert got == list(range(50))
    await reader.close()
    await writer.close()


async def test_another_pages_origin_is_refused(front: Front) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await connect(front.url, origin="https://elsewhere.example")
    assert refusal.value.response.status_code == 403


async def test_events_come_one_by_one(front: Front) -> None:
    """Each is read before the next is published: nothing is held back."""
    first = quote('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"room"}}')
    writer = await connect(front.url)
    await writer.call(connect={})
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{front.http}/connection/sse?cf_connect={first}") as response,
    ):
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        reply = await event(response)
        assert "connect" in reply
        assert "subscribe" in await event(response)
        for number in range(5):
            await writer.call(publish={"channel": "room", "data": number})
            assert (await event(response))["push"]["pub"]["data"] == number
        # The other direction of the same session.
        async with session.post(f"{front.http}/emulation", json={
            "session": reply["connect"]["session"], "node": reply["connect"]["node"],
            "data": '{"id":3,"publish":{"channel":"room","data":"back"}}',
        }) as sent:
            assert sent.status == 204
        answers = [await event(response), await event(response)]
        assert {"id": 3, "publish": {}} in answers
        assert "back" in json.dumps(answers)
    await writer.close()


async def event(response: aiohttp.ClientResponse) -> dict[str, dict[str, str]]:
    """The next event's data; pings are answered by nobody here."""
    async with asyncio.timeout(10):
        while True:
            line = (await response.content.readline()).strip()
            if line.startswith(b"data: ") and (data := json.loads(line[6:])):
                return dict(data)


async def test_an_http_stream_comes_line_by_line(front: Front) -> None:
    writer = await connect(front.url)
    await writer.call(connect={})
    body = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"room"}}'
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{front.http}/connection/http_stream", data=body) as response,
    ):
        assert response.status == 200
        async with asyncio.timeout(10):
            assert b"connect" in await response.content.readline()
            assert b"subscribe" in await response.content.readline()
            for number in range(5):
                await writer.call(publish={"channel": "room", "data": number})
                push = json.loads(await response.content.readline())
                assert push["push"]["pub"]["data"] == number
    await writer.close()


@pytest.mark.parametrize("path", [
    "/api/publish", "/api", "/metrics", "/health", "/admin", "/", "/connection/../metrics",
    "/connection/%2e%2e/metrics", "/connection//../../health",
])
async def test_the_rest_is_closed(front: Front, path: str) -> None:
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port)
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{front.port}\r\nConnection: close\r\n"
            "X-API-Key: only for applications\r\n\r\n".encode())
        status = (await reader.readline()).split()[1]
        writer.close()
    # nginx finds a path that leaves the root a bad request.
    assert status in (b"400", b"404")


async def test_the_server_itself_answers_what_is_closed_outside(front: Front) -> None:
    """Or the test above would show nothing."""
    assert (await get(f"{front.server.http}/health"))[0] == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_drain_reaches_the_clients(kind: str, tmp_path: Path) -> None:
    """Told by the server, through the proxy; and nobody new comes in."""
    with fronted(kind, tmp_path) as front:
        asyncio.run(drained(front))


async def drained(front: Front) -> None:
    peer = await connect(front.url)
    await peer.call(connect={})
    front.server.kill(signal.SIGTERM)
    assert await peer.closed() == (3001, "shutdown")
    assert await asyncio.to_thread(front.server.wait) == 0
    with pytest.raises(InvalidStatus) as refusal:
        await connect(front.url)
    assert refusal.value.response.status_code in (502, 503)
    await peer.close()
