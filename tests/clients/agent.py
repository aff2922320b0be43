"""The published JavaScript client, driven from here: ``javascript/agent.mjs`` is the other end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

__all__ = ["Agent", "ClientError", "Refused", "Remote", "Way", "data", "in_node"]

DIRECTORY = Path(__file__).with_name("javascript")
_PATIENCE_S = 15.0

Ask = Callable[[Mapping[str, Any]], Any]
"""Answers what the client asks its application for, such as a token."""


class ClientError(Exception):
    """A method of the client failed."""

    def __init__(self, code: int | None, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


class Refused(Exception):
    """Raised by an :data:`Ask`: the application does not let the client in."""


def data(value: Any) -> dict[str, Any]:
    """A payload: as it is for the JSON client, in bytes for the Protobuf one."""
    return {"$data": value}


class Remote:
    """A client or a subscription, with the events that it told."""

    def __init__(self, agent: Agent, name: str, asks: Mapping[str, Ask]) -> None:
        self._agent = agent
        self._name = name
        self._events = asyncio.Queue[tuple[str, Any]]()
        self.asks = asks

    def told(self, event: str, context: Any) -> None:
        self._events.put_nowait((event, context))

    def seen(self) -> list[str]:
        """The names of all events that nobody waited for."""
        return [self._events.get_nowait()[0] for _ in range(self._events.qsize())]

    async def until(self, *names: str) -> Any:
        """Wait for an event of one of these names; what came with it. Others are passed over."""
        passed = []
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while True:
                    event, context = await self._events.get()
                    if event in names:
                        return context
                    passed.append((event, context))
        except TimeoutError:
            raise AssertionError(f"{self._name} told of no {names}, but {passed}") from None

    async def publications(self, count: int) -> list[Any]:
        """The data of the next publications."""
        return [(await self.until("publication"))["data"] for _ in range(count)]

    async def call(self, method: str, *args: Any) -> Any:
        return await self._agent.request("call", of=self._name, method=method, args=args)

    async def together(self, *calls: Sequence[Any]) -> Any:
        """Calls in one batch: method and arguments of each."""
        return await self._agent.request("together", of=self._name, calls=calls)

    async def read(self, name: str) -> Any:
        return await self._agent.request("read", of=self._name, property=name)

    async def error(self, method: str, *args: Any) -> tuple[int | None, str]:
        """Code and message of the error that a call ends with."""
        try:
            result = await self.call(method, *args)
        except ClientError as error:
            return error.code, error.message
        raise AssertionError(f"{method} succeeded: {result}")

    async def subscription(
        self,
        channel: str,
        *,
        asks: Mapping[str, Ask] | None = None,
        kept: Callable[[str, Any], None] | None = None,
        **options: Any,
    ) -> Remote:
        """A subscription that is under way; what becomes of it are its events.

        With ``kept`` they go there as they come, and there is nothing to wait for.
        """
        name = f"{self._name}/{channel}"
        subscription = self._agent.keep(name, asks or {})
        if kept is not None:
            subscription.told = kept  # type: ignore[method-assign]
        await self._agent.request(
            "subscription", of=self._name, name=name, channel=channel, options=options,
            asks=list(asks or {}))
        await subscription.call("subscribe")
        return subscription

    async def subscribed(self, channel: str, **options: Any) -> tuple[Remote, Any]:
        """A subscription, with what came when it was there."""
        subscription = await self.subscription(channel, **options)
        return subscription, await subscription.until("subscribed")


class Agent:
    """The other end: a Node process or a page."""

    def __init__(self, write: Callable[[str], Any]) -> None:
        self._write = write
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._remotes: dict[str, Remote] = {}
        self._answers: set[asyncio.Task[None]] = set()
        self.gone = ""

    async def request(self, do: str, **what: Any) -> Any:
        assert not self.gone, self.gone
        id = next(self._ids)
        self._waiting[id] = future = asyncio.get_running_loop().create_future()
        self._send({"id": id, "do": do, **what})
        async with asyncio.timeout(_PATIENCE_S):
            return await future

    def keep(self, name: str, asks: Mapping[str, Ask]) -> Remote:
        self._remotes[name] = remote = Remote(self, name, asks)
        return remote

    @contextlib.asynccontextmanager
    async def client(
        self,
        endpoint: str | list[dict[str, str]],
        *,
        encoding: str = "json",
        asks: Mapping[str, Ask] | None = None,
        **options: Any,
    ) -> AsyncIterator[Remote]:
        """A client that is not connected yet, and is there for the block."""
        name = f"client {next(self._ids)}"
        remote = self.keep(name, asks or {})
        # Waits between attempts are for servers with many clients, and a test has two.
        delays = {"minReconnectDelay": 10, "maxReconnectDelay": 100, "timeout": 10_000}
        await self.request(
            "client", name=name, encoding=encoding, endpoint=endpoint,
            options={**delays, **options}, asks=list(asks or {}))
        try:
            yield remote
        finally:
            if not self.gone:
                await self.request("forget", of=name)
            for known in list(self._remotes):
                if known == name or known.startswith(f"{name}/"):
                    del self._remotes[known]

    def receive(self, line: str) -> None:
        message = json.loads(line)
        if "event" in message:
            # The last events of a client that is forgotten are nobody's.
            if remote := self._remotes.get(message["of"]):
                remote.told(message["event"], message.get("context"))
        elif "ask" in message:
            task = asyncio.get_running_loop().create_task(self._answer(message))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)
        else:
            future = self._waiting.pop(message["id"])
            if error := message.get("error"):
                future.set_exception(ClientError(error["code"], error["message"]))
            else:
                future.set_result(message["result"])

    async def _answer(self, message: dict[str, Any]) -> None:
        if (remote := self._remotes.get(message["of"])) is None:
            return
        try:
            value = remote.asks[message["what"]](message["context"])
            self._send({"answer": message["ask"], "value": value})
        except Refused as refused:
            self._send({"answer": message["ask"], "refused": str(refused)})

    def lost(self, why: str) -> None:
        """The other end is gone: nothing that is waited for will come."""
        self.gone = why
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(AssertionError(why))

    def _send(self, message: dict[str, Any]) -> None:
        self._write(json.dumps(message))


class Way:
    """A transport and an encoding, as options of a client."""

    def __init__(self, transport: str, encoding: str = "json") -> None:
        self.transport = transport
        self.encoding = encoding

    def __str__(self) -> str:
        return f"{self.transport}-{self.encoding}"

    def options(self, port: int) -> dict[str, Any]:
        """What leads a client to the server at a port."""
        scheme = "ws" if self.transport == "websocket" else "http"
        return {
            "endpoint": [{
                "transport": self.transport,
                "endpoint": f"{scheme}://127.0.0.1:{port}/connection/{self.transport}",
            }],
            "emulationEndpoint": f"http://127.0.0.1:{port}/emulation",
            "encoding": self.encoding,
        }


@contextlib.asynccontextmanager
async def in_node(node: str) -> AsyncIterator[Agent]:
    """The agent as a Node process."""
    process = await asyncio.create_subprocess_exec(
        node, str(DIRECTORY / "node.mjs"), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, limit=1 << 22)
    assert process.stdin is not None and process.stdout is not None
    stdin, stdout = process.stdin, process.stdout
    agent = Agent(lambda line: stdin.write(line.encode() + b"\n"))

    async def read() -> None:
        async for line in stdout:
            agent.receive(line.decode())
        agent.lost("the Node process has ended")

    reading = asyncio.create_task(read())
    try:
        yield agent
    finally:
        stdin.close()
        status = await process.wait()
        await reading
    assert status == 0, f"the Node process ended with {status}"


def node_with_client() -> str:
    """Node's path; the packages of the lock file are there, exactly.

    Skips where there is no Node. That the packages cannot be had is an error.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip(
            "no node and npm on this machine (Debian's packages: nodejs, npm): "
            "the JavaScript client is only tested in a real engine")
    lock = DIRECTORY / "package-lock.json"
    stamp = DIRECTORY / "node_modules" / ".installed"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=DIRECTORY, check=True, capture_output=True, timeout=300)
        stamp.write_bytes(lock.read_bytes())
    return node
