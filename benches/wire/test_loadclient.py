"""The load client against servers that do wrong: it must say so.

A client that missed a lost or a doubled delivery would make every number of
the suite worthless.
"""

import json
import os
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from benches.peers.control import payload, push
from benches.wire.build import c_tool

HELLO = b"\x81\x05hello"
CONNECTIONS = 2

OnTick = Callable[[list[socket.socket]], None]


def frame(text: str) -> bytes:
    data = text.encode()
    if len(data) < 126:
        return struct.pack(">BB", 0x81, len(data)) + data
    return struct.pack(">BBH", 0x81, 126, len(data)) + data


def publication(size: int = 128) -> bytes:
    return frame(push(payload(size)))


def serve(listener: socket.socket, control: int, on_tick: OnTick) -> None:
    peers: list[socket.socket] = []
    try:
        while len(peers) < CONNECTIONS:
            peers.append(listener.accept()[0])
            peers[-1].sendall(HELLO)
        while os.read(control, 4096):
            on_tick(peers)
    finally:
        for peer in peers:
            peer.close()
        os.close(control)


@contextmanager
def load_client(on_tick: OnTick) -> Iterator[subprocess.Popen[str]]:
    control, ask = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve, args=(listener, control, on_tick))
        server.start()
        client = subprocess.Popen(
            [
                *(str(c_tool("loadclient")), "--mode", "raw", "--timeout", "2"),
                *("--port", str(listener.getsockname()[1])),
                *("--connections", str(CONNECTIONS), "--control-fd", str(ask)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(ask,),
        )
        os.close(ask)
        with client:  # closes its input, which ends it, and that the server
            yield client
        server.join()


def run(on_tick: OnTick, ticks: int = 1, per_tick: int = 1) -> dict[str, Any]:
    with load_client(on_tick) as client:
        assert client.stdin is not None and client.stdout is not None
        connected = json.loads(client.stdout.readline())
        assert connected["event"] == "connected"
        client.stdin.write(f"run {ticks} {per_tick} 128\n")
        client.stdin.flush()
        found: dict[str, Any] = json.loads(client.stdout.readline())
        return found


def test_counts_what_arrives() -> None:
    def on_tick(peers: list[socket.socket]) -> None:
        for peer in peers:
            peer.sendall(publication() + publication())

    found = run(on_tick, ticks=3, per_tick=2)
    assert found["event"] == "run"
    assert found["deliveries"] == 3 * 2 * CONNECTIONS
    assert found["bytes"] == found["deliveries"] * len(publication())
    assert 0 < found["p50_ns"] <= found["p99_ns"]


def test_frames_cut_anywhere() -> None:
    def on_tick(peers: list[socket.socket]) -> None:
        for peer in peers:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in publication() + publication(1024):
                peer.sendall(bytes([byte]))

    assert run(on_tick, per_tick=2)["deliveries"] == 2 * CONNECTIONS


def test_several_messages_in_one_frame() -> None:
    def on_tick(peers: list[socket.socket]) -> None:
        for peer in peers:
            peer.sendall(frame("\n".join([push(payload(128)), "{}", push(payload(64))])))

    assert run(on_tick, per_tick=2)["deliveries"] == 2 * CONNECTIONS


def test_latency_is_taken_from_the_stamp() -> None:
    second = 1_000_000_000

    def on_tick(peers: list[socket.socket]) -> None:
        text = payload(128)
        earlier = f"{int(text[6:26]) - second:020d}"
        for peer in peers:
            peer.sendall(frame(push(text[:6] + earlier + text[26:])))

    found = run(on_tick)
    assert found["max_ns"] >= second
    # Read from a histogram: within a step of 1.6 per cent.
    assert found["p50_ns"] >= second * 0.984


def test_a_lost_delivery_is_an_error() -> None:
    found = run(lambda peers: peers[0].sendall(publication()))
    assert found["event"] == "error"
    assert "1 of 2 deliveries" in found["reason"]


def test_a_doubled_delivery_does_not_stand_for_a_lost_one() -> None:
    found = run(lambda peers: peers[0].sendall(publication() * 2))
    assert found["event"] == "error"
    assert "connection 0 received 2 publications, not 1" in found["reason"]


def test_a_closed_connection_is_an_error() -> None:
    found = run(lambda peers: peers[1].shutdown(socket.SHUT_RDWR))
    assert found["event"] == "error"
    assert "closed a connection" in found["reason"]


def test_a_close_frame_is_reported_with_its_reason() -> None:
    close = b"\x88\x06" + struct.pack(">H", 3008) + b"slow"
    found = run(lambda peers: peers[0].sendall(close))
    assert found["event"] == "error"
    assert "3008 slow" in found["reason"]


def test_an_error_reply_is_an_error() -> None:
    text = '{"id":2,"error":{"code":103,"message":"permission denied"}}'
    found = run(lambda peers: peers[0].sendall(frame(text)))
    assert found["event"] == "error"
    assert "permission denied" in found["reason"]
