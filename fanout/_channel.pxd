"""The subscribers of one channel: a dense array of small entries.

What an entry says was copied when its subscriber subscribed, so that a walk of
the array asks no object for it. Nothing here runs Python.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fanout._extras cimport FORM_PLAIN, Extras
from fanout._memory cimport check
from fanout._table cimport Record


cdef enum Kind:                         # of subscriber
    KIND_OUTBOX = 0
    KIND_QUEUE = 1
    KINDS = 2

cdef enum Flag:
    WANTS_JOIN_LEAVE = 1

cdef enum Slow:
    SLOW_DISCONNECT = 0
    SLOW_DROP_OLDEST = 1
    SLOW_KEEP_LATEST = 2

cdef struct Entry:                      # one subscriber of a channel
    PyObject* subscriber_borrowed       # leaves the array before it dies
    uint32_t membership                 # its item among the subscriber's channels
    uint8_t kind
    uint8_t encoding
    uint8_t flags
    uint8_t form                        # see Extras

cdef struct Channel:
    Record record
    Entry* entries
    uint32_t count
    uint32_t capacity
    uint64_t serial                     # never used again for another channel
    uint8_t slow                        # what a full outbox does
    uint32_t encodings                  # bit mask of those ever used while it lives
    Extras* extras                      # owned; NULL: nobody wants deltas or filters


cdef inline void channel_add(
    Channel* channel, PyObject* subscriber, uint32_t membership, uint8_t kind, uint8_t encoding,
) noexcept:
    """Add a subscriber behind the others; the caller has reserved room, and dresses it."""
    cdef Entry* entry = &channel.entries[channel.count]
    check(channel.count < channel.capacity)
    entry.subscriber_borrowed = subscriber
    entry.membership = membership
    entry.kind = kind
    entry.encoding = encoding
    entry.flags = 0
    entry.form = FORM_PLAIN
    if channel.extras != NULL and channel.extras.filters != NULL:
        channel.extras.filters[channel.count] = NULL
    channel.count += 1


cdef Channel* channel_new(uint64_t serial) except NULL
cdef bint channel_reserve(Channel* channel) noexcept
cdef bint channel_reserve_extras(Channel* channel, bint filtered) noexcept
cdef void channel_dress(
    Channel* channel, uint32_t place, bint delta, bytes base, PyObject* filter) noexcept
cdef void channel_remove(Channel* channel, uint32_t place) noexcept
cdef void channel_free(Channel* channel) noexcept
