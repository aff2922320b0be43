"""JetStream's interface: requests with JSON, and messages read by subject."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from fanout.errors import EngineError, EngineUnavailableError
from fanout.nats.clock import parse_time
from fanout.nats.pipe import Pipe
from fanout.nats.requests import Interrupted, NotSent, Requests, status

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["NO_STREAM", "WRONG_SEQUENCE", "Ack", "ApiError", "Behind", "JetStreamApi", "NotReady",
           "RawMessage"]

T = TypeVar("T")

WRONG_SEQUENCE = (10071, 10164)
"""Something was stored since; nothing is stored."""
_TRANSIENT = (10008, 10158)
"""No leader, for now."""
NO_STREAM = 10059
_NO_MESSAGE = 10037

BATCH = 500             # messages in one answer
BATCH_BYTES = 1 << 22
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5


class NotReady(Exception):
    """JetStream, or the stream, is not there at the moment: nothing was done."""


class Behind(NotReady):
    """The answer is not whole, or not up to date: the next one may be."""


class ApiError(Exception):
    """What JetStream refused."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code


@dataclass(frozen=True, slots=True)
class RawMessage:
    subject: str
    sequence: int
    time: float
    data: bytes


class Ack(NamedTuple):
    """What the server says to what is to be stored.

    With ``repeated`` it had a message of the same ``Nats-Msg-Id`` already, of
    this sequence, and stored nothing.
    """

    sequence: int
    repeated: bool


class JetStreamApi:
    def __init__(self, requests: Requests, pipe: Pipe) -> None:
        self._requests = requests
        self._pipe = pipe
        self._loop = asyncio.get_running_loop()

    @property
    def deadline(self) -> float:
        """When what is called for now must be done."""
        return self._loop.time() + self._pipe.timeout

    async def call(self, subject: str, body: object, until: float) -> dict[str, Any]:
        """One request of the interface; ``subject`` without ``$JS.API.``."""
        payload = b"" if body is None else json.dumps(body).encode()
        (answer,) = await self._requests.ask(f"$JS.API.{subject}", payload, until=until)
        return _checked(answer)

    async def store(
        self, subject: str, payload: bytes, headers: Mapping[str, str], until: float
    ) -> Ack:
        """Store a message."""
        (answer,) = await self._requests.ask(subject, payload, headers, until=until)
        found = _checked(answer)
        return Ack(found["seq"], found.get("duplicate", False))

    async def last(self, stream: str, subject: str, until: float) -> RawMessage | None:
        """The newest message of a subject, which may have wildcards."""
        (answer,) = await self._requests.ask(
            f"$JS.API.DIRECT.GET.{stream}", _json({"last_by_subj": subject}), until=until)
        if status(answer) == "404":
            return None
        return _read(answer)

    async def of_leader(
        self, stream: str, which: Mapping[str, object], until: float
    ) -> RawMessage | None:
        """One message, from the server that no replica is ahead of.

        ``which`` is ``last_by_subj`` or ``seq``, and its value.
        """
        try:
            found = await self.call(f"STREAM.MSG.GET.{stream}", which, until)
        except ApiError as error:
            if error.code != _NO_MESSAGE:
                raise
            return None
        message = found["message"]
        return RawMessage(
            message["subject"], message["seq"], parse_time(message["time"]),
            base64.b64decode(message.get("data", "")))

    async def all(
        self, stream: str, subjects: Sequence[str], until: float
    ) -> list[RawMessage]:
        """The newest message of every subject that matches, in the order they were stored.

        More than a thousand can be had of one subject with wildcards only.
        """
        found: list[RawMessage] = []
        ask: dict[str, object] = {"multi_last": list(subjects)}
        start = 0
        while True:
            body = {**ask, "batch": BATCH, "max_bytes": BATCH_BYTES}
            if start:
                body["seq"] = start
            *answers, end = await self._requests.ask(
                f"$JS.API.DIRECT.GET.{stream}", _json(body), until=until, many=True)
            code = status(end)
            if code == "413":
                # Too many: they are to be had one after the other.
                ask, start = {"next_by_subj": subjects[0]}, 1
                found.clear()
                continue
            found += map(_read, answers)
            if code == "404":
                if found and not answers:
                    return found        # the rest was removed meanwhile
                if answers or ("multi_last" in ask and _description(end) != "No Results"):
                    raise Behind        # one of them was removed while they were read
                return found
            if code != "204":
                _refuse(end)
            assert end.headers is not None
            if not answers or int(end.headers.get("Nats-Num-Pending", "0")) == 0:
                return found
            start = found[-1].sequence + 1

    async def purge(self, stream: str, subject: str, below: int, until: float) -> None:
        """Remove what is stored with a subject that matches, up to a sequence."""
        await self.call(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": below}, until)

    async def again(
        self, work: Callable[[float], Awaitable[T]], until: float, *, changes: bool
    ) -> T:
        """Do what may be done twice, until it succeeds or the time is over.

        ``work`` gets the time until which it may try. Raises
        :exc:`fanout.EngineError`, and :exc:`fanout.EngineUnavailableError`,
        which tells of what ``changes`` something that it may be done.
        """
        pause = FIRST_PAUSE
        tried = False
        # It may have waited for too long before it even begins.
        if self._loop.time() >= until:
            raise self._pipe.unavailable()
        while True:
            try:
                return await work(min(until, self._loop.time() + self._pipe.timeout / 2))
            except (NotReady, NotSent):
                pass
            except (Interrupted, TimeoutError):
                tried = True
            except ApiError as error:
                raise EngineError(f"JetStream refused: {error}") from None
            if self._loop.time() + pause >= until:
                raise self._pipe.unavailable(maybe_done=changes and tried)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def unavailable(self) -> EngineUnavailableError:
        """For an operation that may have been done."""
        return self._pipe.unavailable(maybe_done=True)


def _json(body: object) -> bytes:
    return json.dumps(body).encode()


def _description(answer: Msg) -> str:
    return answer.headers.get("Description", "") if answer.headers else ""


def _refuse(answer: Msg) -> None:
    code = status(answer)
    if code == "503":
        raise NotReady
    raise ApiError(int(code), _description(answer) or "no reason given")


def _checked(answer: Msg) -> dict[str, Any]:
    if status(answer):
        _refuse(answer)
    found: dict[str, Any] = json.loads(answer.data)
    error = found.get("error")
    if error is not None:
        code = error.get("err_code", 0)
        if code in _TRANSIENT:
            raise NotReady
        raise ApiError(code, error.get("description", ""))
    return found


def _read(answer: Msg) -> RawMessage:
    if status(answer):
        _refuse(answer)
    headers: Any = answer.headers
    return RawMessage(
        headers.get("Nats-Subject"), int(headers.get("Nats-Sequence")),
        parse_time(headers.get("Nats-Time-Stamp")), answer.data)
