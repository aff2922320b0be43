"""WebSocket clients that connect, say what they are told to, and then keep quiet."""

import socket
import struct
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

TIMEOUT = 30.0
"""Seconds for each answer of the server."""
BATCH = 64
"""Connections made at one time; far below every server's backlog."""


def text_frame(text: str) -> bytes:
    """One masked text frame; a mask of zeros leaves the bytes as they are."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x81, 0x80 | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", 0x81, 0x80 | 126, size)
    else:
        raise ValueError(f"a frame of {size} bytes is too long for this client")
    return head + bytes(4) + payload


def receive_until(client: socket.socket, expected: bytes, times: int = 1) -> bytes:
    """Read until ``expected`` has come so many times. Raises ``OSError``."""
    received = b""
    while received.count(expected) < times:
        got = client.recv(1 << 16)
        if not got:
            raise ConnectionError(f"the server closed a connection after {received[-200:]!r}")
        received += got
    return received


class IdleClients:
    """Connections of one server, held open in this process until ``close``."""

    def __init__(self, port: int, path: str) -> None:
        self._address = ("127.0.0.1", port)
        self._upgrade = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        self._open: list[socket.socket] = []

    def __len__(self) -> int:
        return len(self._open)

    def connect(self, count: int, first: str | None, awaits: str) -> None:
        """Open ``count`` more, each ready when it was sent ``awaits``.

        ``first`` is sent after the handshake. Raises ``OSError``.
        """
        for start in range(0, count, BATCH):
            batch = []
            for _ in range(min(BATCH, count - start)):
                client = socket.create_connection(self._address, TIMEOUT)
                self._open.append(client)
                client.sendall(self._upgrade)
                batch.append(client)
            early = {}
            for client in batch:
                answer = receive_until(client, b"\r\n\r\n")
                if not answer.startswith(b"HTTP/1.1 101"):
                    raise ConnectionError(f"the server refused: {answer[:100]!r}")
                early[client] = answer.partition(b"\r\n\r\n")[2]
                if first is not None:
                    client.sendall(text_frame(first))
            expected = awaits.encode()
            for client in batch:
                if expected not in early[client]:
                    receive_until(client, expected)

    def ask(self, clients: Sequence[int], commands: Iterable[str], answers: int) -> None:
        """Send each of these clients one frame of commands and wait for so many replies."""
        frame = text_frame("\n".join(commands))
        for start in range(0, len(clients), BATCH):
            batch = [self._open[at] for at in clients[start : start + BATCH]]
            for client in batch:
                client.sendall(frame)
            for client in batch:
                got = receive_until(client, b'"id":', answers)
                if b'"error"' in got:
                    raise ConnectionError(f"the server answered {got[:200]!r}")

    def check_open(self) -> None:
        """Raises ``ConnectionError`` when the server has closed any of them."""
        for client in self._open:
            client.setblocking(False)
            try:
                if not client.recv(1 << 16, socket.MSG_PEEK):
                    raise ConnectionError("the server closed an idle connection")
            except BlockingIOError:
                pass
            finally:
                client.settimeout(TIMEOUT)

    def close(self) -> None:
        for client in self._open:
            client.close()
        self._open.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
