"""Channels' streams in JetStream."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from fanout.errors import FanoutError
from fanout.nats.api import (
    WRONG_SEQUENCE,
    ApiError,
    Behind,
    JetStreamApi,
    NotReady,
    RawMessage,
)
from fanout.nats.clock import ServerClock
from fanout.nats.record import SIZE, STATE, Stored, pack, unpack
from fanout.nats.requests import Interrupted, NotSent
from fanout.nats.results import Results, message_id
from fanout.nats.stream import (
    Attempt,
    Fate,
    Plan,
    Version,
    exists,
    fate,
    holds,
    is_outdated,
    kept,
    page,
    plan_message,
    plan_state,
    removable_below,
    ring,
    ttl,
)
from fanout.nats.streams import Streams
from fanout.nats.subjects import escape, flatten, unescape
from fanout.nats.wire import RECORD
from fanout.types import ChannelOptions, HistoryPage, Message, StreamPosition

__all__ = ["OVERHEAD", "History"]

log = logging.getLogger("fanout")

T = TypeVar("T")

OVERHEAD = SIZE + 320
"""Bytes of a stored message beside the message itself and its subject, at most."""
MOST_TOPS = 100_000
"""Channels whose newest record is remembered."""
MOST_MISSED = 200
"""Messages that are asked for one by one, in place of all that are kept."""
OTHERS = (0.5, 5.0)
"""Seconds after its end in which a channel of another node's is compacted."""


class _Conflict(Exception):
    """There is a newer record in the channel; nothing is stored."""


