"""Where a server listens: TLS, and a second port for what is not for clients."""

from __future__ import annotations

import asyncio
import base64
import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fanout import Node
from fanout.server.app import Server
from fanout.server.config import ConfigError, TLSConfig, client_context, server_context
from fanout.server.protocol import JSON
from fanout.server.transports.connection import Connection
from fanout.server.transports.connections import Connections
from fanout.server.transports.encodings import Encodings
from tests.node.connections import Wire
from tests.server.running import config_of

Run = Callable[[dict[str, Any]], Awaitable[Server]]

OPEN = {
    "client": {"allow_anonymous_connect_without_token": True, "insecure": True},
    "shutdown": {"timeout": "1s"},
}


@dataclass
class Pair:
    """A certificate for 127.0.0.1 that signs itself, and its key."""

    cert: str
    key: str

    @property
    def tls(self) -> dict[str, object]:
        return {"enabled": True, "cert_pem": self.cert, "key_pem": self.key}


@pytest.fixture(scope="module")
def pair() -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode())


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    servers: list[Server] = []

    async def start(settings: dict[str, Any]) -> Server:
        server = Server(config_of({**OPEN, **settings}))
        servers.append(server)
        await server.start()
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def trusting(pair: Pair, *, own: bool = False) -> ssl.SSLContext:
    config = TLSConfig(
        enabled=True,
        server_ca_pem=pair.cert,
        cert_pem=pair.cert if own else "",
        key_pem=pair.key if own else "",
    )
    context = client_context(config, "tls")
    assert context is not None
    return context


async def status(
    http: aiohttp.ClientSession, url: str, context: ssl.SSLContext | bool = True
) -> int:
    async with http.get(url, ssl=context) as response:
        return response.status


# TLS


async def test_clients_are_served_over_tls(
    run: Run, http: aiohttp.ClientSession, pair: Pair
) -> None:
    server = await run({"http_server": {"tls": pair.tls}})
    place = f"https://127.0.0.1:{server.port}"
    context = trusting(pair)
    assert await status(http, f"{place}/health", context) == 200
    async with http.ws_connect(f"{place}/connection/websocket", ssl=context) as socket:
        # In one frame: the reply to both, then what is published, each through the outbox.
        await socket.send_str('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}')
        replies = 0
        while replies < 2:
            replies += len((await socket.receive_str(timeout=10)).splitlines())
        await server.node.publish("news", b'{"text":"' + b"x" * 200_000 + b'"}')
        push = json.loads(await socket.receive_str(timeout=10))
    assert len(push["push"]["pub"]["data"]["text"]) == 200_000


async def test_nobody_is_served_in_clear_beside_tls(
    run: Run, http: aiohttp.ClientSession, pair: Pair
) -> None:
    server = await run({"http_server": {"tls": pair.tls}})
    with pytest.raises(aiohttp.ClientError):
        await status(http, f"http://127.0.0.1:{server.port}/health")
    with pytest.raises(aiohttp.ClientConnectorCertificateError):
        await status(http, f"https://127.0.0.1:{server.port}/health")


async def test_old_tls_is_refused(run: Run, http: aiohttp.ClientSession, pair: Pair) -> None:
    server = await run({"http_server": {"tls": pair.tls}})
    context = trusting(pair)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientConnectorError):
        await status(http, f"https://127.0.0.1:{server.port}/health", context)


async def test_a_client_shows_its_certificate_where_one_is_asked_for(
    run: Run, http: aiohttp.ClientSession, pair: Pair
) -> None:
    server = await run({"http_server": {"tls": {**pair.tls, "client_ca_pem": pair.cert}}})
    url = f"https://127.0.0.1:{server.port}/health"
    with pytest.raises(aiohttp.ClientError):
        await status(http, url, trusting(pair))
    assert await status(http, url, trusting(pair, own=True)) == 200


@pytest.mark.parametrize("form", ["text", "base64", "path"])
def test_pem_comes_as_text_base64_or_path(form: str, pair: Pair, tmp_path: Path) -> None:
    def spelled(name: str, text: str) -> str:
        if form == "base64":
            return base64.b64encode(text.encode()).decode()
        if form == "path":
            (tmp_path / name).write_text(text)
            return str(tmp_path / name)
        return text

    config = TLSConfig(
        enabled=True, cert_pem=spelled("cert", pair.cert), key_pem=spelled("key", pair.key)
    )
    context = server_context(config, "tls")
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cert_pem": "/nowhere"}, "tls.cert_pem: must be PEM, base64 of PEM, or the path of a PEM "
         "file; the file cannot be read: No such file or directory"),
        ({"key_pem": "s3cret"}, "tls.key_pem: must be PEM, base64"),
        ({"key_pem": "s3cret\n"}, "tls.key_pem: must be PEM, base64"),
        ({"key_pem": json.__file__},
         "tls.key_pem: must be PEM, base64 of PEM, or the path of a PEM "
         "file; the file holds no PEM"),
        ({"cert_pem": "-----BEGIN s3cret-----"}, "tls.cert_pem: cannot be used with key_pem: "),
        ({"client_ca_pem": "-----BEGIN CERTIFICATE-----\ns3cret\n-----END CERTIFICATE-----"},
         "tls.client_ca_pem: holds no usable certificate"),
        ({"key_pem": ""}, "tls.enabled = true: needs cert_pem and key_pem"),
    ],
)  # fmt: skip
def test_what_is_no_pem_is_named_and_not_shown(
    change: dict[str, str], message: str, pair: Pair
) -> None:
    values = {"cert_pem": pair.cert, "key_pem": pair.key, **change}
    with pytest.raises(ConfigError) as caught:
        server_context(TLSConfig(enabled=True, **values), "tls")
    assert message in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_tls_that_is_off_reads_nothing() -> None:
    off = TLSConfig(cert_pem="/nowhere")
    assert server_context(off, "tls") is None
    assert client_context(off, "tls") is None


