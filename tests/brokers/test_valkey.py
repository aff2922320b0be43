"""A Valkey or Redis starts, answers, dies and comes back, with its data or without."""

from __future__ import annotations

import errno
import gc
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.brokers.tls import Certificates
from tests.brokers.valkey import ValkeyServer, redis_binary
from tests.brokers.waiting import wait_until


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_restart_keeps_the_port_and_is_empty(binary: Path) -> None:
    with ValkeyServer(binary) as server:
        port, pid = server.port, server.pid
        server.client().set("k", "v")
        server.restart()
        assert server.port == port and server.pid != pid
        assert server.client().get("k") is None
        assert server.url == f"redis://127.0.0.1:{port}/0"


def test_what_is_persistent_outlives_a_kill(binary: Path) -> None:
    with ValkeyServer(binary, persist=True) as server:
        server.client().set("k", "v")
        server.kill()
        assert not server.is_running
        with pytest.raises(redis.ConnectionError):
            server.client().ping()
        server.start()
        assert server.client().get("k") == b"v"
        with pytest.raises(AssertionError, match="still runs"):
            server.wipe()
        server.stop()
        server.wipe()
        server.start()
        assert server.client().get("k") is None


def test_while_paused_it_does_not_answer(binary: Path) -> None:
    with ValkeyServer(binary) as server:
        client = server.client()
        client.set("k", "v")
        for _ in range(2):
            server.pause()
            # A frozen process cannot answer, however long this waits.
            with pytest.raises(redis.TimeoutError):
                server.client(socket_timeout=0.02).ping()
            server.resume()
            assert client.get("k") == b"v"
        server.pause()
        server.restart()
        assert server.client().get("k") is None


def test_users_and_passwords(binary: Path) -> None:
    password, rule = 'hid den"#', "alice on >secret ~app:* &app:* +@all"
    with ValkeyServer(binary, password=password, acl=[rule]) as server:
        assert server.client().ping()
        assert password not in repr(server)
        with (
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        with redis.Redis.from_url(server.url_for("alice", "secret")) as alice:
            assert alice.set("app:k", "v")
            with pytest.raises(redis.exceptions.NoPermissionError):
                alice.set("k", "v")


def test_only_tls(tmp_path: Path) -> None:
    binary = redis_binary()
    if binary is None:
        pytest.skip("redis-server, which has TLS, is not installed (Debian: redis-server)")
    certificates = Certificates(tmp_path)
    with ValkeyServer(binary, tls=certificates, password="hidden") as server:
        assert server.client().ping()
        with (
            redis.Redis.from_url(server.url, ssl_ca_certs=str(certificates.ca)) as client,
            redis.Redis.from_url(server.url) as stranger,
        ):
            assert client.ping()
            with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
                stranger.ping()


def test_a_server_that_does_not_start_shows_its_log() -> None:
    server = ValkeyServer(arguments=("--no-such-option", "1"))
    with pytest.raises(AssertionError, match=r"(?s)ended with status 1.*no-such-option"):
        server.start()
    server.close()


def test_a_server_on_the_port_of_another_does_not_pass_for_it() -> None:
    with ValkeyServer() as first:
        second = ValkeyServer()
        second.port = first.port
        with pytest.raises(AssertionError, match="ended with status"):
            second.start()
        second.close()


def test_misuse_is_refused() -> None:
    server = ValkeyServer()
    with pytest.raises(AssertionError, match="does not run"):
        server.pause()
    server.stop()
    with server:
        with pytest.raises(AssertionError, match="was started already"):
            server.start()
        log = server.log
    assert log in server.log
    server.close()
    with pytest.raises(AssertionError, match="is closed"):
        server.start()


def test_a_server_that_is_dropped_ends() -> None:
    server = ValkeyServer()
    server.start()
    pid, directory = server.pid, server.directory
    assert is_alive(pid) and directory.exists()
    del server
    gc.collect()
    assert not is_alive(pid)
    assert not directory.exists()


def test_a_server_ends_with_the_program() -> None:
    program = (
        "from tests.brokers.valkey import ValkeyServer\n"
        "server = ValkeyServer()\n"
        "server.start()\n"
        "server.pause()\n"
        "print(server.pid, server.directory)\n"
        "raise SystemExit(3)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert ended.returncode == 3
    pid, directory = ended.stdout.split()
    assert not is_alive(int(pid))
    assert not Path(directory).exists()


def test_a_server_ends_with_a_program_that_is_killed() -> None:
    program = (
        "import os, signal\n"
        "from tests.brokers.valkey import ValkeyServer\n"
        "server = ValkeyServer()\n"
        "server.start()\n"
        "print(server.port, server.directory, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60
    )
    port, directory = killed.stdout.split()

    def is_refused() -> bool:
        with socket.socket() as connection:
            connection.settimeout(10)
            return connection.connect_ex(("127.0.0.1", int(port))) == errno.ECONNREFUSED

    wait_until(is_refused, "the port is closed")
    wait_until(lambda: not Path(directory).exists(), "the directory is gone")
