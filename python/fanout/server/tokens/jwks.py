"""Keys from an endpoint: fetched once for all who wait, kept for a while, asked for rarely."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import aiohttp

from fanout.server.log import logger
from fanout.server.tokens.endpoint import Endpoint
from fanout.server.tokens.errors import InvalidTokenError, KeysUnavailableError, shown
from fanout.server.tokens.jwk import read_key_set
from fanout.server.tokens.keys import Key

__all__ = ["KeySets", "Limits"]


class Limits(NamedTuple):
    """The bounds of fetching; durations in seconds, sizes in bytes."""

    timeout: float = 3.0
    """One request, its whole answer included."""
    tries: int = 2
    """Requests of one fetch, before it has failed."""
    max_size: int = 256 * 1024
    """Of an answer."""
    lifetime: float = 3600.0
    """Keys are fetched again after so long, and one that is gone then is not used any more."""
    grace: float = 24 * 3600.0
    """How much longer they are used when that fails."""
    fetches: int = 4
    per: float = 20.0
    """No more fetches than ``fetches`` in ``per`` seconds, from one endpoint."""
    absent_for: float = 30.0
    """A key id that the endpoint did not have is not asked for again for so long."""
    max_absent: int = 256
    """Such key ids that are remembered."""
    max_sets: int = 64
    """Endpoints whose keys are kept, where the URL depends on the token."""


class KeySets:
    """The key sets of an endpoint, by URL."""

    def __init__(
        self,
        endpoint: Endpoint,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._limits = Limits() if limits is None else limits
        self._clock = clock
        self._sets: dict[str, _KeySet] = {}
        self._http: aiohttp.ClientSession | None = None
        self._closed = False

    def find(self, url: str, kid: str) -> tuple[Key, ...] | None:
        """The keys of this id; None when only :meth:`fetch` can tell.

        Raises :exc:`InvalidTokenError` when the endpoint is known not to have
        them.
        """
        keys = self._sets.get(url)
        return None if keys is None else keys.find(kid)

    async def fetch(self, url: str, kid: str) -> tuple[Key, ...]:
        """As :meth:`find`, asking the endpoint if need be.

        Raises :exc:`KeysUnavailableError` when it cannot be asked.
        """
        keys = self._sets.get(url)
        if keys is None:
            keys = self._add(url)
        return await keys.get(kid)

    async def close(self) -> None:
        """Ends what is being fetched; whoever waits gets :exc:`KeysUnavailableError`."""
        self._closed = True
        tasks = [keys.fetching for keys in self._sets.values() if keys.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def _add(self, url: str) -> _KeySet:
        if self._closed:
            raise KeysUnavailableError("the server is stopping")
        if len(self._sets) >= self._limits.max_sets:
            # The one added first that nobody waits for.
            for old, kept in self._sets.items():
                if kept.fetching is None:
                    del self._sets[old]
                    break
            else:
                raise KeysUnavailableError("the keys of too many endpoints are being fetched")
        self._sets[url] = keys = _KeySet(
            url, self._endpoint.shown(url), self._limits, self._clock, self._session)
        return keys

    def _session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise KeysUnavailableError("the server is stopping")
        if self._http is None:
            self._http = aiohttp.ClientSession(
                # Not another moment of waiting for a connection, nor cookies to come back with.
                timeout=aiohttp.ClientTimeout(total=self._limits.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
            )
        return self._http


class _KeySet:
    """The keys behind one URL."""

    def __init__(
        self,
        url: str,
        name: str,
        limits: Limits,
        clock: Callable[[], float],
        session: Callable[[], aiohttp.ClientSession],
    ) -> None:
        self._url = url
        self._name = name
        self._limits = limits
        self._clock = clock
        self._session = session
        self._keys: dict[str, tuple[Key, ...]] = {}
        self._fetched = float("-inf")
        self._absent: dict[str, float] = {}
        self._begun: deque[float] = deque(maxlen=limits.fetches)
        self._failure = ""
        self.fetching: asyncio.Task[None] | None = None

    def find(self, kid: str) -> tuple[Key, ...] | None:
        now = self._clock()
        if now - self._fetched < self._limits.lifetime:
            keys = self._keys.get(kid)
            if keys is not None:
                return keys
            if now < self._absent.get(kid, now):
                raise self._unknown(kid)
        return None

    async def get(self, kid: str) -> tuple[Key, ...]:
        keys = self.find(kid)
        if keys is not None:
            return keys
        asked = self._may_fetch()
        if asked:
            if self.fetching is None:
                session = self._session()
                self._begun.append(self._clock())
                self.fetching = asyncio.create_task(self._fetch(session))
            # Not the task itself: who is cancelled while waiting leaves the others their fetch.
            await asyncio.wait((self.fetching,))
        now = self._clock()
        if now - self._fetched < self._limits.lifetime + self._limits.grace:
            keys = self._keys.get(kid)
            if keys is not None:
                return keys
        if asked and not self._failure:
            self._remember_absent(kid, now)
            raise self._unknown(kid)
        raise KeysUnavailableError(
            self._failure or f"the keys of {self._name} were fetched too often just now")

    def _may_fetch(self) -> bool:
        if self.fetching is not None or len(self._begun) < self._limits.fetches:
            return True
        return self._clock() - self._begun[0] >= self._limits.per

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        failure = "the server is stopping"
        try:
            for _ in range(self._limits.tries):
                try:
                    keys, problems = read_key_set(await self._request(session))
                except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                    failure = f"the keys of {self._name} cannot be had: {_reason(error)}"
                    continue
                self._keys = keys
                self._fetched = self._clock()
                self._absent.clear()
                failure = ""
                for problem in problems:
                    logger.warning("the key set of %s: %s", self._name, problem)
                break
            else:
                logger.warning("%s", failure)
        finally:
            self._failure = failure
            self.fetching = None

    async def _request(self, session: aiohttp.ClientSession) -> bytes:
        # A redirect could lead where the configuration would not be allowed to.
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != 200:
                raise ValueError(f"the answer's status is {response.status}")
            text = bytearray()
            async for chunk in response.content.iter_any():
                text += chunk
                if len(text) > self._limits.max_size:
                    raise ValueError(f"the answer has more than {self._limits.max_size} bytes")
            return bytes(text)

    def _remember_absent(self, kid: str, now: float) -> None:
        if len(self._absent) >= self._limits.max_absent:
            del self._absent[next(iter(self._absent))]
        self._absent[kid] = now + self._limits.absent_for

    def _unknown(self, kid: str) -> InvalidTokenError:
        return InvalidTokenError(f"the token's key {shown(kid)} is not one of {self._name}")


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__
