"""Opening connections with redis-py, and taking over their transports.

redis-py knows how to get a connection ready: TLS, logins, databases, names.
What then travels is read and written by the links' own protocol, for
redis-py's way costs more for each reply than all the rest of a publish.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import redis
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from fanout.errors import EngineError
from fanout.redis.address import Address

__all__ = ["Dialer", "ServerDialer", "ask", "take_over"]


class Dialer(Protocol):
    """Knows where one server is and how to get a connection that is ready."""

    @property
    def label(self) -> str:
        """The server's address, without secrets."""
        ...

    async def dial(self) -> asyncio.StreamWriter:
        """A connection that is logged in, to a server that takes writes.

        Raises :exc:`fanout.EngineError` when the server refuses for good, and
        else an ``Exception`` of whatever kind. It may be cancelled.
        """
        ...


class ServerDialer:
    """Always the same server; ``timeout`` is in seconds, for each step of a connection."""

    def __init__(
        self, address: Address, timeout: float, place: tuple[str, int] | None = None,
        label: str = "",
    ) -> None:
        self._address = address
        self._timeout = timeout
        self._place = place or next(iter(address.hosts), ("", 0))
        self.label = label or address.label
        # What redis-py does not take shows here, and not first when it connects.
        self._connection()

    def _connection(self) -> AbstractConnection:
        return make_connection(
            self._address, *self._place, self._address.options, self._timeout)

    async def dial(self) -> asyncio.StreamWriter:
        connection = self._connection()
        try:
            with _refusals_of(self.label):
                await connection.connect()  # type: ignore[no-untyped-call]
                await _check_ready(connection)
            return take_over(connection)
        except BaseException:
            await discard(connection)
            raise


def make_connection(
    address: Address, host: str, port: int, options: Mapping[str, object], timeout: float
) -> AbstractConnection:
    """A connection of redis-py's, not opened, that speaks the old protocol.

    Its messages need no telling apart by type, and every server has it.
    """
    arguments: dict[str, Any] = dict(
        options, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2)
    kind: type[AbstractConnection]
    if address.kind == "unix":
        kind = UnixDomainSocketConnection
        arguments["path"] = address.path
    else:
        kind = SSLConnection if address.tls else Connection
        arguments.update(host=host, port=port, socket_keepalive=True)
    return kind(**arguments)


async def ask(
    address: Address, place: tuple[str, int], options: Mapping[str, object], seconds: float,
    *command: str,
) -> Any:
    """The answer to one command, over a connection for it alone, within so many seconds."""
    connection = make_connection(address, *place, options, seconds)
    try:
        async with asyncio.timeout(seconds):
            with _refusals_of(f"{address.label}, {place[0]}:{place[1]}"):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command(*command)
                return await connection.read_response()
    finally:
        await discard(connection)


@contextmanager
def _refusals_of(label: str) -> Iterator[None]:
    """A login that is refused is an error of ours, which trying again does not mend."""
    try:
        yield
    except (AuthenticationError, AuthorizationError, NoPermissionError) as error:
        raise EngineError(f"{label}: {error}") from error


async def _check_ready(connection: AbstractConnection) -> None:
    """Raise unless the server has its data and is no replica."""
    await connection.send_command("PING")
    await connection.read_response()
    await connection.send_command("ROLE")
    try:
        role = await connection.read_response()
    except ResponseError:
        # Not every user may ask, and not every service answers.
        return
    if role[0] in (b"slave", "slave"):
        raise ConnectionError("the server is a replica, which takes no writes")


def take_over(connection: AbstractConnection) -> asyncio.StreamWriter:
    """The stream of an open connection, which the connection then has no more.

    The caller keeps the writer while it uses the transport, which the writer
    closes when it is finalized.
    """
    try:
        reader: asyncio.StreamReader = connection._reader  # type: ignore[assignment]
        writer: asyncio.StreamWriter = connection._writer  # type: ignore[assignment]
        unread = len(reader._buffer)  # type: ignore[attr-defined]
    except AttributeError as error:
        raise RuntimeError(
            f"redis-py {redis.__version__} keeps its streams elsewhere than its versions 5 to 8, "
            f"which fanout works with: {error}") from error
    if unread or reader.at_eof() or writer.transport.is_closing():
        raise ConnectionError("the server ended the connection at once")
    # Without it the connection neither closes the stream nor warns of it.
    connection._reader = connection._writer = None
    return writer


async def discard(connection: AbstractConnection) -> None:
    """Close what is open of a connection, without waiting for the other side."""
    try:
        await connection.disconnect(nowait=True)
    except (OSError, RedisError):
        # It is gone already, which is what was wanted.
        return
