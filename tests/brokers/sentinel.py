"""A master, its replica, and the sentinels that replace the one by the other."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from tests.brokers.valkey import ValkeyServer
from tests.brokers.waiting import wait_until

MASTER_NAME = "main"

_DOWN_AFTER_MS = 1000
"""Well above the periods below: a link that is being made anew is no failure."""
_FAILOVER_TIMEOUT_MS = 2000
"""A failover that came to nothing is tried again after twice this."""
_PERIODS_MS = {
    # A replica is only chosen if it was asked within five of these, and while
    # the master is down it is asked once a second.
    "ping-period": 300,
    "info-period": 200,
    "ask-period": 100,
    "publish-period": 200,
    # A machine that was busy for a while is no reason to rest for half a minute.
    "tilt-trigger": 10_000,
    "tilt-period": 1000,
}
"""How often sentinels look and talk: 1 to 10 s of their own accord."""
_AT_ONCE = ("--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db")
"""A replica's first copy begins at once, and is loaded as it arrives."""


class Sentinel(ValkeyServer):
    """One sentinel. Its configuration is written once; then it keeps that itself."""

    def __init__(
        self, master: ValkeyServer, quorum: int, *, binary: Path | None, password: str
    ) -> None:
        super().__init__(binary, password=password)
        self._master = master
        self._quorum = quorum

    def _command(self) -> list[str]:
        config = self.directory / "sentinel.conf"
        if not config.exists():
            lines = [
                "bind 127.0.0.1",
                f"port {self.port}",
                f'dir "{self.data}"',
                f"sentinel monitor {MASTER_NAME} 127.0.0.1 {self._master.port} {self._quorum}",
                f"sentinel down-after-milliseconds {MASTER_NAME} {_DOWN_AFTER_MS}",
                f"sentinel failover-timeout {MASTER_NAME} {_FAILOVER_TIMEOUT_MS}",
            ]
            if self._master.password:
                lines.append(f"sentinel auth-pass {MASTER_NAME} {self._master.password}")
            if self.password:
                lines += [
                    f"requirepass {self.password}",
                    f"sentinel sentinel-pass {self.password}",
                ]
            config.write_text("\n".join(lines) + "\n")
        return [str(self.binary), str(config), "--sentinel"]

    def start(self) -> None:
        super().start()
        words = [str(word) for pair in _PERIODS_MS.items() for word in pair]
        with self._connect() as client:
            client.execute_command("SENTINEL", "DEBUG", *words)

    def master_port(self) -> int:
        """The port of the server that it names as master."""
        return int(self._about("MASTER")[0]["port"])

    def sees(self, master: ValkeyServer, replica: ValkeyServer | None, num_others: int) -> bool:
        """Whether these, and so many other sentinels, are all well for it and it is at rest.

        With None nothing is asked of the replica.
        """
        (known,) = self._about("MASTER")
        if int(known["port"]) != master.port or known["flags"] != "master":
            return False
        # What they last thought of the master stays among their flags.
        others = [set(each["flags"].split(",")) for each in self._about("SENTINELS")]
        if len([each for each in others if not each & {"s_down", "disconnected"}]) != num_others:
            return False
        return replica is None or any(
            int(each["port"]) == replica.port
            and each["flags"] == each["role-reported"] == "slave"
            and each["master-link-status"] == "ok"
            for each in self._about("REPLICAS")
        )

    def _about(self, what: str) -> list[dict[str, str]]:
        with self._connect(decode_responses=True) as client:
            answer = client.execute_command("SENTINEL", what, MASTER_NAME)
        # Maps in RESP3, names and values in turn in RESP2.
        if what == "MASTER":
            answer = [answer]
        return [
            each if isinstance(each, dict) else dict(zip(each[::2], each[1::2], strict=True))
            for each in answer
        ]


class SentinelSetup:
    """Two servers and ``num_sentinels`` sentinels, most of which must agree on a failover.

    A context manager; when it is entered every sentinel knows the replica and
    the other sentinels, so that a failover can succeed. ``password`` is that of
    both servers, ``sentinel_password`` that of the sentinels; words without
    spaces and quotes, both.
    """

    def __init__(
        self,
        num_sentinels: int = 1,
        *,
        binary: Path | None = None,
        password: str = "",
        sentinel_password: str = "",
    ) -> None:
        self.servers = [
            ValkeyServer(binary, password=password, arguments=_AT_ONCE) for _ in range(2)
        ]
        self.sentinels = [
            Sentinel(
                self.servers[0],
                num_sentinels // 2 + 1,
                binary=binary,
                password=sentinel_password,
            )
            for _ in range(num_sentinels)
        ]

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the sentinels are."""
        return [("127.0.0.1", sentinel.port) for sentinel in self.sentinels]

    @property
    def master(self) -> ValkeyServer:
        """The server that all running sentinels name; ``AssertionError`` while they differ."""
        ports = {each.master_port() for each in self.sentinels if each.is_running}
        if len(ports) != 1:
            raise AssertionError(f"the sentinels name as master: {ports}")
        return next(server for server in self.servers if server.port in ports)

    @property
    def replica(self) -> ValkeyServer:
        """The server that is not the master."""
        return self._other(self.master)

    def start(self) -> None:
        master, replica = self.servers
        for server in (*self.servers, *self.sentinels):
            server.start()
        self._follow(replica, master)
        self._wait_at_rest(master, replica)

    def kill_master(self) -> ValkeyServer:
        """Kill the master (SIGKILL), wait for its replacement, and return that.

        Then all sentinels name the new master and it takes writes. What the
        replica did not have yet is lost, as it is in earnest.
        """
        old = self.master
        old.kill()
        return self.wait_replaced(old)

    def wait_replaced(self, old: ValkeyServer) -> ValkeyServer:
        """Wait until ``old``, which a test killed or paused, is no longer the master."""
        new = self._other(old)
        self._wait_at_rest(new, None)
        with new._connect() as client:
            wait_until(lambda: client.role()[0] == b"master", f"{new!r} takes writes")
        return new

    def rejoin(self, server: ValkeyServer) -> None:
        """Start a master that was killed; it is a replica of the new one on return."""
        master = self.master
        server.start()
        self._follow(server, master)
        self._wait_at_rest(master, server)

    def close(self) -> None:
        for server in (*self.sentinels, *self.servers):
            server.close()

    def _other(self, server: ValkeyServer) -> ValkeyServer:
        return next(each for each in self.servers if each is not server)

    def _follow(self, replica: ValkeyServer, master: ValkeyServer) -> None:
        """Make it a replica, and wait until it has a copy and the master counts on it."""
        with replica._connect() as follower, master._connect() as leader:
            # Each may have to follow the other one day.
            for client in (follower, leader):
                client.config_set("masterauth", master.password)
            follower.replicaof("127.0.0.1", master.port)
            wait_until(
                lambda: follower.info("replication")["master_link_status"] == "up"
                and leader.info("replication").get("slave0", {}).get("state") == "online",
                f"{replica!r} is a replica of {master!r}",
            )

    def _wait_at_rest(self, master: ValkeyServer, replica: ValkeyServer | None) -> None:
        running = [sentinel for sentinel in self.sentinels if sentinel.is_running]
        # Others that a test ended are known as down for good, and not waited for.
        others = len(running) - 1
        try:
            wait_until(
                lambda: all(each.sees(master, replica, others) for each in running),
                f"every sentinel has {master!r} as master and is at rest",
            )
        except AssertionError as error:
            error.add_note("\n".join(f"{each!r}: {each.log[-4000:]}" for each in running))
            raise

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
