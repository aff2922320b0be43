"""The other nodes: who they are, and which channels they want.

NATS tells nobody who else is connected. So every node says that it is there,
at first, whenever the link is back, and then every few seconds; one that is
not heard of for some time is gone. Which channels all nodes want is asked of
them all, and known when all that are known have answered.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fanout.nats.outcome import Outcome
from fanout.nats.pipe import Pipe
from fanout.nats.requests import Interrupted, Requests, status
from fanout.nats.sink import Sink
from fanout.nats.subjects import Subjects, escape, unescape

if TYPE_CHECKING:
    from nats.aio.msg import Msg

__all__ = ["Peers"]

log = logging.getLogger("fanout")

HEARTBEAT = 2.5     # seconds between two signs of life
EXPIRY = 8.0        # seconds after the last one
GREETING = 1.0      # seconds that a new node waits to hear of the others, at most
CHUNK = 200_000     # bytes of channel names in one answer
_UID = re.compile("[0-9a-f]{16}")
_NUMBER = re.compile("[0-9]{1,20}")


class _Survey(Outcome[None]):
    """A question to all nodes, and what they have answered."""

    __slots__ = ("answered", "batch_sent", "channels", "expected", "heard")

    def __init__(self, batch_sent: Callable[[], bool]) -> None:
        super().__init__()
        self.batch_sent = batch_sent
        self.heard = False
        """The question came back: what other nodes said before it has come as well."""
        self.expected: set[str] = set()
        """Those that were known then. Who came later was not asked."""
        self.answered: set[str] = set()
        self.channels: set[str] = set()


class Peers:
    """``wanted`` gives this node's own channels that match a pattern."""

    def __init__(
        self,
        uid: str,
        subjects: Subjects,
        pipe: Pipe,
        requests: Requests,
        wanted: Callable[[str | None], Iterable[str]],
    ) -> None:
        self._uid = uid
        self._subjects = subjects
        self._pipe = pipe
        self._requests = requests
        self._wanted = wanted
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, float] = {}      # until when, if nothing is heard
        self._surveys: dict[str, _Survey] = {}
        self._num_surveys = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._beat: asyncio.TimerHandle | None = None
        self._closed = False
        self.sinks = (
            Sink(subjects.nodes, self._take_from_all),
            Sink(f"{subjects.inbox}peer", self._take_own),
            Sink(f"{subjects.inbox}survey.*", self._take_answer),
        )
        # One of all nodes answers a newcomer.
        self._newcomers = Sink(subjects.newcomers, self._take_newcomer, "nodes")
        self._greeted: Outcome[None] = Outcome()

    # ---- life ----------------------------------------------------------

    async def settled(self) -> None:
        """Wait until the nodes that were there before are known, or it takes too long."""
        greeted = self._greeted
        try:
            async with asyncio.timeout(min(GREETING, self._pipe.timeout)):
                await greeted
        except TimeoutError:
            log.warning("no other node answers, though there are some")
            greeted.succeed(None)

    def link_up(self) -> None:
        self._greeted = Outcome()
        task = asyncio.ensure_future(self._greet())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def link_down(self) -> None:
        for survey in self._surveys.values():
            if survey.batch_sent():
                survey.fail(Interrupted())

    def close(self) -> None:
        """Say good-bye; nothing more is said after it."""
        self._closed = True
        if self._beat is not None:
            self._beat.cancel()
        for task in self._tasks:
            task.cancel()
        self._tell_all({"kind": "bye"})

    async def closed(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _greet(self) -> None:
        greeted = self._greeted
        # In this order, so that of two who come at once one at least hears the
        # other, and answers: not subscribed to newcomers yet, this node does
        # not answer itself, and the server says so when nobody does.
        token, call = self._requests.call(self._subjects.newcomers, self._uid.encode())
        self._pipe.listen(self._newcomers)
        self._tell_all({"kind": "alive"})
        if self._beat is None:
            self._rest()
        try:
            async with asyncio.timeout(self._pipe.timeout):
                answer = (await call)[0]
            if not status(answer):
                for uid in json.loads(answer.data):
                    self._hear(_checked_uid(uid))
        except (TimeoutError, Interrupted):
            return
        finally:
            self._requests.forget(token)
        greeted.succeed(None)

    def _rest(self) -> None:
        if not self._closed:
            self._beat = self._loop.call_later(
                HEARTBEAT * random.uniform(0.8, 1.0), self._say_alive)

    def _say_alive(self) -> None:
        self._tell_all({"kind": "alive"})
        now = self._loop.time()
        for uid in [uid for uid, until in self._known.items() if until <= now]:
            self._forget(uid)
        self._rest()

    def _tell_all(self, what: dict[str, Any]) -> None:
        self._pipe.post(
            self._subjects.nodes, json.dumps({**what, "node": self._uid}).encode(), counted=False)

    # ---- who is there --------------------------------------------------

    def _hear(self, uid: str) -> bool:
        """A node is there; whether that is news."""
        if uid == self._uid:
            return False
        new = uid not in self._known
        self._known[uid] = self._loop.time() + EXPIRY
        return new

    def _forget(self, uid: str) -> None:
        self._known.pop(uid, None)
        for survey in self._surveys.values():
            self._look(survey)

    def _take_newcomer(self, message: Msg) -> None:
        uid = _checked_uid(message.data.decode())
        if not message.reply:
            raise ValueError("there is nobody to answer")
        known = [self._uid, *self._known]
        self._hear(uid)
        self._pipe.post(message.reply, json.dumps(known).encode(), counted=False)

    def _take_from_all(self, message: Msg) -> None:
        what = json.loads(message.data)
        uid, kind = _checked_uid(what["node"]), what["kind"]
        if kind == "bye":
            self._forget(uid)
        elif kind == "survey":
            self._hear(uid)
            self._answer(uid, _checked_number(what["survey"]), what["pattern"])
        elif self._hear(uid) and not self._closed:
            self._pipe.post(
                f"{self._subjects.node(uid)}peer", self._uid.encode(), counted=False)

    def _take_own(self, message: Msg) -> None:
        self._hear(_checked_uid(message.data.decode()))

    # ---- which channels they want --------------------------------------

    async def channels(self, pattern: str | None) -> list[str]:
        """The channels that match, of all nodes.

        A node that is known and does not answer within the time limit is taken
        for gone, and its channels with it. Raises
        :exc:`fanout.EngineUnavailableError` when not even the question came
        through.
        """
        until = self._loop.time() + self._pipe.timeout
        while True:
            await self.settled()
            self._num_surveys += 1
            number = str(self._num_surveys)
            batch = self._pipe.post(self._subjects.nodes, json.dumps({
                "kind": "survey", "node": self._uid, "survey": number, "pattern": pattern,
            }).encode())
            survey = _Survey(lambda batch=batch: batch.sent)    # type: ignore[misc]
            self._surveys[number] = survey
            try:
                async with asyncio.timeout_at(until):
                    await survey
            except Interrupted:
                continue
            except TimeoutError:
                if not survey.heard:
                    raise self._pipe.unavailable() from None
                silent = survey.expected - survey.answered
                log.warning("%d nodes do not say which channels they want", len(silent))
                for uid in silent:
                    self._known.pop(uid, None)
            finally:
                del self._surveys[number]
            return list(survey.channels)

    def _answer(self, uid: str, number: str, pattern: str | None) -> None:
        if uid == self._uid:
            survey = self._surveys.get(number)
            if survey is not None:
                survey.heard = True
                survey.expected = set(self._known)
                survey.channels.update(self._wanted(pattern))
                self._look(survey)
            return
        chunk: list[str] = []
        size = 0
        for channel in self._wanted(pattern):
            name = escape(channel)
            chunk.append(name)
            size += len(name.encode()) + 1
            if size >= CHUNK:
                self._send_chunk(uid, number, "more", chunk)
                chunk, size = [], 0
        self._send_chunk(uid, number, "last", chunk)

    def _send_chunk(self, uid: str, number: str, which: str, names: list[str]) -> None:
        # An escaped name has no white space in it.
        text = " ".join((self._uid, which, *names))
        self._pipe.post(
            f"{self._subjects.node(uid)}survey.{number}", text.encode(), counted=False)

    def _take_answer(self, message: Msg) -> None:
        survey = self._surveys.get(message.subject.rpartition(".")[2])
        uid, which, *names = message.data.decode().split(" ")
        self._hear(_checked_uid(uid))
        if survey is None:
            return
        survey.channels.update(map(unescape, names))
        if which == "last":
            survey.answered.add(uid)
            self._look(survey)

    def _look(self, survey: _Survey) -> None:
        missing = survey.expected - survey.answered
        if survey.heard and missing.isdisjoint(self._known):
            survey.succeed(None)


# What others say becomes part of a subject, and a subject that NATS does not
# take ends the connection.


def _checked_uid(uid: object) -> str:
    if not (isinstance(uid, str) and _UID.fullmatch(uid)):
        raise ValueError(f"not a node's uid: {uid!r:.60}")
    return uid


def _checked_number(number: object) -> str:
    if not (isinstance(number, str) and _NUMBER.fullmatch(number)):
        raise ValueError(f"not a survey's number: {number!r:.60}")
    return number
