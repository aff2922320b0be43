"""Questions to the server, and to other nodes, whose answers come to the engine's inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from fanout.nats.outcome import Outcome
from fanout.nats.pipe import Batch, Pipe
from fanout.nats.sink import Sink

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Call", "Interrupted", "Requests", "status"]


class Interrupted(Exception):
    """The link broke after the question was sent: an answer will not come, or not be known."""


def status(message: Msg) -> str:
    """The code of an answer that is no more than a code, ``""`` for another one."""
    return message.headers.get("Status", "") if message.headers else ""


class Call(Outcome["list[Msg]"]):
    """A question that was asked, and the answers that have come.

    ``batch`` is what it was sent with. With ``many`` there are answers until
    one is a status without anything else; that one is the last of the list.
    """

    __slots__ = ("answers", "batch", "many")

    def __init__(self, batch: Batch, many: bool) -> None:
        super().__init__()
        self.batch = batch
        self.many = many
        self.answers: list[Msg] = []


class Requests:
    def __init__(self, inbox: str, pipe: Pipe) -> None:
        self.sink = Sink(f"{inbox}reply.*", self._take)
        self._prefix = f"{inbox}reply."
        self._pipe = pipe
        self._tokens = 0
        self._calls: dict[str, Call] = {}

    def call(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        many: bool = False,
    ) -> tuple[str, Call]:
        """Ask; the answers come until :meth:`forget` is called with the token."""
        self._tokens += 1
        token = str(self._tokens)
        batch = self._pipe.post(subject, payload, self._prefix + token, headers, counted=False)
        call = self._calls[token] = Call(batch, many)
        return token, call

    def forget(self, token: str) -> None:
        self._calls.pop(token, None)

    async def ask(
        self,
        subject: str,
        payload: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        until: float,
        many: bool = False,
    ) -> list[Msg]:
        """Ask and wait until the loop's time ``until``.

        Raises ``TimeoutError``, and :exc:`Interrupted` when the link breaks.
        """
        token, call = self.call(subject, payload, headers, many=many)
        try:
            async with asyncio.timeout_at(until):
                return await call
        finally:
            self.forget(token)

    def link_down(self) -> None:
        """What was asked before will not be answered."""
        for call in self._calls.values():
            if call.batch.sent:
                call.fail(Interrupted())

    def close(self) -> None:
        for call in self._calls.values():
            call.fail(Interrupted())

    def _take(self, message: Msg) -> None:
        call = self._calls.get(message.subject[len(self._prefix):])
        if call is None:
            return      # nobody waits for it any more
        call.answers.append(message)
        if not call.many or (not message.data and status(message)):
            call.succeed(call.answers)
