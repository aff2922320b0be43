"""Answers of an application's backend. The first byte chooses what it was asked."""

from __future__ import annotations

from typing import cast

from fanout.codes import ClientError, Disconnect
from fanout.server.proxy.link import Link
from tests.fuzz.harness import in_loop
from tests.server.proxy.conftest import EVENTS, all_proxies, ask, make

MAX_LEN = 8192


class _Link:
    """In place of HTTP: whatever is asked, this is the answer."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    async def post(self, *asked: object) -> bytes:
        return self.answer


_proxies = {
    binary: make(all_proxies(
        lambda path: f"http://127.0.0.1:1{path}", binary_encoding=binary))
    for binary in (False, True)}


def run(data: bytes) -> None:
    in_loop(lambda: _answer(data))


async def _answer(data: bytes) -> None:
    kind = data[0] if data else 0
    proxies = _proxies[kind >= 0x80]
    event = EVENTS[kind % len(EVENTS)]
    for backend in proxies._backends():
        backend._link = cast(Link, _Link(data[1:]))
    try:
        answer = await ask(proxies, event, data=b"1")
        # Who connects may be left to the configuration.
        assert answer is not None or event == "connect"
    except ClientError as error:
        assert 0 < error.code < 1 << 32
        error.message.encode()
    except Disconnect as disconnect:
        assert 3000 <= disconnect.code <= 4999
        assert len(disconnect.reason.encode()) <= 123
