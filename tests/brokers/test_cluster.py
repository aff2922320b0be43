"""Three nodes form a cluster, and slots move between them with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.brokers.cluster import NUM_SLOTS, Cluster
from tests.brokers.waiting import wait_until


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(persist=True, password="hidden") as cluster:
        yield cluster


def test_every_slot_has_a_node(cluster: Cluster) -> None:
    client = cluster.client()
    for number in range(100):
        client.set(f"key-{number}", number)
    assert all(node.client().dbsize() for node in cluster.nodes)
    assert sum(node.client().dbsize() for node in cluster.nodes) == 100
    assert sum(len(cluster.slots_of(node)) for node in cluster.nodes) == NUM_SLOTS


def test_slots_move_with_their_keys(cluster: Cluster) -> None:
    source = cluster.node_of("{moving}")
    target = next(node for node in cluster.nodes if node is not source)
    slot = cluster.slot_of("{moving}")
    client = cluster.client()
    # More than one MIGRATE takes.
    for number in range(250):
        client.set("{moving}" + str(number), number)

    cluster.move_slots([slot, (slot + 1) % NUM_SLOTS], source, target)

    assert cluster.node_of("{moving}") is target
    assert target.client().get("{moving}249") == b"249"
    with pytest.raises(redis.ResponseError, match=f"{slot} 127.0.0.1:{target.port}"):
        source.client().get("{moving}249")
    assert client.get("{moving}0") == b"0"
    with pytest.raises(ValueError, match=f"slot {slot}"):
        cluster.begin_move(slot, source, target)


def test_keys_that_have_moved_are_asked_for_elsewhere(cluster: Cluster) -> None:
    source = cluster.node_of("{asked}")
    target = next(node for node in cluster.nodes if node is not source)
    slot = cluster.slot_of("{asked}")
    source.client().set("{asked}", "1")
    cluster.begin_move(slot, source, target)
    assert source.client().get("{asked}") == b"1"
    cluster.move_keys(slot, source, target)
    with pytest.raises(redis.ResponseError, match=f"{slot} 127.0.0.1:{target.port}"):
        source.client().get("{asked}")
    cluster.end_move(slot, target)
    cluster.wait_ok()
    assert target.client().get("{asked}") == b"1"


def test_a_node_that_was_killed_comes_back(cluster: Cluster) -> None:
    node = cluster.node_of("{killed}")
    other = next(each for each in cluster.nodes if each is not node)
    node.client().set("{killed}", "1")
    node.kill()
    cluster.wait_failed(node)
    assert "cluster_state:ok" in other.ask("INFO")
    node.start()
    cluster.wait_ok()
    assert cluster.client().get("{killed}") == b"1"


def test_without_persistence_and_with_full_coverage(binary: Path) -> None:
    with Cluster(binary, full_coverage=True) as cluster:
        node = cluster.node_of("{killed}")
        other = next(each for each in cluster.nodes if each is not node)
        cluster.client().set("{killed}", "1")
        node.kill()
        cluster.wait_failed(node)
        wait_until(lambda: "cluster_state:fail" in other.ask("INFO"), "slots are not covered")
        node.start()
        cluster.wait_ok()
        assert cluster.client().get("{killed}") is None
