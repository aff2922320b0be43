"""Encrypted links, and passwords that do not leave unencrypted when they must not."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from fanout import ChannelOptions, EngineUnavailableError, Message
from tests.brokers.nats import NatsServer
from tests.brokers.tls import Certificates
from tests.nats.conftest import MakeEngine
from tests.nats.test_faults import QUICK, until

KEPT = ChannelOptions(history_size=5, history_lifetime=60)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def test_an_encrypted_link(make_engine: MakeEngine, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    with NatsServer(
        jetstream=True, user="ann", password="secret", tls=certificates
    ) as server:
        assert server.url.startswith("tls://")
        engine, told = await make_engine(server.url, tls=context, jetstream=True)
        # A server may also ask for it.
        other, _ = await make_engine(
            server.url.replace("tls://", "nats://"), tls=context, jetstream=True)
        await engine.subscribe("ch")
        data = bytes(900_000)
        await other.publish_message("ch", Message("ch", data), KEPT)
        await told.wait(1)
        assert told.data == [data]
        await asyncio.to_thread(server.restart)
        await told.restored()
        assert [each.data for each in await engine.history("ch")] == [data]


async def test_a_server_that_cannot_prove_who_it_is(
    make_engine: MakeEngine, certificates: Certificates, tmp_path: Path
) -> None:
    with NatsServer(tls=certificates) as server:
        for context in (None, ssl.create_default_context(cafile=str(Certificates(tmp_path).ca))):
            with pytest.raises(EngineUnavailableError, match="certificate verify failed"):
                await make_engine(server.url, tls=context, **QUICK)


async def test_nothing_is_said_to_a_server_that_does_not_encrypt(make_engine: MakeEngine) -> None:
    said: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.15.0","max_payload":1048576}\r\n')
        said.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        with pytest.raises(EngineUnavailableError, match="does not offer TLS"):
            await make_engine(f"tls://ann:secret@127.0.0.1:{port}", **QUICK)
    finally:
        server.close()
    await until(lambda: bool(said))
    assert b"".join(said) == b""
