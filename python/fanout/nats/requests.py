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

__all__ = ["Call", "Interrupted", "NotSent", "Requests", "status"]


class Interrupted(Exception):
    """The link broke after the question was sent: an answer will not come, or not be known."""


class NotSent(Interrupted):
    """The question never left, and never will."""


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

    def forget(self, token: str) -> bool:
        """Expect no answer, and do not ask if that was not done yet; whether it was."""
        call = self._calls.pop(token)
        if not call.batch.sent:
            call.batch.withdraw(self._prefix + token)
        return call.batch.sent

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

        Raises ``TimeoutError``, :exc:`NotSent` if it could not even be asked,
        and :exc:`Interrupted` when the link breaks.
        """
        token, call = self.call(subject, payload, headers, many=many)
        sent = True
        try:
            async with asyncio.timeout_at(until):
                return await call
        except TimeoutError:
            sent = call.batch.sent
            raise
        finally:
            self.forget(token)
            if not sent:
                raise NotSent

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
