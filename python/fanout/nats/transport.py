"""The TCP connection below nats-py, which can be given up at once."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from urllib.parse import ParseResult

from nats.aio.transport import Transport

__all__ = ["LinkTransport"]

_BUFFER = 256 * 1024
"""Bytes that are read at once, at most."""


class LinkTransport(Transport):
    """What nats-py's own does, and more.

    It tells ``lost`` at once when the connection is gone. nats-py would first
    write what it still has, fail at that, and tell nobody.

    ``abort`` closes without writing what is left, which a server that has
    stopped reading would put off forever.

    With ``needs_tls`` nothing is written before the connection is encrypted: a
    server that does not offer it gets no password.
    """

    def __init__(self, *, needs_tls: bool, lost: Callable[[Exception], object]) -> None:
        self._needs_tls = needs_tls
        self._lost = lost
        self._is_lost = False
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._plain: asyncio.StreamWriter | None = None     # below TLS; it must not be collected

    async def connect(self, uri: ParseResult, buffer_size: int, connect_timeout: float) -> None:
        async with asyncio.timeout(connect_timeout):
            self._reader, self._writer = await asyncio.open_connection(
                uri.hostname, uri.port, limit=_BUFFER)
        self._plain = self._writer

    async def connect_tls(
        self,
        uri: str | ParseResult,
        ssl_context: ssl.SSLContext,
        buffer_size: int,
        connect_timeout: float,
    ) -> None:
        assert self._plain is not None      # nats-py has called connect
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_BUFFER, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        async with asyncio.timeout(connect_timeout):
            transport = await loop.start_tls(
                self._plain.transport,
                protocol,
                ssl_context,
                server_hostname=uri if isinstance(uri, str) else uri.hostname,
            )
        if transport is None:
            raise ConnectionResetError("the connection was closed during the TLS handshake")
        self._reader = reader
        self._writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._needs_tls = False

    def write(self, payload: bytes) -> None:
        assert self._writer is not None
        if self._needs_tls:
            raise ConnectionError("the server does not offer TLS")
        if self._is_lost:
            return
        try:
            self._writer.write(payload)
        except RuntimeError as error:
            # uvloop's, for a transport that is closed.
            self._lose(ConnectionError(str(error)))

    def writelines(self, payload: list[bytes]) -> None:
        self.write(b"".join(payload))

    async def read(self, buffer_size: int) -> bytes:
        assert self._reader is not None
        try:
            data = await self._reader.read(_BUFFER)
        except OSError as error:
            self._lose(error)
            return b""
        if not data:
            self._lose(ConnectionError("the server closed the connection"))
        return data

    async def readline(self) -> bytes:
        assert self._reader is not None
        return await self._reader.readline()

    async def drain(self) -> None:
        assert self._writer is not None
        try:
            await self._writer.drain()
        except OSError as error:
            self._lose(error)

    async def wait_closed(self) -> None:
        if self._writer is not None:
            # How it ended was told by whoever read from it.
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def abort(self) -> None:
        """Close without writing what is left."""
        for writer in (self._writer, self._plain):
            if writer is not None:
                writer.transport.abort()

    def at_eof(self) -> bool:
        return self._is_lost or self._reader is None or self._reader.at_eof()

    def _lose(self, error: Exception) -> None:
        if not self._is_lost:
            self._is_lost = True
            self._lost(error)

    def __bool__(self) -> bool:
        # Also before it is connected: nats-py would make one of its own then.
        return True
