"""HTTP to the backends, with a bound on everything."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from yarl import URL

from fanout.errors import ClosedError
from fanout.server.proxy.failures import BackendFailure, TooManyCallsError

__all__ = ["MAX_CALLS", "Link", "Target"]

MAX_REPLY = 1024 * 1024     # bytes; as much as may wait for one client by default
MAX_CALLS = 16_384          # in flight, or waiting for a connection
CONNECTIONS = 256           # to one host; further calls wait for one
# Shorter than what uvicorn, Node.js and nginx keep an idle connection for, so
# that a call does not meet the other side's close: it is never sent twice.
IDLE = 4.0                  # seconds


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backend is; ``timeout`` (seconds) bounds a whole call.

    ``tls`` and ``server_name`` are None for what HTTPS does by itself.
    """

    url: URL
    timeout: float
    tls: ssl.SSLContext | None = None
    server_name: str | None = None


class Link:
    """The connections to all backends, and the calls over them.

    A call is made at most once: redirects are not followed, cookies not kept,
    and proxies in the environment not used.
    """

    def __init__(self, max_calls: int = MAX_CALLS) -> None:
        self.calls = 0
        self._max_calls = max_calls
        self._session: aiohttp.ClientSession | None = None

    def open(self) -> None:
        """Make it usable; called in the running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, limit_per_host=CONNECTIONS, keepalive_timeout=IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """Cut what is in flight."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def post(self, target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
        """What the backend answers with status 200.

        Raises :exc:`BackendFailure` for everything else.
        """
        if self._session is None:
            raise ClosedError("the proxies are not started, or closed")
        if self.calls >= self._max_calls:
            raise TooManyCallsError(f"{self.calls} calls are in flight already, the most allowed")
        self.calls += 1
        try:
            return await _post(self._session, target, headers, body)
        except TimeoutError:
            raise BackendFailure(f"no answer within {target.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            # Not as its cause: that would bring the URL and the headers along.
            raise BackendFailure(_reason(error)) from None
        finally:
            self.calls -= 1


async def _post(
    session: aiohttp.ClientSession, target: Target, headers: Mapping[str, str], body: bytes
) -> bytes:
    async with asyncio.timeout(target.timeout), session.post(
        target.url,
        data=body,
        headers=headers,
        allow_redirects=False,
        timeout=aiohttp.ClientTimeout(),
        ssl=target.tls or True,
        server_hostname=target.server_name,
    ) as response:
        if response.status != 200:
            raise BackendFailure(f"HTTP status {response.status}", response.status)
        answer = bytearray()
        # Counted as it comes, and decompressed: the header's length is only a promise.
        async for chunk in response.content.iter_any():
            answer += chunk
            if len(answer) > MAX_REPLY:
                raise BackendFailure(f"an answer of more than {MAX_REPLY} bytes")
        return bytes(answer)


def _reason(error: aiohttp.ClientError | OSError) -> str:
    """What failed; no URL, where a key may stand."""
    if isinstance(error, aiohttp.InvalidURL):
        return "its endpoint is no URL"
    if isinstance(error, aiohttp.ClientResponseError):
        return f"no HTTP: {error.message.partition(chr(10))[0]}"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "an answer that ends too early, or is encoded wrongly"
    return str(error) or type(error).__name__
