"""The command line: what it takes, what it says, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import fanout.server
from fanout import cli
from fanout.__main__ import main as module_main
from fanout.server import log
from fanout.server.config import (
    LOG_LEVELS,
    Config,
    EngineConfig,
    NamespaceOptions,
    RedisConfig,
    demo_config,
)
from tests.brokers.nats import NatsServer
from tests.brokers.server import BrokerServer
from tests.brokers.valkey import ValkeyServer
from tests.process import ServerProcess
from tests.server.peer import connect

Serve = Callable[[Config, bool], Awaitable[None]]


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, bool]]:
    """Stands in for the server; what it was asked to serve."""
    calls: list[tuple[Config, bool]] = []

    async def serve(config: Config, *, demo: bool = False, application: object = None) -> None:
        calls.append((config, demo))

    stand_in(monkeypatch, serve)
    return calls


def stand_in(monkeypatch: pytest.MonkeyPatch, serve: object) -> None:
    app = SimpleNamespace(serve=serve)
    monkeypatch.setitem(sys.modules, "fanout.server.app", app)
    monkeypatch.setattr(fanout.server, "app", app, raising=False)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line on standard error, with nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.rstrip("\n")


# Options


def test_the_defaults(
    served: list[tuple[Config, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve"]) == 0
    assert served == [(Config.default(), False)]
    assert capsys.readouterr() == ("", "")


def test_options_win_over_the_file(served: list[tuple[Config, bool]], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(
        '[http_server]\naddress = "192.0.2.1"\nport = 1\n[log]\nlevel = "error"\n'
        "[client]\nconnection_limit = 7\n"
    )
    assert cli.main(["serve", "--config", str(path)]) == 0
    arguments = ["--host", "::1", "--port", "0", "--log-level", "debug", "--config", str(path)]
    assert cli.main(["serve", *arguments]) == 0
    (plain, _), (config, _) = served
    assert (plain.http_server.address, plain.http_server.port) == ("192.0.2.1", 1)
    assert plain.log.level == "error"
    assert (config.http_server.address, config.http_server.port) == ("::1", 0)
    assert config.log.level == "debug"
    assert config.client.connection_limit == 7


def test_the_demo_without_a_file(
    served: list[tuple[Config, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--demo"]) == 0
    assert served == [(demo_config(), True)]
    assert capsys.readouterr() == ("", "")


def test_the_demo_with_a_file_opens_no_more_than_its_room(
    served: list[tuple[Config, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"channel": {"namespaces": [{"name": "chat"}]}}')
    assert cli.main(["serve", "--demo", "--config", str(path)]) == 0
    ((config, demo),) = served
    assert demo
    assert [namespace.name for namespace in config.channel.namespaces] == ["chat", "room"]
    assert config.channel.without_namespace == NamespaceOptions()
    assert not config.client.allow_anonymous_connect_without_token
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "fanout: no command given; try 'fanout serve' or 'fanout --help'"),
        (["swerve"], "fanout: No such command 'swerve'"),
        (["serve", "--prot", "1"], "fanout: No such option.*--prot"),
        (["serve", "--port", "65536"], "fanout: Invalid value for '--port': 65536 is not in"),
        (["serve", "--port", "http"], "fanout: Invalid value for '--port': 'http' is not a valid"),
        (["serve", "--host", "a b"], "fanout: Invalid value for '--host': must be a host name"),
        (["serve", "--host", "a..b"], "fanout: Invalid value for '--host': must be a host name"),
        (["serve", "--log-level", "loud"], "fanout: Invalid value for '--log-level': 'loud' is"),
        (["serve", "now"], "fanout: Got unexpected extra argument"),
    ],
)
def test_bad_usage(
    arguments: list[str],
    message: str,
    served: list[tuple[Config, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(arguments) == 2
    assert re.match(message, one_line(capsys))
    assert served == []


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"fanout {fanout.__version__}\n"
    assert cli.main(["serve", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("--host", "--port", "--engine", "--config", "--log-level", "--demo"):
        assert option in out


# Configuration files


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.json", '{"client": {"channel_limit": "many"}}', 'client.channel_limit = "many": must'),
        ("c.json", "{", "is not valid JSON: "),
        ("c.toml", "=", "is not valid TOML: "),
        ("c.ini", "", "the file's name must end in .json, .toml, .yaml or .yml"),
        ("c.json", None, "cannot be read: No such file or directory"),
        ("c.toml", "[http_server.tls]\nenabled = true", "http_server.tls.cert_pem: is needed"),
    ],
)
def test_a_bad_configuration(
    name: str,
    content: str | None,
    message: str,
    served: list[tuple[Config, bool]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    assert cli.main(["serve", "--config", str(path)]) == 2
    assert one_line(capsys).startswith(f"fanout: {path}: {message}")
    assert served == []


def test_warnings_are_logged_and_secrets_are_not(
    served: list[tuple[Config, bool]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.json"
    path.write_text(
        json.dumps(
            {
                "client": {"token": {"hmac_secret_key": "s3cret"}, "insecur": True},
                "admin": {"enabled": True, "password": "s3cret", "secret": "s3cret"},
                "http_api": {"key": "s3cret"},
                "hidden": "s3cret",
                "engine": {"redis": {"address": "redis://user:s3cret@127.0.0.1:6379"}},
            }
        )
    )
    assert cli.main(["serve", "--log-level", "trace", "--config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert "s3cret" not in out + err
    lines = [line.partition(" WARNING ")[2] for line in err.splitlines()]
    assert [line.partition(":")[0] for line in lines] == [
        "client.insecur",
        "hidden",
        "engine.redis",
    ]
    assert lines[0] == "client.insecur: unknown key, ignored; did you mean client.insecure?"
    assert len(served) == 1


# The engine


def test_an_engine_is_named_by_its_address(served: list[tuple[Config, bool]]) -> None:
    for addresses in (["redis://a"], ["redis://a", "redis://b"], ["redis://a,redis://b"]):
        options = [option for address in addresses for option in ("--engine", address)]
        assert cli.main(["serve", "--demo", *options]) == 0
    one, two, listed = (config.engine for config, _ in served)
    assert one == EngineConfig(type="redis", redis=RedisConfig(address=("redis://a",)))
    assert two == EngineConfig(type="redis", redis=RedisConfig(address=("redis://a", "redis://b")))
    assert listed == two


def test_the_engine_s_option_wins_over_the_file(
    served: list[tuple[Config, bool]], tmp_path: Path
) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[engine]\ntype = "nats"\n[engine.redis]\nprefix = "p"\naddress = "a"\n')
    assert cli.main(["serve", "--config", str(path), "--engine", "redis://b"]) == 0
    ((config, _),) = served
    assert config.engine.type == "redis"
    assert config.engine.redis == RedisConfig(address=("redis://b",), prefix="p")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine", "http://u:s3cret@a"], "Invalid value for '--engine': must be memory, or"),
        (["--engine", "redis://a", "--engine", "nats://b"], "Invalid value for '--engine': must "
         "be addresses of one engine"),
        (["--engine", "nats://u:s3cret@a?x"], 'Invalid value for \'--engine\': may only have'),
        # Without it the room has no history, and nobody could see who is there.
        (["--demo", "--engine", "nats://u:s3cret@a"], "channel.namespaces[room].history_size = "
         '100: needs JetStream with engine.type "nats": set engine.nats.jetstream, or put '
         '"?jetstream=true" behind the address'),
    ],
)  # fmt: skip
def test_a_bad_engine(
    arguments: list[str],
    message: str,
    served: list[tuple[Config, bool]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["serve", *arguments]) == 2
    line = one_line(capsys)
    assert line.startswith(f"fanout: {message}")
    assert "s3cret" not in line
    assert served == []


def test_the_demo_runs_on_nats_with_jetstream(served: list[tuple[Config, bool]]) -> None:
    assert cli.main(["serve", "--demo", "--engine", "nats://a?jetstream=true"]) == 0
    assert len(served) == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://u:s3cret@127.0.0.1:{port}", "redis://127.0.0.1:{port} cannot be reached: "),
        ("nats://u:s3cret@127.0.0.1:{port}?jetstream=true", "127.0.0.1:{port}"),
    ],
)
def test_an_engine_that_cannot_be_reached(
    address: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and nobody listens
        port = bound.getsockname()[1]
        options = ["--demo", "--port", "0", "--engine", address.format(port=port)]
        assert cli.main(["serve", *options]) == 1
    line = one_line(capsys)
    assert line.startswith("fanout: cannot start the engine: ")
    assert shown.format(port=port) in line
    assert "s3cret" not in line


def test_an_engine_that_refuses_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    with ValkeyServer(password="right") as server:
        address = f"redis://:s3cret@127.0.0.1:{server.port}"
        assert cli.main(["serve", "--demo", "--port", "0", "--engine", address]) == 1
    line = one_line(capsys)
    assert line.startswith(f"fanout: cannot start the engine: redis://127.0.0.1:{server.port}")
    assert "s3cret" not in line


@pytest.mark.parametrize("kind", ["redis", "nats"])
def test_a_missing_extra_is_one_line(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, kind, None)  # as if it were not there
    assert cli.main(["serve", "--demo", "--engine", f"{kind}://a{JETSTREAM[kind]}"]) == 1
    assert one_line(capsys) == f"fanout: {kind} not installed: pip install 'fanout[{kind}]'"


JETSTREAM = {"redis": "", "nats": "?jetstream=true"}


@pytest.mark.parametrize("kind", ["redis", "nats"])
async def test_the_demo_s_room_on_two_servers_and_a_broker(kind: str) -> None:
    password = "s3cret"
    broker: BrokerServer
    if kind == "redis":
        broker = ValkeyServer(password=password)
    else:
        broker = NatsServer(jetstream=True, user="app", password=password)
    with broker, ServerProcess("--demo", "--engine", broker.url + JETSTREAM[kind]) as first:
        with ServerProcess("--demo", "--engine", broker.url + JETSTREAM[kind]) as second:
            await talk(first.port, second.port)
        for server in (first, second):
            assert not [line for line in server.log if password in line or "ERROR" in line]
            assert any(f"(engine {kind}" in line.lower() for line in server.log)


async def talk(*ports: int) -> None:
    """A visitor at each server, in one room: each sees the other, and hears every word."""
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for port in ports:
            peer = await connect(f"ws://127.0.0.1:{port}/connection/websocket")
            peers.append(await stack.enter_async_context(peer))
            await peer.call(connect={"data": {"name": f"visitor {port}"}})
            told = await peer.call(subscribe={"channel": "room:lobby"})
            assert told["subscribe"]["recoverable"]
        for peer, port in zip(peers, ports, strict=True):
            await peer.call(publish={"channel": "room:lobby", "data": {"text": str(port)}})
        for peer in peers:
            heard = []
            while len(heard) < len(ports):
                push = (await peer.next())["push"]
                heard += [(push["pub"]["offset"], push["pub"]["data"])] if "pub" in push else []
            assert heard == [(n, {"text": str(port)}) for n, port in enumerate(ports, 1)]
            present = await peer.call(presence={"channel": "room:lobby"})
            names = {info["conn_info"]["name"] for info in present["presence"]["presence"].values()}
            assert names == {f"visitor {port}" for port in ports}
            past = await peer.call(history={"channel": "room:lobby", "limit": -1})
            assert len(past["history"]["publications"]) == len(ports)


# Listening


def test_a_taken_port(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def listen(config: Config, *, demo: bool = False, application: object = None) -> None:
        server = config.http_server
        await asyncio.start_server(lambda reader, writer: None, server.address, server.port)

    stand_in(monkeypatch, listen)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--demo", "--port", str(port)]) == 1
    reason = os.strerror(errno.EADDRINUSE)
    assert one_line(capsys) == f"fanout: cannot listen on 127.0.0.1:{port}: {reason}"


def test_a_host_that_does_not_resolve(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(config: Config, *, demo: bool = False, application: object = None) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    stand_in(monkeypatch, fail)
    assert cli.main(["serve", "--demo", "--host", "nowhere.invalid"]) == 1
    message = "fanout: cannot listen on nowhere.invalid:8000: Name or service not known"
    assert one_line(capsys) == message


def test_an_error_of_another_kind_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(config: Config, *, demo: bool = False, application: object = None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    stand_in(monkeypatch, fail)
    with pytest.raises(OSError, match="No space left"):
        cli.main(["serve", "--demo"])


def test_an_interrupt_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(
        config: Config, *, demo: bool = False, application: object = None
    ) -> None:
        raise KeyboardInterrupt

    stand_in(monkeypatch, interrupted)
    assert cli.main(["serve", "--demo"]) == 130


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("", "http://0.0.0.0:8000"),
        ("example.com", "http://example.com:8000"),
    ],
)
def test_the_line_that_says_where_it_listens(host: str, url: str) -> None:
    line = log.listening_line("1.2.3", host, 8000, "memory")
    assert line == f"fanout 1.2.3 listening on {url} (engine memory)"


# Without the server's packages


@pytest.mark.parametrize("package", ["click", "aiohttp", "msgspec"])
def test_a_base_install_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not there
    assert module_main() == 1
    assert one_line(capsys) == f"fanout: {package} not installed: pip install 'fanout[server]'"


# The log


def test_one_record_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info")
    log.logger.info("subscribed to %s", "a\n2026-01-01T00:00:00.000Z INFO forged\x1b[31m\u2028\x85")
    line = one_line(capsys)
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO subscribed to a\\n2026", line)
    assert line.endswith("\\x1b[31m\\u2028\\x85")
    try:
        raise RuntimeError("first\nsecond")
    except RuntimeError:
        log.logger.exception("it failed")
    line = one_line(capsys)
    assert "ERROR it failed\\nTraceback" in line
    assert line.endswith("RuntimeError: first\\nsecond")


@pytest.mark.parametrize(
    ("level", "logged"),
    [("trace", 5), ("debug", 5), ("info", 4), ("warn", 3), ("error", 2), ("fatal", 1), ("none", 0)],
)
def test_levels(level: str, logged: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert level in LOG_LEVELS
    log.configure(level)
    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.logger.log(number, "a record")
    assert capsys.readouterr().err.count("a record\n") == logged


def test_configuring_again_does_not_log_twice(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    other = logging.NullHandler()
    root_logger.addHandler(other)
    log.configure("none")
    log.configure("info")
    log.logger.info("once")
    assert one_line(capsys).endswith("INFO once")
    assert other in root_logger.handlers


def test_request_targets_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("trace")
    logging.getLogger("aiohttp.access").info("GET /connection/websocket?token=s3cret")
    assert capsys.readouterr().err == ""


# A real process


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m fanout`` with these arguments; killed should it outlive its test."""
    with subprocess.Popen(
        [sys.executable, "-m", "fanout", *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        # A process that neither speaks nor ends would leave the test reading.
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    with running("serve", "--demo", "--port", "0") as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(
            r"INFO fanout \S+ listening on http://127\.0\.0\.1:(\d+) \(engine .+\)$", line
        )
        assert found is not None, line
        with socket.create_connection(("127.0.0.1", int(found[1]))) as client:
            client.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            assert b" 200 " in client.makefile("rb").readline()
        process.send_signal(number)
        assert "Traceback" not in process.stderr.read()
        assert process.wait() == 0


def test_a_real_taken_port_ends_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("serve", "--demo", "--port", str(port)) as process:
            _, err = process.communicate()
    assert process.returncode == 1
    reason = os.strerror(errno.EADDRINUSE)
    assert err == f"fanout: cannot listen on 127.0.0.1:{port}: {reason}\n"
