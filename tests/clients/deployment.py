"""A server as somebody runs it who comes from Centrifugo: one file with its keys, and a backend.

The published clients are tested against it. It is a process of its own, configured by nothing but
the file; applications' backends make tokens, answer RPCs and publish through the server API.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cent
import jwt

from tests.server.proxy.backend import Backend, running_backend
from tests.server.running import Process
from tests.wire import Wire

__all__ = ["Deployment", "deployed", "token", "unique"]

_SECRET = "a secret of the application that is long enough"
_API_KEY = "a key of the application"
_MEMBERS = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_subscriber": True,
    "allow_presence_for_subscriber": True,
    "allow_history_for_subscriber": True,
}
_HISTORY = {"history_size": 100, "history_ttl": "60s"}


def _configuration(backend: Backend, origins: Sequence[str]) -> dict[str, Any]:
    """What stands in the file, all of it keys of Centrifugo v6."""
    return {
        "client": {
            "token": {"hmac_secret_key": _SECRET},
            "allowed_origins": list(origins),
            "subscribe_to_user_personal_channel": {
                "enabled": True, "personal_channel_namespace": "own"},
            "expired_close_delay": "10s",
            "expired_sub_close_delay": "10s",
            "channel_limit": 10,
        },
        "channel": {"namespaces": [
            {"name": "room", "presence": True, "join_leave": True, "force_push_join_leave": True,
             "force_recovery": True, **_HISTORY, **_MEMBERS},
            {"name": "short", "force_recovery": True, "history_size": 3, "history_ttl": "60s",
             "allowed_delta_types": ["fossil"], "delta_publish": True, **_MEMBERS},
            {"name": "delta", "allowed_delta_types": ["fossil"], "delta_publish": True,
             "force_recovery": True, **_HISTORY, **_MEMBERS},
            {"name": "latest", "force_recovery": True, "force_recovery_mode": "cache",
             "auto_cache_recover": True, "history_size": 1, "history_ttl": "60s", **_MEMBERS},
            {"name": "tagged", "allow_tags_filter": True, **_MEMBERS},
            {"name": "plain", "allow_subscribe_for_client": True},
            {"name": "own", "allow_user_limited_channels": True, "force_recovery": True,
             **_HISTORY},
            {"name": "news", "force_recovery": True, **_HISTORY},
            {"name": "shut"},
        ]},
        "rpc": {
            "proxy": {"endpoint": backend.url("/rpc")},
            "without_namespace": {"proxy_enabled": True},
        },
        "http_api": {"key": _API_KEY},
        "websocket": {"compression": True},
        "sse": {"enabled": True},
        "http_stream": {"enabled": True},
    }


@dataclass
class Deployment:
    """The server, the application's backend, and the server API as the application calls it."""

    server: Process
    backend: Backend
    api: cent.AsyncClient

    async def publish(self, channel: str, *values: Any, **options: Any) -> list[int]:
        """Publish each value in turn; their offsets."""
        return [
            (await self.api.publish(
                cent.PublishRequest(channel=channel, data=value, **options))).offset
            for value in values
        ]

    async def disconnect(self, user: str, code: int, reason: str) -> None:
        await self.api.disconnect(cent.DisconnectRequest(
            user=user, disconnect=cent.Disconnect(code=code, reason=reason)))

    @contextlib.contextmanager
    def wire(self) -> Iterator[Wire]:
        """A way to the server that a test can cut."""
        wire = Wire(self.server.port)
        try:
            yield wire
        finally:
            wire.close()


def token(user: str, channel: str = "", *, expires_in: float | None = None, **claims: Any) -> str:
    """A token as a backend makes it: for a connection, or for the subscription to ``channel``."""
    claims["sub"] = user
    if channel:
        claims["channel"] = channel
    if expires_in is not None:
        claims["exp"] = int(time.time() + expires_in)
    return jwt.encode(claims, _SECRET, "HS256")


_numbers = iter(range(1, 1 << 62))


def unique(name: str) -> str:
    """A user or channel that no other test has: the server is there for all of them."""
    return f"{name}{next(_numbers)}"


def _rpc(call: Any) -> dict[str, Any]:
    method, data = call.json["method"], call.json.get("data")
    if method == "refuse":
        return {"error": {"code": 1234, "message": "not today"}}
    return {"result": {"data": {"user": call.json["user"], "method": method, "data": data}}}


@contextlib.asynccontextmanager
async def deployed(directory: Path, *origins: str) -> AsyncIterator[Deployment]:
    """The server for the block; it has to log no error and to leave cleanly."""
    async with running_backend() as backend:
        backend.on("/rpc", _rpc)
        server = Process(_configuration(backend, origins), directory)
        await asyncio.to_thread(server.start)
        try:
            async with cent.AsyncClient(f"{server.http}/api", _API_KEY) as api:
                yield Deployment(server, backend, api)
        finally:
            status = await asyncio.to_thread(server.stop)
        assert status == 0
        first = next((n for n, line in enumerate(server.log) if "ERROR" in line), None)
        assert first is None, "".join(server.log[first:])
