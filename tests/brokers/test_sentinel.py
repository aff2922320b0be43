"""Killing the master leads to a new one that has what the replica had."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from tests.brokers.sentinel import MASTER_NAME, SentinelSetup


def test_a_failover_and_the_way_back(binary: Path) -> None:
    with SentinelSetup(binary=binary) as setup:
        old = setup.master
        client = old.client()
        client.set("kept", "1")
        assert client.wait(1, 10_000) == 1
        new = setup.kill_master()
        assert new is not old and setup.master is new
        assert new.client().get("kept") == b"1"
        new.client().set("later", "1")

        setup.rejoin(old)
        assert setup.replica is old
        assert old.client().get("later") == b"1"
        with pytest.raises(redis.ReadOnlyError):
            old.client().set("no", "1")
        assert setup.kill_master() is old
        assert old.client().get("kept") == b"1"


def test_three_sentinels_with_passwords() -> None:
    with SentinelSetup(3, password="hidden", sentinel_password="deeper") as setup:
        old = setup.master
        new = setup.kill_master()
        finder = redis.Sentinel(  # type: ignore[no-untyped-call]
            setup.addresses, sentinel_kwargs={"password": "deeper"}
        )
        found = finder.discover_master(MASTER_NAME)  # type: ignore[no-untyped-call]
        assert found == ("127.0.0.1", new.port)
        assert new is not old
        for sentinel in finder.sentinels:
            sentinel.close()


def test_a_paused_master_is_replaced_too() -> None:
    with SentinelSetup() as setup:
        old = setup.master
        old.pause()
        new = setup.wait_replaced(old)
        assert new is not old
        assert new.client().set("k", "v")
