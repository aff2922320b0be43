"""``/metrics``: what is served where, what it counts, and that the documentation names it all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

import fanout
from fanout import Node
from fanout.counters import BOUNDS, MOST_CODES, OTHER, Counters, Durations
from fanout.server.api import types
from fanout.server.api.errors import APIError
from fanout.server.app import Server
from fanout.server.metrics import ToldFigures
from tests.server.running import InProcess, config_of, get, serving, with_options

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"
COUNTED = with_options(
    {"client": {"insecure": True}, "prometheus": {"enabled": True}},
    history_size=3, history_ttl="60s", force_recovery=True, presence=True)

Figures = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
async def server(quiet: None) -> AsyncIterator[InProcess]:
    async with serving(COUNTED) as running:
        yield running


async def scraped(server: InProcess) -> Figures:
    status, _, body = await get(f"{server.http}/metrics")
    assert status == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body.decode()) for sample in family.samples}


def figure(figures: Figures, name: str, /, **labels: str) -> float:
    return figures[f"fanout_{name}", frozenset(labels.items())]


async def test_they_are_off_by_default() -> None:
    async with serving({"client": {"insecure": True}}) as server:
        assert (await get(f"{server.http}/metrics"))[0] == 404


async def test_the_path_is_the_configurations() -> None:
    settings = {"prometheus": {"enabled": True, "handler_prefix": "/figures"}}
    async with serving(settings) as server:
        assert (await get(f"{server.http}/metrics"))[0] == 404
        assert (await get(f"{server.http}/figures"))[0] == 200


async def test_an_internal_port_has_them_alone() -> None:
    settings = {"prometheus": {"enabled": True}, "http_server": {"internal_port": 0}}
    server = Server(config_of(settings))
    await server.start()
    try:
        outside = f"http://127.0.0.1:{server.port}/metrics"
        inside = f"http://127.0.0.1:{server.internal_port}/metrics"
        assert server.port != server.internal_port
        assert (await get(outside))[0] == 404
        assert (await get(inside))[0] == 200
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
async def test_the_form_is_the_readers_choice(
    server: InProcess, accept: str, content_type: str
) -> None:
    status, headers, body = await get(f"{server.http}/metrics", Accept=accept)
    assert status == 200 and headers["Content-Type"].startswith(content_type)
    assert body.decode().endswith("# EOF\n") == bool(accept)


async def test_what_the_node_holds_and_delivers(server: InProcess) -> None:
    reader, writer = await server.client("news", "other"), await server.client("news")
    for number in range(3):
        await writer.call(publish={"channel": "nobody", "data": number})
    await server.node.publish("news", b"1")
    for peer in (reader, writer):
        assert (await peer.next())["push"]["channel"] == "news"
    figures = await scraped(server)
    (build,) = (dict(labels) for name, labels in figures if name == "fanout_build_info")
    assert (build["version"], build["engine"]) == (fanout.__version__, "memory")
    assert figure(figures, "node_clients") == 2
    assert figure(figures, "node_users") == 0
    assert figure(figures, "node_channels") == 2
    assert figure(figures, "node_subscriptions") == 3
    assert figure(figures, "nodes") == 1
    assert figure(figures, "messages_published_total") == 4
    assert figure(figures, "messages_delivered_total") == 2
    assert figure(figures, "messages_dropped_total") == 0
    assert figure(figures, "engine_failures_total") == 0
    assert figure(figures, "sends_total") > 4
    assert figure(figures, "sent_bytes_total") > 100
    assert figures["process_open_fds", frozenset()] > 2


async def test_who_comes_and_goes(server: InProcess) -> None:
    first, second = await server.client("news"), await server.client("news")
    refused = await server.peer()
    await refused.send({"id": 1, "subscribe": {"channel": "news"}})      # before it connects
    assert (await refused.closed())[0] == 3501
    await first.close()
    await server.settled(lambda: len(server.node.clients) == 1)
    await server.node.disconnect(client=next(iter(server.node.clients)))
    assert (await second.closed())[0] == 3503

    figures = await scraped(server)
    json = {"transport": "websocket", "encoding": "json"}
    assert figure(figures, "connects_total", **json) == 2
    assert figure(figures, "connections", **json) == 0
    assert {
        code: figure(figures, "disconnects_total", code=code) for code in ("3000", "3501", "3503")
    } == {"3000": 1, "3501": 1, "3503": 1}
    assert figure(figures, "subscribes_total") == 2
    assert figure(figures, "unsubscribes_total") == 2
    assert figure(figures, "node_clients") == 0


async def test_who_asks_for_what_was_missed(server: InProcess) -> None:
    for number in range(5):
        await server.node.publish("news", str(number).encode())
    position = (await server.node.history_stream("news", limit=0)).position
    for offset in (3, 1):       # three are kept
        peer = await server.client()
        reply = await peer.call(subscribe={
            "channel": "news", "recover": True, "offset": offset, "epoch": position.epoch})
        assert reply["subscribe"].get("recovered", False) == (offset == 3)
    figures = await scraped(server)
    assert figure(figures, "recoveries_total", recovered="yes") == 1
    assert figure(figures, "recoveries_total", recovered="no") == 1


async def test_commands_and_their_errors(server: InProcess) -> None:
    peer = await server.client("news")
    await peer.call(subscribe={"channel": "news"})
    await peer.call(presence={"channel": "other:x"})
    await peer.call(unsubscribe={"channel": "news"})
    figures = await scraped(server)
    for method, count in (("connect", 1), ("subscribe", 2), ("presence", 1), ("unsubscribe", 1)):
        name = "command_duration_seconds"
        assert figure(figures, f"{name}_count", method=method) == count, method
        assert figure(figures, f"{name}_bucket", method=method, le="+Inf") == count
        assert 0 < figure(figures, f"{name}_sum", method=method) < 60
    assert figure(figures, "command_errors_total", method="subscribe", code="105") == 1
    assert figure(figures, "command_errors_total", method="presence", code="102") == 1
    assert figure(figures, "unsubscribes_total") == 1


async def test_calls_of_the_server_api_and_surveys() -> None:
    settings = {"prometheus": {"enabled": True}, "http_api": {"key": "k"}}
    async with serving(settings) as server:
        api = server._server.api
        await api.call("info", types.InfoRequest())
        await api.call("channels", types.ChannelsRequest())
        with pytest.raises(APIError):
            await api.call("presence", types.PresenceRequest(channel="x"))
        figures = await scraped(server)
    assert figure(figures, "api_duration_seconds_count", method="info") == 1
    assert figure(figures, "api_duration_seconds_count", method="presence") == 1
    assert figure(figures, "api_errors_total", method="presence", code="108") == 1
    assert figure(figures, "surveys_total") == 1
    assert figure(figures, "surveys_incomplete_total") == 0


async def test_backends() -> None:
    settings = {"prometheus": {"enabled": True}, "client": {"proxy": {"connect": {
        "enabled": True, "endpoint": "http://127.0.0.1:1/connect", "timeout": "1s"}}}}
    async with serving(settings) as server:
        peer = await server.peer()
        assert (await peer.call(connect={}))["error"]["code"] == 100
        figures = await scraped(server)
    backend = {"event": "connect", "name": "default"}
    assert figure(figures, "proxy_calls_total", **backend) == 1
    assert figure(figures, "proxy_failures_total", **backend) == 1
    assert figure(figures, "proxy_in_flight", **backend) == 0
    assert figure(figures, "proxy_seconds_total", **backend) >= 0
    assert figure(figures, "command_errors_total", method="connect", code="100") == 1


async def test_a_scrape_tells_no_names(server: InProcess) -> None:
    peer = await server.client("secret-channel")
    await peer.call(rpc={"method": "secret-method"})
    _, _, body = await get(f"{server.http}/metrics")
    assert b"secret" not in body


async def test_the_documentation_names_them_all(server: InProcess) -> None:
    """Both ways: none is missing, and none is there that does not exist."""
    peer = await server.client("news")
    await peer.call(presence={"channel": "other:x"})
    _, _, body = await get(f"{server.http}/metrics")
    shown = {}
    for name, kind in re.findall(r"^# TYPE (fanout_\w+) (\w+)$", body.decode(), re.MULTILINE):
        shown[f"{name}_total" if kind == "counter" and not name.endswith("_total") else name] = kind
    documented = re.findall(r"^\| `(fanout_\w+)` \|(.*?)\|", DOCS.read_text(), re.MULTILINE)
    assert {name for name, _ in documented} == set(shown)

    labels = {name: set(re.findall(r"`(\w+)`", text)) for name, text in documented}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            name = re.sub("_(bucket|count|sum)$", "", sample.name)
            if name in labels:
                assert set(sample.labels) - {"le"} == labels[name], name
    told = set(server.node.info()[0].metrics)
    assert set(re.findall(r"`(\w+_per_second)`", DOCS.read_text())) == told


async def test_a_scrape_while_many_come_and_go(server: InProcess) -> None:
    async def visit() -> None:
        peer = await server.client("news")
        await peer.close()

    before = await scraped(server)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(visit())
            group.create_task(scraped(server))
    await server.settled(lambda: not server.node.clients)
    after = await scraped(server)
    json = {"transport": "websocket", "encoding": "json"}
    assert figure(before, "subscribes_total") == 0
    assert figure(after, "connects_total", **json) == 20
    assert figure(after, "connections", **json) == 0
    assert figure(after, "subscribes_total") == figure(after, "unsubscribes_total") == 20


async def test_two_servers_in_one_process_do_not_share(server: InProcess) -> None:
    async with serving(COUNTED) as other:
        await other.client("news")
        assert figure(await scraped(server), "node_clients") == 0
        assert figure(await scraped(other), "node_clients") == 1


def test_a_duration_is_counted_below_its_bound() -> None:
    durations = Durations()
    for seconds in (0.0, BOUNDS[0], BOUNDS[0] * 1.01, BOUNDS[-1], BOUNDS[-1] + 1, 1e9):
        durations.add(seconds)
    expected = [0] * (len(BOUNDS) + 1)
    expected[0], expected[1], expected[-2], expected[-1] = 2, 1, 1, 2
    assert durations.counts == expected


def test_codes_have_a_bound() -> None:
    counters = Counters()
    for code in range(3000, 3000 + 2 * MOST_CODES):
        counters.disconnected(code)
        counters.commands.failed("rpc", code)
    counters.disconnected(3000)
    assert len(counters.disconnects) == MOST_CODES + 1
    assert counters.disconnects[3000] == 2
    assert counters.disconnects[OTHER] == MOST_CODES
    assert len(list(counters.commands.errors())) == MOST_CODES + 1


async def test_rates_are_those_of_the_interval() -> None:
    now = 100.0
    async with Node() as node:
        told = ToldFigures(node, 10.0, lambda: now)
        assert told() == {}
        for _ in range(30):
            node.publish("news", b"x")
        now += 3
        assert told()["published_per_second"] == 10
        now += 5
        assert told()["published_per_second"] == 3.75
        # What is over for longer than the interval does not count any more.
        now += 10
        assert told()["published_per_second"] == 0


async def test_rates_keep_few_samples_however_often_they_are_asked() -> None:
    now = 0.0
    async with Node() as node:
        told = ToldFigures(node, 60.0, lambda: now)
        for _ in range(5_000):
            now += 0.01
            told()
        assert len(told._samples) < 1_000


