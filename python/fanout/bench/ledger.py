"""The account of a run: streams, subscriptions, latencies, connections."""

from __future__ import annotations

from collections import Counter

from fanout.bench.histogram import Histogram
from fanout.bench.marks import Mark
from fanout.bench.tally import Arrival, Received, Stream

__all__ = ["Ledger", "Subscription"]


class Subscription:
    """What one connection got of one channel. ``cut``: the connection went before the end."""

    __slots__ = ("channel", "cut", "received")

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.cut = False
        self.received: dict[int, Received] = {}


class Ledger:
    """Everything that is counted. Latencies and connect times are nanoseconds."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, int], Stream] = {}        # by channel and publisher
        self.subscriptions: list[Subscription] = []
        self.connect_times = Histogram()
        self.connected = 0
        self.failed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.publishers_connected = 0
        self.publishers_failed: Counter[str] = Counter()
        self.sent = 0
        self.refused: Counter[str] = Counter()
        self.deliveries: Counter[Arrival] = Counter()
        self.foreign = 0
        self.latencies = Histogram()
        self.recent = Histogram()       # since the progress was shown last
        self.bytes_received = 0

    @property
    def delivered(self) -> int:
        """Deliveries, each message counted once for each subscription."""
        return self.deliveries[Arrival.NEW] + self.deliveries[Arrival.LATE]

    def stream(self, channel: int, publisher: int) -> Stream:
        stream = self.streams.get((channel, publisher))
        if stream is None:
            stream = self.streams[channel, publisher] = Stream()
        return stream

    def subscription(self, channel: int) -> Subscription:
        subscription = Subscription(channel)
        self.subscriptions.append(subscription)
        return subscription

    def deliver(self, subscription: Subscription, mark: Mark, now: int) -> None:
        """Count a message that arrived at ``now``."""
        received = subscription.received.get(mark.publisher)
        if received is None:
            received = subscription.received[mark.publisher] = Received()
        arrival = received.add(mark.number)
        self.deliveries[arrival] += 1
        if arrival is not Arrival.DUPLICATE:
            latency = now - mark.at
            self.latencies.add(latency)
            self.recent.add(latency)

    @property
    def accepted(self) -> int:
        """Publications that the server said it published."""
        return sum(stream.accepted for stream in self.streams.values())

    @property
    def unanswered(self) -> int:
        return sum(len(stream.unanswered) for stream in self.streams.values())

    def missing(self) -> tuple[int, int]:
        """Deliveries that are missing: to those who stayed, and to those who were cut off."""
        publishers: dict[int, list[tuple[int, Stream]]] = {}
        for (channel, publisher), stream in self.streams.items():
            publishers.setdefault(channel, []).append((publisher, stream))
        stayed = cut = 0
        nothing = Received()
        for subscription in self.subscriptions:
            missing = sum(
                subscription.received.get(publisher, nothing).missing(stream)
                for publisher, stream in publishers.get(subscription.channel, ())
            )
            if subscription.cut:
                cut += missing
            else:
                stayed += missing
        return stayed, cut
