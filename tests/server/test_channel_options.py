"""What the options of a channel let clients do, seen on the wire."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from centrifuge.protocol import client_pb2 as pb

from tests.server.peer import Peer
from tests.server.running import InProcess, serving, with_options

SECRET = "a secret that is long enough for HS256"
BASE = {"client": {
    "token": {"hmac_secret_key": SECRET}, "allow_anonymous_connect_without_token": True}}
KEPT = {"presence": True, "history_size": 10, "history_ttl": "60s"}
MAPS = ("map", "map_clients", "map_users", "shared_poll")

DENIED = 103


async def visitor(server: InProcess, user: str) -> Peer:
    """A connection of ``user``, or of nobody known."""
    peer = await server.peer()
    token = jwt.encode({"sub": user}, SECRET, "HS256") if user else ""
    await peer.call(connect={"token": token})
    return peer


SUBSCRIBE = {"subscribe": {"channel": "a"}}
PUBLISH = {"publish": {"channel": "a", "data": 1}}
PRESENCE = {"presence": {"channel": "a"}}
PRESENCE_STATS = {"presence_stats": {"channel": "a"}}
HISTORY = {"history": {"channel": "a"}}


@pytest.mark.parametrize(("flag", "command"), [
    ("allow_publish_for_client", PUBLISH),
    ("allow_presence_for_client", PRESENCE),
    ("allow_presence_for_client", PRESENCE_STATS),
    ("allow_history_for_client", HISTORY),
])
async def test_a_flag_for_clients(flag: str, command: dict[str, Any]) -> None:
    async with serving(with_options(BASE, **KEPT, **{flag: True})) as server:
        async with await visitor(server, "42") as peer:
            assert (await peer.call(**command)).keys() == command.keys()
            for other in (SUBSCRIBE, PUBLISH, PRESENCE, PRESENCE_STATS, HISTORY):
                if flag.split("_")[1] not in next(iter(other)):
                    assert (await peer.error(**other))[0] == DENIED
        async with await visitor(server, "") as nobody:
            assert (await nobody.error(**command))[0] == DENIED


@pytest.mark.parametrize(("flag", "command"), [
    ("allow_publish_for_subscriber", PUBLISH),
    ("allow_presence_for_subscriber", PRESENCE),
    ("allow_presence_for_subscriber", PRESENCE_STATS),
    ("allow_history_for_subscriber", HISTORY),
])
async def test_a_flag_for_subscribers(flag: str, command: dict[str, Any]) -> None:
    options = {**KEPT, "allow_subscribe_for_client": True, flag: True}
    async with serving(with_options(BASE, **options)) as server, await visitor(
        server, "42"
    ) as peer:
        assert (await peer.error(**command))[0] == DENIED
        assert "subscribe" in await peer.call(**SUBSCRIBE)
        assert "error" not in await peer.call(**command)
        await peer.call(unsubscribe={"channel": "a"})
        assert (await peer.error(**command))[0] == DENIED


@pytest.mark.parametrize(("flag", "command"), [
    ("subscribe", SUBSCRIBE), ("publish", PUBLISH), ("presence", PRESENCE), ("history", HISTORY)])
async def test_a_flag_for_those_without_a_user(flag: str, command: dict[str, Any]) -> None:
    flags = {f"allow_{flag}_for_client": True}
    async with serving(with_options(BASE, **KEPT, **flags)) as server, await visitor(
        server, ""
    ) as nobody:
        assert (await nobody.error(**command))[0] == DENIED
    flags[f"allow_{flag}_for_anonymous"] = True
    async with serving(with_options(BASE, **KEPT, **flags)) as server, await visitor(
        server, ""
    ) as nobody:
        assert "error" not in await nobody.call(**command)


@pytest.mark.parametrize("kind", range(1, 5))
async def test_maps_and_polls_are_refused(kind: int) -> None:
    """With the protocol's own codes, so that clients know what to do."""
    async with serving({"client": {"insecure": True}}) as server, await server.client(
        "a"
    ) as peer:
        assert await peer.error(subscribe={"channel": "b", "type": kind}) == (
            103, "permission denied")
        assert await peer.error(publish={
            "channel": "a", "data": 1, "type": 1, "key": "k"}) == (108, "not available")
        if kind < 3:
            assert await peer.error(sub_refresh={"channel": "a", "type": kind}) == (
                103, "permission denied")
        assert "publish" in await peer.call(publish={"channel": "a", "data": 1})


@pytest.mark.parametrize("kind", MAPS)
async def test_channels_of_maps_and_polls_are_closed(kind: str) -> None:
    settings = {"client": {"insecure": True}, "channel": {
        "namespaces": [{"name": "maps", "subscription_type": kind}]}}
    async with serving(settings) as server, await server.client() as peer:
        for number in range(5):
            assert (await peer.error(
                subscribe={"channel": "maps:a", "type": number}))[0] == DENIED
        assert await peer.error(publish={"channel": "maps:a", "data": 1}) == (
            108, "not available")


async def test_who_accepts_no_loss_is_refused() -> None:
    """Bit 2 of a subscribe request's flag: an error in place of ``recovered: false``."""
    options = {**KEPT, "force_recovery": True}
    settings = with_options({"client": {"insecure": True}}, **options)
    async with serving(settings) as server, await server.client() as peer:
        lost = {"channel": "a", "recover": True, "offset": 7, "epoch": "another"}
        assert await peer.error(subscribe={**lost, "flag": 2}) == (112, "unrecoverable position")
        reply = await peer.call(subscribe=lost)
        assert reply["subscribe"]["was_recovering"] is True
        assert "recovered" not in reply["subscribe"]


async def test_a_shorter_limit_of_history() -> None:
    settings = with_options(
        {"client": {"insecure": True, "history_max_publication_limit": 2}}, **KEPT)
    async with serving(settings) as server, await server.client("a") as peer:
        for number in range(3):
            await server.node.publish("a", b"%d" % number)
        for limit in (-1, 3):
            reply = await peer.call(history={"channel": "a", "limit": limit})
            assert [each["data"] for each in reply["history"]["publications"]] == [0, 1]
            assert reply["history"]["offset"] == 3


async def test_the_connect_reply_of_each_encoding_has_the_same_fields() -> None:
    """Field by field as the published schema reads it."""
    async with serving({"client": {
        "insecure": True, "connect_include_server_time": True}}) as server:
        async with await server.client() as peer:
            said = json.loads(peer.texts[0])["connect"]
        async with await server.peer(subprotocols=["centrifuge-protobuf"]) as peer:
            await peer.websocket.send(b"\x04\x08\x01\x22\x00")
            data = await peer.websocket.recv()
            assert isinstance(data, bytes)
            reply = pb.Reply.FromString(data[1:])
            assert reply.id == 1
            read = {field.name for field, _ in reply.connect.ListFields()}
        assert read == said.keys() == {"client", "version", "ping", "pong", "time"}
