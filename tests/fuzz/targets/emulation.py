"""Bodies of the emulation endpoint; first byte ``P`` for Protobuf, else JSON."""

from __future__ import annotations

from typing import Any, cast

from fanout.server.config import EmulationConfig
from fanout.server.transports.emulation import EmulationEndpoint
from fanout.server.transports.shared import Shared
from tests.fuzz.harness import ask, http_request, in_loop, server_without_socket

MAX_LEN = 8192
SESSION = "s"


class _Emulated:
    """A session's stream that keeps what came for it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    async def take_commands(self, frame: bytes) -> bool:
        self.frames.append(frame)
        return True


def run(data: bytes) -> None:
    in_loop(lambda: _post(data))


async def _post(data: bytes) -> None:
    kind = "application/octet-stream" if data[:1] == b"P" else "application/json"
    emulated = _Emulated()
    async with server_without_socket() as server:
        # Of what the endpoints share this one needs no more.
        shared = cast(Shared, _Shared(server.node, {SESSION: emulated}))
        endpoint = EmulationEndpoint(shared, EmulationConfig())
        status, body = await ask(
            endpoint.handle, http_request(body=data[1:], content_type=kind))
    assert status in (204, 400, 404), (status, body)
    assert len(emulated.frames) == (status == 204)
    assert all(emulated.frames)


class _Shared:
    def __init__(self, node: Any, emulated: dict[str, _Emulated]) -> None:
        self.node = node
        self.emulated = emulated
