"""A server in this loop, and calls of its API as a backend makes them."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from tests.server.running import InProcess, Settings, serving

__all__ = ["KEY", "Backend", "api_server", "backend"]

KEY = "a key that is secret"
SETTINGS: Settings = {
    "http_api": {"key": KEY},
    "client": {
        "insecure": True,
        "user_id_http_header": "X-User",
    },
    "channel": {
        "without_namespace": {
            "presence": True, "history_size": 10, "history_ttl": "60s", "allow_recovery": True,
        },
        "namespaces": [
            {"name": "bare"},
            {"name": "json", "publication_data_format": "json"},
            {"name": "object", "publication_data_format": "json_object"},
            {"name": "binary", "publication_data_format": "binary",
             "history_size": 10, "history_ttl": "60s"},
            {"name": "all", "presence": True, "join_leave": True, "history_size": 10,
             "history_ttl": "60s", "force_recovery": True, "force_push_join_leave": True},
        ],
    },
}


class Backend:
    """Calls methods of one server."""

    def __init__(self, server: InProcess, session: aiohttp.ClientSession) -> None:
        self.server = server
        self._session = session

    async def send(
        self, path: str, body: bytes | str, headers: dict[str, str] | None = None
    ) -> tuple[int, str, bytes]:
        """Status, content type and body of the answer to a body as it is."""
        data = io.BytesIO(body.encode() if isinstance(body, str) else body)
        async with self._session.post(
            f"{self.server.http}{path}", data=data, headers=headers
        ) as response:
            return response.status, response.content_type, await response.read()

    async def reply(self, method: str, /, **params: Any) -> Any:
        """What a method replies, with its envelope."""
        status, kind, body = await self.send(f"/api/{method}", json.dumps(params))
        assert (status, kind) == (200, "application/json"), body
        return json.loads(body)

    async def call(self, method: str, /, **params: Any) -> Any:
        """The result of a call that is done."""
        reply = await self.reply(method, **params)
        assert list(reply) == ["result"], reply
        return reply["result"]

    async def error(self, method: str, /, **params: Any) -> tuple[int, str]:
        """Code and message of the error of a call that is not."""
        reply = await self.reply(method, **params)
        assert list(reply) == ["error"], reply
        assert list(reply["error"]) == ["code", "message"]
        return reply["error"]["code"], reply["error"]["message"]


@contextlib.asynccontextmanager
async def backend(server: InProcess, key: str = KEY) -> AsyncIterator[Backend]:
    async with aiohttp.ClientSession(headers={"X-API-Key": key} if key else {}) as session:
        yield Backend(server, session)


@contextlib.asynccontextmanager
async def api_server(settings: Settings = SETTINGS, key: str = KEY) -> AsyncIterator[Backend]:
    async with serving(settings) as server, backend(server, key) as calls:
        yield calls
