"""What the tests of the proxies share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from fanout.events import ConnectEvent, PublishEvent, RefreshEvent, RPCEvent, SubRefreshEvent
from fanout.events import SubscribeEvent as Subscribe
from fanout.server.config import check
from fanout.server.config.reader import read
from fanout.server.permissions import Permissions
from fanout.server.proxy import Proxies
from tests.server.proxy.backend import Backend, running_backend

Settings = Mapping[str, Any]

EVENTS = ("connect", "refresh", "subscribe", "sub_refresh", "publish", "rpc")
DECISIONS = ("connect", "subscribe", "publish", "rpc")
PROLONGATIONS = ("refresh", "sub_refresh")


@dataclass
class Visitor:
    """A connected client, as far as a backend is told of it."""

    id: str = "c-1"
    user: str = "42"
    meta: bytes = b""
    transport: str = "websocket"
    encoding: str = "json"
    headers: Mapping[str, str] = field(default_factory=dict)
    emulated_headers: Mapping[str, str] = field(default_factory=dict)


def all_proxies(url: Callable[[str], str], **options: Any) -> dict[str, Any]:
    """Settings in which a backend decides everything, each event at a path of its name."""

    def proxy(event: str) -> dict[str, Any]:
        return {"endpoint": url(f"/{event}"), "timeout": "10s", **options}

    return {
        "client": {"proxy": {
            "connect": {"enabled": True, **proxy("connect")},
            "refresh": {"enabled": True, **proxy("refresh")}}},
        "channel": {
            "proxy": {event: proxy(event) for event in ("subscribe", "publish", "sub_refresh")},
            "without_namespace": {
                "subscribe_proxy_enabled": True, "publish_proxy_enabled": True,
                "sub_refresh_proxy_enabled": True}},
        "rpc": {"proxy": proxy("rpc"), "without_namespace": {"proxy_enabled": True}},
    }


def make(settings: Settings, **options: Any) -> Proxies:
    """Proxies that are not started."""
    config, warnings = read(settings)
    assert warnings == []
    check(config)
    return Proxies(config, Permissions(config), **options)


async def ask(
    proxies: Proxies, event: str, client: Visitor | None = None, data: bytes = b""
) -> Any:
    """One question about channel ``news``, or about the method ``add``."""
    client = client or Visitor()
    match event:
        case "connect":
            return await proxies.connect(ConnectEvent(
                client.id, data=data, headers=client.headers, transport=client.transport,
                encoding=client.encoding, emulated_headers=client.emulated_headers))
        case "refresh":
            return await proxies.refresh(client, RefreshEvent())
        case "subscribe":
            return await proxies.subscribe(client, Subscribe("news", data=data))
        case "sub_refresh":
            return await proxies.sub_refresh(client, SubRefreshEvent("news"))
        case "publish":
            return await proxies.publish(client, PublishEvent("news", data))
        case _:
            return await proxies.rpc(client, RPCEvent("add", data))


Start = Callable[..., Awaitable[Proxies]]


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    async with running_backend() as backend:
        yield backend


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Makes proxies of settings, and closes them at the end."""
    async with AsyncExitStack() as stack:

        async def started(settings: Settings, **options: Any) -> Proxies:
            proxies = make(settings, **options)
            await proxies.start()
            stack.push_async_callback(proxies.close)
            return proxies

        yield started


@pytest.fixture
async def proxies(backend: Backend, start: Start) -> Proxies:
    """A backend decides everything."""
    return await start(all_proxies(backend.url))
