"""What came of a run."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any, Self

from fanout.bench.histogram import Histogram
from fanout.bench.ledger import Ledger
from fanout.bench.plan import Plan
from fanout.bench.tally import Arrival

__all__ = ["Percentiles", "Summary"]

_BUSY = 0.9     # share of a core from which on the client itself is what is measured


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of durations, in milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        return cls(*(
            round(nanoseconds / 1e6, 3) for nanoseconds in (
                histogram.percentile(50), histogram.percentile(95), histogram.percentile(99),
                histogram.largest)
        ))

    def __str__(self) -> str:
        if not self.max:
            return "-"      # nothing was measured
        return (
            f"p50 {self.p50:.2f} ms, p95 {self.p95:.2f} ms, p99 {self.p99:.2f} ms, "
            f"max {self.max:.2f} ms")


@dataclass(frozen=True, slots=True)
class Summary:
    """The account of a run; times are seconds unless they say otherwise.

    ``published`` are the publications that the server accepted, ``unanswered``
    those whose answer never came: they are in nobody's ``missing``. ``failed``
    are connections that subscribe, ``publishers_failed`` those of publishers. ``late``
    are deliveries behind one that was published after them. ``missing`` are
    deliveries to connections that stayed, ``missing_to_lost`` to those that
    were lost on the way. ``client_cpu`` is the share of a core that the run
    itself took while it published.
    """

    interrupted: bool
    connections: int
    connected: int
    failed: dict[str, int]
    publishers_failed: dict[str, int]
    lost: dict[str, int]
    connect: Percentiles
    channels: int
    subscriptions: int
    publishing: float
    rate_asked: float
    rate: float
    behind: bool
    sent: int
    published: int
    refused: dict[str, int]
    unanswered: int
    delivered: int
    missing: int
    missing_to_lost: int
    duplicated: int
    late: int
    foreign: int
    delivery_rate: float
    bytes_received: int
    latency: Percentiles
    client_cpu: float

    @classmethod
    def of(
        cls, plan: Plan, ledger: Ledger, *, publishing: float, measured: float, cpu: float,
        behind: bool, interrupted: bool,
    ) -> Self:
        """The account of a ledger.

        ``publishing`` is how long it published, ``measured`` how long that and
        the wait for the last deliveries took, ``cpu`` the processor time of both.
        """
        missing, missing_to_lost = ledger.missing()
        return cls(
            interrupted=interrupted,
            connections=plan.connections,
            connected=ledger.connected,
            failed=_sorted(ledger.failed),
            publishers_failed=_sorted(ledger.publishers_failed),
            lost=_sorted(ledger.lost),
            connect=Percentiles.of(ledger.connect_times),
            channels=plan.channels,
            subscriptions=len(ledger.subscriptions),
            publishing=round(publishing, 3),
            rate_asked=plan.rate,
            rate=_per_second(ledger.accepted, publishing),
            behind=behind,
            sent=ledger.sent,
            published=ledger.accepted,
            refused=_sorted(ledger.refused),
            unanswered=ledger.unanswered,
            delivered=ledger.delivered,
            missing=missing,
            missing_to_lost=missing_to_lost,
            duplicated=ledger.deliveries[Arrival.DUPLICATE],
            late=ledger.deliveries[Arrival.LATE],
            foreign=ledger.foreign,
            delivery_rate=_per_second(ledger.delivered, measured),
            bytes_received=ledger.bytes_received,
            latency=Percentiles.of(ledger.latencies),
            # Of less than that the clocks cannot tell.
            client_cpu=round(cpu / measured, 3) if measured > 0.05 else 0.0,
        )

    @property
    def whole(self) -> bool:
        """True when everybody connected and stayed, and got each message once."""
        return not (
            self.failed or self.publishers_failed or self.lost or self.refused
            or self.unanswered or self.missing or self.missing_to_lost or self.duplicated
            or self.connected < self.connections
        )

    def to_json(self) -> dict[str, Any]:
        """Builtin types only, with ``whole``."""
        return {**asdict(self), "whole": self.whole}

    def __str__(self) -> str:
        lines = [
            f"connections   {self.connected} of {self.connections}",
            f"  connect     {self.connect}",
            *_failures(self.failed, self.publishers_failed),
            *_reasons("lost", self.lost),
            f"subscriptions {self.subscriptions} in {self.channels} channels",
            f"published     {self.published} of {self.sent} in {self.publishing:.1f} s, "
            f"{self.rate:,.0f}/s of {self.rate_asked:,.0f}/s asked",
            *_reasons("refused", self.refused),
            *_counted("unanswered", self.unanswered),
            f"delivered     {self.delivered}, {self.delivery_rate:,.0f}/s, "
            f"{self.bytes_received / 1e6:,.1f} MB",
            f"  missing     {self.missing}",
            *_counted("missing to lost connections", self.missing_to_lost),
            f"  duplicated  {self.duplicated}",
            *_counted("out of order", self.late),
            *_counted("from others", self.foreign),
            f"latency       {self.latency}",
            f"client CPU    {self.client_cpu:.0%} of a core",
        ]
        if self.interrupted:
            lines.append("the run was ended early")
        if self.rate_asked and self.connected and not (self.sent or self.interrupted):
            lines.append("nothing was sent: there was no connection to publish by")
        elif self.behind:
            lines.append(
                f"the publishers sent {_per_second(self.sent, self.publishing):,.0f} messages/s, "
                f"not the {self.rate_asked:,.0f}/s asked: they, or the answers they wait for, "
                "were too slow")
        if self.client_cpu >= _BUSY:
            lines.append(
                "the client was busy all the time: rates and latencies are rather its own "
                "than the server's")
        return "\n".join(lines)


def _sorted(reasons: Counter[str]) -> dict[str, int]:
    return dict(reasons.most_common())


def _per_second(count: int, seconds: float) -> float:
    return round(count / seconds, 1) if seconds else 0.0


def _reasons(what: str, reasons: dict[str, int]) -> list[str]:
    return [f"  {what:<11} {count}: {_plain(reason)}" for reason, count in reasons.items()]


def _failures(subscribers: dict[str, int], publishers: dict[str, int]) -> list[str]:
    lines = []
    for reason in {**subscribers, **publishers}:
        who = " and ".join(
            f"{count} {name}{'' if count == 1 else 's'}" for count, name in (
                (subscribers.get(reason, 0), "connection"),
                (publishers.get(reason, 0), "publisher")) if count)
        lines.append(f"  {'failed':<11} {who}: {_plain(reason)}")
    return lines


def _counted(what: str, count: int) -> list[str]:
    return [f"  {what:<11} {count}"] if count else []


def _plain(text: str) -> str:
    """A server's text, with nothing in it that moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
