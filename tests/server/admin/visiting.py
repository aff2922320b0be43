"""A browser's requests, without the browser."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from tests.server.running import with_options

PASSWORD, SECRET = "a good password", "signs the sessions"
ADMIN = with_options(
    {"client": {"insecure": True},
     "admin": {"enabled": True, "password": PASSWORD, "secret": SECRET}},
    presence=True, history_size=100, history_ttl="60s")


class Visitor:
    """Asks as the page does; cookies are kept as a browser keeps them."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.headers: dict[str, str] = {"X-Fanout-Admin": "1"}

    async def post(
        self, path: str, body: object = None, **headers: str | None
    ) -> tuple[int, Mapping[str, str], str]:
        """Status, headers and text; a header that is None is left out."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {name: value for name, value in {**self.headers, **names}.items()
                if value is not None}
        async with self.session.post(
            f"{self.url}/admin/{path}", json={} if body is None else body, headers=sent
        ) as answer:
            return answer.status, answer.headers, await answer.text()

    async def ask(self, name: str, **request: Any) -> Any:
        """What the page is answered."""
        async with self.session.post(
            f"{self.url}/admin/api/{name}", json=request, headers=self.headers
        ) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def log_in(self, password: str = PASSWORD) -> int:
        return (await self.post("auth", {"password": password}))[0]

    async def is_in(self) -> bool:
        status = (await self.post("api/nodes"))[0]
        assert status in (200, 401)
        return status == 200

    @property
    def cookie(self) -> str:
        return next(
            (one.value for one in self.session.cookie_jar if one.key == "fanout_admin"), "")


@contextlib.asynccontextmanager
async def visitor(url: str, cookie: str = "") -> AsyncIterator[Visitor]:
    jar = aiohttp.CookieJar(unsafe=True)        # which takes cookies of an address, too
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        one = Visitor(session, url)
        if cookie:
            one.headers["Cookie"] = f"fanout_admin={cookie}"
        yield one
