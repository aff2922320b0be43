"""A cluster of three nodes that share the slots; the first may have a replica."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.brokers.valkey import ValkeyServer
from tests.brokers.waiting import wait_until

NUM_SLOTS = 16384

_NODE_TIMEOUT_MS = 1000
"""After about twice this the other nodes call a silent one failed."""
_MIGRATE_MS = 10_000
_AT_A_TIME = 100
"""Keys that one MIGRATE moves."""


class ClusterNode(ValkeyServer):
    """One node. Its place in the cluster survives every restart, its keys if persistent."""

    def __init__(
        self, binary: Path | None, *, persist: bool, password: str, full_coverage: bool
    ) -> None:
        super().__init__(binary, persist=persist, password=password)
        self.bus_port = self.another_port()
        self._full_coverage = full_coverage
        self.id = ""

    def _settings(self) -> list[tuple[str, str]]:
        return [
            *super()._settings(),
            ("cluster-enabled", "yes"),
            ("cluster-config-file", "nodes.conf"),
            ("cluster-node-timeout", str(_NODE_TIMEOUT_MS)),
            ("cluster-port", str(self.bus_port)),
            ("cluster-announce-ip", "127.0.0.1"),
            ("repl-diskless-sync-delay", "0"),      # seconds for which a replica waits for others
            ("cluster-require-full-coverage", "yes" if self._full_coverage else "no"),
        ]

    def ask(self, *words: object) -> Any:
        """The answer to a CLUSTER command as it came."""
        with self._connect(decode_responses=True) as client:
            # redis-py would parse some of them, and each version otherwise.
            client.response_callbacks.clear()
            return client.execute_command("CLUSTER", *words)

    def view(self) -> tuple[list[str], dict[str, set[str]]]:
        """The id of each slot's owner ("" for none), and each node's flags, as it sees them."""
        owners = [""] * NUM_SLOTS
        flags = {}
        for line in self.ask("NODES").splitlines():
            identity, _, words, _, _, _, _, link, *slots = line.split()
            flags[identity] = {*words.split(","), link}
            for each in slots:
                # In brackets: a slot that is about to move.
                if not each.startswith("["):
                    first, _, last = each.partition("-")
                    for slot in range(int(first), int(last or first) + 1):
                        owners[slot] = identity
        return owners, flags


class Cluster:
    """Three nodes on 127.0.0.1, all slots covered.

    A context manager; entering takes about two seconds, as a node that has just
    started waits so long before it joins. With ``full_coverage`` all nodes
    refuse commands once they know that one has failed (the servers' default);
    without, those that are up go on with the slots they have. With ``replica``
    there is a fourth node that replicates the first, and takes its place when
    that has failed.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        persist: bool = False,
        password: str = "",
        full_coverage: bool = False,
        replica: bool = False,
    ) -> None:
        nodes = [
            ClusterNode(binary, persist=persist, password=password, full_coverage=full_coverage)
            for _ in range(4 if replica else 3)
        ]
        self.nodes = nodes[:3]
        self.replica = nodes[3] if replica else None
        self._owners = [self.nodes[slot * 3 // NUM_SLOTS] for slot in range(NUM_SLOTS)]
        self._clients: list[redis.RedisCluster] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the nodes are."""
        return [("127.0.0.1", node.port) for node in self.nodes]

    @property
    def url(self) -> str:
        """The address of the first node."""
        return self.nodes[0].url

    def slots_of(self, node: ClusterNode) -> list[int]:
        """The slots that are a node's, by what was last arranged here."""
        return [slot for slot, owner in enumerate(self._owners) if owner is node]

    def node_of(self, key: str) -> ClusterNode:
        """The node that a key or sharded channel belongs to."""
        return self._owners[self.slot_of(key)]

    @staticmethod
    def slot_of(key: str) -> int:
        slot: int = redis.crc.key_slot(key.encode())
        return slot

    def client(self, **options: Any) -> redis.RedisCluster:
        """A synchronous client of the whole cluster, closed with it."""
        client = redis.RedisCluster.from_url(self.url, **{"socket_timeout": 10.0, **options})
        self._clients.append(client)
        return client

    def start(self) -> None:
        for epoch, node in enumerate(self.nodes, 1):
            node.start()
            node.id = node.ask("MYID")
            # Each its own, or they would first have to find out about the clash.
            node.ask("SET-CONFIG-EPOCH", epoch)
            slots = self.slots_of(node)
            node.ask("ADDSLOTSRANGE", slots[0], slots[-1])
        first, *others = self.nodes
        if self.replica is not None:
            self.replica.start()
            self.replica.id = self.replica.ask("MYID")
            others.append(self.replica)
        for node in others:
            first.ask("MEET", "127.0.0.1", node.port, node.bus_port)
        self.wait_ok()
        if self.replica is not None:
            self._replicate(self.replica, first)

    @property
    def _everyone(self) -> list[ClusterNode]:
        return self.nodes if self.replica is None else [*self.nodes, self.replica]

    def _replicate(self, replica: ClusterNode, master: ClusterNode) -> None:
        replica.ask("REPLICATE", master.id)
        wait_until(
            lambda: replica.client().info("replication").get("master_link_status") == "up",
            "the replica has what its master has")
        # Who is to vote for it must know whose it is.
        wait_until(
            lambda: all("slave" in node.view()[1][replica.id] for node in self.nodes),
            "all nodes know the replica")

    def wait_promoted(self) -> None:
        """Wait until the replica has the place of its master, which was killed or paused."""
        replica, failed = self.replica, self.nodes[0]
        assert replica is not None
        self._owners = [replica if owner is failed else owner for owner in self._owners]
        expected = [owner.id for owner in self._owners]
        up = [replica, *self.nodes[1:]]
        wait_until(
            lambda: all(
                node.view()[0] == expected and "cluster_state:ok" in node.ask("INFO")
                for node in up),
            "the replica has its master's slots, and all know")

    def wait_ok(self) -> None:
        """Wait until every node is up, answers, and agrees on whose the slots are."""
        expected = [owner.id for owner in self._owners]

        def agreed() -> bool:
            for node in self._everyone:
                owners, flags = node.view()
                if owners != expected or len(flags) != len(self._everyone):
                    return False
                if any(
                    words & {"fail", "fail?", "handshake", "disconnected"}
                    for words in flags.values()
                ):
                    return False
                if "cluster_state:ok" not in node.ask("INFO"):
                    return False
            return True

        wait_until(agreed, "all nodes agree on the slots and say that the cluster is ok")

    def wait_failed(self, failed: ClusterNode) -> None:
        """Wait until all others call ``failed``, which was killed or paused, failed."""
        others = [node for node in self.nodes if node is not failed]
        wait_until(
            lambda: all("fail" in node.view()[1][failed.id] for node in others),
            f"the other nodes know that {failed!r} has failed",
        )

    def move_slots(self, slots: Iterable[int], source: ClusterNode, target: ClusterNode) -> None:
        """Have ``target`` own these slots and their keys; all nodes know on return."""
        for slot in slots:
            self.begin_move(slot, source, target)
            self.move_keys(slot, source, target)
            self.end_move(slot, target)
        self.wait_ok()

    def begin_move(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """From now on ``source`` answers ASK for keys of the slot that it does not have."""
        if self._owners[slot] is not source:
            raise ValueError(f"slot {slot} is not {source!r}'s but {self._owners[slot]!r}'s")
        target.ask("SETSLOT", slot, "IMPORTING", source.id)
        source.ask("SETSLOT", slot, "MIGRATING", target.id)

    def move_keys(self, slot: int, source: ClusterNode, target: ClusterNode) -> None:
        """Move the slot's keys, between ``begin_move`` and ``end_move``."""
        login = ("AUTH", target.password) if target.password else ()
        with source._connect() as client:
            client.response_callbacks.clear()
            while keys := client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, _AT_A_TIME):
                client.execute_command(
                    *("MIGRATE", "127.0.0.1", target.port, "", 0, _MIGRATE_MS),
                    *(*login, "KEYS", *keys),
                )

    def end_move(self, slot: int, target: ClusterNode) -> None:
        """Have ``target`` own the slot; ``wait_ok()`` waits until all nodes know."""
        source = self._owners[slot]
        # The target first: were the source to say so before it, nobody would own the slot.
        others = [node for node in self.nodes if node is not target and node is not source]
        for node in (target, source, *others):
            node.ask("SETSLOT", slot, "NODE", target.id)
        self._owners[slot] = target

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        for node in self._everyone:
            node.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