class _Repeated(Exception):
    """A message with the same key is stored, with this sequence; this one is not."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence


class History:
    """Reads and writes the records of channels.

    Every write names the sequence of the channel's newest record, as the
    writer knows it, and the server refuses it when there is another one. So the
    records of a channel are written one after the other, whoever writes, and
    each relies on the one before it: offsets have no gap, and none is given
    twice. It also makes it harmless to send a write again.

    due
        Told when, by the server's clock, a channel is to be compacted.
    """

    def __init__(
        self,
        prefix: str,
        meta_lifetime: float,
        api: JetStreamApi,
        streams: Streams,
        clock: ServerClock,
        due: Callable[[str, float], None],
        results: Results,
    ) -> None:
        self._prefix = prefix
        self._meta_lifetime = meta_lifetime
        self._api = api
        self._streams = streams
        self._clock = clock
        self._due = due
        self._writer = secrets.token_bytes(8)
        self._marks = 0
        self._tops: dict[str, Stored] = {}
        self._results = results
        streams.on_lost = self.forget

    def forget(self) -> None:
        """Another may have written meanwhile, or the store be set back."""
        self._tops.clear()

    # ---- writing -------------------------------------------------------

    async def publish(
        self,
        channel: str,
        body: bytes,
        options: ChannelOptions,
        key: str,
        version: Version,
        until: float,
        is_heard: Callable[[float], Awaitable[bool]],
    ) -> StreamPosition | None:
        """Store a message, which delivers it; its place in the stream.

        Or that of the first with its ``key``, or the top when its ``version`` is
        outdated. None when it is not to be stored, because nobody listens
        (``is_heard``).
        """
        mark = self._mark()
        attempt: Attempt | None = None
        done: StreamPosition | None = None

        async def work(until: float) -> StreamPosition | None:
            nonlocal attempt, done
            if done is not None:
                await self._results.keep(channel, key, done, until)
                return done
            if key:
                known = await self._results.find(channel, key, until)
                if known is not None:
                    return known
            while True:
                if attempt is None:
                    newest = self._tops.get(channel) or await self._newest(channel, until)
                else:
                    stored = await self._all(channel, until)
                    newest = stored[-1] if stored else None
                    match fate(attempt, stored):
                        case Fate.STORED:
                            found = next(each for each in stored if each.record.mark == mark)
                            done = self._stored(channel, found, newest)
                            await self._results.keep(channel, key, done, until)
                            return done
                        case Fate.UNKNOWN:
                            raise self._api.unavailable()
                        case Fate.LOST:
                            attempt = None
                now = self._clock.now()
                if is_outdated(version, newest, now):
                    assert newest is not None
                    if self._tops.pop(channel, None) is not None:
                        continue    # another node may have gone on since
                    return self._stored(channel, newest, newest)
                if options.history_drop_inactive and not holds(newest, now) and (
                    attempt is None and not await is_heard(until)
                ):
                    return None
                plan = plan_message(newest, options, self._meta_lifetime, mark, now, version)
                try:
                    written = await self._write(channel, newest, plan, RECORD, body, until, key)
                except _Repeated as repeated:
                    return await self._repeated(repeated.sequence, until)
                except _Conflict:
                    self._tops.pop(channel, None)
                    continue
                except NotSent:
                    raise
                except (Interrupted, TimeoutError):
                    attempt = Attempt(newest.sequence if newest is not None else 0, plan.record)
                    raise
                done = self._stored(channel, written, written)
                await self._results.keep(channel, key, done, until)
                await self._clean(channel, written, plan, until)
                return done

        try:
            return await self._streams.again(work, until, changes=True)
        except FanoutError as error:
            if done is None:
                raise
            # The server knows the message by its key as long as that is there.
            log.info("what a publish to %r came to is not kept: %r", channel, error)
            return done

    async def remove(self, channel: str, until: float) -> None:
        """Forget the messages; the stream's top and epoch stay."""

        async def work(until: float) -> None:
            newest = await self._newest(channel, until)
            now = self._clock.now()
            if newest is None or not newest.is_message or not exists(newest, now):
                return
            meta_lifetime = newest.record.meta_lifetime
            ends = max(newest.ends, now + meta_lifetime)
            await self._write_state(channel, newest, meta_lifetime, ends, now, until)

        await self._streams.again(self._until_no_conflict(work), until, changes=True)

    async def compact(self, channel: str, until: float, *, thorough: bool) -> None:
        """Give back what is not kept any more.

        thorough
            Also what somebody else did not come to.
        """

        async def work(until: float) -> None:
            newest = await self._newest(channel, until)
            now = self._clock.now()
            if newest is None:
                return
            if holds(newest, now):
                # Whoever published it comes first, if it is still there.
                self._due(channel, newest.alive_until + random.uniform(*OTHERS))
            elif not exists(newest, now):
                await self._purge(channel, ">", newest.sequence + 1, until)
            elif newest.is_message:
                await self._write_state(
                    channel, newest, newest.record.meta_lifetime, newest.ends, now, until)
            elif thorough:
                await self._purge(channel, "*", newest.sequence, until)

        await self._streams.again(self._until_no_conflict(work), until, changes=True)

    async def channels(self, until: float) -> set[str]:
        """The channels that have messages in the store."""

        async def work(until: float) -> set[str]:
            filter = f"{self._prefix}.history.{self._streams.life}.*.*"
            found: set[str] = set()
            offset = 0
            while True:
                info = await self._api.call(
                    f"STREAM.INFO.{self._streams.history}",
                    {"subjects_filter": filter, "offset": offset}, until)
                subjects = info["state"].get("subjects") or {}
                found.update(unescape(subject.split(".")[3].replace("|", "."))
                             for subject in subjects)
                offset += len(subjects)
                if not subjects or offset >= info.get("total", 0):
                    return found

        return await self._streams.again(work, until, changes=False)

    # ---- reading -------------------------------------------------------

    async def newest_first(self, channel: str, limit: int, until: float) -> list[Message]:
        async def work(until: float) -> list[Message]:
            stored = await self._all(channel, until)
            found = kept(stored, self._clock.now())[::-1]
            return [each.message(channel) for each in (found[:limit] if limit else found)]

        return await self._streams.again(work, until, changes=False)

    async def read(
        self,
        channel: str,
        since: StreamPosition | None,
        limit: int | None,
        reverse: bool,
        until: float,
    ) -> HistoryPage:
        """A page of the stream, which exists from now on."""

        async def work(until: float) -> HistoryPage:
            if not reverse and (since.epoch if since is not None else limit == 0):
                short = await self._short_page(channel, since, limit, until)
                if short is not None:
                    return short
            stored = await self._all(channel, until)
            newest = stored[-1] if stored else None
            now = self._clock.now()
            found: list[Stored] = []
            if newest is None or not exists(newest, now):
                newest = await self._write_state(
                    channel, newest, self._meta_lifetime, now + self._meta_lifetime, now, until)
            elif holds(newest, now):
                found = kept(stored, now)
            elif newest.is_message:
                self._due(channel, now)
            elif self._is_fading(newest):
                # Somebody still wants to know where the stream is.
                meta_lifetime = newest.record.meta_lifetime
                newest = await self._write_state(
                    channel, newest, meta_lifetime, now + meta_lifetime, now, until)
            top = StreamPosition(newest.record.offset, newest.record.epoch)
            # Only those that are asked for are taken apart.
            chosen, recoverable = page(found, top, since, limit, reverse)
            return HistoryPage([each.message(channel) for each in chosen], top, recoverable)

        return await self._streams.again(self._until_no_conflict(work), until, changes=False)

    async def _short_page(
        self, channel: str, since: StreamPosition | None, limit: int | None, until: float
    ) -> HistoryPage | None:
        """What was missed since a position, if little was; mostly nothing was.

        None when everything there is must be looked at.
        """
        newest = await self._newest(channel, until)
        if newest is None or not exists(newest, self._clock.now()):
            return None
        top = StreamPosition(newest.record.offset, newest.record.epoch)
        if since is None or since == top:
            if not newest.is_message and self._is_fading(newest):
                return None
            return HistoryPage([], top, True)
        missed = range(since.offset + 1, top.offset + 1)
        size = newest.record.size
        if (
            since.epoch != top.epoch
            or not 0 < len(missed) <= min(size, MOST_MISSED)
            or since.offset + 1 < newest.record.since
        ):
            return None
        stored = await self._all(channel, until, [ring(size, offset) for offset in missed])
        found = kept(stored, self._clock.now())
        if [each.record.offset for each in found] != list(missed):
            return None     # something came, or ended, meanwhile
        messages = [each.message(channel) for each in found[:limit]]
        return HistoryPage(messages, top, True)

    def _is_fading(self, state: Stored) -> bool:
        """Less than half of a stream's life without messages is left."""
        return state.ends - self._clock.now() < state.record.meta_lifetime / 2

    # ---- one record ----------------------------------------------------

    def _stored(self, channel: str, stored: Stored, newest: Stored | None) -> StreamPosition:
        if newest is not None:
            if len(self._tops) >= MOST_TOPS and channel not in self._tops:
                del self._tops[next(iter(self._tops))]
            # Without the message, of which there may be a lot.
            self._tops[channel] = replace(newest, data=b"")
            self._due(channel, newest.alive_until)
        return StreamPosition(stored.record.offset, stored.record.epoch)

    async def _write(
        self, channel: str, newest: Stored | None, plan: Plan, kind: int, body: bytes,
        until: float, key: str = "",
    ) -> Stored:
        """Store a record behind ``newest``.

        Raises :exc:`_Conflict` if that is not the newest, and :exc:`_Repeated`
        if the channel has one with the same ``key``.
        """
        now = self._clock.now()
        data = pack(kind, plan.record) + body
        headers = {
            "Nats-Expected-Last-Subject-Sequence": str(newest.sequence if newest else 0),
            "Nats-Expected-Last-Subject-Sequence-Subject": self._subject(channel, ">"),
            "Nats-TTL": str(ttl(plan.record, now)),
        }
        if key:
            headers["Nats-Msg-Id"] = message_id(channel, key)
        subject = self._subject(channel, plan.ring if kind == RECORD else "state.top")
        try:
            sequence, repeated = await self._api.store(subject, data, headers, until)
        except ApiError as error:
            if error.code in WRONG_SEQUENCE:
                raise _Conflict from None
            raise
        if repeated:
            raise _Repeated(sequence)
        return Stored(sequence, self._clock.now(), kind == RECORD, plan.record, data)

    async def _repeated(self, sequence: int, until: float) -> StreamPosition:
        """The position of the message that came first with a key."""
        found = await self._api.of_leader(self._streams.history, {"seq": sequence}, until)
        if found is None or self._results.is_over(found):
            # It was pushed out before its result was kept, which comes in a moment if at
            # all; or its key is over, which the server notices in a moment.
            raise Interrupted
        stored = _unpacked(found)
        return StreamPosition(stored.record.offset, stored.record.epoch)

    async def _write_state(
        self, channel: str, newest: Stored | None, meta_lifetime: float, ends: float, now: float,
        until: float,
    ) -> Stored:
        self._tops.pop(channel, None)
        plan = plan_state(newest, meta_lifetime, ends, self._mark(), now)
        written = await self._write(channel, newest, plan, STATE, b"", until)
        await self._clean(channel, written, plan, until)
        return written

    async def _clean(self, channel: str, written: Stored, plan: Plan, until: float) -> None:
        """Remove what is not kept since ``written`` is there.

        It is not visible any more, and goes in time by itself: what hinders
        this is no failure of whoever wrote.
        """
        if not plan.clears and not plan.trims:
            return
        try:
            # That it clears can be told without looking what is there.
            stored = [written] if plan.clears else await self._all(channel, until)
            await self._purge(channel, ">", removable_below(plan, stored), until)
        except (ApiError, NotReady, Interrupted, TimeoutError, FanoutError) as error:
            log.info("what is not kept of %r is not removed: %r", channel, error)

    async def _purge(self, channel: str, which: str, below: int, until: float) -> None:
        await self._api.purge(
            self._streams.history, self._subject(channel, which), below, until)

    async def _newest(self, channel: str, until: float) -> Stored | None:
        await self._streams.ready(until)
        subject = self._subject(channel, ">")
        least = await self._least(subject, until)
        found = await self._api.last(self._streams.history, subject, until)
        if (found.sequence if found is not None else 0) < least:
            raise Behind
        return None if found is None else _unpacked(found)

    async def _all(
        self, channel: str, until: float, which: Sequence[str] = (">",)
    ) -> list[Stored]:
        await self._streams.ready(until)
        subjects = [self._subject(channel, each) for each in which]
        least = await self._least(self._subject(channel, ">"), until)
        found = await self._api.all(self._streams.history, subjects, until)
        if (found[-1].sequence if found else 0) < least:
            raise Behind
        return [_unpacked(each) for each in found]

    async def _least(self, subject: str, until: float) -> int:
        """The sequence that an answer must have reached to be up to date."""
        if not self._streams.replicated:
            return 0
        found = await self._api.of_leader(
            self._streams.history, {"last_by_subj": subject}, until)
        return 0 if found is None else found.sequence

    def _subject(self, channel: str, which: str) -> str:
        return f"{self._prefix}.history.{self._streams.life}.{flatten(escape(channel))}.{which}"

    def _mark(self) -> bytes:
        self._marks += 1
        return self._writer + self._marks.to_bytes(8, "big")

    def _until_no_conflict(
        self, work: Callable[[float], Awaitable[T]]
    ) -> Callable[[float], Awaitable[T]]:
        async def again(until: float) -> T:
            while True:
                try:
                    return await work(until)
                except _Conflict:
                    continue

        return again


def _unpacked(raw: RawMessage) -> Stored:
    return unpack(raw.sequence, raw.time, raw.data)
