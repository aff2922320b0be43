"""Who gets which publication in which form: the hub beside a few lines of plain Python."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)

from fanout import ClientInfo, Message, Overflow
from fanout._filter import TagsFilter
from fanout._fossil import Base
from fanout._hub import Hub
from fanout._outbox import Outbox
from fanout._subscription import LocalQueue
from tests.hazards.connections import MadeTransport, frame

CHANNELS = ["one", "two"]
UNSAYABLE = b"what only the first encoding can say"
FILTERS = [
    TagsFilter(key="kind", cmp="eq", val="a"),
    TagsFilter(key="kind", cmp="neq", val="a"),
    TagsFilter(key="size", cmp="gte", val="10"),
]

channels = st.sampled_from(CHANNELS)
data = st.sampled_from([b"1", b"2", b"3", UNSAYABLE])
tags = st.fixed_dictionaries({}, optional={
    "kind": st.sampled_from("ab"), "size": st.sampled_from(["9", "10"])})
# A subscription's flags, whether it takes deltas, its base, and its filter.
Wishes = tuple[int, bool, bytes | None, TagsFilter | None]
wishes = st.tuples(
    st.integers(0, 3), st.booleans(), st.none() | data, st.none() | st.sampled_from(FILTERS))


class Forms:
    """An encoder that says what it was asked for."""

    def __init__(self, number: int) -> None:
        self.number = number

    def publication(self, channel: str, message: Message) -> bytes | None:
        return self._said(channel, "plain", message)

    def publication_delta(self, channel: str, message: Message, base: Base | None) -> bytes | None:
        if base is None:
            return self._said(channel, "full", message)
        return self._said(channel, "patch", message, base.data.decode())

    def join(self, channel: str, info: ClientInfo) -> bytes | None:
        return frame(json.dumps([self.number, channel, "join", info.user]).encode())

    leave = join

    def _said(self, channel: str, form: str, message: Message, *base: str) -> bytes | None:
        if message.data == UNSAYABLE and self.number == 1:
            return None
        return frame(json.dumps(
            [self.number, channel, form, message.data.decode(), *base]).encode())


@dataclass
class Wanted:
    """A subscription, as the model has it."""

    flags: int
    delta: bool
    tags_filter: TagsFilter | None
    has_base: bool = False


@dataclass
class Peer:
    """A subscriber, and what it should have got."""

    subscriber: Any
    encoding: int       # -1: a queue
    transport: MadeTransport
    expected: list[Any] = field(default_factory=list)
    unencodable: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    wanted: dict[str, Wanted] = field(default_factory=dict)


class Owner:
    def __init__(self) -> None:
        self.unencodable: list[str] = []

    def on_unencodable(self, channel: str) -> None:
        self.unencodable.append(channel)


class Forming(RuleBasedStateMachine):
    peers: Bundle[int] = Bundle("peers")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.hub = Hub(self.loop)
        assert [self.hub.add_encoder(Forms(number)) for number in range(2)] == [0, 1]
        self.all: dict[int, Peer] = {}
        self.made = 0
        self.bases: dict[str, bytes | None] = dict.fromkeys(CHANNELS)

    # -- subscribers

    @rule(target=peers, encoding=st.integers(-1, 1), wishes=wishes)
    def add(self, encoding: int, wishes: Wishes) -> int:
        self.made += 1
        transport = MadeTransport()
        owner = Owner()
        if encoding < 0:
            subscriber: Any = LocalQueue(self.hub, 1000, Overflow.CLOSE)
        else:
            subscriber = Outbox(self.hub, transport, owner, encoding, 1 << 20)
        self.all[self.made] = Peer(subscriber, encoding, transport, told=owner.unencodable)
        self.subscribe(self.made, "one", wishes)
        return self.made

    @rule(number=peers, channel=channels, wishes=wishes)
    def subscribe(self, number: int, channel: str, wishes: Wishes) -> None:
        flags, delta, base, tags_filter = wishes
        peer = self.all[number]
        first = not self.wanting(channel)
        if tags_filter is not None:
            tags_filter = TagsFilter(    # an equal one
                key=tags_filter.key, cmp=tags_filter.cmp, val=tags_filter.val)
        assert self.hub.subscribe(
            peer.subscriber, channel, flags, delta=delta, tags_filter=tags_filter,
            base=None if base is None else Message(channel, bytes(bytearray(base)))) is first
        wanted = peer.wanted[channel] = Wanted(flags, delta and peer.encoding >= 0, tags_filter)
        if wanted.delta and base is not None:
            if self.bases[channel] is None:
                self.bases[channel] = base
            wanted.has_base = self.bases[channel] == base
        self.forget_bases()

    @rule(number=peers, channel=channels)
    def unsubscribe(self, number: int, channel: str) -> None:
        peer = self.all[number]
        there = peer.wanted.pop(channel, None) is not None
        last = there and not self.wanting(channel)
        assert self.hub.unsubscribe(peer.subscriber, channel) is last
        self.forget_bases()

    @rule(number=consumes(peers))
    def forget(self, number: int) -> None:
        """Nobody holds it any more, but for the hub until the end of the tick."""
        self.flush()
        del self.all[number]
        self.forget_bases()

    @rule(number=peers)
    def pause(self, number: int) -> None:
        if self.all[number].encoding >= 0:
            self.all[number].subscriber.pause()

    @rule(number=peers)
    def resume(self, number: int) -> None:
        if self.all[number].encoding >= 0:
            self.all[number].subscriber.resume()

    def wanting(self, channel: str) -> list[tuple[Peer, Wanted]]:
        return [(peer, peer.wanted[channel]) for peer in self.all.values()
                if channel in peer.wanted]

    def forget_bases(self) -> None:
        for channel in CHANNELS:
            if not any(wanted.delta for _, wanted in self.wanting(channel)):
                self.bases[channel] = None

    # -- messages

    @rule(channel=channels, data=data, delta=st.booleans(), tags=st.none() | tags)
    def publish(
        self, channel: str, data: bytes, delta: bool, tags: dict[str, str] | None
    ) -> None:
        message = Message(channel, data, delta=delta, tags=tags)
        reached = 0
        for peer, wanted in self.wanting(channel):
            if wanted.tags_filter is not None and not wanted.tags_filter.matches(tags):
                wanted.has_base = False
            elif peer.encoding < 0:
                peer.expected.append(message)
                reached += 1
            elif data == UNSAYABLE and peer.encoding == 1:
                peer.unencodable.append(channel)
                wanted.has_base = False
            else:
                reached += 1
                base = self.bases[channel]
                said: list[Any] = [peer.encoding, channel, "plain", data.decode()]
                if wanted.delta:
                    said[2] = "full"
                    if wanted.has_base and delta:
                        assert base is not None
                        said[2:] = ["patch", data.decode(), base.decode()]
                    wanted.has_base = True
                peer.expected.append(said)
        if any(wanted.delta for _, wanted in self.wanting(channel)):
            self.bases[channel] = data
        assert self.hub.broadcast(channel, message) == reached

    @rule(channel=channels, count=st.integers(3, 6), delta=st.booleans())
    def publish_burst(self, channel: str, count: int, delta: bool) -> None:
        for number in range(count):
            self.publish(channel, b"%d" % number, delta, None)

    @rule(channel=channels)
    def join(self, channel: str) -> None:
        for peer, wanted in self.wanting(channel):
            if wanted.flags & 1 and peer.encoding >= 0:
                peer.expected.append([peer.encoding, channel, "join", "u"])
        self.hub.broadcast_join(channel, ClientInfo("u"))

    @rule()
    def flush(self) -> None:
        while any(
            peer.encoding >= 0 and not peer.subscriber.blocked and peer.subscriber.queued_bytes
            for peer in self.all.values()
        ):
            self.hub.flush()
        self.hub.flush()

    @invariant()
    def same_lists(self) -> None:
        for channel in CHANNELS:
            for flags in range(4):
                assert {id(each) for each in self.hub.subscribers(channel, flags)} == {
                    id(peer.subscriber) for peer, wanted in self.wanting(channel)
                    if wanted.flags & flags == flags}

    @invariant()
    def same_tellings(self) -> None:
        for peer in self.all.values():
            assert peer.told == peer.unencodable

    def same_messages(self) -> None:
        for peer in self.all.values():
            if peer.encoding < 0:
                assert list(iter(peer.subscriber.get_nowait, None)) == peer.expected
            else:
                assert [json.loads(each) for each in peer.transport.payloads] == peer.expected

    def teardown(self) -> None:
        for number in self.all:
            self.resume(number)
        self.flush()
        self.same_messages()
        self.all.clear()    # the hub is left by those who are still subscribed
        assert self.hub.channels() == []
        self.loop.close()


def test_the_forms_are_like_their_model() -> None:
    run_state_machine_as_test(
        Forming,
        settings=settings(
            max_examples=100, stateful_step_count=40, deadline=None, report_multiple_bugs=False))
