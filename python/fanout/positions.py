"""How far this node has come in the streams of the channels that recover.

All subscribers of a channel at one node are given the same messages in the
same order, so one place in the stream is the place of them all. What arrives
is compared with it: a message that came before is dropped; when one is
missing, or the engine's link was broken, the history is read once, for all
subscribers, and given to them in order. Only when the history no longer has
it are they told that they must begin anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from fanout._filter import TagsFilter
from fanout._hub import Hub
from fanout._message import Message
from fanout.engine import Engine
from fanout.errors import BackpressureError, ClosedError
from fanout.types import ChannelOptions, HistoryPage, StreamPosition

__all__ = ["POSITIONED", "Positions", "Track", "finished"]

log = logging.getLogger("fanout")

T = TypeVar("T")

POSITIONED = 2              # the hub's flag of those who are told when something is lost

HELD_LIMIT = 16_777_216     # bytes of messages that wait while the history is read
MESSAGE_SIZE = 200          # bytes of a waiting message besides its data
TRIES = 5                   # reads of a history that fail, though the engine can be reached
SHARED_FOR = 1.0            # seconds for which what one client missed is kept for others
CHECKED_AFTER = 3.0         # seconds; what the history has no more must not live on here
SHARED_LIMIT = 1_048_576    # bytes of it, above which it is not kept
MOST_SHARED = 64            # places of one channel that are kept
BATCH = 256                 # histories read at the same time
FIRST_DELAY, LAST_DELAY = 0.1, 5.0      # seconds between two tries to read the history


class Reading:
    """What clients at one place missed, and what was delivered since it was read.

    It serves all who come back to that place within a moment.
    """

    __slots__ = (
        "doubts", "is_full", "known_at", "page", "page_bytes", "recorded", "recorded_bytes",
        "used", "waiting",
    )

    def __init__(self, page: asyncio.Task[HistoryPage], doubts: int) -> None:
        self.page = page
        self.page_bytes = 0
        page.add_done_callback(self._measure)
        self.recorded: list[Message] = []
        self.recorded_bytes = 0
        self.waiting = 0
        self.used = True        # since it was last looked at whether anybody comes
        self.is_full = False    # something was delivered that is not recorded
        # Of any link when it began: what other nodes say of histories that they removed
        # comes over one of them, which need not be the channel's, and may be lost with it.
        self.doubts = doubts
        self.known_at = asyncio.get_running_loop().time()   # the history had it then, or later

    @property
    def is_large(self) -> bool:
        return self.page_bytes + self.recorded_bytes > SHARED_LIMIT

    def is_kept(self, since: StreamPosition, oldest: HistoryPage) -> bool:
        """Whether a history that begins with the message in ``oldest`` has what was read of it.

        A history loses its oldest messages first, or all of them.
        """
        page, top = self.page.result(), oldest.position
        begin = oldest.messages[0].offset if oldest.messages else top.offset + 1
        return (
            page.recoverable
            and top.epoch == page.position.epoch
            and top.offset >= page.position.offset
            and begin <= since.offset + 1)

    def _measure(self, page: asyncio.Task[HistoryPage]) -> None:
        if not page.cancelled() and page.exception() is None:
            self.page_bytes = sum(_size(message) for message in page.result().messages)


class Track:
    """One channel's place: everything up to it was given to the hub."""

    __slots__ = (
        "__weakref__",
        "_positions",
        "again",
        "channel",
        "cut",
        "epoch",
        "held",
        "held_bytes",
        "last",
        "newest",
        "offset",
        "quiet",
        "readings",
        "repairing",
        "size",
        "verify",
        "whole",
    )

    def __init__(self, positions: Positions, channel: str) -> None:
        self._positions = positions
        self.channel = channel
        self.size = 0                           # messages that the history keeps
        self.offset = 0
        self.epoch = ""                         # not known yet
        self.last: Message | None = None        # the one at `offset`, when it came by here
        self.quiet = False                      # nothing new came since the last check
        self.held: list[tuple[Message, str]] = []       # while the history is read
        self.held_bytes = 0
        self.repairing: asyncio.Task[bool] | None = None
        self.again = False                      # once more, when this repair is through
        self.whole = True                       # nothing was lost since this repair began
        self.verify = False                     # the stream may have been set back
        self.cut = False                        # and may be so again: the link is broken
        self.readings: dict[StreamPosition, Reading] = {}
        self.newest: asyncio.Task[HistoryPage] | None = None    # on its way to those who ask

    @property
    def position(self) -> StreamPosition:
        return StreamPosition(self.offset, self.epoch)

    def accept(self, message: Message, epoch: str) -> None:
        """A message of the stream ``epoch`` arrived from the engine."""
        if self.repairing is not None:
            self._hold(message, epoch)
        elif not self.epoch:
            # Whoever is here joined before it: what came earlier is not theirs.
            self.epoch = epoch
            self.deliver(message)
        elif epoch != self.epoch or self.verify or message.offset > self.offset + 1:
            self._hold(message, epoch)
            self._positions.repair(self)
        elif message.offset == self.offset + 1:
            self.deliver(message)
        elif message.offset == self.offset and self._is_another(message):
            self._positions.repair(self, verify=True)

    def outlived(self, reading: Reading, since: StreamPosition) -> bool:
        """Whether only the reading still has all messages since then, not the history.

        What can be recovered is the history's to say, by the size it was given.
        """
        return (
            not reading.waiting and bool(reading.recorded)
            and self.offset - since.offset > self.size)

    def begin_at(self, page: HistoryPage) -> None:
        """Take the stream's top as the place, if none is known yet."""
        if not self.epoch:
            self._begin(page.position, _top(page))

    def begin_anew(self, page: HistoryPage) -> None:
        """What lies between is lost to those who are subscribed."""
        self._lose()
        self._begin(page.position, _top(page))

    def lose_place(self) -> None:
        """Nobody can tell what is lost to those who are subscribed."""
        self._lose()
        self.take_held()
        self._begin(StreamPosition(), None)

    def deliver(self, message: Message) -> None:
        self.offset = message.offset
        self.last = message
        self.quiet = False
        for reading in self.readings.values():
            self._positions.record(reading, message)
        try:
            self._positions.broadcast(self.channel, message)
        except Exception:
            log.exception("a message of %r is lost to its subscribers", self.channel)
            self.whole = False
            self._positions.insufficient(self.channel)

    def _begin(self, position: StreamPosition, last: Message | None) -> None:
        self.offset, self.epoch, self.last = position.offset, position.epoch, last

    def forget_readings(self) -> None:
        """Whoever comes from now on, or recovers and waits, reads what is there then."""
        self.readings.clear()
        self.newest = None

    def _lose(self) -> None:
        self.whole = False
        self._positions.num_lost += 1
        # What they read and recorded may be of what the stream is no more.
        self.forget_readings()

    def _is_another(self, message: Message) -> bool:
        """Not the one that was delivered with this offset."""
        return self.last is not None and message.uid != self.last.uid

    def is_continued_by(self, page: HistoryPage) -> bool:
        """Whether a page read from here leads to the stream's top without a gap."""
        top = page.position
        return (
            page.recoverable
            and top.epoch == self.epoch
            and len(page.messages) == top.offset - self.offset
        )

    def _hold(self, message: Message, epoch: str) -> None:
        self.quiet = False
        if self.held_bytes < HELD_LIMIT:
            self.held.append((message, epoch))
            self.held_bytes += _size(message)
        else:
            self.again = True       # it is in the history, if it is anywhere

    def take_held(self) -> list[tuple[Message, str]]:
        held, self.held, self.held_bytes = self.held, [], 0
        return held

    def put_back(self, held: list[tuple[Message, str]]) -> None:
        """Hold what was taken again, in front of what came since."""
        self.held = held + self.held
        self.held_bytes = sum(_size(message) for message, _ in self.held)


