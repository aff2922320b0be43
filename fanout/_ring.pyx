"""History: each channel's stream, a bounded and expiring ring of messages.

A stream's messages have consecutive offsets, so the message at an offset is
found by arithmetic. The stream's record (offset and epoch) outlives its
messages: a client that missed nothing while they expired can still be told so.
"""

import os

cimport cython
from cpython.object cimport PyObject

from fanout._expiry cimport Deadline, DeadlineSink, Expiry, deadline_init
from fanout._memory cimport allocate, check, disown, own, release, try_allocate
from fanout._message cimport Message, message_placed
from fanout._table cimport (
    Cursor, Record, Table, table_find, table_free, table_init, table_insert, table_next,
    table_remove, table_reserve,
)

from fanout.types import HistoryPage, StreamPosition


cdef enum:
    SMALLEST = 4            # slots of a stream's first allocation


cdef inline PyObject* message_at(Stream* stream, uint32_t index) noexcept:
    """The message ``index`` places after the oldest one; borrowed."""
    check(index < stream.count)
    # 64 bits: first + index may pass 2**32.
    return stream.slots[(<uint64_t>stream.first + index) % stream.capacity]


cdef int disown_ring(
    PyObject** slots, uint32_t capacity, uint32_t first, uint32_t count
) except -1:
    """Release ``count`` messages and their array, which no stream refers to any more."""
    cdef uint32_t index
    for index in range(count):
        disown(slots[(<uint64_t>first + index) % capacity])
    release(slots)
    return 0


