"""The programs of docs/applications.md, run as they are printed, with the published client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from centrifuge import Client, ReplyError  # type: ignore[import-untyped]

from fanout.server.config import load
from tests.brokers.valkey import ValkeyServer
from tests.clients.centrifuge_python import JSON, settled
from tests.process import ServerProcess

ROOT = Path(__file__).parent.parent
DOC = (ROOT / "docs" / "applications.md").read_text()
PROGRAMS = {
    name + way: text
    for name, way, text in re.findall(
        r"^`([\w.]+)`([\w ]*)\n\n```\w+\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
}
START_S = 30.0


class Program:
    """A process of the document's, which listens on a port given to it."""

    def __init__(self, directory: Path, *command: str, listens: int, **environ: str) -> None:
        self._log = directory / f"{command[0]}.log"
        self._port = listens
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "dev", "-u", *command], cwd=directory, stdout=log,
                stderr=subprocess.STDOUT, env={**os.environ, **environ})

    async def ready(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(START_S):
            while True:
                assert self._process.poll() is None, self.log
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def stop(self) -> int:
        """End it as a service manager does; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, 20)

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()


@contextlib.asynccontextmanager
async def program(
    directory: Path, *command: str, listens: int, ends: tuple[int, ...] = (0,), **environ: str
) -> AsyncIterator[Program]:
    running = Program(directory, *command, listens=listens, **environ)
    try:
        await running.ready()
        yield running
        assert await running.stop() in ends, running.log
    finally:
        running.kill()
    for bad in ("Traceback", "ERROR", "Warning"):
        assert bad not in running.log, running.log


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where all programs are, as the document has them."""
    for name, text in PROGRAMS.items():
        if " " not in name:
            (tmp_path / name).write_text(text)
    return tmp_path


@contextlib.asynccontextmanager
async def client_at(port: int, token: str = "") -> AsyncIterator[Client]:
    client = Client(
        f"ws://127.0.0.1:{port}/connection/websocket", token=token, proxy=None)
    await client.connect()
    try:
        await client.ready(10)
        yield client
    finally:
        await client.disconnect()


@pytest.fixture(autouse=True)
async def closed() -> AsyncIterator[None]:
    yield
    await settled()


async def request(method: str, url: str, **options: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, **options) as response,
    ):
        body = await response.text()
        return response.status, json.loads(body) if body.startswith(("{", "[")) else body


async def test_an_answer_token_by_token_survives_a_lost_connection(directory: Path) -> None:
    port = free_port()
    async with (
        program(directory, "answers.py", listens=port, PORT=str(port)),
        client_at(port, "token-of-ada") as ada, client_at(port, "token-of-bob") as bob,
    ):
        _, told = await JSON.subscribed(ada, "answers:ada", recoverable=True)
        _, refused = await JSON.subscribing(bob, "answers:ada")
        assert (await refused.until("unsubscribed")).code == 403
        with pytest.raises(ReplyError, match="no such method"):
            await bob.rpc("guess", "?")

        answer = (await ada.rpc("ask", "Why?")).data
        pieces = await told.publications(2)
        await ada.disconnect()
        # Nobody of the user is there, and the answer goes on.
        async with client_at(port, "token-of-ada") as tablet:
            _, whole = await JSON.subscribed(tablet, "answers:ada")
            while "done" not in (await whole.publications(1))[0]:
                pass
        await ada.connect()
        while "done" not in pieces[-1]:
            pieces += await told.publications(1)
        assert {piece["answer"] for piece in pieces} == {answer}
        text = "".join(piece.get("token", "") for piece in pieces)
        assert text == "You asked: Why? I have to think about that. "
        assert "publication" not in told.seen()


async def test_a_chat_on_the_port_of_an_aiohttp_application(directory: Path) -> None:
    port = free_port()
    async with (
        program(directory, "chat.py", listens=port, PORT=str(port)),
        client_at(port, "ada") as ada, client_at(port, "bob") as bob,
    ):
        first, told = await JSON.subscribed(ada, "room:lobby", join_leave=True)
        assert (await told.until("join")).info.user == "ada"
        _, bobs = await JSON.subscribed(bob, "room:lobby")
        joined = (await told.until("join")).info
        assert (joined.user, joined.conn_info) == ("bob", {"name": "Bob"})
        assert await request("GET", f"http://127.0.0.1:{port}/who") == (200, ["ada", "bob"])
        present = (await first.presence()).clients.values()
        assert sorted(info.user for info in present) == ["ada", "bob"]

        await first.publish({"text": "hello", "from": "somebody else"})
        publication = (await bobs.until("publication")).pub
        assert publication.data == {"text": "hello"}
        assert publication.info.user == "ada"
        status, _ = await request(
            "POST", f"http://127.0.0.1:{port}/announce", data="tea is ready")
        assert status == 204
        assert await bobs.publications(1) == [{"text": "tea is ready"}]
        _, refused = await JSON.subscribing(bob, "lobby")
        assert (await refused.until("unsubscribed")).code == 404
        await bob.disconnect()
        assert (await told.until("leave")).info.user == "bob"