def test_a_client_may_take_any_certificate() -> None:
    context = client_context(TLSConfig(enabled=True, insecure_skip_verify=True), "tls")
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


# The internal port


async def test_what_is_not_for_clients_is_on_the_internal_port_alone(
    run: Run, http: aiohttp.ClientSession
) -> None:
    server = await run({"http_server": {"internal_port": 0}, "http_api": {"key": "k"}})
    assert server.port != server.internal_port
    outside = f"http://127.0.0.1:{server.port}"
    inside = f"http://127.0.0.1:{server.internal_port}"
    assert await status(http, f"{inside}/health") == 200
    assert await status(http, f"{outside}/health") == 404
    for place, expected in ((inside, 200), (outside, 404)):
        async with http.post(
            f"{place}/api/info", json={}, headers={"X-API-Key": "k"}
        ) as response:
            assert response.status == expected
    async with http.ws_connect(f"{outside}/connection/websocket"):
        pass
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await http.ws_connect(f"{inside}/connection/websocket")


async def test_the_server_api_may_be_outside_on_purpose(
    run: Run, http: aiohttp.ClientSession
) -> None:
    server = await run(
        {"http_server": {"internal_port": 0}, "http_api": {"key": "k", "external": True}}
    )
    async with http.post(
        f"http://127.0.0.1:{server.port}/api/info", json={}, headers={"X-API-Key": "k"}
    ) as response:
        assert response.status == 200


@pytest.mark.parametrize("apart", [False, True])
async def test_the_log_says_where_it_listens(
    apart: bool, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fanout")
    server = await run({"http_server": {"internal_port": 0} if apart else {}})
    (line,) = (text for text in caplog.messages if "listening on" in text)
    where = f"listening on http://127.0.0.1:{server.port}"
    if apart:
        where += f", and for operators on http://127.0.0.1:{server.internal_port}"
    assert f" {where} (engine " in line


async def test_without_an_internal_port_all_is_on_one(
    run: Run, http: aiohttp.ClientSession
) -> None:
    server = await run({})
    assert server.port == server.internal_port
    assert await status(http, f"http://127.0.0.1:{server.port}/health") == 200


@pytest.mark.parametrize(
    ("own", "external", "scheme"),
    [(False, False, "https"), (False, True, "http"), (True, True, "https")],
)
async def test_tls_on_the_internal_port(
    own: bool, external: bool, scheme: str, run: Run, http: aiohttp.ClientSession, pair: Pair
) -> None:
    server = await run(
        {
            "http_server": {
                "internal_port": 0,
                "tls": pair.tls,
                "tls_external": external,
                "internal_tls": pair.tls if own else {},
            }
        }
    )
    context = trusting(pair)
    url = f"{scheme}://127.0.0.1:{server.internal_port}/health"
    assert await status(http, url, context) == 200
    assert await status(http, f"https://127.0.0.1:{server.port}/health", context) == 404


async def test_health_moves_and_goes(run: Run, http: aiohttp.ClientSession) -> None:
    server = await run({"health": {"handler_prefix": "/up"}})
    assert await status(http, f"http://127.0.0.1:{server.port}/up") == 200
    assert await status(http, f"http://127.0.0.1:{server.port}/health") == 404
    server = await run({"health": {"enabled": False}})
    assert await status(http, f"http://127.0.0.1:{server.port}/health") == 404


class Owner:
    """Whose connection it is."""

    def on_lost(self) -> None:
        pass

    def on_slow(self) -> None:
        pass


class PausesAtOnce(Wire):
    """A transport on which what came before still waits, as of TLS the handshake's answer may."""

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        super().__init__()
        self._of = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._of().pause_writing()


async def test_a_transport_that_pauses_while_it_is_taken_is_waited_for() -> None:
    async with Node() as node:
        encoding = Encodings(node).websocket(JSON)
        connection = Connection(node, Connections(), encoding, Owner(), 0.0)
        wire = PausesAtOnce(lambda: connection)
        connection.take(wire)
        connection.outbox.write(b"frame")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.sent == b""
        connection.resume_writing()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert wire.sent == b"frame"
        connection.connection_lost(None)
