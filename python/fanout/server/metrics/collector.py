"""A node's figures for Prometheus, read when they are scraped and never before."""

from __future__ import annotations

import platform
from collections.abc import Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

import fanout
from fanout.engine import Engine
from fanout.node import Node
from fanout.server.api import ServerAPI
from fanout.server.metrics.families import counter, counters, durations, errors, gauge, gauges
from fanout.server.proxy import Proxies

__all__ = ["NodeCollector"]


class NodeCollector(Collector):
    """Everything of one node; to be asked in the thread of its loop, while it runs.

    No name of a channel, a user or a node is a label: there is no bound to
    their number.
    """

    def __init__(
        self, node: Node, api: ServerAPI, proxies: Proxies | None = None
    ) -> None:
        self._node = node
        self._api = api
        self._proxies = proxies

    def describe(self) -> list[Metric]:
        """Nothing: registering asks for no figures, which a node has when it runs."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield gauges(
            "build_info", "The version that runs; always 1.", ("version", "python", "engine"),
            [((fanout.__version__, platform.python_version(), _kind(self._node.engine)), 1)])
        yield from self._now()
        yield from self._messages()
        yield from self._connections()
        yield from self._calls()
        yield from self._system()

    def _now(self) -> Iterator[Metric]:
        stats = self._node.stats()
        yield gauge("node_uptime_seconds", "Time since the node was started.", stats.uptime)
        yield gauge("node_clients", "Clients connected to this node.", stats.num_clients)
        yield gauge("node_users", "Different users among them.", stats.num_users)
        yield gauge("node_channels", "Channels with subscribers at this node.",
                    stats.num_channels)
        yield gauge("node_subscriptions",
                    "Subscriptions of clients and of readers in the process.",
                    stats.num_subscriptions)

    def _messages(self) -> Iterator[Metric]:
        stats = self._node.stats()
        yield counter("messages_published", "Messages published through this node.",
                      stats.num_published)
        yield counter("messages_delivered", "Messages queued for a subscriber of this node.",
                      stats.num_delivered)
        yield counter("messages_dropped", "Messages that a slow subscriber did not get.",
                      stats.num_dropped)
        yield counter("sends", "System calls that sent something to a client.", stats.num_sends)
        yield counter("sent_bytes", "Bytes sent to clients by them.", stats.bytes_sent)
        yield counter("engine_failures",
                      "Publishes and other work that the engine could not do.",
                      stats.num_failed)

    def _connections(self) -> Iterator[Metric]:
        counted = self._node.counters
        kinds = ("transport", "encoding")
        yield gauges("connections", "Connected clients.", kinds, (
            (kind, came - counted.left.get(kind, 0)) for kind, came in counted.connected.items()))
        yield counters(
            "connects", "Clients that connected.", kinds, counted.connected.items())
        yield counters(
            "disconnects", "Connections that ended, before or after they connected; "
            "the code is the protocol's, or 0 for those beyond 200 different ones.", ("code",),
            (((str(code),), count) for code, count in counted.disconnects.items()))
        yield counter("subscribes", "Subscriptions of clients that were made.",
                      counted.subscribed)
        yield counter("unsubscribes", "Subscriptions of clients that ended.",
                      counted.unsubscribed)
        yield counters(
            "recoveries", "Subscriptions that asked for what they had missed, and whether they "
            "got it all.", ("recovered",),
            [(("yes",), counted.recovered), (("no",), counted.unrecovered)])

    def _calls(self) -> Iterator[Metric]:
        commands = self._node.counters.commands
        yield durations("command_duration_seconds",
                        "Time from a client's command to its reply.", commands)
        yield errors("command_errors", "Commands answered with an error, by its code.", commands)
        calls = self._api.calls
        yield durations("api_duration_seconds", "Time for a call of the server API.", calls)
        yield errors("api_errors", "Calls answered with an error, by its code.", calls)
        proxies = self._proxies.stats() if self._proxies is not None else []
        labels = "event", "name"
        yield counters("proxy_calls", "Questions to the backends.", labels, (
            ((one.event, one.name), one.num_calls) for one in proxies))
        yield counters("proxy_failures", "Those without a usable answer.", labels, (
            ((one.event, one.name), one.num_failures) for one in proxies))
        yield gauges("proxy_in_flight", "Those that wait for their answer.", labels, (
            ((one.event, one.name), one.num_in_flight) for one in proxies))
        yield counters("proxy_seconds", "Time that they took, together.", labels, (
            ((one.event, one.name), one.seconds) for one in proxies))

    def _system(self) -> Iterator[Metric]:
        node = self._node
        yield gauge("nodes", "Nodes of the system that were heard of lately, this one too.",
                    len(node.info()))
        yield counter("surveys", "Questions to all nodes.", node.surveys.num_asked)
        yield counter("surveys_incomplete", "Those that not every node answered.",
                      node.surveys.num_incomplete)
        yield counter("stream_repairs",
                      "Times that the history was read for messages that may be missing.",
                      node.positions.num_repairs)
        yield counter("streams_lost",
                      "Times that messages of a channel could not be had any more, and its "
                      "subscribers were told so.", node.positions.num_lost)


def _kind(engine: Engine) -> str:
    """One word, as the configuration has it; the engine's name is a sentence for people."""
    return type(engine).__name__.removesuffix("Engine").lower()
