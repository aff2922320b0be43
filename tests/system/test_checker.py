"""The checker finds what it is there to find."""

from __future__ import annotations

import pytest

from tests.system.checker import Acknowledged, Interrupted, Received, Subscribed, check, stretches


def received(*offsets: int, publisher: str = "p") -> list[Received]:
    return [Received(offset, publisher, offset) for offset in offsets]


FIRST = Subscribed("e", 0)
AGAIN = Subscribed("e", 2, was_recovering=True, recovered=True)
GONE = Interrupted()


@pytest.mark.parametrize(
    "log",
    [
        [],
        [FIRST],
        [FIRST, *received(1, 2, 3)],
        [Subscribed("e", 7), *received(8, 9)],
        [FIRST, *received(1, 2), GONE, AGAIN, *received(3)],
        [FIRST, *received(1, 2), GONE, AGAIN],
        # A gap that is told of, in the same stream and in a new one.
        [FIRST, *received(1, 2), GONE, Subscribed("e", 5, was_recovering=True), *received(6)],
        [FIRST, *received(1), GONE, Subscribed("f", 0, was_recovering=True),
         Received(1, "p", 2)],
        # What another one published in between is no gap of this one's.
        [FIRST, Received(1, "p", 1), Received(2, "q", 1), Received(3, "p", 2)],
        # A publish that failed left no message.
        [FIRST, Received(1, "p", 1), Received(2, "p", 3)],
    ],
)  # fmt: skip
def test_what_may_be_seen(log: list[object]) -> None:
    assert check({"client": log}, []) == []  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("log", "fault"),
    [
        ([FIRST, *received(1, 3)], "a gap that nobody told of"),
        ([Subscribed("e", 7), *received(9)], "a gap that nobody told of"),
        ([FIRST, *received(1, 2, 2)], "a duplicate, or out of order"),
        ([FIRST, *received(1, 2, 1)], "a duplicate, or out of order"),
        ([FIRST, *received(2, 1)], "a gap that nobody told of"),
        # At a place of its own, so that only what it is tells.
        ([FIRST, Received(1, "p", 1), Received(2, "p", 1)], "came twice"),
        ([FIRST, Received(1, "p", 2), Received(2, "p", 1)], "came after number 2"),
        ([FIRST, *received(1, 2), GONE, AGAIN, *received(2)], "a duplicate, or out of order"),
        ([FIRST, *received(1, 2), GONE, AGAIN, *received(4)], "a gap that nobody told of"),
        ([FIRST, *received(1), GONE, AGAIN, *received(3)], "from another place than 'e' 1"),
        ([FIRST, *received(1, 2), GONE, Subscribed("f", 2, True, True)], "from another place"),
        ([AGAIN], "recovered from nowhere"),
        ([FIRST, *received(1), GONE, Subscribed("e", 5)], "did not ask for what it missed"),
        ([FIRST, *received(1), GONE, *received(2)], "came without a subscription"),
        (received(1), "came without a subscription"),
    ],
)  # fmt: skip
def test_what_may_not_be_seen(log: list[object], fault: str) -> None:
    wrong = check({"client": log}, [])  # type: ignore[dict-item]
    assert fault in wrong[0]
    assert wrong[0].startswith("client: ")


def test_a_place_holds_one_message_for_all() -> None:
    logs = {"a": [FIRST, Received(1, "p", 1)], "b": [FIRST, Received(1, "q", 1)]}
    assert check(logs, []) == ["b: ('e', 1) was ('q', 1), elsewhere ('p', 1)"]
    # The same offset of another epoch is another place.
    logs["b"] = [Subscribed("f", 0), Received(1, "q", 1)]
    assert check(logs, []) == []


def test_what_was_acknowledged_stands_where_it_was_acknowledged() -> None:
    log = [FIRST, *received(1, 2)]
    assert check({"a": log}, [Acknowledged("e", 2, "p", 2)]) == []
    assert check({"a": log}, [Acknowledged("e", 2, "p", 9)]) == [
        "a: ('e', 2) was ('p', 2), elsewhere ('p', 9)"
    ]
    twice = [Acknowledged("e", 2, "p", 2), Acknowledged("e", 2, "p", 3)]
    assert check({}, twice) == ["('e', 2) was acknowledged to ('p', 2) and ('p', 3)"]


def test_stretches_end_where_something_was_lost() -> None:
    found, wrong = stretches(
        [FIRST, *received(1, 2), GONE, AGAIN, *received(3), GONE,
         Subscribed("e", 5, was_recovering=True), *received(6)]
    )  # fmt: skip
    assert wrong == []
    assert [(stretch.first, stretch.last) for stretch in found] == [(0, 3), (5, 6)]
