"""``/metrics``."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

__all__ = ["MetricsEndpoint"]


class MetricsEndpoint:
    """The figures of ``collectors``, of the process and of Python's garbage collector.

    In Prometheus' text format or in OpenMetrics', as the request prefers.
    """

    def __init__(self, *collectors: Collector) -> None:
        # Its own: several servers of one process must not share their figures.
        registry = CollectorRegistry()
        for collector in collectors:
            registry.register(collector)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        self._registry = registry

    async def handle(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        # In the loop's thread, to which the node belongs.
        body = encode(self._registry)
        return web.Response(
            body=body, headers={"Content-Type": content_type, "Cache-Control": "no-store"})
