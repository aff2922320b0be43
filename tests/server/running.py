"""Servers to test against: in this process, and in one of their own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from fanout import Node
from fanout.server.app import Server
from fanout.server.config import Config, ConfigError, check
from fanout.server.config.reader import read
from fanout.server.transports.connections import Connections
from tests.process import ServerProcess
from tests.server.peer import Peer, connect

Settings = Mapping[str, Any]

_STOP_S = 20.0


def with_options(settings: Settings, **options: object) -> dict[str, Any]:
    """``settings`` with more options for the channels without a namespace."""
    channel = dict(settings.get("channel", {}))
    channel["without_namespace"] = {**channel.get("without_namespace", {}), **options}
    return {**settings, "channel": channel}


def config_of(settings: Settings) -> Config:
    """A configuration for a free port of the loopback interface."""
    http_server = {"address": "127.0.0.1", "port": 0, **settings.get("http_server", {})}
    config, warnings = read({**settings, "http_server": http_server})
    if warnings:
        raise ConfigError("", "; ".join(warnings))
    check(config)
    return config


class InProcess:
    """A server in the running loop, with its node and endpoint to look into."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._stopping: asyncio.Task[None] | None = None
        self._peers: list[Peer] = []
        self.port = server.port

    @property
    def node(self) -> Node:
        return self._server.node

    @property
    def connections(self) -> Connections:
        return self._server._service.transports.connections

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """Begin to drain, as SIGTERM does."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop())

    async def stopped(self) -> None:
        self.stop()
        assert self._stopping is not None
        await asyncio.wait_for(self._stopping, _STOP_S)

    async def peer(self, **handshake: Any) -> Peer:
        """A raw connection on which nothing was said yet."""
        self._peers.append(await connect(self.url, **handshake))
        return self._peers[-1]

    async def close_peers(self) -> None:
        """Close what tests have left open: its transports would be found by a later test."""
        await asyncio.gather(*(peer.close() for peer in self._peers), return_exceptions=True)

    async def client(self, *channels: str, **handshake: Any) -> Peer:
        """A connection after its connect command, subscribed to ``channels``."""
        peer = await self.peer(**handshake)
        await peer.call(connect={})
        for channel in channels:
            reply = await peer.call(subscribe={"channel": channel})
            assert "subscribe" in reply, reply
        return peer

    async def settled(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; the server works in this loop."""
        async with asyncio.timeout(10):
            while not condition():  # noqa: ASYNC110 - there is no event for what it looks at
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def serving(settings: Settings, *, demo: bool = False) -> AsyncIterator[InProcess]:
    """What ``fanout serve`` runs, without the process around it."""
    server = Server(config_of(settings), demo=demo)
    await server.start()
    running = InProcess(server)
    try:
        yield running
    finally:
        await running.stopped()
        await running.close_peers()


class Process(ServerProcess):
    """The server with a configuration of the test's."""

    def __init__(self, settings: Settings, directory: Path, *arguments: str) -> None:
        config = directory / "config.json"
        config.write_text(json.dumps(settings))
        super().__init__("--config", str(config), *arguments)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/connection/websocket"


def raw_socket(port: int) -> socket.socket:
    """A TCP connection to a server, with a bound on every wait."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=10)
    plain.settimeout(10)
    return plain


async def get(
    url: str, method: str = "GET", **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of an HTTP answer."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers=names) as response,
    ):
        return response.status, response.headers, await response.read()


def errors_in(records: list[logging.LogRecord]) -> list[str]:
    """What was logged as an error, with the exception that caused it."""
    return [
        f"{record.getMessage()} {record.exc_info[1] if record.exc_info else ''}"
        for record in records if record.levelno >= logging.ERROR
    ]
