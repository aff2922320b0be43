"""Questions to the other nodes, and their answers.

Both are control messages, which all nodes get: their head, one line of JSON,
says who is meant, and what follows it is the question or the answer itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from fanout.errors import BackpressureError, ClosedError, FanoutError, SurveyError
from fanout.handlers import answer
from fanout.types import ControlMessage

__all__ = ["ANSWER", "QUESTION", "SurveyHandler", "Surveys"]

log = logging.getLogger("fanout")

SurveyHandler = Callable[[bytes], bytes | Awaitable[bytes | None] | None]

QUESTION, ANSWER = "survey", "answer"   # methods of control messages
LARGEST = 1_000_000     # bytes of a question or an answer; brokers take little more in a message
MOST_WAITING = 1_000    # surveys of this node under way
MOST_ANSWERING = 1_000  # questions of other nodes that are being answered
ERROR_SIZE = 200        # characters of what went wrong at another node

LEFT = "it left"
TIMED_OUT = "it did not answer in time"


class Survey:
    """One question, and what has been heard of it."""

    __slots__ = ("answers", "awaited", "done", "missing")

    def __init__(self, asked: Collection[str]) -> None:
        self.awaited = set(asked)
        self.answers: dict[str, bytes] = {}
        self.missing: dict[str, str] = {}
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settle()

    def take(self, uid: str, body: bytes | None, error: str) -> None:
        """What node ``uid`` says; nothing changes when nobody waits for it."""
        if uid not in self.awaited:
            return
        self.awaited.discard(uid)
        if body is None:
            self.missing[uid] = error
        else:
            self.answers[uid] = body
        self._settle()

    def _settle(self) -> None:
        if not self.awaited and not self.done.done():
            self.done.set_result(None)


class Surveys:
    """Asks the other nodes, and answers what they ask.

    ``tell`` sends a control message to all nodes, ``others`` are the uids of
    those that are known, ``background`` does what a shutdown waits for.
    """

    def __init__(
        self,
        uid: str,
        tell: Callable[[ControlMessage], Awaitable[None]],
        others: Callable[[], Collection[str]],
        background: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._uid = uid
        self._tell = tell
        self._others = others
        self._background = background
        self._handlers: dict[str, SurveyHandler] = {}
        self._waiting: dict[int, Survey] = {}
        self._ids = itertools.count(1)
        self._answering = 0
        self.num_asked = 0
        self.num_incomplete = 0     # of those, how many not all nodes answered
        self._closed = False

    def register(self, method: str, handler: SurveyHandler) -> None:
        if not callable(handler):
            raise TypeError(f"a handler must be callable, not {handler!r}")
        if method in self._handlers:
            raise ValueError(
                f"survey {method!r} has a handler already: {self._handlers[method]!r}")
        self._handlers[method] = handler

    async def ask(
        self, method: str, params: bytes, to: str, seconds: float
    ) -> dict[str, bytes]:
        """See :meth:`fanout.Node.survey`."""
        if self._closed:
            raise ClosedError("the node is closed")
        if len(params) > LARGEST:
            raise ValueError(f"params must be at most {LARGEST} bytes, not {len(params)}")
        others = set(self._others())
        if to and to != self._uid:
            if to not in others:
                raise SurveyError(method, {}, {to: "it is not known"})
            others = {to}
        elif to:
            others = set()
        ask_here = to in ("", self._uid)
        if ask_here and method not in self._handlers:
            raise ValueError(f"survey {method!r} has no handler at this node")
        if len(self._waiting) >= MOST_WAITING:
            raise BackpressureError(f"{MOST_WAITING} surveys are under way already")
        survey = Survey([*others, self._uid] if ask_here else others)
        number = next(self._ids)
        self.num_asked += 1
        self._waiting[number] = survey
        try:
            async with asyncio.timeout(seconds):
                if others:
                    head = {"id": number, "method": method, "to": to, "seconds": seconds}
                    await self._tell(ControlMessage(self._uid, QUESTION, _joined(head, params)))
                if ask_here:
                    survey.take(self._uid, *await self._answer(method, params))
                await survey.done
        except TimeoutError:
            for uid in list(survey.awaited):
                survey.take(uid, None, TIMED_OUT)
        finally:
            del self._waiting[number]
            if survey.done.done() and not survey.done.cancelled():
                survey.done.exception()     # looked at, whether it was awaited or not
        if survey.missing:
            self.num_incomplete += 1
            raise SurveyError(method, survey.answers, survey.missing)
        return survey.answers

    def left(self, uid: str) -> None:
        """A node said good-bye: nobody waits for it any more."""
        for survey in list(self._waiting.values()):
            survey.take(uid, None, LEFT)

    def close(self) -> None:
        self._closed = True
        for survey in self._waiting.values():
            if not survey.done.done():
                survey.done.set_exception(ClosedError("the node is closed"))

    def on_question(self, message: ControlMessage) -> None:
        """Raises ``KeyError``, ``TypeError`` or ``ValueError`` for what no node has asked."""
        head, params = _split(message.params)
        number, method, to, seconds = head["id"], head["method"], head["to"], head["seconds"]
        if (type(number) is not int or type(method) is not str or type(to) is not str
                or type(seconds) not in (int, float)):
            raise TypeError(f"no survey has the head {head!r}")
        if to not in ("", self._uid) or self._closed:
            return
        if self._answering >= MOST_ANSWERING:
            log.warning("survey %r of node %s is not answered: %d others are being",
                        method, message.uid, self._answering)
            return
        self._answering += 1
        self._background(self._reply(message.uid, number, method, params, seconds))

    def on_answer(self, message: ControlMessage) -> None:
        """As :meth:`on_question`; what nobody waits for (any more) is dropped."""
        head, body = _split(message.params)
        number, to, error = head["id"], head["to"], head["error"]
        if type(number) is not int or type(to) is not str or type(error) is not str:
            raise TypeError(f"no answer has the head {head!r}")
        survey = self._waiting.get(number) if to == self._uid else None
        if survey is not None:
            survey.take(message.uid, None if error else body, error[:ERROR_SIZE])

    async def _reply(
        self, to: str, number: int, method: str, params: bytes, seconds: float
    ) -> None:
        try:
            async with asyncio.timeout(seconds):    # nobody waits any longer
                body, error = await self._answer(method, params)
            if body is not None and len(body) > LARGEST:
                error = f"its answer of {len(body)} bytes is longer than {LARGEST}"
                body = None
            head = {"id": number, "to": to, "error": error}
            await self._tell(ControlMessage(self._uid, ANSWER, _joined(head, body or b"")))
        except TimeoutError:
            log.warning("survey %r of node %s was not answered in time", method, to)
        except FanoutError as failure:
            log.warning("the answer to survey %r of node %s was not sent: %s",
                        method, to, failure)
        finally:
            self._answering -= 1

    async def _answer(self, method: str, params: bytes) -> tuple[bytes | None, str]:
        """The answer, or None and what went wrong."""
        handler = self._handlers.get(method)
        if handler is None:
            return None, f"it has no handler for {method!r}"
        try:
            body = await answer(handler, params)
            if not isinstance(body, bytes | None):
                raise TypeError(f"a survey's handler must return bytes or None, not {body!r}")
        except Exception as error:
            log.exception("survey %r could not be answered", method)
            return None, f"its handler failed: {type(error).__name__}"
        return body or b"", ""


def _joined(head: Mapping[str, object], body: bytes) -> bytes:
    return json.dumps(head).encode() + b"\n" + body


def _split(params: bytes) -> tuple[dict[str, Any], bytes]:
    line, _, body = params.partition(b"\n")
    head = json.loads(line)
    if type(head) is not dict:
        raise TypeError(f"no survey has the head {head!r}")
    return head, body
