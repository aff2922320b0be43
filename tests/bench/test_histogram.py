"""Percentiles in buckets, beside the sorted list."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.bench.histogram import Histogram


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=200),
    st.sampled_from([0, 1, 50, 95, 99, 100]),
)
def test_percentiles(durations: list[int], percent: float) -> None:
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    rank = max(1, math.ceil(len(durations) * percent / 100))
    exact = sorted(durations)[rank - 1]
    assert exact <= histogram.percentile(percent) <= exact * (1 + 1 / 64) + 1
    assert histogram.percentile(100) == histogram.largest == max(durations)
    assert histogram.mean() == pytest.approx(sum(durations) / len(durations))


def test_nothing() -> None:
    histogram = Histogram()
    assert (histogram.percentile(50), histogram.largest, histogram.mean()) == (0, 0, 0.0)


def test_a_clock_that_went_back_counts_as_no_time() -> None:
    histogram = Histogram()
    histogram.add(-5)
    assert (histogram.count, histogram.percentile(99)) == (1, 0)


def test_its_size_is_bounded() -> None:
    histogram = Histogram()
    for number in range(100_000):
        histogram.add(number * 7919)
    assert len(histogram._buckets) <= 64 * 31
    histogram.clear()
    assert (histogram.count, histogram.percentile(50)) == (0, 0)
