"""A nats-server starts, answers, dies and comes back, with its streams or without."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from tests.brokers.nats import NatsServer
from tests.brokers.tls import Certificates


async def connect(server: NatsServer, **options: Any) -> Client:
    """A client that does not try again; nats-py takes a password in a URL as it is written."""
    return await nats.connect(
        f"{'tls' if server.tls else 'nats'}://127.0.0.1:{server.port}",
        **{
            "user": server.user or None,
            "password": server.password or None,
            "allow_reconnect": False,
            "connect_timeout": 10,
            **options,
        },
    )


async def test_it_delivers_and_keeps_its_port() -> None:
    with NatsServer() as server:
        port = server.port
        for _ in range(2):
            client = await connect(server)
            subscription = await client.subscribe("channel")
            await client.publish("channel", b"message")
            assert (await subscription.next_msg(10)).data == b"message"
            await client.close()
            server.restart()
            assert server.port == port


async def test_streams_outlive_a_kill_until_they_are_wiped() -> None:
    with NatsServer(jetstream=True) as server:
        client = await connect(server)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        for number in range(3):
            await client.jetstream().publish("s", b"%d" % number)
        await client.close()

        server.kill()
        server.start()
        client = await connect(server)
        assert (await client.jetstream().stream_info("S")).state.messages == 3
        await client.close()

        server.stop()
        server.wipe()
        server.start()
        client = await connect(server)
        with pytest.raises(NotFoundError):
            await client.jetstream().stream_info("S")
        await client.close()


async def test_without_jetstream_there_is_none() -> None:
    with NatsServer() as server:
        client = await connect(server)
        assert not client._server_info.get("jetstream")
        await client.close()


async def test_a_user_with_a_password_over_tls(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    with NatsServer(user="user", password='hid den"', tls=certificates) as server:
        assert "hid" not in repr(server)
        context = ssl.create_default_context(cafile=str(certificates.ca))
        client = await connect(server, tls=context)
        await client.flush()
        await client.close()
        server.pause()
        server.restart()


def test_a_wrong_password_is_refused() -> None:
    with (
        NatsServer(user="user", password="hidden") as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=10) as stranger,
    ):
        stranger.sendall(b'CONNECT {"user":"user","pass":"wrong"}\r\nPING\r\n')
        answer = stranger.makefile("rb").read()
        assert b"-ERR 'Authorization Violation'" in answer
        assert b"PONG" not in answer


def test_further_configuration_is_the_servers() -> None:
    with NatsServer(config="max_payload: 1024") as server:
        assert server.is_running
    broken = NatsServer(config="no_such_option: 1")
    with pytest.raises(AssertionError, match=r"(?s)ended with status 1.*no_such_option"):
        broken.start()
    broken.close()
