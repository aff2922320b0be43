"""One publication in a channel, as compact as a Python object can be.

A message of the history costs its payload and about 130 bytes: no dict, no
collector header (nothing it refers to can refer back), no text of its uid.
"""

import os
import time
from collections.abc import Mapping

cimport cython
from libc.stdint cimport uint64_t


cdef str ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
cdef enum:
    PREFIX_LENGTH = 12
    NUMBER_LENGTH = 10

cdef object now = time.time
cdef str uid_prefix
cdef uint64_t next_number = 0


def _renew_uids():
    """Begin a new series of uids; a forked child must not repeat its parent's."""
    global uid_prefix
    uid_prefix = "".join([ALPHABET[byte % 62] for byte in os.urandom(PREFIX_LENGTH)])

_renew_uids()
os.register_at_fork(after_in_child=_renew_uids)


cdef str uid_text(uint64_t number):
    """As a NUID: a random prefix of the process, then a counter, in base 62."""
    cdef char digits[NUMBER_LENGTH]
    cdef Py_ssize_t at
    for at in range(NUMBER_LENGTH - 1, -1, -1):
        digits[at] = <char>ord(ALPHABET[number % 62])
        number = number // 62
    return uid_prefix + digits[:NUMBER_LENGTH].decode("ascii")


@cython.final
@cython.no_gc       # str, bytes, ClientInfo of those, a dict of str: no cycles
cdef class Message:
    def __init__(self, channel, data, *, uid=None, timestamp=None, client="",
                 info=None, offset=0, tags=None, delta=False):
        global next_number
        if type(channel) is not str:
            raise TypeError(f"channel must be a str, not {type(channel).__name__}")
        if type(data) is not bytes:
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        if type(client) is not str:
            raise TypeError(f"client must be a str, not {type(client).__name__}")
        if info is not None and type(info) is not client_info():
            raise TypeError(f"info must be a ClientInfo or None, not {type(info).__name__}")
        if uid is None:
            next_number += 1
            self.number = next_number
        elif type(uid) is str:
            self.given_uid = uid
        else:
            raise TypeError(f"uid must be a str or None, not {type(uid).__name__}")
        if type(delta) is not bool:
            raise TypeError(f"delta must be a bool, not {delta!r}")
        if delta:
            self.number |= 1ULL << DELTA_SHIFT
        check_offset(offset)
        self.timestamp = now() if timestamp is None else timestamp
        self.channel = channel
        self.data = data
        if info is None:
            self.origin = client if client else None
        else:
            self.origin = info if info.client == client else (client, info)
        self.offset = offset
        if tags is not None:
            self.own_tags = checked_tags(tags)

    @property
    def uid(self):
        if self.given_uid is not None:
            return self.given_uid
        return uid_text(self.number & ~(1ULL << DELTA_SHIFT))

    @property
    def delta(self):
        return message_delta(self)

    @property
    def tags(self):
        return None if self.own_tags is None else dict(self.own_tags)

    @property
    def client(self):
        if self.origin is None:
            return ""
        if type(self.origin) is str:
            return self.origin
        return self.origin[0] if type(self.origin) is tuple else self.origin.client

    @property
    def info(self):
        return message_info(self)

    def at(self, offset):
        check_offset(offset)
        return message_placed(self, offset)

    def __eq__(self, other):
        if type(other) is not Message:
            return NotImplemented
        cdef Message that = other
        return (
            self.offset == that.offset
            and self.channel == that.channel
            and self.data == that.data
            and self.uid == that.uid
            and self.timestamp == that.timestamp
            and self.origin == that.origin
            and self.own_tags == that.own_tags
            and message_delta(self) == message_delta(that)
        )

    def __hash__(self):
        return hash((self.channel, self.offset, self.uid))

    def __repr__(self):
        return (
            f"Message(channel={self.channel!r}, data={self.data!r}, uid={self.uid!r}, "
            f"timestamp={self.timestamp!r}, client={self.client!r}, info={self.info!r}, "
            f"offset={self.offset!r}, tags={self.own_tags!r}, delta={self.delta!r})"
        )

    def __reduce__(self):
        return (_rebuilt, (self.channel, self.data, self.uid, self.timestamp,
                           self.client, self.info, self.offset, self.own_tags, self.delta))


cdef Message message_placed(Message message, uint64_t offset):
    """The message with another place in the stream."""
    cdef Message copy = Message.__new__(Message)
    copy.given_uid = message.given_uid
    copy.number = message.number
    copy.timestamp = message.timestamp
    copy.channel = message.channel
    copy.data = message.data
    copy.origin = message.origin
    copy.offset = offset
    copy.own_tags = message.own_tags
    return copy


cdef object message_info(Message message):
    """The publisher's ClientInfo, or None."""
    if message.origin is None or type(message.origin) is str:
        return None
    return message.origin[1] if type(message.origin) is tuple else message.origin


cdef int check_offset(offset) except -1:
    if type(offset) is not int:
        raise TypeError(f"offset must be an int, not {offset!r}")
    if not 0 <= offset < 1 << 64:
        raise ValueError(f"offset must be between 0 and 2**64 - 1, not {offset!r}")
    return 0


def _rebuilt(channel, data, uid, timestamp, client, info, offset, tags, delta=False):
    """Unpickles a message; one of an earlier version has no ``delta``."""
    return Message(channel, data, uid=uid, timestamp=timestamp, client=client,
                   info=info, offset=offset, tags=tags, delta=delta)


cdef object client_info_type = None

cdef object client_info():
    # fanout.types imports this module, so its class is only there later.
    global client_info_type
    if client_info_type is None:
        from fanout.types import ClientInfo
        client_info_type = ClientInfo
    return client_info_type


cdef dict checked_tags(tags):
    if not isinstance(tags, Mapping):
        raise TypeError(f"tags must be a mapping or None, not {type(tags).__name__}")
    cdef dict copy = dict(tags)
    for key, value in copy.items():
        if type(key) is not str or type(value) is not str:
            raise TypeError(f"tags must map str to str, not {key!r} to {value!r}")
    return copy
