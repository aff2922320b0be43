"""What targets need around the code that they try: a loop, a server without a socket, silence."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, cast

from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from fanout._framing import Framing
from fanout._outbox import Outbox
from fanout.codes import DISCONNECT_INAPPROPRIATE_PROTOCOL
from fanout.server.app import Server
from fanout.server.config import Config
from fanout.server.session import SessionRequest, SessionSettings
from fanout.server.session.base import BaseSession
from tests.node.connections import Connection, Wire
from tests.server.running import config_of

__all__ = [
    "SETTINGS", "Sink", "Witness", "ask", "http_request", "in_loop", "quiet",
    "server_without_socket", "session_settings", "settled", "visitor",
]

MOST_SECONDS = 20.0     # for one input; what takes longer hangs
MOST_TURNS = 10_000     # of the loop, until a session has nothing to do any more

EVERYTHING = {
    "presence": True, "join_leave": True, "force_push_join_leave": True, "history_size": 5,
    "history_ttl": "60s", "allow_tags_filter": True, "allowed_delta_types": ["fossil"],
    "delta_publish": True, "allow_recovery": True, "allow_positioning": True,
}
SETTINGS: Mapping[str, Any] = {
    "client": {"insecure": True, "token": {"hmac_secret_key": "secret of the fuzzer"}},
    "http_api": {"insecure": True},
    "channel": {
        "without_namespace": EVERYTHING,
        "namespaces": [
            {"name": "plain"},
            {"name": "cache", **EVERYTHING, "force_recovery": True,
             "force_recovery_mode": "cache", "auto_cache_recover": True},
            {"name": "users", **EVERYTHING, "allow_user_limited_channels": True},
            {"name": "names", "channel_regex": "^[a-z]{1,5}$"},
            {"name": "object", "publication_data_format": "json_object"},
        ],
    },
}
"""Everything that a client may be allowed to do is allowed."""

_log = logging.getLogger("fanout")


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.levelno >= logging.ERROR or record.exc_info or "failed" in said:
            cause = record.exc_info[1] if record.exc_info else None
            self.texts.append(f"{said}: {cause!r}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Fails when an error is logged."""
    kept = _Kept()
    propagated, _log.propagate = _log.propagate, False
    _log.addHandler(kept)
    try:
        yield
    finally:
        _log.removeHandler(kept)
        _log.propagate = propagated
    assert not kept.texts, kept.texts


def in_loop(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``work`` in a loop of its own; fails when a task or callback fails, or an error is
    logged."""
    lost: list[Mapping[str, Any]] = []

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: lost.append(context))
        async with asyncio.timeout(MOST_SECONDS):
            await work()

    with quiet():
        asyncio.run(bounded())
    assert not lost, lost


@functools.cache
def _config() -> Config:
    return config_of(SETTINGS)


@contextlib.asynccontextmanager
async def server_without_socket() -> AsyncIterator[Server]:
    """A server with ``SETTINGS`` whose node runs; it does not listen."""
    server = Server(_config())
    await server.node.run()
    try:
        yield server
    finally:
        await server.node.shutdown(1.0)


class Witness(Connection):
    """A client that was there before; what is no JSON ends it, as it ends every JSON client."""

    def on_unencodable(self, channel: str) -> None:
        self.client.disconnect(DISCONNECT_INAPPROPRIATE_PROTOCOL)


class Sink:
    """A session's connection that takes everything at once; ``payloads`` are what was sent."""

    def __init__(self, server: Server, session: BaseSession, framing: Framing) -> None:
        self.wire = Wire()
        self.framing = framing
        self.closed: tuple[int, str] | None = None
        number = server.node.hub.add_encoder(session._protocol.encoder(framing))
        self.outbox = Outbox(
            server.node.hub, self.wire, session, number, server.node.client_queue_size)
        self._hub = server.node.hub

    def close(self, code: int, reason: str) -> None:
        assert self.closed is None or code >= 1000
        self.closed = (code, reason)
        assert len(reason.encode()) <= 123

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def payloads(self) -> list[bytes]:
        """What was sent since the last call, out of frames of WebSocket."""
        self._hub.flush()
        data, self.wire.sent = self.wire.sent, b""
        found, at = [], 0
        while at < len(data):
            size, at = data[at + 1], at + 2
            if size >= 126:
                width = 2 if size == 126 else 8
                size, at = int.from_bytes(data[at:at + width]), at + width
            found.append(data[at:at + size])
            at += size
        return found


def session_settings() -> SessionSettings:
    return SessionSettings(version="fuzz 0", include_server_time=True)


def visitor(transport: str) -> SessionRequest:
    return SessionRequest(transport, {"user-agent": "fuzz"}, "127.0.0.1")


async def settled(session: BaseSession) -> None:
    """Until a session has nothing to do."""
    for _ in range(MOST_TURNS):
        await asyncio.sleep(0)
        if not session.busy:
            break
    else:
        raise AssertionError("the session does not come to an end")
    await asyncio.sleep(0)


class _Body:
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._data


class HTTPRequest:
    """As much of a request as the handlers of bodies look at; aiohttp's takes longer to make."""

    def __init__(self, method: str, query: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.method = method
        self.query = URL(f"http://localhost/?{query}").query
        self.headers = CIMultiDict(headers)
        self.content_type = headers.get("Content-Type", "application/json")
        self.content_length = len(body)
        self.content = _Body(body)


def http_request(
    method: str = "POST", query: str = "", body: bytes = b"", **headers: str
) -> web.Request:
    names = {name.replace("_", "-").title(): value for name, value in headers.items()}
    return cast(web.Request, HTTPRequest(method, query, body, names))


async def ask(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], request: web.Request
) -> tuple[int, bytes]:
    """Status and body of the answer of a handler of HTTP requests."""
    try:
        response = await handler(request)
    except web.HTTPException as refusal:
        return refusal.status, (refusal.text or "").encode()
    assert isinstance(response, web.Response)
    assert isinstance(response.body, bytes | None)
    return response.status, response.body or b""
