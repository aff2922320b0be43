"""The core's history, presence and timers beside their model, on one clock."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from fanout._expiry import Expiry, Timer
from fanout._presence import PresenceStore
from fanout._ring import HistoryStore
from fanout.types import ClientInfo, HistoryPage, Message, StreamPosition
from tests.model import reference
from tests.model.clock import ManualClock

META_LIFETIME = 8.0
PRESENCE_LIFETIME = 4.0

channels = st.sampled_from(["a", "\N{GREEK SMALL LETTER PI}"])
conn_ids = st.sampled_from(["1", "2", "3"])
users = st.sampled_from(["ann", "bob", ""])
# Quarters are exact in binary: now and then time stops at the very end of something.
seconds = st.integers(1, 24).map(lambda quarters: quarters / 4)
sizes = st.one_of(st.integers(1, 6), st.integers(7, 100))
versions = st.sampled_from([0, 0, 1, 2, 3, 2**64 - 1])
version_epochs = st.sampled_from(["", "x", "y"])
NUM_TIMERS = 3


class Storage(RuleBasedStateMachine):
    """Both do the same and answer the same; epochs are random and are matched up."""

    positions: Bundle[tuple[StreamPosition, StreamPosition]] = Bundle("positions")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.settled = True     # both have fired all that is due
        self.core_epochs: dict[str, str] = {}   # the model's epoch -> the core's
        self.fired: tuple[list[int], list[int]] = ([], [])

        self.core_expiry, self.model_expiry = Expiry(self.clock), reference.Expiry(self.clock)
        self.core = HistoryStore(self.core_expiry, META_LIFETIME)
        self.model = reference.HistoryStore(self.model_expiry, META_LIFETIME)
        self.core_presence = PresenceStore(self.core_expiry, PRESENCE_LIFETIME)
        self.model_presence = reference.PresenceStore(self.model_expiry, PRESENCE_LIFETIME)
        self.timers = [
            (self.timer(Timer, self.core_expiry, 0, number),
             self.timer(reference.Timer, self.model_expiry, 1, number))
            for number in range(NUM_TIMERS)
        ]

    def timer(self, kind: Any, expiry: Any, side: int, number: int) -> Any:
        return kind(expiry, lambda: self.fired[side].append(number))

    def same_position(self, core: StreamPosition, model: StreamPosition) -> None:
        assert core.offset == model.offset
        assert self.core_epochs.setdefault(model.epoch, core.epoch) == core.epoch
        # Another life of a stream has another name.
        assert len(set(self.core_epochs.values())) == len(self.core_epochs)

    # -- time

    @rule(quarters=seconds, fire=st.booleans())
    def time_passes(self, quarters: float, fire: bool) -> None:
        self.clock.advance(quarters)
        self.settled = False
        if fire:
            self.fire()

    @rule()
    def fire(self) -> None:
        for expiry in (self.core_expiry, self.model_expiry):
            while expiry.advance():
                pass    # the end of one thing may be the beginning of another's
        self.settled = True
        core, model = self.fired
        assert sorted(core) == sorted(model)
        core.clear()
        model.clear()

    @rule(number=st.integers(0, NUM_TIMERS - 1), delay=seconds)
    def start_timer(self, number: int, delay: float) -> None:
        for timer in self.timers[number]:
            timer.start(delay)

    @rule(number=st.integers(0, NUM_TIMERS - 1))
    def cancel_timer(self, number: int) -> None:
        for timer in self.timers[number]:
            timer.cancel()

    # -- history

    @rule(
        channel=channels, size=sizes, lifetime=seconds,
        meta_lifetime=st.one_of(st.just(0.0), seconds), only_if_alive=st.booleans(),
        count=st.integers(1, 12), version=versions, version_epoch=version_epochs,
    )
    def append(
        self, channel: str, size: int, lifetime: float, meta_lifetime: float,
        only_if_alive: bool, count: int, version: int = 0, version_epoch: str = "",
    ) -> None:
        for _ in range(count):
            message = Message(channel, b"data")
            core, model = (
                store.append(
                    channel, message, size, lifetime, meta_lifetime, only_if_alive, version,
                    version_epoch)
                for store in (self.core, self.model)
            )
            assert core == model
            assert message.offset == 0

    @rule(channel=channels, lifetime=seconds)
    def append_one(self, channel: str, lifetime: float) -> None:
        self.append(channel, 5, lifetime, 0.0, False, 1)

    @rule(channel=channels, version=versions, version_epoch=version_epochs)
    def has_version(self, channel: str, version: int, version_epoch: str) -> None:
        core, model = (
            store.has_version(channel, version, version_epoch)
            for store in (self.core, self.model)
        )
        assert core is model

    @rule(channel=channels, limit=st.one_of(st.integers(0, 8), st.just(10**6)))
    def newest(self, channel: str, limit: int) -> None:
        assert self.core.newest(channel, limit) == self.model.newest(channel, limit)

    @rule(target=positions, channel=channels)
    def position(self, channel: str) -> tuple[StreamPosition, StreamPosition]:
        core, model = self.core.position(channel), self.model.position(channel)
        self.same_position(core, model)
        return core, model

    @rule(target=positions, channel=channels, limit=st.integers(-1, 8), reverse=st.booleans())
    def read_all(self, channel: str, limit: int, reverse: bool) -> Any:
        return self.read(channel, None, None, limit, reverse)

    @rule(
        target=positions, channel=channels, since=positions, step=st.integers(-8, 8),
        epoch=st.sampled_from(["own", "own", "", "other"]), limit=st.integers(-1, 8),
        reverse=st.booleans(),
    )
    def read_since(
        self, channel: str, since: tuple[StreamPosition, StreamPosition], step: int, epoch: str,
        limit: int, reverse: bool,
    ) -> Any:
        core, model = (
            StreamPosition(
                max(0, position.offset + step), position.epoch if epoch == "own" else epoch)
            for position in since
        )
        return self.read(channel, core, model, limit, reverse)

    def read(
        self, channel: str, core_since: StreamPosition | None,
        model_since: StreamPosition | None, limit: int, reverse: bool,
    ) -> Any:
        core = self.core.read(channel, core_since, limit, reverse)
        model = self.model.read(channel, model_since, limit, reverse)
        assert type(core) is HistoryPage
        assert core.messages == model.messages
        assert core.recoverable is model.recoverable
        self.same_position(core.position, model.position)
        return multiple((core.position, model.position))

    @rule(channel=channels)
    def remove_history(self, channel: str) -> None:
        self.core.remove(channel)
        self.model.remove(channel)

    # -- presence

    @rule(channel=channels, conn_id=conn_ids, user=users)
    def add_presence(self, channel: str, conn_id: str, user: str) -> None:
        info = ClientInfo(user, conn_id)
        self.core_presence.add(channel, conn_id, info)
        self.model_presence.add(channel, conn_id, info)

    @rule(channel=channels, conn_id=conn_ids)
    def remove_presence(self, channel: str, conn_id: str) -> None:
        self.core_presence.remove(channel, conn_id)
        self.model_presence.remove(channel, conn_id)

    @rule(channel=channels)
    def read_presence(self, channel: str) -> None:
        assert self.core_presence.get(channel) == self.model_presence.get(channel)
        assert self.core_presence.stats(channel) == self.model_presence.stats(channel)

    @rule()
    def clear(self) -> None:
        for store in (self.core, self.model, self.core_presence, self.model_presence):
            store.clear()

    # -- all that can be seen without changing anything

    @invariant()
    def same_timers(self) -> None:
        assert all(core.active == model.active for core, model in self.timers)

    @invariant()
    def same_amounts(self) -> None:
        if not self.settled:
            return      # what is due may go now or when it is next looked at
        assert self.core.num_streams == self.model.num_streams
        assert self.core.num_messages == self.model.num_messages
        assert self.core_presence.num_channels == self.model_presence.num_channels
        assert self.core_presence.num_entries == self.model_presence.num_entries
        assert len(self.core_expiry) == len(self.model_expiry)

    def teardown(self) -> None:
        for core, model in self.timers:
            core.cancel()
            model.cancel()
        self.clear()
        assert len(self.core_expiry) == len(self.model_expiry) == 0
        assert self.core.num_messages == self.core.num_streams == 0
        assert self.core_presence.num_entries == self.core_presence.num_channels == 0


def test_storage_is_like_its_model() -> None:
    run_state_machine_as_test(
        Storage,
        settings=settings(
            max_examples=150, stateful_step_count=60, deadline=None, report_multiple_bugs=False))
