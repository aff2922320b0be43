"""An HTTP/1.1 client for streams: says its request byte for byte, and sees every chunk."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from centrifuge.protocol import client_pb2 as pb
from google.protobuf.internal.decoder import _DecodeVarint32  # type: ignore[attr-defined]
from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]

from tests.server.running import InProcess

TIMEOUT = 10.0
CONNECT = b'{"id":1,"connect":{}}'
OCTETS = "application/octet-stream"


def request(target: str, method: str = "POST", body: bytes = b"", **headers: str | None) -> bytes:
    """A request; a header of None is left out."""
    lines: dict[str, str | None] = {"Host": "localhost"}
    if body or method == "POST":
        lines["Content-Length"] = str(len(body))
    lines.update({name.replace("_", "-"): value for name, value in headers.items()})
    text = "".join(
        f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"{method} {target} HTTP/1.1\r\n{text}\r\n".encode() + body


def delimited(*commands: pb.Command) -> bytes:
    """A frame of commands in Protobuf."""
    parts = [command.SerializeToString() for command in commands]
    return b"".join(_VarintBytes(len(part)) + part for part in parts)


class Stream:
    """One connection; ``texts`` has every payload of the body that was read."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self.session = ""
        self.node = ""

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), TIMEOUT)

    async def head(self) -> int:
        """Read the head of the response; its status."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), TIMEOUT)
        first, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0")
        self.status = int(status)
        self.headers = {
            name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return self.status

    async def body(self) -> bytes:
        """The body of a response that has a length."""
        size = int(self.headers["content-length"])
        return await asyncio.wait_for(self.reader.readexactly(size), TIMEOUT)

    async def chunk(self) -> bytes:
        """The data of the next chunk; ``b""`` is the last."""
        async with asyncio.timeout(TIMEOUT):
            size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
            data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def line(self) -> Any:
        """The next message of a stream of lines."""
        chunk = await self.chunk()
        assert chunk.endswith(b"\n") and chunk.count(b"\n") == 1, chunk
        return json.loads(chunk)

    async def event(self) -> Any:
        """The next message of a stream of events."""
        chunk = await self.chunk()
        assert chunk.startswith(b"data: ") and chunk.endswith(b"\n\n"), chunk
        assert chunk.count(b"\n") == 2
        return json.loads(chunk[6:])

    async def reply(self) -> pb.Reply:
        """The next message of a stream in Protobuf."""
        chunk = await self.chunk()
        size, at = _DecodeVarint32(chunk, 0)
        assert len(chunk) == at + size
        reply = pb.Reply()
        reply.ParseFromString(chunk[at:])
        return reply

    async def next(self) -> Any:
        """The next message, whatever the form; an object for JSON alone."""
        if self.headers["content-type"].startswith("text/event-stream"):
            return await self.event()
        return await self.line()

    async def ended(self) -> None:
        """The last chunk comes, and the end of the stream without a reset."""
        assert await self.chunk() == b""
        assert await asyncio.wait_for(self.reader.read(), TIMEOUT) == b""

    async def disconnected(self) -> tuple[int, str]:
        """Code and reason of the push that must come next, and the end behind it."""
        push = await self.next()
        disconnect = push.get("push", push)["disconnect"]
        await self.ended()
        return disconnect["code"], disconnect["reason"]

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def raw(server: InProcess) -> AsyncIterator[Stream]:
    stream = Stream(*await asyncio.open_connection("127.0.0.1", server.port))
    try:
        yield stream
    finally:
        await stream.close()


@contextlib.asynccontextmanager
async def opened(
    server: InProcess, kind: str, body: bytes = CONNECT, **headers: str | None
) -> AsyncIterator[Stream]:
    """A two-way stream (``sse`` or ``http_stream``) after its connect reply."""
    async with raw(server) as stream:
        await stream.send(request(f"/connection/{kind}", body=body, **headers))
        assert await stream.head() == 200
        if kind == "sse":
            assert await stream.chunk() == b"\r\n"
        reply = await stream.next()
        assert "connect" in reply, reply
        stream.session = reply["connect"]["session"]
        stream.node = reply["connect"]["node"]
        yield stream


async def emulate(
    server: InProcess, stream: Stream, *commands: dict[str, Any], **fields: str
) -> int:
    """Send commands of a stream's client; the status that answers."""
    body = {
        "node": stream.node, "session": stream.session,
        "data": "\n".join(json.dumps(command) for command in commands), **fields}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{server.http}/emulation", json=body) as response,
    ):
        return response.status
