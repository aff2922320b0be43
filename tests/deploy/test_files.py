"""The unit for systemd and the image: as far as that can be seen without running them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fanout.server.config import load
from tests.server.running import Process

ROOT = Path(__file__).resolve().parents[2]
UNIT = (ROOT / "deploy" / "fanout.service").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "fanout.service"
    text, found = re.subn("=/opt/fanout/bin/fanout", f"={sys.executable}", UNIT)
    assert found == 1
    unit.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_gives_the_drain_its_time() -> None:
    stop = re.search(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)
    assert stop is not None
    assert int(stop[1]) > load(None)[0].shutdown.timeout


def healthcheck() -> list[str]:
    command = re.search(r"(?s)HEALTHCHECK .*?CMD (\[.*?\])\n", DOCKERFILE)
    assert command is not None
    words: list[str] = json.loads(command[1])
    assert words[0] == "python"
    return [sys.executable, *words[1:]]


def checked(**variables: str) -> int:
    return subprocess.run(
        healthcheck(), env={**os.environ, **variables}, capture_output=True, timeout=30,
        check=False).returncode


def test_the_images_health_check(tmp_path: Path) -> None:
    with Process({}, tmp_path) as server:
        port = str(server.port)
        for name in ("FANOUT_HTTP_SERVER_PORT", "CENTRIFUGO_HTTP_SERVER_PORT"):
            assert checked(**{name: port}) == 0
        # On the internal port, if the environment says where that is.
        assert checked(
            FANOUT_HTTP_SERVER_PORT="1", CENTRIFUGO_HTTP_SERVER_INTERNAL_PORT=port) == 0
    assert checked(FANOUT_HTTP_SERVER_PORT=port) == 1


def test_a_server_without_health_is_no_sick_one(tmp_path: Path) -> None:
    with Process({"health": {"enabled": False}}, tmp_path) as server:
        assert checked(FANOUT_HTTP_SERVER_PORT=str(server.port)) == 0


async def test_a_server_in_a_drain_is_sent_nobody() -> None:
    async def drains(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(drains, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1])
    assert await asyncio.to_thread(checked, FANOUT_HTTP_SERVER_PORT=port) == 1
    server.close()


def test_the_images_environment_is_the_servers() -> None:
    variables = dict(re.findall(r"((?:FANOUT|CENTRIFUGO)_[A-Z_]+)=(\S+)", DOCKERFILE))
    config, warnings = load(None, environ=variables)
    assert config.http_server.address == "0.0.0.0"
    assert not [warning for warning in warnings if "unknown" in warning]
    for name in ("FANOUT_HTTP_SERVER_ADDRESS", "CENTRIFUGO_HTTP_SERVER_ADDRESS"):
        config, _ = load(None, environ={**variables, name: "127.0.0.1"})
        assert config.http_server.address == "127.0.0.1"


def test_the_image_holds_what_it_copies_and_nothing_else() -> None:
    copied = [
        name for line in re.findall(r"(?m)^COPY (.*) \S+$", DOCKERFILE) for name in line.split()]
    allowed = re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text())
    assert sorted(copied) == sorted(allowed)
    assert all((ROOT / name).exists() for name in copied)
