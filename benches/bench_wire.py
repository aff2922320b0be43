"""The wire suite for pytest-benchmark: one tick of fan-out by a real server.

    pytest benches/bench_wire.py

What is timed is a whole tick, from asking for it to the last delivery, of
every server to few connections: it shows that each of them works, and what a
change does. The numbers that are compared are made by ``python -m benches.wire``:
CPU time beside the floor, taken in turns within one run.
"""

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benches.wire.contender import Contender, Cores, Subject, subjects

CONNECTIONS = 50
PAYLOAD = 128


@pytest.fixture(scope="module", params=subjects(build_go=False), ids=lambda found: found.name)
def contender(request: pytest.FixtureRequest) -> Iterator[Contender]:
    subject: Subject = request.param
    if reason := subject.missing():
        pytest.skip(f"{subject.name}: {reason}")
    with Contender(subject, CONNECTIONS, Cores.choose()) as started:
        yield started


@pytest.mark.parametrize("per_tick", [1, 10])
def test_tick(benchmark: BenchmarkFixture, contender: Contender, per_tick: int) -> None:
    benchmark.group = f"{CONNECTIONS} connections, {PAYLOAD} bytes, {per_tick} per tick"
    costs = []

    def tick() -> None:
        sample = contender.run(1, per_tick, PAYLOAD)
        assert sample.deliveries == CONNECTIONS * per_tick
        costs.append(sample.server_cpu_ns / sample.deliveries)

    benchmark.pedantic(tick, rounds=10, warmup_rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["version"] = contender.version
    benchmark.extra_info["server_cpu_ns_per_delivery"] = min(costs)