@cython.no_gc_clear     # __dealloc__ needs the expiry
cdef class HistoryStore(DeadlineSink):
    def __cinit__(self, Expiry expiry not None, double meta_lifetime):
        if not meta_lifetime > 0:
            raise ValueError(f"meta_lifetime must be above 0 seconds, not {meta_lifetime!r}")
        table_init(&self.table)
        self.expiry = expiry
        self.meta_lifetime = meta_lifetime
        self.messages = 0

    def __dealloc__(self):
        if self.expiry is not None:
            self.clear()
        table_free(&self.table)

    def append(self, str channel not None, Message message not None, size, double lifetime,
               double meta_lifetime=0.0, bint only_if_alive=False, version=0,
               str version_epoch not None=""):
        if not 0 < size <= 0xFFFFFFFF:
            raise ValueError(f"size must be between 1 and 4294967295, not {size!r}")
        if not lifetime > 0:
            raise ValueError(f"lifetime must be above 0 seconds, not {lifetime!r}")
        cdef uint32_t limit = size
        cdef uint64_t number = version
        cdef PyObject* former
        cdef double now = self.expiry.now()
        cdef Stream* stream
        # Takes over the references to what is trimmed: dropping them may run
        # Python, which must find the stream whole.
        cdef list trimmed = []
        cdef Message stored
        if only_if_alive:
            stream = self.find(channel, now)
            if stream == NULL or stream.count == 0:
                return None
        stream = self.find_or_create(channel, now)
        stored = message_placed(message, stream.top + 1)
        while stream.count >= limit:
            trimmed.append(<object>stream.slots[stream.first])
            disown(stream.slots[stream.first])
            stream.first = (stream.first + 1) % stream.capacity
            stream.count -= 1
            self.messages -= 1
        self.reserve(stream, limit)
        own(<PyObject*>stored)      # the slot's, until it is trimmed or dropped
        stream.slots[(<uint64_t>stream.first + stream.count) % stream.capacity] = <PyObject*>stored
        stream.count += 1
        stream.top += 1
        self.messages += 1
        stream.messages_end = now + lifetime
        stream.meta_lifetime = meta_lifetime if meta_lifetime > 0.0 else self.meta_lifetime
        self.touch(stream, now)
        if number > 0:
            former = stream.version_epoch
            own(<PyObject*>version_epoch)       # the stream's, until another takes its place
            stream.version = number
            stream.version_epoch = <PyObject*>version_epoch
            if former != NULL:
                disown(former)
        self.expiry.arm()
        return stored

    def has_version(self, str channel not None, version, str version_epoch not None):
        cdef uint64_t number = version
        cdef Stream* stream = self.find(channel, self.expiry.now())
        return (
            stream != NULL and 0 < number <= stream.version
            and <str>stream.version_epoch == version_epoch
        )

    def newest(self, str channel not None, Py_ssize_t limit):
        if limit < 0:
            raise ValueError(f"limit must not be negative, not {limit!r}")
        cdef list found = []        # before the look-up: it may start the collector
        cdef Stream* stream = self.find(channel, self.expiry.now())
        cdef uint32_t index, count
        if stream == NULL:
            return found
        count = stream.count
        if 0 < limit < count:
            count = <uint32_t>limit
        for index in range(count):
            found.append(<object>message_at(stream, stream.count - 1 - index))
        return found

    def read(self, str channel not None, since, Py_ssize_t limit, bint reverse):
        cdef double now = self.expiry.now()
        cdef uint64_t offset = since.offset if since is not None else 0
        cdef str epoch = since.epoch if since is not None else ""
        cdef bint recoverable = True
        cdef list found = []
        cdef Stream* stream = self.find_or_create(channel, now)
        cdef uint64_t oldest = stream.top - stream.count + 1
        cdef uint64_t low = oldest          # offsets [low, high) are asked for
        cdef uint64_t high = stream.top + 1
        self.touch(stream, now)
        if since is not None:
            if offset > stream.top or (
                epoch and epoch != stream.epoch[:EPOCH_LENGTH].decode("ascii")
            ):
                recoverable = False
                low = high
            else:
                recoverable = offset + 1 >= oldest
                if reverse:
                    high = offset if offset > oldest else oldest
                elif offset + 1 > oldest:
                    low = offset + 1
        if limit >= 0 and high - low > <uint64_t>limit:
            if reverse:
                low = high - limit
            else:
                high = low + limit
        if reverse:
            for offset in range(high, low, -1):
                found.append(<object>message_at(stream, <uint32_t>(offset - 1 - oldest)))
        else:
            for offset in range(low, high):
                found.append(<object>message_at(stream, <uint32_t>(offset - oldest)))
        page = HistoryPage(found, self.position_of(stream), recoverable)
        self.expiry.arm()
        return page

    def position(self, str channel not None):
        cdef double now = self.expiry.now()
        cdef Stream* stream = self.find_or_create(channel, now)
        self.touch(stream, now)
        position = self.position_of(stream)
        self.expiry.arm()
        return position

    def remove(self, str channel not None):
        cdef Stream* stream = self.find(channel, self.expiry.now())
        if stream != NULL:
            self.drop_messages(stream)

    def clear(self):
        cdef Cursor cursor
        cdef Record* record
        cursor.slot = 0
        while self.table.count > 0:
            record = table_next(&self.table, &cursor)
            if record == NULL:
                cursor.slot = 0
                continue
            cursor.slot -= 1        # the slot may get the record behind it
            self.remove_stream(<Stream*>record)

    @property
    def num_streams(self):
        return self.table.count

    @property
    def num_messages(self):
        return self.messages

    cdef Stream* find(self, str channel, double now) except? NULL:
        """The channel's stream without anything expired in it, or NULL."""
        cdef Stream* stream = <Stream*>table_find(&self.table, channel)
        if stream == NULL:
            return NULL
        if stream.meta_end <= now:
            self.remove_stream(stream)
            return NULL
        if stream.count > 0 and stream.messages_end <= now:
            self.drop_messages(stream)
            # What was dropped may have run code that removed the stream.
            return <Stream*>table_find(&self.table, channel)
        return stream

    cdef Stream* find_or_create(self, str channel, double now) except NULL:
        cdef Stream* stream = self.find(channel, now)
        cdef bytes noise
        cdef int at
        if stream != NULL:
            return stream
        # Not from `random`: a program that seeds it would repeat its epochs.
        noise = os.urandom(EPOCH_LENGTH)
        table_reserve(&self.table)
        self.expiry.reserve()
        # What was dropped, or collected, may have run code that made the stream.
        stream = <Stream*>table_find(&self.table, channel)
        if stream != NULL:
            return stream
        stream = <Stream*>allocate(sizeof(Stream))
        stream.slots = NULL
        stream.capacity = stream.first = stream.count = 0
        stream.top = 0
        stream.version = 0
        stream.version_epoch = NULL
        stream.messages_end = 0.0
        stream.meta_lifetime = self.meta_lifetime
        stream.meta_end = now + self.meta_lifetime
        for at in range(EPOCH_LENGTH):
            stream.epoch[at] = <char>(ord(b"a") + <unsigned char>noise[at] % 26)
        deadline_init(&stream.deadline, self, stream)
        table_insert(&self.table, &stream.record, channel)
        self.expiry.set(&stream.deadline, stream.meta_end)
        return stream

    cdef int touch(self, Stream* stream, double now) except -1:
        """Renew the life of offset and epoch, and set the next deadline.

        Runs no Python; the caller arms the expiry when it is done with the stream.
        """
        if stream.count > 0:
            stream.meta_end = stream.messages_end + stream.meta_lifetime
            self.expiry.set(&stream.deadline, stream.messages_end)
        else:
            # Not sooner: after a removal it may still have the messages' end.
            stream.meta_end = max(stream.meta_end, now + stream.meta_lifetime)
            self.expiry.set(&stream.deadline, stream.meta_end)
        return 0

    cdef int reserve(self, Stream* stream, uint32_t size) except -1:
        """Make room for one more message in a stream that keeps ``size``."""
        cdef uint64_t wanted = stream.capacity
        cdef PyObject** slots
        cdef uint32_t index
        if stream.count == stream.capacity:
            wanted = min(<uint64_t>size, max(<uint64_t>stream.capacity * 2, <uint64_t>SMALLEST))
        elif <uint64_t>size * 2 < stream.capacity:
            wanted = size           # lowered: give the memory back
        if wanted == stream.capacity:
            return 0
        slots = <PyObject**>try_allocate(wanted * sizeof(PyObject*))
        if slots == NULL:
            if stream.count < stream.capacity:
                return 0            # stay larger than needed
            raise MemoryError()
        for index in range(stream.count):
            slots[index] = message_at(stream, index)
        release(stream.slots)
        stream.slots = slots
        stream.capacity = <uint32_t>wanted
        stream.first = 0
        return 0

    cdef int drop_messages(self, Stream* stream) except -1:
        """Free the messages; offset and epoch stay."""
        cdef PyObject** slots = stream.slots
        cdef uint32_t capacity = stream.capacity
        cdef uint32_t first = stream.first
        cdef uint32_t count = stream.count
        if slots == NULL:
            return 0
        stream.slots = NULL
        stream.capacity = stream.first = stream.count = 0
        self.messages -= count
        try:
            self.expiry.set(&stream.deadline, stream.meta_end)
        finally:
            disown_ring(slots, capacity, first, count)
        return 0

    cdef int remove_stream(self, Stream* stream) except -1:
        cdef PyObject** slots = stream.slots
        cdef uint32_t capacity = stream.capacity
        cdef uint32_t first = stream.first
        cdef uint32_t count = stream.count
        cdef PyObject* version_epoch = stream.version_epoch
        self.messages -= count
        self.expiry.drop(&stream.deadline)
        table_remove(&self.table, &stream.record)
        release(stream)
        if version_epoch != NULL:
            disown(version_epoch)
        if slots != NULL:
            disown_ring(slots, capacity, first, count)
        return 0

    cdef int expired(self, Deadline* deadline) except -1:
        cdef Stream* stream = <Stream*>deadline.record
        if stream.meta_end <= self.expiry.firing_until:     # both, when the clock jumped
            return self.remove_stream(stream)
        return self.drop_messages(stream)

    cdef object position_of(self, Stream* stream):
        return StreamPosition(stream.top, stream.epoch[:EPOCH_LENGTH].decode("ascii"))