async def test_fastapi_under_uvicorn(directory: Path) -> None:
    http, live = free_port(), free_port()
    async with (
        program(
            directory, "-m", "uvicorn", "shop:app", "--port", str(http), listens=http,
            # uvicorn ends by the signal that it was sent, once all is shut down.
            ends=(0, -signal.SIGTERM), LIVE_PORT=str(live)) as running,
        client_at(live, "ada") as ada,
    ):
        _, told = await JSON.subscribed(ada, "orders:ada:7", recoverable=True)
        url = f"http://127.0.0.1:{http}/users/ada/orders/7"
        for status in ("paid", "sent"):
            assert await request("PUT", url, params={"status": status}) == (
                200, {"order": 7, "status": status})
        assert await told.publications(2) == [{"status": "paid"}, {"status": "sent"}]
        _, refused = await JSON.subscribing(ada, "orders:bob:1")
        assert (await refused.until("unsubscribed")).code == 403
        page = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        for origin, expected in (("http://127.0.0.1:8080", 101), ("http://else.where", 403)):
            async with aiohttp.ClientSession() as session, session.get(
                f"http://127.0.0.1:{live}/connection/websocket", headers={**page, "Origin": origin}
            ) as response:
                assert response.status == expected
    assert "Application shutdown complete" in running.log


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.mark.parametrize("way", ["live.py over HTTP", "live.py through a broker"])
async def test_django(way: str, directory: Path, valkey: ValkeyServer) -> None:
    (directory / "live.py").write_text(PROGRAMS[way])
    arguments = ["--config", str(directory / "config.json"), "--strict"]
    if "broker" in way:
        arguments += ["--engine", valkey.url]
    server = ServerProcess(*arguments)
    await asyncio.to_thread(server.start)
    try:
        port = free_port()
        async with (
            program(
                directory, "website.py", listens=port, ends=(0, -signal.SIGTERM), PORT=str(port),
                LIVE_API=f"{server.http}/api", REDIS=valkey.url),
            client_at(server.port) as client,
        ):
            _, told = await JSON.subscribed(client, "news:all")
            for offset, headline in enumerate(("rain", "sun"), 1):
                assert await request("GET", f"http://127.0.0.1:{port}/report/{headline}") == (
                    200, {"offset": offset})
            first, second = await told.until("publication"), await told.until("publication")
            assert [first.pub.data, second.pub.data] == [{"headline": "rain"}, {"headline": "sun"}]
            assert (first.pub.offset, second.pub.offset) == (1, 2)
    finally:
        assert await asyncio.to_thread(server.stop) == 0


async def test_handlers_in_the_ready_server(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(directory)
    server = ServerProcess("--config", "config.json", "--app", "handlers:setup")
    await asyncio.to_thread(server.start)
    try:
        async with client_at(server.port) as client:
            _, told = await JSON.subscribed(client, "news:all")
            first, second = await told.publications(2)
            assert first["time"] < second["time"]
            assert (await client.rpc("time", None)).data > first["time"]
            with pytest.raises(ReplyError, match="no such method"):
                await client.rpc("date", None)
    finally:
        assert await asyncio.to_thread(server.stop) == 0
    assert not [line for line in server.log if "ERROR" in line or "Traceback" in line]


async def test_handlers_are_tested_as_the_document_says(directory: Path) -> None:
    (directory / "pytest.ini").write_text("[pytest]\nasyncio_mode = strict\n")
    pytest_run = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_room.py",
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        told, _ = await asyncio.wait_for(pytest_run.communicate(), START_S)
    finally:
        if pytest_run.returncode is None:
            pytest_run.kill()
            await pytest_run.wait()
    assert pytest_run.returncode == 0 and b"1 passed in" in told, told.decode()


def test_the_configuration_has_no_warning(directory: Path) -> None:
    assert load(directory / "config.json", strict=True)[1] == []


def test_every_program_is_run() -> None:
    tests = Path(__file__).read_text()
    assert len(PROGRAMS) == 9
    for name in PROGRAMS:
        module = name.removesuffix(".py")
        assert re.search(rf'"({re.escape(name)}|{module}:\w+)"', tests) or name == "config.json"
