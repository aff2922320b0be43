"""The server's figures: for Prometheus at ``/metrics``, and for the other nodes."""

from fanout.server.metrics.collector import NodeCollector
from fanout.server.metrics.endpoint import MetricsEndpoint
from fanout.server.metrics.told import ToldFigures

__all__ = ["MetricsEndpoint", "NodeCollector", "ToldFigures"]
