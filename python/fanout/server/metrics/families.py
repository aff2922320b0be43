"""The forms in which figures are given to prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from fanout.counters import BOUNDS, Calls

__all__ = ["PREFIX", "counter", "counters", "durations", "errors", "gauge", "gauges"]

PREFIX = "fanout_"

Rows = Iterable[tuple[tuple[str, ...], float]]


def counter(name: str, text: str, value: float) -> Metric:
    """``name`` is without the ``_total`` that is shown behind it."""
    return CounterMetricFamily(PREFIX + name, text, value=value)


def counters(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = CounterMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def gauges(name: str, text: str, labels: tuple[str, ...], rows: Rows) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def durations(name: str, text: str, calls: Calls) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, text, labels=("method",))
    bounds = [*map(str, BOUNDS), "+Inf"]
    for method, taken in calls.durations.items():
        buckets = list(zip(bounds, accumulate(taken.counts), strict=True))
        family.add_metric((method,), buckets=buckets, sum_value=taken.total)
    return family


def errors(name: str, text: str, calls: Calls) -> Metric:
    rows = (((method, str(code)), count) for method, code, count in calls.errors())
    return counters(name, text, ("method", "code"), rows)
