"""The examples of docs/proxy.md, tried."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fanout.codes import ClientError, Disconnect
from fanout.events import (
    ConnectEvent,
    PublishEvent,
    RefreshEvent,
    RPCEvent,
    SubRefreshEvent,
    SubscribeEvent,
)
from fanout.server.proxy import Proxies
from fanout.server.proxy.link import CONNECTIONS, MAX_CALLS, MAX_REPLY
from tests.server.proxy.backend import Backend
from tests.server.proxy.conftest import EVENTS, Start, Visitor, ask, make

DOC = (Path(__file__).parents[3] / "docs" / "proxy.md").read_text()


def examples(heading: str) -> list[Any]:
    """The JSON objects below a heading."""
    section = re.split(r"^#+ ", DOC.partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", section, re.S)]


CLIENT = Visitor("9336a229-2400-4ebc-8c50-0a643d22e8a0", meta=b'{"role":"editor"}')
PATHS = {
    "connect": "/centrifugo/connect", "refresh": "/centrifugo/refresh",
    "subscribe": "/centrifugo/subscribe", "sub_refresh": "/centrifugo/sub_refresh",
    "publish": "/publish", "rpc": "/rpc"}


def here(config: Any, backend: Backend) -> Any:
    """A configuration whose every endpoint is ``backend``."""
    if isinstance(config, dict):
        return {key: here(value, backend) for key, value in config.items()}
    if isinstance(config, list):
        return [here(value, backend) for value in config]
    if isinstance(config, str) and "://" in config:
        return backend.url(re.sub("^https?://[^/]+", "", config))
    return config


async def question(proxies: Proxies, event: str) -> Any:
    match event:
        case "connect":
            return await proxies.connect(ConnectEvent(
                CLIENT.id, data=b'{"locale":"de"}', name="js", version="5.4.0",
                subs={"news": SubscribeEvent("news")}, transport="websocket", encoding="json"))
        case "refresh":
            return await proxies.refresh(CLIENT, RefreshEvent())
        case "subscribe":
            return await proxies.subscribe(
                CLIENT, SubscribeEvent("chat:lobby", data=b'{"key":"abc"}'))
        case "sub_refresh":
            return await proxies.sub_refresh(CLIENT, SubRefreshEvent("chat:lobby"))
        case "publish":
            return await proxies.publish(CLIENT, PublishEvent("chat:lobby", b'{"text":"hi"}'))
        case _:
            return await proxies.rpc(CLIENT, RPCEvent("game:move", b"\xff\x00"))


@pytest.mark.parametrize("event", EVENTS)
async def test_an_events_example(backend: Backend, start: Start, event: str) -> None:
    config, = examples("Configuration")
    make(config)
    config = here(config, backend)
    config["channel"]["namespaces"][0]["sub_refresh_proxy_enabled"] = True
    request, answer = examples(event)
    backend.on(PATHS[event], answer)
    reply = await question(await start(config), event)
    assert backend.only(PATHS[event]).json == request
    # Everything in it means something.
    for name in answer["result"]:
        backend.on(PATHS[event], {"result": {
            key: value for key, value in answer["result"].items() if key != name}})
        assert await question(await start(config), event) != reply, name


async def test_the_examples_of_refusals(backend: Backend, proxies: Proxies) -> None:
    error, disconnect = examples("Refusing")
    backend.on("/subscribe", error)
    with pytest.raises(ClientError) as refused:
        await ask(proxies, "subscribe")
    assert vars(refused.value) == error["error"]
    backend.on("/subscribe", disconnect)
    with pytest.raises(Disconnect) as ended:
        await ask(proxies, "subscribe")
    assert vars(ended.value) == disconnect["disconnect"]


def test_the_limits() -> None:
    assert f"{MAX_CALLS:,} calls are in flight" in DOC
    assert f"At most {CONNECTIONS} connections" in DOC
    assert "an answer above 1 MiB" in DOC
    assert MAX_REPLY == 1 << 20
