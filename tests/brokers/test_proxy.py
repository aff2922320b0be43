"""The proxy breaks a connection where it is told to."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.brokers.proxy import CuttingProxy
from tests.brokers.valkey import ValkeyServer
from tests.brokers.waiting import wait_until

PING = b"*1\r\n$4\r\nPING\r\n"
PONG = b"+PONG\r\n"


@pytest.fixture
def proxy(valkey: ValkeyServer) -> Iterator[CuttingProxy]:
    with CuttingProxy(valkey.port) as proxy:
        yield proxy


def connect(proxy: CuttingProxy, *, receive_buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        connection.connect(("127.0.0.1", proxy.port))
    except OSError:
        connection.close()
        raise
    return connection


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            break
        data += more
    return data


def test_it_passes_on_and_counts(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        for _ in range(3):
            connection.sendall(PING)
            assert receive(connection, len(PONG)) == PONG
        assert proxy.num_connections == proxy.num_accepted == 1
        assert proxy.bytes_to_server == 3 * len(PING)
        assert proxy.bytes_to_client == 3 * len(PONG)
        assert proxy.num_reads_to_server == proxy.num_segments_to_server == 3
    wait_until(lambda: proxy.num_connections == 0, "the link is closed when its client is")
    assert proxy.num_accepted == 1
    assert proxy.num_segments_to_server == 3


def test_more_than_the_kernel_buffers_arrives_whole(
    proxy: CuttingProxy, valkey: ValkeyServer
) -> None:
    value = bytes(range(256)) * 40_000
    with connect(proxy) as connection:
        connection.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$%d\r\n%s\r\n" % (len(value), value))
        assert receive(connection, 5) == b"+OK\r\n"
        assert valkey.client().get("b") == value
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$1\r\nb\r\n")
        reply = b"$%d\r\n%s\r\n" % (len(value), value)
        assert receive(connection, len(reply)) == reply


def test_one_write_of_many_commands_is_one_read(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(PING * 100)
        assert receive(connection, 100 * len(PONG)) == PONG * 100
        assert proxy.num_reads_to_server == proxy.num_segments_to_server == 1


def test_writes_that_are_read_together_are_still_told_apart(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        proxy.stall()
        for _ in range(5):
            connection.sendall(PING)
        proxy.unstall()
        assert receive(connection, 5 * len(PONG)) == PONG * 5
        assert proxy.num_segments_to_server == 5


def test_a_cut_resets_all_and_new_connections_work(
    proxy: CuttingProxy, valkey: ValkeyServer
) -> None:
    connections = [connect(proxy) for _ in range(3)]
    for connection in connections:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
    proxy.cut()
    assert proxy.num_connections == 0
    for connection in connections:
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
    assert proxy.num_accepted == 4


@pytest.mark.parametrize("passing", [0, 3, len(PONG), len(PONG) + 1, 4 * len(PONG) - 1])
def test_a_cut_in_the_middle_of_a_reply(proxy: CuttingProxy, passing: int) -> None:
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        done = proxy.cut_after(passing)
        connection.sendall(PING * 4)
        done.result(10)
        assert receive(connection, passing) == (PONG * 4)[:passing]
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert proxy.num_connections == 0


def test_a_cut_comes_in_place_of_the_next_byte(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        done = proxy.cut_after(len(PONG))
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        assert proxy.num_connections == 1
        assert not done.done()
        connection.sendall(PING)
        done.result(10)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_cut_in_a_long_reply_leaves_all_before_it(
    proxy: CuttingProxy, valkey: ValkeyServer
) -> None:
    valkey.client().set("long", b"x" * 300_000)
    # Most of it is still in the proxy's kernel when the last byte was handed over.
    with connect(proxy, receive_buffer=4096) as connection:
        done = proxy.cut_after(200_000)
        connection.sendall(b"*2\r\n$3\r\nGET\r\n$4\r\nlong\r\n")
        received = receive(connection, 200_000)
        assert received == b"$300000\r\n" + b"x" * (200_000 - 9)
        done.result(10)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_command_whose_answer_is_cut_was_carried_out(
    proxy: CuttingProxy, valkey: ValkeyServer
) -> None:
    client = valkey.client()
    client.delete("n")
    with connect(proxy) as connection:
        done = proxy.cut_after(0)
        connection.sendall(b"*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n")
        done.result(10)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert client.get("n") == b"1"


def test_a_further_arrangement_replaces_the_first(proxy: CuttingProxy) -> None:
    first = proxy.cut_after(0)
    second = proxy.cut_after(1)
    assert first.cancelled()
    with connect(proxy) as connection:
        connection.sendall(PING)
        second.result(10)
        assert receive(connection, 1) == PONG[:1]
    with pytest.raises(ValueError, match="-1"):
        proxy.cut_after(-1)


def test_while_stalled_nothing_passes_and_nothing_is_lost(
    proxy: CuttingProxy, valkey: ValkeyServer
) -> None:
    client = valkey.client()
    client.delete("stalled")
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        proxy.stall()
        connection.sendall(b"*2\r\n$4\r\nINCR\r\n$7\r\nstalled\r\n")
        with connect(proxy) as late:
            late.sendall(PING)
            wait_until(lambda: proxy.num_connections == 2, "a late connection is accepted")
            assert client.get("stalled") is None
            assert proxy.bytes_to_server == len(PING)
            proxy.unstall()
            assert receive(late, len(PONG)) == PONG
        assert receive(connection, 4) == b":1\r\n"


def test_new_connections_are_refused_and_old_ones_stay(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        proxy.refuse()
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        proxy.accept()
        proxy.accept()
        with connect(proxy) as further:
            further.sendall(PING)
            assert receive(further, len(PONG)) == PONG


def test_the_end_of_a_server_reaches_the_client() -> None:
    with ValkeyServer() as server, CuttingProxy(server.port) as proxy:
        with connect(proxy) as connection:
            connection.sendall(PING)
            assert receive(connection, len(PONG)) == PONG
            server.kill()
            assert connection.recv(1) == b""
        with pytest.raises(ConnectionResetError), connect(proxy) as connection:
            connection.recv(1)
        server.start()
        with connect(proxy) as connection:
            connection.sendall(PING)
            assert receive(connection, len(PONG)) == PONG


def test_a_proxy_that_is_dropped_ends(valkey: ValkeyServer) -> None:
    proxy = CuttingProxy(valkey.port)
    thread = proxy._machine._thread
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        del proxy
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert not thread.is_alive()


async def test_it_works_while_the_loop_is_busy(proxy: CuttingProxy) -> None:
    with connect(proxy) as connection:
        connection.sendall(PING)
        assert receive(connection, len(PONG)) == PONG
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