class Positions:
    """The tracks of a node's channels.

    recovery_limit
        The most messages that are read to close one gap, 0 for any number.
    insufficient
        Tells the subscribers of a channel that messages are lost to them.
    """

    def __init__(
        self,
        engine: Engine,
        hub: Hub,
        recovery_limit: int,
        insufficient: Callable[[str], None],
    ) -> None:
        self._engine = engine
        self.broadcast = hub.broadcast
        self._limit = recovery_limit
        self.insufficient = insufficient
        self._tracks: dict[str, Track] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.get = self._tracks.get
        self._doubts = 0        # how often a link broke or came back
        self.num_repairs = 0
        self.num_lost = 0       # streams of which something was lost to subscribers

    def watch(self, channel: str, options: ChannelOptions) -> Track | None:
        """The track of a channel that gets a subscriber, or None when it does not recover."""
        if not (options.recover and options.keeps_history):
            return None
        if options.wildcards and ("*" in channel or ">" in channel):
            return None     # messages of many streams
        track = self._tracks.get(channel)
        if track is None:
            track = self._tracks[channel] = Track(self, channel)
        track.size = options.history_size
        return track

    def forget(self, channel: str) -> None:
        """Nobody here is subscribed to the channel any more."""
        track = self._tracks.pop(channel, None)
        # A repair that told the subscribers to leave has this from them.
        if (
            track is not None
            and track.repairing is not None
            and track.repairing is not asyncio.current_task()
        ):
            track.repairing.cancel()

    async def open(self, track: Track) -> None:
        """Find a new track's place; the engine delivers the channel already."""
        if not track.epoch:
            track.begin_at(await self._newest(track))

    async def recover(self, track: Track, since: StreamPosition) -> list[Message] | None:
        """What a client missed between ``since`` and the track's place at the return.

        None when it cannot be had without a gap. Nothing may be awaited
        between the return and the client's entry into the hub. Raises
        :exc:`fanout.ClosedError` when the node shuts down meanwhile, and what
        the engine raises.
        """
        while True:
            reading = track.readings.get(since)
            if (
                reading is None or reading.is_full or reading.doubts != self._doubts
                or track.outlived(reading, since)
            ):
                reading = track.readings[since] = Reading(self.start(
                    self._engine.history_stream(track.channel, since, self._limit or None)),
                    self._doubts)
                self._look_later(track, since, reading)
            reading.waiting += 1
            reading.used = True
            try:
                page = await finished(reading.page)
                if track.readings.get(since) is not reading:
                    continue
                track.begin_at(page)
                if not page.recoverable or page.position.epoch != track.epoch:
                    return None
                if not await self._reach(track, page, since):
                    self._drop(track, since, reading)
                    return None
                if track.readings.get(since) is reading:
                    break
            except BaseException:
                self._drop(track, since, reading)
                raise
            finally:
                reading.waiting -= 1
                if not reading.waiting and (
                    reading.is_large or len(track.readings) > MOST_SHARED
                ):
                    self._drop(track, since, reading)
        missed = [message for message in page.messages if message.offset <= track.offset]
        missed += [
            message for message in reading.recorded
            if page.position.offset < message.offset <= track.offset
        ]
        # Offsets between the two, in order, each once: so many are all there are.
        if len(missed) != track.offset - since.offset or 0 < self._limit < len(missed):
            return None
        return missed

    async def recover_latest(
        self, track: Track, since: StreamPosition | None, wanted: TagsFilter | None = None
    ) -> list[Message] | None:
        """The newest message of the stream, as it is at the return, for a client at ``since``.

        With ``wanted`` the newest that it matches, of those that may be
        recovered. Nothing when the client has it, None when it is not kept any
        more. As with ``recover``, nothing may be awaited before the client's
        entry.
        """
        if track.newest is None:
            track.newest = self.start(self._newest(track))
        reading = track.newest
        try:
            page = await finished(reading)
        finally:
            if track.newest is reading:
                track.newest = None     # whoever comes later reads what is newer
        track.begin_at(page)
        if page.position.epoch != track.epoch:
            return None
        if page.position.offset > track.offset and not await finished(self.repair(track)):
            return None
        if since is not None and since.offset > 0 and since == track.position:
            return []
        # What came meanwhile, by the link or by the repair, was delivered here.
        newest = _top(page) if page.position == track.position else track.last
        if newest is None or wanted is None or wanted.matches(newest.tags):
            return None if newest is None else [newest]
        found = await self._newest_wanted(track, wanted)
        # What came behind it is not the client's, so its place may still be there, or further.
        had = (
            found is not None and since is not None and since.epoch == track.epoch
            and found[0].offset <= since.offset <= track.offset)
        return [] if had else found

    async def _newest_wanted(self, track: Track, wanted: TagsFilter) -> list[Message] | None:
        for _ in range(TRIES):
            page = await self._engine.history_stream(
                track.channel, limit=self._limit or None, reverse=True)
            if page.position == track.position:
                found = [each for each in page.messages if wanted.matches(each.tags)]
                return found[:1] or None
        return None     # it is published faster than read

    async def _reach(self, track: Track, page: HistoryPage, since: StreamPosition) -> bool:
        """Have the track where a client was told it is, which may be further."""
        # A repair under way may have read before that was so; the next has it.
        for _ in range(2):
            if not page.recoverable or page.position.epoch != track.epoch:
                return False
            if track.offset >= since.offset:
                return True
            if not await finished(self.repair(track)):
                return False
        return page.position.epoch == track.epoch and track.offset >= since.offset

    def record(self, reading: Reading, message: Message) -> None:
        if reading.recorded_bytes < HELD_LIMIT and (
            not self._limit or len(reading.recorded) < self._limit
        ):
            reading.recorded.append(message)
            reading.recorded_bytes += _size(message)
        else:
            reading.is_full = True

    def _look_later(self, track: Track, since: StreamPosition, reading: Reading) -> None:
        asyncio.get_running_loop().call_later(
            SHARED_FOR, self._look, weakref.ref(track), since, reading)

    def _look(
        self, watched: weakref.ref[Track], since: StreamPosition, reading: Reading
    ) -> None:
        """Have the reading serve others as long as they come, if it is no burden."""
        track = watched()
        if track is None or track.readings.get(since) is not reading:
            return
        if not reading.page.done():
            self._look_later(track, since, reading)
        elif not (reading.waiting or (reading.used and not reading.is_large)):
            self._drop(track, since, reading)
        else:
            reading.used = False
            if asyncio.get_running_loop().time() < reading.known_at + CHECKED_AFTER:
                self._look_later(track, since, reading)
            elif self._is_watched(track):
                self.start(self._look_up(track, since, reading))

    async def _look_up(self, track: Track, since: StreamPosition, reading: Reading) -> None:
        """Look by one message whether the history still has what many are given of it."""
        began = asyncio.get_running_loop().time()
        try:
            is_kept = reading.is_kept(
                since, await self._engine.history_stream(track.channel, limit=1))
        except Exception as error:
            # Who comes next reads, and is told.
            log.debug("the history of %r could not be looked up: %r", track.channel, error)
            is_kept = False
        if is_kept:
            reading.known_at = began
            self._look_later(track, since, reading)
        else:
            self._drop(track, since, reading)

    def _drop(self, track: Track, since: StreamPosition, reading: Reading) -> None:
        if track.readings.get(since) is reading:
            del track.readings[since]

    def forget_readings(self, channel: str) -> None:
        """What was read of the channel's history is not there any more."""
        track = self.get(channel)
        if track is not None:
            track.forget_readings()

    def doubt(self, channels: Collection[str], *, cut: bool) -> None:
        """The engine's link broke, or is back: the streams may have been set back."""
        self._doubts += 1
        for channel in channels:
            track = self.get(channel)
            if track is not None:
                track.verify = True
                track.cut = cut
                track.forget_readings()     # and so may be what is being read
                if cut:
                    track.take_held()       # or waits; the history has it, if anything has

    def repair(self, track: Track, *, verify: bool = False) -> asyncio.Task[bool]:
        """Read what may be missing and deliver it; the result says whether nothing is.

        ``verify`` also reads the last delivered message again: a server that
        came back with older data counts on from an offset that was used.
        """
        track.verify |= verify
        if track.repairing is None:
            self.num_repairs += 1
            track.whole = True
            track.repairing = self.start(self._repair(track))
        elif verify:
            track.again = True
        return track.repairing

    async def restore(self, channels: Collection[str]) -> tuple[list[str], list[str]]:
        """The engine delivers ``channels`` again: those found whole, those that lost something.

        Channels that do not recover, or that nobody here is subscribed to any
        more, are in neither.
        """
        whole: list[str] = []
        lost: list[str] = []
        tracks = [track for channel in channels if (track := self.get(channel)) is not None]
        for first in range(0, len(tracks), BATCH):
            batch = [track for track in tracks[first:first + BATCH] if self._is_watched(track)]
            results = await asyncio.gather(
                *(self.repair(track, verify=True) for track in batch), return_exceptions=True)
            for track, result in zip(batch, results, strict=True):
                if result is True:
                    whole.append(track.channel)
                elif result is False:
                    lost.append(track.channel)
        return whole, lost

    async def watch_over(self, interval: float) -> None:
        """Compare the places of quiet channels with their streams, each once in so many seconds.

        A lost message of a busy channel shows by the next one.
        """
        while True:
            tracks = [track for track in self._tracks.values() if track.quiet and track.epoch]
            for track in self._tracks.values():
                track.quiet = True
            pause = interval / (len(tracks) // BATCH + 1)
            for first in range(0, len(tracks), BATCH):
                await asyncio.gather(*(self._check(track) for track in tracks[first:first + BATCH]))
                await asyncio.sleep(pause)
            if not tracks:
                await asyncio.sleep(pause)

    async def close(self) -> None:
        self._tracks.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _check(self, track: Track) -> None:
        place = track.position
        try:
            if track.last is None:
                page = await self._newest(track)
            else:
                page = await self._engine.history_stream(track.channel, limit=0)
        except Exception as error:
            # The engine's link has its own way to say this.
            log.debug("the position in %r could not be checked: %r", track.channel, error)
            return
        if place != track.position or not self._is_watched(track):
            return
        if page.position == place:
            track.last = track.last or _top(page)
        else:
            log.info("%r is at %s here, its stream at %s", track.channel, place, page.position)
            self.repair(track, verify=True)

    async def _repair(self, track: Track) -> bool:
        try:
            while True:
                certain = len(track.held)       # these came before the history is read
                known = bool(track.epoch)
                track.again = False
                page = await self._read(track)
                if page is None:
                    track.take_held()
                    return False
                if not known:
                    track.begin_at(page)
                elif track.is_continued_by(page):
                    for message in page.messages:
                        track.deliver(message)
                else:
                    self._begin_anew(track, page)
                if not (self._release(track, certain) or track.again):
                    return track.whole
        except Exception:
            log.exception(
                "what was missed in %r cannot be read: it is lost to its subscribers",
                track.channel)
            track.lose_place()
            self.insufficient(track.channel)
            return False
        finally:
            track.repairing = None
            # When this was cancelled: what is held shows the gap again.
            held = track.take_held()
            if self._is_watched(track):
                for message, epoch in held:
                    track.accept(message, epoch)

    def _release(self, track: Track, certain: int) -> bool:
        """Deliver what is held and fits; True when something shows another gap."""
        held = track.take_held()
        for at, (message, epoch) in enumerate(held):
            if epoch == track.epoch and message.offset <= track.offset:
                continue
            if epoch == track.epoch and message.offset == track.offset + 1:
                track.deliver(message)
            elif at >= certain:
                track.put_back(held[at:])
                return True
            # Else the stream, which was read after it came, has no place for it.
        return False

    async def _read(self, track: Track) -> HistoryPage | None:
        """What follows the track's place; None when it is not watched any more.

        The page is not recoverable when the last delivered message was to be
        verified and the stream has another in its place. Raises what the
        engine raises when it can be reached and fails all the same.
        """
        delay = FIRST_DELAY
        failures = 0
        while self._is_watched(track):
            # While the link is broken, or when it breaks during the read, what is
            # verified now says nothing of what comes.
            verify, track.verify = track.verify, track.cut
            try:
                return await self._read_once(track, verify)
            except ClosedError:
                return None
            except Exception as error:
                track.verify |= verify
                if not isinstance(error, (OSError, BackpressureError)):
                    failures += 1
                    if failures == TRIES:
                        raise
                log.warning("the history of %r could not be read: %r", track.channel, error)
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(LAST_DELAY, delay * 2)
        return None

    async def _read_once(self, track: Track, verify: bool) -> HistoryPage:
        place, last = track.position, track.last
        if not place.epoch:
            return await self._newest(track)
        if not verify or last is None:
            return await self._engine.history_stream(track.channel, place, self._limit or None)
        # One read for both, as the stream may be set back between two.
        page = await self._engine.history_stream(
            track.channel, StreamPosition(place.offset - 1, place.epoch),
            self._limit + 1 if self._limit else None)
        if page.messages and page.messages[0].offset == place.offset:
            same = page.messages[0].uid == last.uid
            return HistoryPage(page.messages[1:], page.position, page.recoverable and same)
        # It is not kept any more: nothing can be said when something followed.
        return HistoryPage([], page.position, page.position == place)

    async def _newest(self, track: Track) -> HistoryPage:
        """The stream's top, and the message that is there."""
        return await self._engine.history_stream(track.channel, limit=1, reverse=True)

    def _begin_anew(self, track: Track, page: HistoryPage) -> None:
        log.warning(
            "what follows offset %d of %s in %r cannot be had, its stream is at offset %d of %s:"
            " its subscribers begin anew",
            track.offset, track.epoch, track.channel, page.position.offset, page.position.epoch)
        track.begin_anew(page)
        self.insufficient(track.channel)

    def _is_watched(self, track: Track) -> bool:
        return self._tracks.get(track.channel) is track

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something that ends, at the latest, with ``close``."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()    # whoever waits for it has it


async def finished(task: asyncio.Task[T]) -> T:
    """What a task that others wait for as well returns or raises.

    Raises :exc:`fanout.ClosedError` when it was cancelled by the node's end.
    """
    await asyncio.wait([task])
    if task.cancelled():
        raise ClosedError("the node shuts down")
    return task.result()


def _size(message: Message) -> int:
    return len(message.data) + MESSAGE_SIZE


def _top(page: HistoryPage) -> Message | None:
    """The message at the stream's top, when the page has it."""
    for message in page.messages:
        if message.offset == page.position.offset:
            return message
    return None
