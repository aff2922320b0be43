"""Message: a small immutable value."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import time
from typing import Any

import pytest

from fanout.types import ClientInfo, Message
from tests.core.objects import fresh_bytes, fresh_str, references

FIELDS = ["uid", "timestamp", "channel", "data", "client", "info", "offset", "tags", "delta"]


def full(**changes: Any) -> Message:
    arguments: dict[str, Any] = {
        "channel": "ch", "data": b"data", "uid": "uid", "timestamp": 1.5, "client": "c",
        "info": ClientInfo("u", "c"), "offset": 3, "tags": {"a": "b"}, "delta": True,
    }
    arguments.update(changes)
    return Message(arguments.pop("channel"), arguments.pop("data"), **arguments)


def test_defaults() -> None:
    before = time.time()
    message = Message("ch", b"data")
    assert before <= message.timestamp <= time.time()
    assert (message.channel, message.data, message.client) == ("ch", b"data", "")
    assert (message.info, message.offset, message.tags, message.delta) == (None, 0, None, False)


def test_fields_are_what_was_given() -> None:
    info = ClientInfo("u", "c", b"{}", b"\xff")
    message = full(info=info)
    assert [getattr(message, name) for name in FIELDS] == [
        "uid", 1.5, "ch", b"data", "c", info, 3, {"a": "b"}, True]
    assert message.info is info


def test_every_message_has_its_own_uid() -> None:
    uids = {Message("ch", b"").uid for _ in range(10_000)}
    assert len(uids) == 10_000
    assert len({len(uid) for uid in uids}) == 1


def test_a_uid_does_not_change() -> None:
    message = Message("ch", b"")
    assert message.uid == message.uid == message.at(7).uid


def test_a_forked_child_does_not_repeat_its_parent_s_uids() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, "\n".join(Message("ch", b"").uid for _ in range(50)).encode())
        finally:
            os._exit(0)
    os.close(write)
    mine = {Message("ch", b"").uid for _ in range(50)}
    with os.fdopen(read) as pipe:
        theirs = set(pipe.read().split("\n"))
    assert os.waitpid(child, 0)[1] == 0
    assert len(theirs) == 50
    assert not mine & theirs


@pytest.mark.parametrize("name", FIELDS)
def test_fields_cannot_be_set(name: str) -> None:
    message = full()
    with pytest.raises(AttributeError):
        setattr(message, name, getattr(message, name))
    with pytest.raises(AttributeError):
        message.more = 1    # type: ignore[attr-defined]


def test_tags_are_a_private_copy() -> None:
    tags = {"a": "b"}
    message = Message("ch", b"", tags=tags)
    tags["a"] = "changed"
    tags["new"] = "x"
    assert message.tags == {"a": "b"}


def test_what_is_done_to_the_tags_read_is_not_seen_by_others() -> None:
    """All in-process subscribers of a channel are handed the same message."""
    message = Message("ch", b"", tags={"a": "b"})
    sibling = message.at(1)
    with contextlib.suppress(TypeError):    # a read-only view would do as well as a copy
        message.tags["a"] = "changed"   # type: ignore[index]
    assert message.tags == {"a": "b"}
    assert sibling.tags == {"a": "b"}


def test_at_gives_a_copy_at_another_offset() -> None:
    message = full()
    moved = message.at(9)
    assert moved.offset == 9
    assert message.offset == 3
    assert moved != message
    assert moved.at(3) == message
    for name in FIELDS:
        if name != "offset":
            assert getattr(moved, name) == getattr(message, name)


def test_offsets_are_64_bits() -> None:
    top = 2**64 - 1
    assert Message("ch", b"", offset=top).offset == top
    assert Message("ch", b"").at(top).offset == top


def test_equality_is_of_all_fields() -> None:
    assert full() == full()
    assert hash(full()) == hash(full())
    changes = {
        "uid": "other", "timestamp": 2.5, "channel": "other", "data": b"other",
        "client": "other", "info": ClientInfo("other", "c"), "offset": 4, "tags": {"a": "c"},
        "delta": False,
    }
    assert changes.keys() == set(FIELDS)
    for name, value in changes.items():
        assert full(**{name: value}) != full(), name
    assert full() != "message"
    assert Message("ch", b"") != Message("ch", b"")     # by their uids


def test_pickle_and_copy_give_equals() -> None:
    for message in (full(), Message("ch", b"", tags={}), Message("ch", b"", delta=True)):
        assert pickle.loads(pickle.dumps(message)) == message
        assert copy.copy(message) == message
        assert copy.deepcopy(message) == message


def test_repr_names_the_fields() -> None:
    text = repr(full())
    for name in FIELDS:
        assert f"{name}={getattr(full(), name)!r}" in text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"channel": None}, TypeError),
        ({"channel": b"ch"}, TypeError),
        ({"channel": 1}, TypeError),
        ({"data": None}, TypeError),
        ({"data": "data"}, TypeError),
        ({"data": bytearray(b"data")}, TypeError),
        ({"data": memoryview(b"data")}, TypeError),
        ({"uid": 5}, TypeError),
        ({"uid": b"uid"}, TypeError),
        ({"timestamp": "now"}, TypeError),
        ({"client": None}, TypeError),
        ({"client": b"c"}, TypeError),
        ({"info": "u"}, TypeError),
        ({"info": {"user": "u"}}, TypeError),
        ({"offset": "3"}, TypeError),
        ({"offset": None}, TypeError),
        ({"offset": 1.5}, TypeError),
        ({"offset": -1}, ValueError),
        ({"tags": {"a": 1}}, TypeError),
        ({"tags": {1: "a"}}, TypeError),
        ({"tags": {"a": None}}, TypeError),
        ({"delta": 1}, TypeError),
        ({"delta": None}, TypeError),
        ({"tags": 5}, TypeError),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        full(**changes)


def test_an_offset_past_64_bits_is_refused() -> None:
    with pytest.raises((ValueError, OverflowError)):
        Message("ch", b"", offset=2**64)
    with pytest.raises((ValueError, OverflowError)):
        Message("ch", b"").at(2**64)
    with pytest.raises(ValueError):
        Message("ch", b"").at(-1)


def test_arguments_that_are_missing_or_too_many() -> None:
    with pytest.raises(TypeError):
        Message("ch")   # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Message("ch", b"", "uid")   # type: ignore[misc]
    with pytest.raises(TypeError):
        Message("ch", b"", color="red")     # type: ignore[call-arg]


def test_it_cannot_be_a_base_class() -> None:
    with pytest.raises(TypeError):
        type("Special", (Message,), {})


def test_exact_references() -> None:
    channel, data = fresh_str("channel"), fresh_bytes(b"data")
    uid, client = fresh_str("my-uid"), fresh_str("client")
    info = ClientInfo("u", client)      # which holds the client's id for the message
    values = [channel, data, uid, info]

    def counts() -> list[int]:
        return [references(value) for value in values]

    before = counts()
    message = Message(channel, data, uid=uid, client=client, info=info)
    assert counts() == [count + 1 for count in before]
    moved = message.at(1)
    assert counts() == [count + 2 for count in before]
    for name in FIELDS:
        getattr(message, name)
    repr(message), hash(message), message == moved, pickle.dumps(message)
    assert counts() == [count + 2 for count in before]
    del message
    assert counts() == [count + 1 for count in before]
    del moved
    assert counts() == before


def test_a_refused_message_keeps_no_reference() -> None:
    channel, data = fresh_str("channel"), fresh_bytes(b"data")
    before = references(channel), references(data)
    for wrong in ({"tags": {"a": 1}}, {"offset": -1}, {"offset": 2**64}, {"timestamp": "now"}):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            Message(channel, data, **wrong)
    assert (references(channel), references(data)) == before


def test_the_wish_for_deltas_leaves_the_uid_alone() -> None:
    first = Message("ch", b"", delta=True)
    second = Message("ch", b"")
    assert first.delta
    assert first.at(1).delta
    assert not second.delta
    assert len(first.uid) == len(second.uid)
    assert first.uid[:-10] == second.uid[:-10]
    assert first.uid[-10:] < second.uid[-10:]       # the counter goes on


def test_a_message_pickled_before_there_were_deltas() -> None:
    rebuild, values = full(delta=False).__reduce__()
    assert rebuild(*values[:-1]) == full(delta=False)
